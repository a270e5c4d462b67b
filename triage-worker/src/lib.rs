//! Stages observe and triage: what happened, and what an analyst says of it.
//!
//! [`observe`] folds the input log in order; [`triage`] performs triage jobs with the [`analysts`]. Both stages do what `domain` decides;
//! neither tells anybody.

pub mod analysts;
pub mod observe;
pub mod triage;

pub use observe::ObserveStage;
pub use triage::TriageWork;
