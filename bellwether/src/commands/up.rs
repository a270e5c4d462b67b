//! `bellwether up`: everything in one process, on a nats-server and a Postgres of its own.

mod rules_file;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use eventlog::{JetStream, Log, jetstream::Credentials, topology};
use runtime::{
    Clock, Shutdown, Tasks, config::process_environment, http_client, lifecycle::signalled,
};
use secrecy::{ExposeSecret, SecretString};
use servers::{NatsOptions, NatsServer, PostgresOptions, PostgresServer, Programs};
use store::Store;

use self::rules_file::RulesFile;
use super::run::{GRACE, probe};
use crate::{
    config::{Checked, Config},
    local::{FOLDER, Local, NATS_USER, Running},
    reports,
    roles::{self, Hooks, Listeners, Role},
};

/// Where everything is kept and answered.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for data, configuration and secrets.
    #[arg(long, default_value = FOLDER)]
    dir: PathBuf,
    /// Where webhooks are received.
    #[arg(long, default_value = "127.0.0.1:9000")]
    ingest: SocketAddr,
    /// Where the API answers; the webhook routes answer there too.
    #[arg(long, default_value = "127.0.0.1:8080")]
    console: SocketAddr,
    /// Another configuration than the one generated in the folder; its nats and postgres sections
    /// are replaced by the managed servers.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// Runs until told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let local = Local::open(&args.dir)?;
    let file = args.config.clone().unwrap_or_else(|| local.config_file());
    // Everything that can be wrong with the configuration is said before anything is started.
    let mut checked = read(&file)?;
    checked.config.ingest.listen = args.ingest;
    checked.config.console.listen = args.console;
    checked.config.ingest.spool.get_or_insert_with(|| local.spool());
    let roles: BTreeSet<Role> = Role::ALL.into();
    let guard = reports::start(&checked, &roles)?;
    reports::ended(&guard, play(&local, &file, checked, &roles).await)
}

async fn play(
    local: &Local,
    file: &Path,
    mut checked: Checked,
    roles: &BTreeSet<Role>,
) -> anyhow::Result<()> {
    let listeners = Listeners::open(&checked, roles).await?;
    let (Some(ingest), Some(console)) = (listeners.ingest_address(), listeners.console_address())
    else {
        anyhow::bail!("the listeners have no address");
    };

    let programs = find_programs()?;
    let mut hooks = Hooks { print: Arc::new(|text| println!("{text}\n")), ..Hooks::default() };
    hooks.lane_loop.probe = probe().ok();
    let mut rules = RulesFile::find(checked.config.rules.file.as_deref(), file);
    let starting = async {
        let managed = start_servers(local, &programs).await?;
        checked.config.nats.url = managed.nats.url();
        checked.config.nats.credentials = Some(Credentials {
            user: NATS_USER.into(),
            password: local.secrets().nats_password.clone(),
        });
        checked.config.postgres.url = SecretString::from(managed.postgres.url(DATABASE));
        // Before anything is folded by the rules that were in force.
        let log = open_log(&checked).await?;
        rules.look(&*log, &Clock::system()).await;
        let process = roles::start(&checked, roles, listeners, hooks).await?;
        anyhow::Ok((managed, process, log))
    };
    // Dropping the start ends the servers, which would outlive a process that a signal just ends.
    let (mut managed, process, log) = tokio::select! {
        started = starting => started?,
        signal = signalled() => anyhow::bail!("{} while starting", signal?),
    };
    let nats = managed.nats.url();
    local.announce(&Running {
        ingest: format!("http://{ingest}"),
        console: format!("http://{console}"),
        nats,
        postgres: Some(managed.postgres.port()),
    })?;
    print_banner(local, ingest, console)?;
    let (servers_stop, servers_controller) = Shutdown::new();
    let guards = Tasks::new(servers_controller.clone());
    guards.spawn_finite("managed servers", async move {
        managed.watch(servers_stop).await;
        managed.stop().await;
    });
    let follow =
        rules.follow(log, Clock::system(), process.health.clone(), process.shutdown.clone());
    process.tasks.spawn("rules file", follow);
    let ended = process.run_until_stopped(GRACE).await;
    // The roles are gone; now the servers, so that nothing is left running or unwritten.
    servers_controller.stop();
    guards.wait().await?;
    ended
}

/// The log, with its stream.
async fn open_log(checked: &Checked) -> anyhow::Result<Arc<dyn Log>> {
    http_client::install_tls_provider();
    let log = JetStream::connect(&checked.config.nats).await?;
    log.ensure(&[topology::deliveries(&checked.config.nats)]).await?;
    Ok(Arc::new(log))
}

pub const DATABASE: &str = "bellwether";

fn read(file: &Path) -> anyhow::Result<Checked> {
    Ok(Config::read(Some(file), &process_environment())?)
}

/// Looks where `cargo xtask up` installs, beside this program's build folder and here.
fn find_programs() -> anyhow::Result<Programs> {
    let mut tools = vec![PathBuf::from(".tools")];
    if let Ok(program) = std::env::current_exe() {
        tools.extend(program.ancestors().map(|a| a.join(".tools")).filter(|t| t.is_dir()));
    }
    let env = process_environment();
    let get = |key: &str| {
        env.iter().find(|(name, _)| name == key).map(|(_, value)| OsString::from(value))
    };
    Ok(Programs::find(get, &tools)?)
}

/// The two servers this process looks after.
struct Managed {
    nats: NatsServer,
    postgres: PostgresServer,
}

async fn start_servers(local: &Local, programs: &Programs) -> anyhow::Result<Managed> {
    let (programs, dir) = (programs.clone(), local.dir().to_owned());
    let secrets = local.secrets().clone();
    let versions = (
        servers::version_of(&programs.nats_server).unwrap_or_default(),
        servers::version_of(&programs.postgres_bin.join("postgres")).unwrap_or_default(),
    );
    let managed = tokio::task::spawn_blocking(move || -> Result<Managed, servers::Error> {
        let nats = NatsServer::start(
            &programs,
            NatsOptions {
                dir: dir.join("nats"),
                port: None,
                sync_always: true,
                credentials: Some((NATS_USER.into(), secrets.nats_password)),
            },
        )?;
        let postgres = PostgresServer::start(
            &programs,
            PostgresOptions {
                dir: dir.join("postgres"),
                port: None,
                password: secrets.postgres_password,
            },
        )?;
        Ok(Managed { nats, postgres })
    })
    .await
    .context("start the servers")??;
    local.pin_versions(versions.0, versions.1)?;
    let url = SecretString::from(managed.postgres.url(DATABASE));
    Store::create_database(&managed.postgres.url("postgres"), DATABASE).await?;
    let store = Store::connect(url.expose_secret(), 2, Duration::from_secs(10)).await?;
    store.migrate().await?;
    store.close().await;
    Ok(managed)
}

impl Managed {
    /// Starts a server again that ended by itself.
    async fn watch(&mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
            if !self.nats.is_alive() {
                tracing::error!("nats-server ended by itself: starting it again");
                if let Err(error) = tokio::task::block_in_place(|| self.nats.restart()) {
                    tracing::error!(%error, "nats-server does not start");
                }
            }
            if !self.postgres.is_alive() {
                tracing::error!("postgres ended by itself: starting it again");
                if let Err(error) = tokio::task::block_in_place(|| self.postgres.restart()) {
                    tracing::error!(%error, "postgres does not start");
                }
            }
        }
    }

    async fn stop(self) {
        // Dropping them stops them in order; each may take a moment.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

fn print_banner(local: &Local, ingest: SocketAddr, console: SocketAddr) -> anyhow::Result<()> {
    let key = local.operator_key()?;
    let secret = &local.secrets().sentry_secret;
    let dir = local.dir().display();
    let program = std::env::current_exe().context("find this program")?;
    let program = program.display();
    let made = if local.first_start { "made" } else { "kept from an earlier start" };
    println!(
        r#"
bellwether is up.

  page          http://{console}/   (sign in with the operator key)
  webhooks      http://{ingest}/webhook/sentry   /webhook/alertmanager
  API           http://{console}/api/v1/incidents   (document: /api/v1/openapi.json)
  operator key  {key}
  folder        {dir}   (configuration, data and secrets, {made})

Send one signed alert:

  BODY='{{"action":"created","data":{{"error":{{"event_id":"9a3c","issue_id":"17","title":"KeyError: total","culprit":"cart.sum","level":"error","project":11}}}}}}'
  SIG=$(printf %s "$BODY" | openssl dgst -sha256 -hmac {secret} -r | cut -d' ' -f1)
  curl -i http://{ingest}/webhook/sentry -H 'content-type: application/json' \
    -H 'sentry-hook-resource: error' -H "sentry-hook-signature: $SIG" -d "$BODY"

or a stream of them:  {program} demo --dir {dir}
then ask:
  curl -s -H 'Authorization: Bearer {key}' http://{console}/api/v1/incidents

Messages are printed here. Ctrl-C stops everything; the data stays.
"#
    );
    Ok(())
}
