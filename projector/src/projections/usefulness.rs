//! Whether operators found the messages about an incident useful: the last word of each (A15).

use std::collections::BTreeMap;

use domain::observe::{Says, Verb};
use futures_util::future::BoxFuture;
use schemas::event::{Applied, Kind};
use store::{lane::LaneTransaction, projection::usefulness::UsefulnessRow};

use super::{Concerned, Projection, diagnosis::run_of};

/// One row an operator and incident.
pub struct Usefulness;

impl Projection for Usefulness {
    fn name(&self) -> &'static str {
        "usefulness"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let mut last = BTreeMap::new();
            for concerned in events {
                if let Some((applied, says)) = said(concerned) {
                    let row = UsefulnessRow {
                        project: &concerned.project,
                        incident: applied.incident,
                        operator: &applied.actor,
                        verdict: word(says),
                        run: run_of(applied),
                        at: concerned.event.lane_time,
                    };
                    last.insert((applied.incident, applied.actor.as_str()), row);
                }
            }
            transaction.put_usefulness(&Vec::from_iter(last.into_values()));
            Ok(())
        })
    }
}

const fn word(says: Says) -> &'static str {
    match says {
        Says::Useful => "useful",
        Says::NotUseful => "not_useful",
        Says::Noise => "noise",
    }
}

/// What a command says of the messages, unless its operator had said so before.
fn said(concerned: &Concerned) -> Option<(&Applied, Says)> {
    match &concerned.event.kind {
        Kind::Applied(applied) if applied.changed => {
            Some((applied, Verb::from_word(&applied.verb)?.opinion()?))
        }
        Kind::Applied(_)
        | Kind::Opened(_)
        | Kind::Repeated(_)
        | Kind::Resolved(_)
        | Kind::Suppressed(_)
        | Kind::Stale(_)
        | Kind::Answered(_)
        | Kind::Ticked
        | Kind::RulesChanged(_)
        | Kind::Escalated(_)
        | Kind::Expired(_)
        | Kind::Refused(_)
        | Kind::SilenceChanged(_)
        | Kind::Asked(_)
        | Kind::Tested(_)
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_)
        | Kind::Planned(_)
        | Kind::Withheld(_) => None,
    }
}
