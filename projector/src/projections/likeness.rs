//! What incidents with a confirmed diagnosis are found by when another like them opens.

use domain::{observe::Verb, triage};
use futures_util::future::BoxFuture;
use schemas::event::{Applied, Kind};
use store::{lane::LaneTransaction, projection::likeness::LikenessRow};

use super::{Concerned, Projection, diagnosis::run_of};

/// One row a word of such an incident. Its facts stand in the incident's own row, which is written
/// before.
pub struct Likeness;

impl Projection for Likeness {
    fn name(&self) -> &'static str {
        "likeness"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let confirmed: Vec<_> = events.iter().filter_map(confirmed).collect();
            let incidents: Vec<_> =
                confirmed.iter().map(|(of, applied)| (&of.project, applied.incident)).collect();
            let openings = transaction.openings_of(&incidents).await?;
            let mut rows = Vec::new();
            for (Concerned { project, .. }, applied) in confirmed {
                let opening = openings.iter().find(|(of, ..)| *of == applied.incident);
                let (Some((_, at, facts)), Some(run)) = (opening, run_of(applied)) else {
                    continue;
                };
                let words = triage::likeness(facts, Some(applied.fingerprint));
                rows.extend(words.into_iter().map(|word| LikenessRow {
                    project,
                    word: word.text,
                    at: *at,
                    run,
                }));
            }
            transaction.insert_likeness(&rows);
            Ok(())
        })
    }
}

/// A command that says that a diagnosis is right, and was not said before.
fn confirmed(concerned: &Concerned) -> Option<(&Concerned, &Applied)> {
    match &concerned.event.kind {
        Kind::Applied(applied) if applied.changed && applied.verb == Verb::Confirm.word() => {
            Some((concerned, applied))
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
