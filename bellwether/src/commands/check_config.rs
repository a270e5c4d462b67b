//! `bellwether check-config`: reads a configuration and says what is wrong with it, or what it means.

use std::path::PathBuf;

use runtime::ConfigError;

/// What to check.
#[derive(clap::Args)]
pub struct Args {
    /// The file; `bellwether.toml` in this folder when absent.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// Prints what the configuration sets up; the first problem is the error.
pub fn run(args: Args) -> anyhow::Result<()> {
    let file = super::config_file(args.config);
    let checked = super::read_config(file.as_deref())?;
    // Endpoints and keys of analysts are checked with a client that asks nobody.
    let client = runtime::http_client::build(&runtime::http_client::ClientConfig::default())?;
    let analysts = checked.config.triage.check(&client).map_err(|e| {
        ConfigError::new(e.key(), e.to_string(), "correct the value")
            .found_in(file.as_deref(), &runtime::config::process_environment())
    })?;
    let name = file.map_or_else(|| "defaults and environment".into(), |f| f.display().to_string());
    println!("{name}: usable");
    println!("environment   {}", checked.config.environment);
    for source in checked.sources.iter() {
        println!(
            "source        {} ({}, project {}){}",
            source.id,
            source.provider.name(),
            source.project,
            source.warning().map_or_else(String::new, |w| format!("; {w}"))
        );
    }
    for target in checked.channels.all() {
        println!("channel       {} (receivers {})", target.id, target.receivers.join(", "));
    }
    if let Some(folder) = &checked.config.deliver.templates {
        let count = checked.channels.templates().len();
        println!("templates     {count} in {}", folder.display());
    }
    for analyst in analysts {
        println!("analyst       {analyst}");
    }
    Ok(())
}
