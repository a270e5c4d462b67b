//! The outcome of each delivery.

use futures_util::future::BoxFuture;
use schemas::event::Kind;
use store::{lane::LaneTransaction, projection::delivery::DeliveryRow};

use super::{Concerned, Projection};

/// One row a delivery.
pub struct Delivery;

impl Projection for Delivery {
    fn name(&self) -> &'static str {
        "delivery"
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let rows: Vec<_> = events.iter().filter_map(row).collect();
            transaction.insert_deliveries(&rows);
            Ok(())
        })
    }
}

fn row(Concerned { project, event }: &Concerned) -> Option<DeliveryRow<'_>> {
    let Kind::Settled(settled) = &event.kind else { return None };
    Some(DeliveryRow {
        day: event.lane_time.day(),
        record: settled.record,
        at: event.at.input,
        project,
        source: &settled.source,
        provider: &settled.provider,
        outcome: settled.outcome,
        reason: settled.reason.as_deref(),
        alerts: settled.alerts,
        received_at: settled.received_at,
    })
}
