//! The tables: the only crate with SQL.
//!
//! It knows how rows are read and written; it must not know why. One module per subject: the lane
//! loop's rows ([`lane`]), observe's ([`observe`]), notify's ([`notify`]), effects ([`job`]), read models ([`projection`])
//! and the console's queries ([`read`]). Row shapes stay private and are converted at the edge.
//!
//! To add a table: a migration (existing ones never change), and one module here.

pub mod access;
pub mod error;
pub mod given_up;
pub mod housekeeping;
pub mod job;
pub mod lane;
pub mod moved_chat;
pub mod notify;
pub mod observe;
pub mod projection;
pub mod read;
pub mod recorded;
mod rows;
pub mod similar;
pub mod spending;
pub mod worker;

use std::{str::FromStr, time::Duration};

use schemas::Time;
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};

pub use error::Error;

/// The schema's migrations, embedded.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    options: PgConnectOptions,
}

impl Store {
    /// Connects to `url` (`postgres://…`) with at most `connections` pooled connections, trying
    /// for `patience` while the server does not answer yet.
    pub async fn connect(url: &str, connections: u32, patience: Duration) -> Result<Self, Error> {
        let options = address(url)?
            .application_name("bellwether")
            // The planner must see the values: tables grow from empty, and a generic plan made
            // while they are empty stays. Compiling a statement costs more than running it here.
            .options([("plan_cache_mode", "force_custom_plan"), ("jit", "off")]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(patience)
            .connect_with(options.clone())
            .await
            .map_err(|source| Error::Connect { server: shown(&options), source })?;
        Ok(Self { pool, options })
    }

    /// Whether `url` is an address at all; connects to nothing.
    pub fn check_url(url: &str) -> Result<(), Error> {
        address(url).map(drop)
    }

    /// Makes the database `name` on the server that `url` leads to, unless it is there.
    pub async fn create_database(url: &str, name: &str) -> Result<(), Error> {
        let mut connection =
            PgConnection::connect(url).await.map_err(Error::doing("connect to make a database"))?;
        let there: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await
                .map_err(Error::doing("look for the database"))?;
        if !there {
            // A database's name cannot be bound; quoting it is what Postgres itself does.
            let quoted: String =
                sqlx::query_scalar("select format('create database %I', $1::text)")
                    .bind(name)
                    .fetch_one(&mut connection)
                    .await
                    .map_err(Error::doing("quote the database's name"))?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(quoted))
                .execute(&mut connection)
                .await
                .map_err(Error::doing("make the database"))?;
        }
        connection.close().await.map_err(Error::doing("close the connection"))
    }

    /// Brings the schema up to this binary's version.
    pub async fn migrate(&self) -> Result<(), Error> {
        MIGRATIONS.run(&self.pool).await.map_err(Error::Migrate)
    }

    /// The migrations this database lacks; roles refuse to start unless there are none.
    pub async fn missing_migrations(&self) -> Result<Vec<String>, Error> {
        let known: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
            .fetch_one(&self.pool)
            .await
            .map_err(Error::doing("look for the schema"))?;
        let applied: Vec<i64> = if known {
            sqlx::query_scalar("select version from _sqlx_migrations where success")
                .fetch_all(&self.pool)
                .await
                .map_err(Error::doing("read the schema version"))?
        } else {
            Vec::new()
        };
        Ok(MIGRATIONS
            .iter()
            .filter(|m| !applied.contains(&m.version))
            .map(|m| format!("{:04} {}", m.version, m.description))
            .collect())
    }

    /// The shared connections.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// How to open a connection of one's own.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Ends all pooled connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn address(url: &str) -> Result<PgConnectOptions, Error> {
    // The parser takes any scheme.
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(Error::Address { reason: "it does not start with postgres://".to_owned() });
    }
    PgConnectOptions::from_str(url).map_err(|e| Error::Address { reason: e.to_string() })
}

/// The server and database as they may be shown: without user and password.
fn shown(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

/// As a bind parameter for `timestamptz`.
pub(crate) fn timestamptz(time: Time) -> jiff_sqlx::Timestamp {
    jiff_sqlx::Timestamp::from(time.timestamp())
}

/// From a `timestamptz` column.
pub(crate) fn time(value: jiff_sqlx::Timestamp) -> Time {
    Time::from(value.to_jiff())
}
