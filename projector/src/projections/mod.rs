//! The read models: one file each, and one line in [`ALL`].
//!
//! A read model is a mapping from events to rows and nothing else: it decides nothing, remembers
//! nothing between batches, and knows neither the clock nor the log.
//!
//! To add one: a table and a writing method in `store`, a file here, a line in [`ALL`].

mod action;
mod analyst_call;
mod coverage;
mod delivery;
mod diagnosis;
mod dossier;
mod incident;
mod likeness;
mod notice;
mod recurrence;
mod run;
mod send;
mod silence;
mod usefulness;

use futures_util::future::BoxFuture;
use schemas::{Event, ProjectId};
use store::lane::LaneTransaction;

/// An event of a batch, with the project it concerns.
#[derive(Debug)]
pub struct Concerned {
    pub project: ProjectId,
    pub event: Event,
}

/// One read model.
pub trait Projection: Send + Sync {
    /// Name of its table.
    fn name(&self) -> &'static str;

    /// Writes what the batch's events, in log order, change in it.
    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        events: &'a [Concerned],
    ) -> BoxFuture<'a, Result<(), store::Error>>;
}

/// Every read model, in the order they are written.
pub const ALL: &[&dyn Projection] = &[
    &dossier::Dossier,
    &delivery::Delivery,
    &incident::Incident,
    &action::Action,
    &run::Run,
    &diagnosis::Diagnosis,
    &analyst_call::AnalystCall,
    &usefulness::Usefulness,
    &likeness::Likeness,
    &send::Send,
    &notice::Notice,
    &silence::Silence,
    &recurrence::Recurrence,
    &coverage::Coverage,
];
