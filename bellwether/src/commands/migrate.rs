//! `bellwether migrate`: brings the database up to this binary's schema.

use std::path::PathBuf;

use secrecy::ExposeSecret;
use store::Store;

/// Which database.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration; `bellwether.toml` in this folder when absent.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// Applies what is missing and says so.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let checked = super::read_config(super::config_file(args.config).as_deref())?;
    let postgres = &checked.config.postgres;
    let store = Store::connect(postgres.url.expose_secret(), 2, postgres.connect_patience).await?;
    let missing = store.missing_migrations().await?;
    if missing.is_empty() {
        println!("the database is up to date");
        return Ok(());
    }
    store.migrate().await?;
    for migration in missing {
        println!("applied {migration}");
    }
    Ok(())
}
