//! The loops: the only crate that runs a stage.
//!
//! [`lane`] is the one loop of the ordered stages (observe, notify, project): own a lane, read,
//! prepare in parallel, fold in order, commit with the cursor, publish. [`job`] is the one loop of
//! the effects (triage, deliver): claim under a lease, do, record, settle. This crate knows the log
//! and the tables so that they need not know each other; what a stage decides is handed in
//! ([`Stage`], [`Work`]), and the decisions themselves (`domain`) are never known here.

pub mod error;
pub mod janitor;
pub mod job;
pub mod lane;
pub mod shares;
pub mod stage;

pub use error::Error;
pub use janitor::Janitor;
pub use job::{JobLoop, JobLoopConfig, Performed, Work};
pub use lane::{Faults, LaneLoop, LaneLoopConfig, ProbeCommand};
pub use stage::{Halt, Input, Item, Out, Stage};
