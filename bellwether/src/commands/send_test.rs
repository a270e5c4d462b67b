//! `bellwether send-test`: tries whether messages arrive, and says what each receiver said.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use runtime::http_client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::place::Place;

/// How long one question waits for an answer, in seconds: what the API takes.
const WAIT: u64 = 10;

/// Try whether messages arrive: to whoever the routes name, or through one channel. Ends with 0 once
/// every receiver took the message, with 1 when one did not.
#[derive(clap::Args)]
pub struct Args {
    /// The one channel to try, by its id; whoever the routes name when absent.
    #[arg(long, value_parser = channel)]
    channel: Option<String>,
    /// Tell the result of a smoke run instead; with what passed (`5/5`), or which pages failed.
    #[arg(long, value_name = "pass|fail", requires = "said")]
    smoke: Option<Smoke>,
    /// What to say; with --smoke what passed or failed.
    #[arg(value_name = "WORDS")]
    said: Vec<String>,
    /// How long to wait for what the receivers say, in seconds.
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// Where ingest listens; that of the configuration, or of an `up` here, when absent.
    #[arg(long)]
    url: Option<String>,
    /// Where the API listens; found likewise.
    #[arg(long)]
    console: Option<String>,
    /// One of `ingest.test_keys`; in production there is no test without one.
    #[arg(long, env = "BELLWETHER_TEST_KEY", hide_env_values = true)]
    test_key: Option<String>,
    /// An operator's key for the API; that of an `up` here when absent.
    #[arg(long, env = "BELLWETHER_OPERATOR_KEY", hide_env_values = true)]
    operator_key: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// How a smoke run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Smoke {
    Pass,
    Fail,
}

/// The message did not arrive everywhere.
#[derive(Debug)]
pub struct NotTold(String);

impl std::error::Error for NotTold {}

impl fmt::Display for NotTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What ingest answers to what it took.
#[derive(Deserialize)]
struct Accepted {
    event_id: String,
    status_url: String,
}

/// What became of it, as the API says.
#[derive(Deserialize)]
struct Outcome {
    outcome: String,
    reason: Option<String>,
    sends: Vec<Sent>,
    waiting: Vec<Waiting>,
    withheld: Vec<String>,
}

#[derive(Deserialize)]
struct Sent {
    target: String,
    channel: String,
    result: String,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Waiting {
    target: String,
    reason: Option<String>,
}

/// Sends a test and says what each receiver said of it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (ingest, console) = addresses(&args)?;
    let client = http_client::build(&http_client::ClientConfig::default())?;
    let channel = args.channel.as_deref().map_or_else(String::new, |id| format!("?channel={id}"));
    let mut request = client
        .post(format!("{}/test{channel}", ingest.trim_end_matches('/')))
        .header("content-type", "application/json")
        .body(body(&args).to_string());
    if let Some(key) = &args.test_key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.with_context(|| {
        format!(
            "send to {ingest}; is ingest listening there? Start it with `bellwether up`, or name \
             where it listens with --url"
        )
    })?;
    let status = response.status();
    let text = response.text().await.context("read the answer of ingest")?;
    if !status.is_success() {
        let advice = match status.as_u16() {
            401 => "; show one of ingest.test_keys with --test-key",
            _ => "",
        };
        return Err(NotTold(format!("refused with {status}: {text}{advice}")).into());
    }
    let Accepted { event_id, status_url } =
        serde_json::from_str(&text).context("read the answer of ingest")?;
    println!("id        {event_id}");
    println!("status    {console}{status_url}");
    let key = operator_key(&args);
    let url = format!("{console}{status_url}");
    let ask = async |seconds: u64| -> anyhow::Result<(u16, String)> {
        let mut request = client.get(format!("{url}?wait={seconds}"));
        if let Some(key) = &key {
            request = request.bearer_auth(key);
        }
        let response = request.timeout(Duration::from_secs(seconds + WAIT)).send().await;
        let response = response.with_context(|| {
            format!("ask {url}; is the console listening there? Name where with --console")
        })?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.context("read the answer of the API")?))
    };
    let outcome = wait(ask, Duration::from_secs(args.patience), &url).await?;
    report(&outcome, begun.elapsed())
}

fn addresses(args: &Args) -> anyhow::Result<(String, String)> {
    if let (Some(ingest), Some(console)) = (&args.url, &args.console) {
        return Ok((ingest.clone(), console.trim_end_matches('/').to_owned()));
    }
    let checked = args.place.checked()?;
    let (ingest, console) = args.place.addresses(&checked.config)?;
    let console = args.console.clone().unwrap_or(console);
    Ok((args.url.clone().unwrap_or(ingest), console.trim_end_matches('/').to_owned()))
}

fn operator_key(args: &Args) -> Option<String> {
    args.operator_key.clone().or_else(|| args.place.operator_key())
}

/// An id of a channel as it may be written.
fn channel(id: &str) -> Result<String, String> {
    let fits = id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if fits && !id.is_empty() { Ok(id.to_owned()) } else { Err("use a-z, 0-9 and -".to_owned()) }
}

/// What is posted: an alert in a text, as test deliveries are.
fn body(args: &Args) -> Value {
    let said = args.said.join(" ");
    let (title, metadata) = match args.smoke {
        Some(Smoke::Pass) => (format!("🎭 Smoke: PASS {said}"), json!({"smoke": "pass"})),
        Some(Smoke::Fail) => (format!("🎭 Smoke: FAIL {said}"), json!({"smoke": "fail"})),
        None if said.is_empty() => ("bellwether send-test".to_owned(), json!({})),
        None => (said, json!({})),
    };
    let line = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = format!("[告警] {line}");
    json!({"message": message, "sender_id": "bellwether", "metadata": metadata})
}

/// Asks for what became of it until nothing is waited for, or the patience ends.
async fn wait(
    ask: impl AsyncFn(u64) -> anyhow::Result<(u16, String)>,
    patience: Duration,
    url: &str,
) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        match ask(left.as_secs().min(WAIT)).await? {
            (200, text) => {
                let outcome: Outcome =
                    serde_json::from_str(&text).context("read the answer of the API")?;
                let over = outcome.waiting.is_empty()
                    && (!outcome.sends.is_empty() || !outcome.withheld.is_empty());
                if over || left.is_zero() || outcome.outcome != "observed" {
                    return Ok(outcome);
                }
            }
            (404, _) if !left.is_zero() => {}
            (404, _) => bail!(
                "the test was taken, and after {} s nothing is known of it: are triage-worker, \
                 notifier-worker and projector running? Ask again at {url}",
                patience.as_secs()
            ),
            (401, _) => bail!(
                "the test was sent; who asks what became of it has to show an operator's key: \
                 use --operator-key or BELLWETHER_OPERATOR_KEY"
            ),
            (status, text) => bail!("the test was sent; {url} answers {status}: {text}"),
        }
    }
}

/// One line for each receiver; an error when one of them was not told.
fn report(outcome: &Outcome, took: Duration) -> anyhow::Result<()> {
    for sent in &outcome.sends {
        let detail =
            sent.detail.as_deref().map_or_else(String::new, |detail| format!(": {detail}"));
        println!("{:<9} {} ({}){detail}", sent.result, sent.target, sent.channel);
    }
    for waiting in &outcome.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("not tried yet");
        println!("waiting   {}: {reason}", waiting.target);
    }
    for reason in &outcome.withheld {
        println!("withheld  {reason}");
    }
    let told = outcome.sends.iter().filter(|sent| sent.result == "delivered").count();
    let of = outcome.sends.len() + outcome.waiting.len();
    if told == of && told > 0 {
        println!("told      {told} of {of} within {:.1} s", took.as_secs_f64());
        return Ok(());
    }
    let why = match (of, outcome.withheld.is_empty(), &outcome.reason) {
        (0, false, _) => "nobody is told: no route has a receiver for it".to_owned(),
        (0, true, Some(reason)) => format!("it became {}: {reason}", outcome.outcome),
        (0, true, None) => "nobody was told: no channel serves the receivers of its routes, or \
                            the notifier does not run"
            .to_owned(),
        (_, _, _) => format!("{told} of {of} took it"),
    };
    Err(NotTold(why).into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn posted(words: &[&str]) -> Value {
        let words = ["send-test"].iter().chain(words);
        body(&Line::try_parse_from(words).unwrap().args)
    }

    #[test]
    fn r72_the_result_of_a_smoke_run_is_what_is_posted() {
        let pass = posted(&["--smoke", "pass", "5/5"]);
        assert_eq!(pass["message"], "[告警] 🎭 Smoke: PASS 5/5");
        assert_eq!(pass["metadata"]["smoke"], "pass");
        let fail = posted(&["--smoke", "fail", "/login", "/cart"]);
        assert_eq!(fail["message"], "[告警] 🎭 Smoke: FAIL /login /cart");
        assert!(Line::try_parse_from(["send-test", "--smoke", "pass"]).is_err());
        assert!(Line::try_parse_from(["send-test", "--smoke", "maybe", "x"]).is_err());
        assert_eq!(posted(&[])["message"], "[告警] bellwether send-test");
        let said = posted(&["hello\n服务: x", "there"]);
        assert_eq!(said["message"], "[告警] hello 服务: x there");
        assert!(said["metadata"]["smoke"].is_null());
    }

    #[test]
    fn r18_everybody_has_to_be_told() {
        let sent = |result: &str| Sent {
            target: "ops".into(),
            channel: "telegram".into(),
            result: result.into(),
            detail: Some("403: Forbidden".into()),
        };
        let outcome = |sends: Vec<Sent>, waiting: Vec<Waiting>, withheld: Vec<String>| Outcome {
            outcome: "observed".into(),
            reason: None,
            sends,
            waiting,
            withheld,
        };
        let waits = || vec![Waiting { target: "ops".into(), reason: None }];
        let told = |outcome| report(&outcome, Duration::from_secs(1)).is_ok();
        assert!(told(outcome(vec![sent("delivered")], vec![], vec![])));
        assert!(!told(outcome(vec![sent("delivered"), sent("refused")], vec![], vec![])));
        assert!(!told(outcome(vec![sent("delivered")], waits(), vec![])));
        assert!(!told(outcome(vec![], vec![], vec!["no_receiver".into()])));
        assert!(!told(outcome(vec![], vec![], vec![])));
    }
}
