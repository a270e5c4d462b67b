//! The decisions: pure, synchronous, replayable (invariants I4, I5). No clock, no randomness, no IO.
//!
//! ```text
//! request ── providers::authenticate ──> (ingest appends the raw bytes)
//! delivery ─ providers::normalise ─┬──> alerts ── observe ──> decisions ── notify ──> messages
//!                                  │                 │
//!                               redact            triage (prompt, checks, playbook)
//! ```
//!
//! Everything that is decided is decided from what stands in the log; `rules` is the document in
//! force. To add a provider: one file in `providers/` and one line in its registry.

pub mod button;
pub mod effect;
pub mod invariant;
pub mod matcher;
pub mod notify;
pub mod observe;
pub mod providers;
pub mod redact;
pub mod replay;
pub mod rules;
pub mod silence;
pub mod triage;

mod text;
