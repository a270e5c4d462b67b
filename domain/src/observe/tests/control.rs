//! Control records the folds have no use for are counted, in every lane, and change nothing.

use std::num::NonZeroU16;

use schemas::{
    Lane, Outcome, SourceId,
    record::{Body, Control, KeyChange, KeyEvent, KeyScope, SourceSwitch},
};

use super::{project, record, second};
use crate::replay::Tables;

#[test]
fn r11_keys_and_switches_count_as_control_in_every_lane_and_say_nothing() {
    let lanes = NonZeroU16::new(4).unwrap();
    let source = || SourceId::new("prometheus").unwrap();
    let key = |scope, event| {
        let (id, operator) = ("0a1b2c3d".into(), "ada".into());
        Control::Key(KeyChange { id, scope, event, operator })
    };
    let created = KeyEvent::Created { sha256: [7; 32], previous_until: second(9) };
    let controls = [
        key(KeyScope::Source(source()), created),
        key(KeyScope::Project(project()), KeyEvent::Revoked),
        Control::SourceSwitch(SourceSwitch { source: source(), on: false, operator: "a".into() }),
    ];
    for lane in Lane::all(lanes) {
        let mut tables = Tables::new(lane, lanes);
        for (n, control) in (1u64..).zip(&controls) {
            let body = Body::Control(Box::new(control.clone()));
            let mut of_all = record(n, second(n as i64), None, body);
            assert!(!of_all.changes_rules());
            of_all.of_all = true;
            tables.fold(vec![of_all]).unwrap();
        }
        let folded = tables.folded().unwrap();
        assert_eq!(super::ledger(&folded), [(Outcome::Control, 3)], "lane {lane}");
        assert!(folded.events.is_empty() && folded.parked.is_empty(), "lane {lane}");
    }
}
