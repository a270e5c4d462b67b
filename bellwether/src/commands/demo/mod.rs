//! `bellwether demo`: sends a realistic stream of signed deliveries to a running `up`.

mod stories;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use runtime::{Clock, config::process_environment, http_client};
use sha2::Sha256;

use crate::local::{self, FOLDER, Secrets};

/// How much is sent.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the `up` to send to.
    #[arg(long, default_value = FOLDER)]
    dir: PathBuf,
    /// Deliveries to send.
    #[arg(long, default_value_t = 64)]
    count: u32,
    /// Deliveries a second.
    #[arg(long, default_value_t = 4.0)]
    rate: f64,
}

/// Sends them and says what each was and how it was answered.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if !(args.rate > 0.0 && args.rate <= 1_000.0) {
        bail!("--rate is {}; use more than 0 and at most 1000 deliveries a second", args.rate);
    }
    let running = local::running(&args.dir)?;
    let secrets = local::secrets(&args.dir, &process_environment())?;
    let clock = Clock::system();
    let client = http_client::build(&http_client::ClientConfig::default())?;
    let run = (clock.now().micros() / 1_000_000 % 100_000) as u32;
    println!("sending {} deliveries to {}", args.count, running.ingest);
    let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate));
    let mut accepted = 0;
    for step in 0..args.count {
        pace.tick().await;
        let told = stories::tell(run, step, clock.now());
        let (proof, value) = proof(told.provider, &secrets, &told.body)?;
        let mut request = client
            .post(format!("{}/webhook/{}", running.ingest, told.provider))
            .header("content-type", "application/json")
            .header(proof, value);
        for (name, value) in &told.headers {
            request = request.header(*name, value);
        }
        let response = request
            .body(told.body)
            .send()
            .await
            .with_context(|| format!("send to {}; is `up` still running?", running.ingest))?;
        let status = response.status();
        accepted += u32::from(status.is_success());
        println!("{:>3}  {:<13} {} -> {status}", step + 1, told.provider, told.line);
    }
    println!("{accepted} of {} accepted", args.count);
    println!(
        "look: curl -s -H \"Authorization: Bearer $(cat {}/operator-key)\" {}/api/v1/incidents",
        args.dir.display(),
        running.console
    );
    if accepted < args.count { bail!("{} refused", args.count - accepted) } else { Ok(()) }
}

/// The header that proves where a delivery comes from.
fn proof(provider: &str, secrets: &Secrets, body: &[u8]) -> anyhow::Result<(&'static str, String)> {
    match provider {
        "sentry" => {
            let mut mac = Hmac::<Sha256>::new_from_slice(secrets.sentry_secret.as_bytes())?;
            mac.update(body);
            Ok(("sentry-hook-signature", const_hex::encode(mac.finalize().into_bytes())))
        }
        "alertmanager" => {
            let pair = format!("alertmanager:{}", secrets.alertmanager_password);
            Ok(("authorization", format!("Basic {}", STANDARD.encode(pair))))
        }
        other => bail!("the demo has no credentials for {other}"),
    }
}
