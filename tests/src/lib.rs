//! The harness: real servers on free ports, one set a test, gone when the test ends.
//!
//! [`World`] is a nats-server with the streams of a fresh log, and a Postgres with a fresh, migrated
//! database. Nothing has to be started beforehand and nothing is shared between tests.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a harness that cannot set its test up has to fail it"
)]

pub mod asks;
pub mod bench;
pub mod fleet;
pub mod hung;
pub mod load;
pub mod model;
pub mod oracle;
pub mod receiver;
pub mod receivers;
pub mod senders;
pub mod sends;

use std::{num::NonZeroU16, path::PathBuf, sync::Arc, time::Duration};

use eventlog::{JetStream, JetStreamConfig, Log, topology};
use schemas::{Generation, Namespace};
use servers::{NatsOptions, NatsServer, PostgresOptions, PostgresServer, Programs};
use sqlx::{Connection, Executor, PgConnection};
use store::Store;
use tempfile::TempDir;

/// The live generation of a fresh database.
pub const GENERATION: Generation = Generation(1);

/// The programs to test with; fails the test with the remedy when there are none.
pub fn programs() -> Programs {
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.tools");
    Programs::find(|key| std::env::var_os(key), &[tools])
        .unwrap_or_else(|e| panic!("{e}; or run the tests with `cargo xtask test`"))
}

/// A folder that an unprivileged user can enter, because Postgres does not run as root.
pub fn temp_dir() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("bellwether-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

/// A nats-server of one's own, synced to disk before each ack.
pub fn nats(dir: &TempDir) -> NatsServer {
    let options = NatsOptions {
        dir: dir.path().join("nats"),
        port: None,
        sync_always: true,
        credentials: None,
    };
    NatsServer::start(&programs(), options).unwrap()
}

/// A Postgres of one's own.
pub fn postgres(dir: &TempDir) -> PostgresServer {
    let options = PostgresOptions {
        dir: dir.path().join("postgres"),
        port: None,
        password: "of-this-test-only".into(),
    };
    PostgresServer::start(&programs(), options).unwrap()
}

/// Makes a fresh, migrated database and returns its URL.
pub async fn database(postgres: &PostgresServer, name: &str) -> String {
    let mut admin = PgConnection::connect(&postgres.url("postgres")).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    let url = postgres.url(name);
    let store = Store::connect(&url, 1, Duration::from_secs(10)).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    url
}

/// Both servers, a fresh log and a fresh database.
pub struct World {
    pub nats: NatsServer,
    pub postgres: PostgresServer,
    pub database_url: String,
    pub store: Store,
    pub lanes: NonZeroU16,
    pub namespace: Namespace,
    // Last: the folder must outlive the servers in it.
    pub dir: TempDir,
}

impl World {
    /// Starts both servers and makes log and database; four lanes.
    pub async fn start() -> Self {
        Self::with_lanes(4).await
    }

    /// The same with another number of lanes.
    pub async fn with_lanes(lanes: u16) -> Self {
        let dir = temp_dir();
        let nats = nats(&dir);
        let postgres = postgres(&dir);
        let database_url = database(&postgres, "bellwether").await;
        let store = Store::connect(&database_url, 8, Duration::from_secs(10)).await.unwrap();
        let lanes = NonZeroU16::new(lanes).unwrap();
        let world = Self {
            nats,
            postgres,
            database_url,
            store,
            lanes,
            namespace: Namespace::default(),
            dir,
        };
        let log = world.log().await;
        log.ensure(&[
            topology::deliveries(&world.log_config()),
            topology::events(&world.namespace, GENERATION),
        ])
        .await
        .unwrap();
        world
    }

    /// How a process connects to this world's log.
    pub fn log_config(&self) -> JetStreamConfig {
        JetStreamConfig {
            url: self.nats.url(),
            namespace: self.namespace.clone(),
            lanes: self.lanes,
            ..JetStreamConfig::default()
        }
    }

    /// A connection of one's own to the log.
    pub async fn log(&self) -> Arc<dyn Log> {
        Arc::new(JetStream::connect(&self.log_config()).await.unwrap())
    }

    /// A connection of one's own to the database, for looking at tables.
    pub async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.database_url).await.unwrap()
    }
}
