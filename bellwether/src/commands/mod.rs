//! One file per verb.

pub mod check_config;
pub mod demo;
pub mod keys;
pub mod migrate;
pub mod openapi;
pub mod operators;
pub mod parked;
mod payload;
mod place;
pub mod probe;
pub mod ready;
pub mod render;
pub mod rules;
pub mod run;
pub mod send;
pub mod send_test;
pub mod silence;
pub mod sources;
pub mod triage_report;
pub mod up;
pub mod why;

use std::path::{Path, PathBuf};

use runtime::config::process_environment;

use crate::{Config, config::Checked};

/// The file to read: the one named, else `bellwether.toml` here if there is one.
pub fn config_file(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| {
        let here = PathBuf::from("bellwether.toml");
        here.exists().then_some(here)
    })
}

/// Reads the configuration of this process.
pub fn read_config(file: Option<&Path>) -> anyhow::Result<Checked> {
    Ok(Config::read(file, &process_environment())?)
}
