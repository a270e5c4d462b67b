//! Why the tables could not be asked.

/// An error of the tables: what was attempted, and the database's own words as source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the address of the database cannot be read: {reason}")]
    Address { reason: String },
    #[error("{attempt}")]
    Database {
        attempt: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("connect to postgres at {server}; see that it runs and that postgres.url is right")]
    Connect {
        server: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A row holds what this binary cannot read.
    #[error("read {table}.{column}: {detail}")]
    Column { table: &'static str, column: &'static str, detail: String },
    /// The cursor moved under us: another owner has the lane.
    #[error("stage {stage} of lane {lane} has another owner: its cursor is not at batch {batch}")]
    NotOwner { stage: String, lane: u16, batch: u64 },
    /// The batch goes beyond where the generation is frozen.
    #[error("generation {generation} is frozen before the end of this batch")]
    Frozen { generation: i32 },
    /// The generation is not there or not to be written any more.
    #[error("generation {generation} is {state}")]
    Generation { generation: i32, state: String },
}

impl Error {
    /// Names what was attempted; for `map_err`.
    pub(crate) fn doing(attempt: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { attempt, source }
    }

    /// True when the same call may succeed later: the connection or the server was in the way.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { source, .. } | Self::Connect { source, .. } => match source {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Protocol(_)
                | sqlx::Error::Tls(_) => true,
                // 40: serialization and deadlock; 08, 53, 57: connection, resources, shutdown.
                sqlx::Error::Database(e) => e.code().is_some_and(|code| {
                    ["40", "08", "53", "57", "55"].iter().any(|class| code.starts_with(class))
                        || code == "25P03"
                }),
                _ => false,
            },
            _ => false,
        }
    }
}
