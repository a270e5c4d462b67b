//! Rows of other folds: earlier ones are brought up to this one, later ones are refused.

use schemas::{CodecError, Fingerprint, Level, Time, codec, job::Analysis};

use super::{
    story::{fires, fold, problem},
    *,
};
use crate::observe::{Elsewhere, FOLD_VERSION, Incident, Problem, Verb};

/// A problem's row as fold 2 wrote it.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct Problem2 {
    #[n(0)]
    fold: u32,
    #[n(1)]
    status: Status,
    #[n(2)]
    last_change: Time,
    #[n(3)]
    episodes: u32,
    #[n(4)]
    opening: Option<Position>,
    #[n(5)]
    incident: Option<IncidentId>,
    #[n(6)]
    occurrences: u64,
    #[n(7)]
    total: u64,
    #[n(8)]
    recent: Vec<u64>,
    #[n(9)]
    announced: bool,
    #[n(10)]
    changed_lane: Option<Time>,
    #[n(11)]
    elsewhere: Option<Vec<Elsewhere>>,
}

/// An incident's row as folds 1 and 2 wrote it.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct Incident2 {
    #[n(0)]
    fold: u32,
    #[n(1)]
    fingerprint: Fingerprint,
    #[n(2)]
    answered: Vec<String>,
}

fn problem2() -> Problem2 {
    Problem2 {
        fold: 2,
        status: Firing,
        last_change: second(5),
        episodes: 2,
        opening: Some(at(7).alert(0)),
        incident: Some(incident_id(&project(), at(7).alert(0))),
        occurrences: 3,
        total: 9,
        recent: vec![1, 2],
        announced: false,
        changed_lane: Some(second(6)),
        elsewhere: None,
    }
}

#[test]
fn a_problem_of_fold_2_goes_on_where_it_stood() {
    let read = Problem::decode(&codec::encode(&problem2())).unwrap();
    assert!(read.is_open());
    assert_eq!((read.episodes, read.occurrences, read.total), (2, 3, 9));
    assert_eq!(read.changed_lane, Some(second(6)));
    // What fold 2 did not count begins at nothing.
    assert!(read.lately.is_empty() && read.changes.is_empty() && read.refires.is_empty());
    assert_eq!((read.risk, read.last_seen, read.due, read.part.clone()), (None, None, None, None));
    assert!(!read.escalated && !read.expired);
    assert_eq!(Problem::decode(&read.encode()).unwrap(), read);
}

#[test]
fn an_incident_of_fold_2_is_taken_to_have_a_diagnosis_if_it_was_answered() {
    let row = |answered: &[&str]| {
        let answered = answered.iter().map(|reason| (*reason).to_owned()).collect();
        let fingerprint = Fingerprint(uuid::Uuid::nil());
        Incident::decode(&codec::encode(&Incident2 { fold: 2, fingerprint, answered })).unwrap()
    };
    let confirm = |mut incident: Incident| {
        incident.apply(Verb::Confirm, "ada", "{}", None, Time::default()).is_ok()
    };
    assert!(confirm(row(&["open", "request 1"])));
    assert_eq!(row(&["open", "request 1"]).diagnosis.as_deref(), Some("request 1"));
    assert!(!confirm(row(&[])));
}

#[test]
fn rows_of_a_later_fold_are_refused() {
    let later = FOLD_VERSION + 1;
    let newer = |result: Result<(), CodecError>| match result {
        Err(CodecError::Newer { found, known, .. }) => (found, known) == (later, FOLD_VERSION),
        Ok(()) | Err(_) => false,
    };
    let mut row = problem(&fold(vec![fires(0, "a")])).clone();
    row.fold = later;
    assert!(newer(Problem::decode(&row.encode()).map(drop)));
    let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
    incident.fold = later;
    assert!(newer(Incident::decode(&incident.encode()).map(drop)));
    #[derive(minicbor::Encode)]
    #[cbor(map)]
    struct InForce {
        #[n(0)]
        fold: u32,
    }
    let state = codec::encode(&InForce { fold: later });
    assert!(newer(LaneState::restore(LANE, ONE, second(0), Some(&state)).map(drop)));
}

#[test]
fn a_lane_that_a_later_provider_read_is_left_alone() {
    #[derive(minicbor::Encode)]
    #[cbor(map)]
    struct InForce {
        #[n(0)]
        fold: u32,
        #[n(2)]
        providers: std::collections::BTreeMap<String, u32>,
    }
    let restore = |provider: &str, version: u32| {
        let providers = [(provider.to_owned(), version)].into();
        let bytes = codec::encode(&InForce { fold: FOLD_VERSION, providers });
        LaneState::restore(LANE, ONE, second(0), Some(&bytes)).map(drop).map_err(|e| e.to_string())
    };
    let known = crate::providers::by_name("sentry").unwrap().version();
    assert_eq!(restore("sentry", known), Ok(()));
    assert_eq!(
        restore("sentry", known + 1),
        Err(format!(
            "sentry version {} is newer than {known}, the newest this binary reads",
            known + 1
        ))
    );
    assert!(restore("of_a_binary_to_come", 1).unwrap_err().contains("of_a_binary_to_come"));
}

#[test]
fn the_version_of_a_provider_is_kept_with_the_lane_once_it_read_something() {
    let mut tables = Tables::new(LANE, ONE);
    assert!(tables.load().unwrap().read_by().is_empty());
    let mut state = tables.load().unwrap();
    let said = |prepared: Vec<Prepared>| {
        let made = prepared.into_iter();
        made.map(|p| p.alerts()).sum::<usize>()
    };
    assert_eq!(said(super::story::records(vec![fires(0, "a")])), 1);
    tables.apply(&mut state, super::story::records(vec![fires(0, "a")])).unwrap();
    let expect = [("alertmanager".to_owned(), 1)].into();
    assert_eq!(state.read_by(), &expect);
    assert_eq!(tables.load().unwrap().read_by(), &expect);
    let folded = tables.folded().unwrap();
    let versions = folded.events.iter().filter_map(|e| match &e.kind {
        Kind::Observed(o) => Some(o.provider_version),
        _ => None,
    });
    assert_eq!(Vec::from_iter(versions), [Some(1)]);
}

/// Golden: bytes like these stand in tables. A field may be added, none may change.
#[test]
fn rows_keep_their_form() {
    let hex = |bytes: Vec<u8>| const_hex::encode(bytes);
    assert_eq!(hex(codec::encode(&problem2())), PROBLEM_2);
    let row = problem(&fold(vec![fires(0, "a"), fires(3600, "a")])).clone();
    assert_eq!(hex(row.encode()), PROBLEM_6);
    let mut incident = Incident::new(Fingerprint(uuid::Uuid::from_u128(8)));
    incident.answer("open", Some(&Analysis { root_cause: "r".into(), ..Analysis::default() }));
    incident.apply(Verb::Ack, "ada", "{}", None, Time::default()).unwrap();
    incident.apply(Verb::Handoff, "ada", "{}", None, Time::default()).unwrap();
    incident.apply(Verb::Reject, "ada", "{}", None, Time::default()).unwrap();
    // Folds before 5 silenced nothing; to those before 6 nobody said anything of use.
    let unsilenced = Incident { said: None, ..incident.clone() };
    incident.apply(Verb::Silence, "ada", "{}", None, Time::default()).unwrap();
    let unsaid = Incident { said: None, ..incident.clone() };
    incident.apply(Verb::Useful, "ada", "{}", None, Time::default()).unwrap();
    assert_eq!(hex(incident.encode()), INCIDENT_6);
    let bytes = |hex: &str| const_hex::decode(hex).unwrap();
    let earlier = [
        (3, PROBLEM_3, INCIDENT_3, &unsilenced),
        (4, PROBLEM_4, INCIDENT_4, &unsilenced),
        (5, PROBLEM_5, INCIDENT_5, &unsaid),
    ];
    for (fold, problem, incident, meant) in earlier {
        // How bad it was said to be is taken from the risk there was.
        let before = Problem { fold, worst: Some(Level::Warning), ..row.clone() };
        assert_eq!(Problem::decode(&bytes(problem)).unwrap(), before);
        let before = Incident { fold, ..meant.clone() };
        assert_eq!(Incident::decode(&bytes(incident)).unwrap(), before);
    }
}

#[test]
fn a_lane_of_fold_3_goes_on_and_knows_nobody_of_a_chat() {
    #[derive(minicbor::Encode)]
    #[cbor(map)]
    struct InForce3 {
        #[n(0)]
        fold: u32,
        #[n(1)]
        rules: Option<String>,
        #[n(2)]
        providers: std::collections::BTreeMap<String, u32>,
    }
    let rules = Some(Rules::builtin().text().to_owned());
    let state = InForce3 { fold: 3, rules, providers: [("sentry".to_owned(), 1)].into() };
    let state = LaneState::restore(LANE, ONE, second(0), Some(&codec::encode(&state))).unwrap();
    assert_eq!(state.rules(), Rules::builtin());
    assert_eq!(state.read_by().len(), 1);
    assert_eq!(state.operators().get("telegram:1", None), None);
}

const PROBLEM_2: &str = "ab00020100021b00064748466c8b4003020482830107000005508084d65fd64d8d529746f8e439d25263060307090882010209f40a1b00064748467bcd80";
const PROBLEM_3: &str = "b200030100021b00064748462040000301048283010100000550599595ae8143833c8a25ad87450ea20e06020702088009f50a1b00064748462040000c47c0db850e013c010d45c0db850e010f011001131b000647491cb3e40014190e10151b00064749f3478800";
const INCIDENT_3: &str = "a800030150000000000000000000000000000000080281646f70656e03f5051b7cf4b3ea3b7f882906646f70656e08646f70656e0901";
const PROBLEM_4: &str = "b200040100021b00064748462040000301048283010100000550599595ae8143833c8a25ad87450ea20e06020702088009f50a1b00064748462040000c47c0db850e013c010d45c0db850e010f011001131b000647491cb3e40014190e10151b00064749f3478800";
const INCIDENT_4: &str = "a800040150000000000000000000000000000000080281646f70656e03f5051b7cf4b3ea3b7f882906646f70656e08646f70656e0901";
const PROBLEM_5: &str = "b200050100021b00064748462040000301048283010100000550599595ae8143833c8a25ad87450ea20e06020702088009f50a1b00064748462040000c47c0db850e013c010d45c0db850e010f011001131b000647491cb3e40014190e10151b00064749f3478800";
const INCIDENT_5: &str = "a900050150000000000000000000000000000000080281646f70656e03f5051b7cf4b3ea3b7f882906646f70656e08646f70656e09010c1ad693a400";
const PROBLEM_6: &str = "b200060100021b00064748462040000301048283010100000550599595ae8143833c8a25ad87450ea20e06020702088009f50a1b00064748462040000c47c0db850e013c010d45c0db850e010f011001131b000647491cb3e40014190e10151b00064749f3478800";
const INCIDENT_6: &str = "ab00060150000000000000000000000000000000080281646f70656e03f5051b7cf4b3ea3b7f882906646f70656e08646f70656e09010c1ad693a4000d81821b9987e1a2260888a9000ea600617201600260036004fb00000000000000000560";
