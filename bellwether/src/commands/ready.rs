//! `bellwether ready URL`: asks a process whether it can work; for health checks in containers.

use std::time::Duration;

use anyhow::{Context, bail};
use runtime::http_client;

/// Whom to ask.
#[derive(clap::Args)]
pub struct Args {
    /// Base address of the process, such as `http://127.0.0.1:9000`.
    url: String,
}

/// Exit 0: it is ready. Otherwise prints what it lacks.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = http_client::build(&http_client::ClientConfig {
        timeout: Duration::from_secs(2),
        ..http_client::ClientConfig::default()
    })?;
    let url = format!("{}/ready", args.url.trim_end_matches('/'));
    let response = client.get(&url).send().await.with_context(|| format!("ask {url}"))?;
    if response.status().is_success() {
        return Ok(());
    }
    bail!("not ready: {}", response.text().await.unwrap_or_default())
}
