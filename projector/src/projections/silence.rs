//! Silences, as their records say them.

use futures_util::future::BoxFuture;
use schemas::event::Kind;
use store::{lane::LaneTransaction, projection::silence::SilenceRow};

use super::{Concerned, Projection};

/// One row a silence.
pub struct Silence;

impl Projection for Silence {
    fn name(&self) -> &'static str {
        "silence"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let rows: Vec<_> = events.iter().filter_map(row).collect();
            transaction.put_silences(&rows).await
        })
    }
}

fn row(Concerned { project, event }: &Concerned) -> Option<SilenceRow<'_>> {
    let Kind::SilenceChanged(change) = &event.kind else { return None };
    Some(SilenceRow {
        project,
        id: &change.id,
        silence: change.silence.as_ref(),
        operator: &change.operator,
        at: event.at,
        lane_time: event.lane_time,
    })
}
