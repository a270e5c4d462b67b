//! The process: the only crate that touches environment, signals, the global subscriber, the wall
//! clock, randomness and HTTP client construction.
//!
//! It knows how a process starts, tells the time, answers its probes and stops; it must not know
//! what any role does, nor the log, nor the tables. Everything that would make a decision differ
//! between two runs is obtained here and handed in, so that the bans of `clippy.toml` can name one
//! replacement each. To add an environment name of a source: one line in
//! [`config::SOURCE_NAMES`].

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod config;
pub mod environment;
pub mod reports;
pub mod telemetry;

pub mod clock;
pub mod health;
pub mod lifecycle;

pub mod address;
pub mod admin;
pub mod fetch;
pub mod http_client;
pub mod http_server;

mod error;

pub use clock::{Clock, random_bytes, random_uuid, record_id};
pub use config::ConfigError;
pub use environment::Environment;
pub use error::Error;
pub use health::{Health, Report};
pub use lifecycle::{Controller, Shutdown, TaskFailure, Tasks, run_until_stopped};
pub use telemetry::{LogFormat, MetricsHandle};
