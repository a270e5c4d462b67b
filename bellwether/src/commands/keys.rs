//! `bellwether keys`: makes, lists and revokes the keys that senders show (R11).

use std::{collections::BTreeMap, time::Duration};

use domain::providers::Credential;
use eventlog::{Log, topology};
use ingest::{
    Source,
    keys::{Key, Scope},
};
use runtime::{Clock, ConfigError, config::duration, http_client};
use schemas::{ProjectId, SourceId, Time};

use super::place::{Place, connect, user};
use crate::{
    config::Checked,
    keys::{self, Verdict},
};

/// What to do with keys.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Make a key and print it, once: the log keeps its SHA-256 alone.
    ///
    /// The key before it goes on for a while, so that the sender can change over. Exits with 2 when
    /// two hold already.
    Create(Create),
    /// List every key: what it lets in, whether it still does, who made it.
    List(List),
    /// End a key for good, within a second.
    Revoke(Revoke),
}

#[derive(clap::Args)]
pub struct Create {
    #[command(flatten)]
    scope: For,
    /// How long the key before it still holds, such as 24h or 15m; 0s ends it at once.
    #[arg(long, default_value = "24h", value_parser = length)]
    expires_previous: Duration,
    /// Who makes it; your user name when absent.
    #[arg(long)]
    operator: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// What a key lets in.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct For {
    /// Deliveries of this source.
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    /// Deliveries of any source of this project.
    #[arg(long, value_name = "ID")]
    project: Option<String>,
}

#[derive(clap::Args)]
pub struct List {
    /// Also those that hold no more.
    #[arg(long)]
    all: bool,
    /// An ingest that is asked when it last saw each; that of the configuration, or of an `up`
    /// here, when absent.
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Revoke {
    /// Its id, as `list` says; the first 8 hexadecimal digits of the SHA-256 of the key.
    id: String,
    /// Who ends it; your user name when absent.
    #[arg(long)]
    operator: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Does it.
pub async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Create(args) => create(args).await,
        Verb::List(args) => list(args).await,
        Verb::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: Create) -> anyhow::Result<()> {
    let checked = args.place.checked()?;
    let (scope, sources) = lets_in(&args.scope, &checked, &args.place)?;
    let operator = args.operator.unwrap_or_else(user);
    let nats = &checked.config.nats;
    let log = connect(nats).await?;
    // Keys may be there before anything else is.
    log.ensure(&[topology::deliveries(nats)]).await?;
    let made =
        keys::create(&log, &Clock::system(), &scope, args.expires_previous, &operator).await?;
    println!("key       {}", made.key);
    println!("          shown this once: the log keeps its SHA-256 alone");
    println!("id        {}", made.id);
    println!("lets in   {scope}");
    if let Some((before, until)) = made.before {
        println!("before    {before}, which holds until {until}");
    }
    if let Some(position) = made.position {
        println!("position  {position}");
    }
    let (ingest, _) = args.place.addresses(&checked.config)?;
    println!("\nThe sender shows it with each request, in this header:");
    println!("  Authorization: Bearer {}", made.key);
    for source in sources {
        println!("and sends to");
        println!("  {ingest}/webhook/{}/{}", source.provider.name(), source.id);
    }
    Ok(())
}

/// What the key is for, and the configured sources that are.
fn lets_in<'c>(
    scope: &For,
    checked: &'c Checked,
    place: &Place,
) -> anyhow::Result<(Scope, Vec<&'c Source>)> {
    let fail = |key: String, problem: &str, remedy: String| ConfigError {
        file: place.name(),
        ..ConfigError::new(key, problem, remedy)
    };
    let known = |name: fn(&Source) -> String| {
        let mut known: Vec<_> = checked.sources.iter().map(name).collect();
        known.sort_unstable();
        known.dedup();
        format!("name one that is: {}", known.join(", "))
    };
    let (scope, mut sources): (_, Vec<_>) = match (&scope.source, &scope.project) {
        (Some(id), _) => {
            let of = checked.sources.iter().filter(|s| s.id.as_str() == id).collect();
            let remedy = known(|source| source.id.to_string());
            let id = SourceId::new(id.as_str())
                .map_err(|e| fail(format!("sources.{id}"), &e.to_string(), remedy))?;
            (Scope::Source(id), of)
        }
        (None, project) => {
            let id = project.as_deref().unwrap_or_default();
            let of = checked.sources.iter().filter(|s| s.project.as_str() == id).collect();
            let remedy = known(|source| source.project.to_string());
            let id = ProjectId::new(id)
                .map_err(|e| fail("sources.*.project".to_owned(), &e.to_string(), remedy))?;
            (Scope::Project(id), of)
        }
    };
    if sources.is_empty() {
        return Err(match &scope {
            Scope::Source(id) => fail(
                format!("sources.{id}"),
                "is not configured, or not enabled",
                known(|source| source.id.to_string()),
            ),
            Scope::Project(id) => fail(
                "sources.*.project".to_owned(),
                &format!("no source has project {id:?}"),
                known(|source| source.project.to_string()),
            ),
        }
        .into());
    }
    let bearer = Credential::Bearer { id: String::new(), sha256: [0; 32] };
    sources.retain(|source| source.provider.accepts(&bearer));
    if sources.is_empty() {
        let problem = "its sender shows no key: it signs, or shows a token";
        let remedy = "set the source's secret or token in the configuration".to_owned();
        return Err(fail(scope.to_string().replace(' ', "s."), problem, remedy).into());
    }
    sources.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok((scope, sources))
}

async fn list(args: List) -> anyhow::Result<()> {
    let checked = args.place.checked()?;
    let clock = Clock::system();
    let known = keys::known(&connect(&checked.config.nats).await?, &clock).await?;
    let now = clock.now();
    let (ingest, _) = args.place.addresses(&checked.config)?;
    let used = last_used(args.url.as_deref().unwrap_or(&ingest)).await;
    let shown = |key: &&Key| args.all || key.holds(now);
    let line = |key| line(key, now, used.as_ref());
    let lines: Vec<_> = known.held.keys().iter().filter(shown).map(line).collect();
    for line in &lines {
        println!("{line}");
    }
    let over = known.held.keys().len() - lines.len();
    if over > 0 {
        println!("{over} more hold no more; --all lists them");
    } else if lines.is_empty() {
        println!("there is no key; make one with `bellwether keys create`");
    }
    Ok(())
}

/// A key in one line.
fn line(key: &Key, now: Time, used: Option<&BTreeMap<String, Time>>) -> String {
    let state = match (&key.revoked, key.until) {
        (Some(by), _) => format!("revoked {} by {}", by.at, by.operator),
        (None, Some(until)) if until <= now => format!("ended {until}"),
        (None, Some(until)) => format!("holds until {until}"),
        (None, None) => "holds".to_owned(),
    };
    let made = &key.made;
    let used = match used.map(|used| used.get(&key.id)) {
        Some(Some(at)) => format!("  used {at}"),
        Some(None) => "  not used since ingest started".to_owned(),
        None => String::new(),
    };
    format!("{}  {}  {state}{used}  made {} by {}", key.id, key.scope, made.at, made.operator)
}

/// When an ingest last saw each credential; none where it does not say. It knows what it saw itself,
/// since it was started.
async fn last_used(ingest: &str) -> Option<BTreeMap<String, Time>> {
    let timeout = Duration::from_secs(1);
    let config = http_client::ClientConfig { timeout, ..http_client::ClientConfig::default() };
    let client = http_client::build(&config).ok()?;
    let url = format!("{}/metrics", ingest.trim_end_matches('/'));
    let response = client.get(url).send().await.ok()?.error_for_status().ok()?;
    Some(read_last_used(&response.text().await.ok()?))
}

/// The lines of the metric that says so.
fn read_last_used(metrics: &str) -> BTreeMap<String, Time> {
    let mut used = BTreeMap::new();
    let name = "bellwether_ingest_credential_used_timestamp_seconds{";
    for line in metrics.lines().filter_map(|line| line.strip_prefix(name)) {
        let Some((labels, value)) = line.rsplit_once("} ") else { continue };
        let mut labels = labels.split(',').filter_map(|label| label.strip_prefix("credential=\""));
        let id = labels.next().and_then(|id| id.strip_suffix('"'));
        let (Some(id), Ok(seconds)) = (id, value.parse::<f64>()) else { continue };
        let at = Time::default().plus_seconds(seconds as i64);
        let latest = used.entry(id.to_owned()).or_insert(at);
        *latest = (*latest).max(at);
    }
    used
}

async fn revoke(args: Revoke) -> anyhow::Result<()> {
    let log = args.place.log().await?;
    let operator = args.operator.unwrap_or_else(user);
    match keys::revoke(&log, &Clock::system(), &args.id, &operator).await? {
        Verdict::Already(by) => {
            let by = by.map_or_else(String::new, |by| format!(": {} by {}", by.at, by.operator));
            println!("{} was revoked already{by}", args.id);
        }
        Verdict::Done(position) => {
            println!("revoked   {}", args.id);
            if let Some(position) = position {
                println!("position  {position}");
            }
        }
    }
    Ok(())
}

/// A length of time, for the command line.
fn length(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "use a whole number with ms, s, m, h or d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_use_over_all_sources_counts() {
        let name = "bellwether_ingest_credential_used_timestamp_seconds";
        let text = format!(
            "# TYPE {name} gauge\n\
             {name}{{source=\"a\",credential=\"0a1b2c3d\"}} 1800000005.25\n\
             {name}{{source=\"b\",credential=\"0a1b2c3d\"}} 1800000007\n\
             {name}{{source=\"b\",credential=\"current\"}} 1700000000\n\
             {name}{{source=\"b\",credential=\"x\"}} nothing\n\
             another{{credential=\"y\"}} 1\n"
        );
        let used = read_last_used(&text);
        assert_eq!(used.keys().collect::<Vec<_>>(), ["0a1b2c3d", "current"]);
        assert_eq!(used["0a1b2c3d"].to_string(), "2027-01-15T08:00:07Z");
    }
}
