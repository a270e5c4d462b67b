//! What this system reports of itself, and how.

use std::{collections::BTreeSet, sync::Arc};

use domain::redact::Redactor;
use runtime::{
    reports::{Guard, Reporter},
    telemetry,
};

use crate::{config::Checked, roles::Role};

/// The crates that make this system: they log neither bodies nor credentials.
const CRATES: &[&str] = &[
    "bellwether",
    "console",
    "domain",
    "eventlog",
    "ingest",
    "lanes",
    "notifier_worker",
    "projector",
    "runtime",
    "schemas",
    "servers",
    "store",
    "triage_worker",
];

/// Starts the log output of a process that plays `roles`, and its reports if there is somebody to
/// report to. They end with the guard.
///
/// # Errors
/// What [`telemetry::init`] says.
pub fn start(checked: &Checked, roles: &BTreeSet<Role>) -> Result<Guard, runtime::Error> {
    let config = &checked.config;
    let reporter = Reporter {
        config: config.sentry.clone(),
        roles: roles.iter().map(Role::to_string).collect(),
        environment: config.environment.to_string(),
        release: concat!("bellwether@", env!("CARGO_PKG_VERSION")).to_owned(),
        crates: CRATES,
        redact: Arc::new(|text| Redactor::builtin().text(text).0.into_owned()),
    };
    telemetry::init(config.log.format, &config.log.filter, Some(reporter))
}

/// Reports what a process ended of, if it did not end as it was told to.
pub fn ended(guard: &Guard, ended: anyhow::Result<()>) -> anyhow::Result<()> {
    ended.inspect_err(|error| guard.ended(&format!("{error:#}")))
}
