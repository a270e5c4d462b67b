//! Why something was or was not told (I9).

use futures_util::future::BoxFuture;
use schemas::event::Kind;
use store::{lane::LaneTransaction, projection::notice::NoticeRow};

use super::{Concerned, Projection};

/// One row a decision of notify.
pub struct Notice;

impl Projection for Notice {
    fn name(&self) -> &'static str {
        "notice"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let rows: Vec<_> = events.iter().filter_map(row).collect();
            transaction.insert_notices(&rows);
            Ok(())
        })
    }
}

fn row(Concerned { project, event }: &Concerned) -> Option<NoticeRow<'_>> {
    let row = |incident, opening, rule| NoticeRow {
        project,
        event: event.id,
        incident,
        opening,
        at: event.at,
        verdict: event.kind.word(),
        kind: None,
        receiver: None,
        reason: None,
        rule,
        rules: &event.rules,
        lane_time: event.lane_time,
        summary: None,
        by: None,
    };
    match &event.kind {
        Kind::Planned(p) => Some(NoticeRow {
            kind: Some(p.kind.word()),
            receiver: Some(&p.receiver),
            reason: p.reason.as_deref(),
            summary: p.summary.as_deref(),
            ..row(p.incident, p.opening, &p.rule)
        }),
        Kind::Withheld(w) => Some(NoticeRow {
            reason: Some(&w.reason),
            summary: w.summary.as_deref(),
            by: w.by.as_deref(),
            ..row(w.incident, w.opening, &w.rule)
        }),
        Kind::Opened(_)
        | Kind::Repeated(_)
        | Kind::Resolved(_)
        | Kind::Suppressed(_)
        | Kind::Stale(_)
        | Kind::Answered(_)
        | Kind::Ticked
        | Kind::RulesChanged(_)
        | Kind::Escalated(_)
        | Kind::Expired(_)
        | Kind::Applied(_)
        | Kind::Refused(_)
        | Kind::SilenceChanged(_)
        | Kind::Asked(_)
        | Kind::Tested(_)
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_) => None,
    }
}
