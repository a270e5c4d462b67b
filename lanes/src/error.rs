//! Why a loop refuses to run.

/// What no retry mends. Everything else a loop meets it waits out, loudly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tables were filled from another log, and positions of one mean nothing in the other.
    #[error(
        "these tables belong to a log with {known_lanes} lanes made at {known} (Unix seconds), \
         this one has {found_lanes} lanes and was made at {found}; use the tables that belong to \
         this log (nats.url and postgres.url must go together)"
    )]
    LogIdentity { known: i64, known_lanes: u16, found: i64, found_lanes: u16 },
}
