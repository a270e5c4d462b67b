//! `bellwether send`: signs a payload as its sender would, and sends it.

use std::{
    fmt, fs,
    io::{self, Read},
    path::PathBuf,
};

use anyhow::Context;
use domain::providers::{Outgoing, Proof, Secret};
use ingest::{Source, SourceConfig, config::Require};
use runtime::{Clock, ConfigError, Environment, http_client};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::place::Place;
use crate::config::Checked;

/// What to send.
#[derive(clap::Args)]
pub struct Args {
    /// The payload; `-` is standard input.
    file: PathBuf,
    /// Whose payload it is; the source's provider when absent.
    #[arg(long, required_unless_present = "source")]
    provider: Option<String>,
    /// The source to send it to; the provider's only one, or the one of its name, when absent.
    #[arg(long)]
    source: Option<String>,
    /// Where ingest listens; that of the configuration, or of an `up` here, when absent.
    #[arg(long)]
    url: Option<String>,
    /// A key to show instead of the source's secret, such as `bellwether keys create` printed.
    #[arg(long, env = "BELLWETHER_KEY", hide_env_values = true)]
    key: Option<String>,
    /// A header the sender sets, such as `sentry-hook-resource: issue`; may be given again.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    place: Place,
}

/// Ingest did not take it.
#[derive(Debug)]
pub struct Refused {
    status: u16,
    body: String,
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {}: {}", self.status, self.body)
    }
}

/// What ingest answers to what it took.
#[derive(Deserialize)]
struct Accepted {
    event_id: String,
    status_url: String,
}

/// Sends it and says what became of it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let checked = args.place.checked()?;
    let source = source(&args, &checked)?;
    let body = payload(&args)?;
    let proof = proof(&args, &checked, source, &body)?;
    let (ingest, console) = args.place.addresses(&checked.config)?;
    let base = args.url.as_deref().unwrap_or(&ingest).trim_end_matches('/');
    let (provider, id) = (source.provider.name(), &source.id);
    let token = proof.token.as_deref().map_or_else(String::new, |token| format!("/{token}"));
    let client = http_client::build(&http_client::ClientConfig::default())?;
    let mut request = client.post(format!("{base}/webhook/{provider}/{id}{token}"));
    if !args.header.iter().any(|(name, _)| name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in args.header.iter().chain(&proof.headers) {
        request = request.header(name, value);
    }
    let response = request.body(proof.body.unwrap_or(body)).send().await;
    // Neither the path, which may hold a token, nor a header is told.
    let response = response.map_err(|error| error.without_url()).with_context(|| {
        format!(
            "send to {base}; is ingest listening there? Start it with `bellwether up`, or name \
             where it listens with --url"
        )
    })?;
    let status = response.status();
    let text = response.text().await.map_err(|error| error.without_url());
    let text = text.context("read the answer")?;
    if !status.is_success() {
        return Err(Refused { status: status.as_u16(), body: text }.into());
    }
    println!("status    {status}");
    match serde_json::from_str::<Accepted>(&text) {
        Ok(Accepted { event_id, status_url }) => {
            println!("id        {event_id}");
            println!("outcome   {console}{status_url}?wait=10");
        }
        // What the sender's own protocol answers.
        Err(_) => println!("answer    {text}"),
    }
    Ok(())
}

/// The source that is meant.
fn source<'c>(args: &Args, checked: &'c Checked) -> Result<&'c Source, ConfigError> {
    let fail = |key: String, problem: String, remedy: String| ConfigError {
        file: args.place.name(),
        ..ConfigError::new(key, problem, remedy)
    };
    let listed = |sources: &[&Source]| {
        let named = sources.iter().map(|s| format!("{} ({})", s.id, s.provider.name()));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        named.join(", ")
    };
    let all: Vec<&Source> = checked.sources.iter().collect();
    let known = listed(&all);
    if let Some(id) = &args.source {
        let remedy = format!("name another with --source, or add it; there are: {known}");
        let found = all.iter().find(|source| source.id.as_str() == id).ok_or_else(|| {
            fail(format!("sources.{id}"), "is not configured, or not enabled".to_owned(), remedy)
        })?;
        let (is, wanted) = (found.provider.name(), args.provider.as_deref());
        if wanted.is_some_and(|wanted| wanted != is) {
            let problem = format!("is a source of {is}");
            return Err(fail(
                format!("sources.{id}.provider"),
                problem,
                format!("leave --provider out, or name another source; there are: {known}"),
            ));
        }
        return Ok(found);
    }
    let provider = args.provider.as_deref().unwrap_or_default();
    let of: Vec<&Source> = all.into_iter().filter(|s| s.provider.name() == provider).collect();
    let own = of.iter().find(|source| source.id.as_str() == provider);
    match (own, of.as_slice()) {
        (Some(own), _) => Ok(own),
        (None, [only]) => Ok(only),
        (None, []) => {
            let problem = format!("no source has provider {provider:?}");
            let remedy = format!("name another with --provider or --source; there are: {known}");
            Err(fail("sources.*.provider".to_owned(), problem, remedy))
        }
        (None, several) => {
            let problem = format!("several sources have provider {provider:?}");
            let remedy = format!("name one with --source: {}", listed(several));
            Err(fail("sources.*.provider".to_owned(), problem, remedy))
        }
    }
}

fn payload(args: &Args) -> anyhow::Result<Vec<u8>> {
    if args.file.as_os_str() == "-" {
        let mut body = Vec::new();
        io::stdin()
            .lock()
            .read_to_end(&mut body)
            .context("read the payload from standard input")?;
        return Ok(body);
    }
    fs::read(&args.file).with_context(|| {
        format!("read {}; name a file with a payload, or - for standard input", args.file.display())
    })
}

/// What the sender would add, by the key that was given or the first secret of the source that can
/// be shown.
fn proof(
    args: &Args,
    checked: &Checked,
    source: &Source,
    body: &[u8],
) -> Result<Proof, ConfigError> {
    let id = format!("msg_{}", runtime::random_uuid().simple());
    let outgoing = Outgoing { sent_at: Clock::system().now(), id: &id, body };
    let sign = |secret: &Secret| source.provider.sign(&outgoing, secret);
    let fail = |problem: String, remedy: &str| ConfigError {
        file: args.place.name(),
        ..ConfigError::new(format!("sources.{}", source.id), problem, remedy)
    };
    let name = source.provider.name();
    if let Some(key) = &args.key {
        let secret = Secret::Bearer(key.clone());
        let usable = source.provider.accepts(&secret.credential(""));
        return sign(&secret).filter(|_| usable).ok_or_else(|| {
            let remedy = "leave --key out, and set what it takes in the configuration";
            fail(format!("senders of {name} show no key"), remedy)
        });
    }
    let config = checked.config.sources.get(source.id.as_str());
    let require = config.map_or_else(Require::default, |config| config.require);
    let secrets = config.map(secrets).unwrap_or_default();
    let proofs: Vec<Proof> = secrets.iter().filter_map(sign).collect();
    if require == Require::EveryKind && !proofs.is_empty() {
        return Ok(together(proofs));
    }
    if let Some(first) = proofs.into_iter().next() {
        return Ok(first);
    }
    if !secrets.is_empty() {
        let problem = format!("what senders of {name} prove cannot be proved by anybody else");
        return Err(fail(problem, "have the sender send a test"));
    }
    // In development ingest asks for none where none is configured, unless a key was made.
    let development = matches!(checked.config.environment, Environment::Development(_));
    let unkeyed = development && config.is_none_or(|config| config.bearer.is_empty());
    if unkeyed || require == Require::Address || !source.provider.needs_credential() {
        eprintln!("source {} has no secret: this is sent unsigned", source.id);
        return Ok(Proof::default());
    }
    Err(fail(
        "has no secret here that could be shown".to_owned(),
        "set its secret, basic, token or a bearer key (key, not sha256), or show a key that \
         `bellwether keys create` made with --key or BELLWETHER_KEY",
    ))
}

/// All of these at once, for a source that asks for one of each kind; what two of them would say in
/// one place is said by the first.
fn together(proofs: Vec<Proof>) -> Proof {
    let mut all = Proof::default();
    for proof in proofs {
        for (name, value) in proof.headers {
            if !all.headers.iter().any(|(known, _)| *known == name) {
                all.headers.push((name, value));
            }
        }
        all.token = all.token.or(proof.token);
        all.body = all.body.or(proof.body);
    }
    all
}

/// What the configuration says in the clear.
fn secrets(config: &SourceConfig) -> Vec<Secret> {
    let given = |secret: &Option<SecretString>| {
        let text = secret.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        (!text.trim().is_empty()).then(|| text.to_owned())
    };
    let signing = given(&config.secret).map(|secret| Secret::Signing(secret.into_bytes()));
    let basic = config.basic.as_ref().and_then(|basic| {
        let password = given(&Some(basic.password.clone()))?;
        Some(Secret::Basic { user: basic.user.clone(), password })
    });
    let token = given(&config.token).map(Secret::Token);
    let bearer = config.bearer.iter().filter_map(|bearer| given(&bearer.key).map(Secret::Bearer));
    signing.into_iter().chain(basic).chain(token).chain(bearer).collect()
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("use NAME: VALUE")?;
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() {
        Err("use NAME: VALUE".to_owned())
    } else {
        Ok((name, value.trim().to_owned()))
    }
}
