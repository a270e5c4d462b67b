//! `bellwether run`: plays roles against servers that are there.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::Context;

use crate::{
    config::Checked,
    reports,
    roles::{self, Hooks, Listeners, Role},
};

/// Which roles, and with what configuration.
#[derive(clap::Args)]
pub struct Args {
    /// The roles, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    role: Vec<Role>,
    /// The configuration; `bellwether.toml` in this folder when absent.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// How long a stop waits for what is in hand.
pub const GRACE: Duration = Duration::from_secs(20);

/// Runs until told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let checked = super::read_config(super::config_file(args.config).as_deref())?;
    let roles: BTreeSet<Role> = args.role.into_iter().collect();
    let guard = reports::start(&checked, &roles)?;
    reports::ended(&guard, play(&checked, &roles).await)
}

async fn play(checked: &Checked, roles: &BTreeSet<Role>) -> anyhow::Result<()> {
    let listeners = Listeners::open(checked, roles).await?;
    let mut hooks = Hooks::default();
    hooks.lane_loop.probe = probe().ok();
    let process = roles::start(checked, roles, listeners, hooks).await?;
    tracing::info!(roles = ?roles, "bellwether runs");
    process.run_until_stopped(GRACE).await
}

/// This binary, as the child that tries a record.
pub fn probe() -> anyhow::Result<lanes::ProbeCommand> {
    let program = std::env::current_exe().context("find this program")?;
    Ok(lanes::ProbeCommand {
        program,
        args: vec!["probe".into()],
        memory_limit: 1 << 30,
        deadline: Duration::from_secs(10),
    })
}
