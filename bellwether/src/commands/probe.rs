//! `bellwether probe`: prepares one record, read from standard input, and exits.
//!
//! The lane loop runs it as a child, under a memory limit, for a record that failed before: what
//! takes this process down takes nothing else with it.

use std::{io::Read, num::NonZeroU16, sync::Arc};

use anyhow::Context;
use domain::rules::Rules;
use lanes::{Item, Stage};
use nix::sys::resource::{Resource, setrlimit};
use notifier_worker::NotifyStage;
use projector::ProjectStage;
use runtime::Clock;
use schemas::{InputPosition, Time};
use triage_worker::ObserveStage;

/// What to do with the record.
#[derive(clap::Args)]
pub struct Args {
    /// The stage whose prepare step is tried.
    stage: String,
    /// Address space the attempt may use, in bytes.
    #[arg(long, default_value_t = 1 << 30)]
    memory_limit: u64,
}

/// Exit 0: the record can be prepared.
pub fn run(args: &Args) -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_AS, args.memory_limit, args.memory_limit)
        .context("limit the memory")?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("read the record")?;
    let item = Item {
        at: InputPosition::default(),
        bytes: bytes.into(),
        stored_at: Time::default(),
        of_all: false,
    };
    let one = NonZeroU16::MIN;
    let prepared = match args.stage.as_str() {
        "observe" => {
            let config = triage_worker::observe::Config::default();
            // A record that is a danger under some rules is one under these: they say what is made of
            // what was read, not how it is read.
            let stage = ObserveStage::new(config, one, None, Clock::system());
            stage.prepare(Rules::builtin(), &item).map(drop)
        }
        "notify" => NotifyStage::new(Arc::default(), None).prepare(&(), &item).map(drop),
        "project" => ProjectStage.prepare(&(), &item).map(drop),
        other => anyhow::bail!("no stage {other:?}"),
    };
    Ok(prepared?)
}
