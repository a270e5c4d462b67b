//! What operators asked for, and what became of it.

use futures_util::future::BoxFuture;
use schemas::event::Kind;
use store::{lane::LaneTransaction, projection::action::ActionRow};

use super::{Concerned, Projection};

/// One row a command.
pub struct Action;

impl Projection for Action {
    fn name(&self) -> &'static str {
        "incident_action"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let rows: Vec<_> = events.iter().filter_map(row).collect();
            transaction.insert_actions(&rows).await
        })
    }
}

fn row(Concerned { project, event }: &Concerned) -> Option<ActionRow<'_>> {
    let (at, lane_time) = (event.at.input, event.lane_time);
    let (event_id, verdict) = (event.id, event.kind.word());
    match &event.kind {
        Kind::Applied(a) => Some(ActionRow {
            project,
            event: event_id,
            incident: Some(a.incident),
            at,
            verdict,
            verb: &a.verb,
            actor: &a.actor,
            auth_method: &a.auth_method,
            states: Some((a.before.word(), a.after.word())),
            changed: a.changed,
            arguments: Some(&a.arguments),
            reason: None,
            lane_time,
        }),
        Kind::Refused(r) => Some(ActionRow {
            project,
            event: event_id,
            incident: r.incident,
            at,
            verdict,
            verb: &r.verb,
            actor: &r.actor,
            auth_method: &r.auth_method,
            states: None,
            changed: false,
            arguments: None,
            reason: Some(&r.reason),
            lane_time,
        }),
        Kind::Opened(_)
        | Kind::Repeated(_)
        | Kind::Resolved(_)
        | Kind::Suppressed(_)
        | Kind::Stale(_)
        | Kind::Answered(_)
        | Kind::Ticked
        | Kind::RulesChanged(_)
        | Kind::SilenceChanged(_)
        | Kind::Asked(_)
        | Kind::Tested(_)
        | Kind::Escalated(_)
        | Kind::Expired(_)
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_)
        | Kind::Planned(_)
        | Kind::Withheld(_) => None,
    }
}
