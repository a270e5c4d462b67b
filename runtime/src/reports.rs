//! Reports of this process's own errors to a Sentry project (R63).
//!
//! A report says what went wrong, where in the code, in which role, release and environment. It
//! says nothing of what senders sent: of its texts credentials, quotations and addresses are taken
//! out (`clean`), and there is no request, user, stack or trail of earlier lines. Errors come in
//! storms: each place in the code reports once a minute, and all together `pace::MOST` times.
//!
//! What is logged as an error is a report, and so are panics and what ended the process. Telling of
//! them goes on without Sentry: nothing waits for it but the end of the process, two seconds.

use std::{
    borrow::Cow,
    fmt,
    panic::{self, PanicHookInfo},
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::counter;
use secrecy::{ExposeSecret, SecretString};
use sentry::{
    Client, ClientOptions, Hub,
    integrations::tracing::ErrorLayer,
    protocol::{Context, Event, Exception, Level, Map, Mechanism, Value},
    types::Dsn,
};
use serde::Deserialize;

use crate::{ConfigError, Error};

mod clean;
mod pace;
#[cfg(test)]
mod tests;
mod transport;

use clean::Cleaner;
use pace::{Pace, Turn};
use transport::Post;

/// What is on its way when the process ends may take this long.
const LAST: Duration = Duration::from_secs(2);

/// Reports that wait to be sent; further ones are dropped.
const WAITING: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(63);

/// Where a report says which line of the code it is of.
const LOCATION: &str = "Rust Tracing Location";

/// Section `[sentry]`: where this system reports its own errors.
///
/// ```toml
/// [sentry]
/// dsn = "https://key@o1.ingest.sentry.io/42"   # or SENTRY_DSN; absent: nothing is reported
/// own_projects = ["bellwether"]                # what comes back from them is never an incident
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The DSN of the project that errors are reported to; empty counts as absent.
    pub dsn: Option<SecretString>,
    /// Ids or slugs of projects that are this system's own, besides the one of `dsn`: what their
    /// alerts tell is recorded, and is never an incident. Needed for metric alerts and for the
    /// legacy plugin, which name their project by its slug alone.
    pub own_projects: Vec<String>,
}

impl Config {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// A DSN that is none, or a project without a name.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.parsed()?;
        if self.own_projects.iter().any(|name| name.trim().is_empty()) {
            let problem = "names a project by an empty text";
            return Err(ConfigError::new("sentry.own_projects", problem, "remove it"));
        }
        Ok(())
    }

    /// Host and id of the project that errors are reported to.
    pub fn reported_to(&self) -> Option<(String, String)> {
        let dsn = self.parsed().ok()??;
        Some((dsn.host().to_owned(), dsn.project_id().to_string()))
    }

    fn parsed(&self) -> Result<Option<Dsn>, ConfigError> {
        let text = self.dsn.as_ref().map(|dsn| dsn.expose_secret().trim());
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        // What is wrong with it would quote it.
        text.parse().map(Some).map_err(|_| {
            let remedy = "copy it from the project's settings: https://<key>@<host>/<project id>";
            ConfigError::new("sentry.dsn", "is no DSN (it is not shown)", remedy)
        })
    }
}

/// Takes credentials out of a text.
pub type Redact = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Who reports.
#[derive(Clone)]
pub struct Reporter {
    pub config: Config,
    /// What this process plays, as its roles are spelt.
    pub roles: Vec<String>,
    pub environment: String,
    /// Name and version of the program, `bellwether@1.2.3`.
    pub release: String,
    /// The crates whose fields are reported; of others only the message is.
    pub crates: &'static [&'static str],
    pub redact: Redact,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// Ends the reports when it is dropped, once what is on its way has been sent.
#[must_use = "dropped, nothing is reported any more"]
#[derive(Default)]
pub struct Guard(Option<Arc<Client>>);

impl Guard {
    /// Whether anything is reported.
    pub fn is_reporting(&self) -> bool {
        self.0.is_some()
    }

    /// Reports that the process ends, and of what. Whoever calls says so to people as well.
    pub fn ended(&self, error: &str) {
        if let Some(client) = &self.0 {
            let event = Event {
                level: Level::Fatal,
                logger: Some("process".to_owned()),
                message: Some(format!("the process ended: {error}")),
                ..Event::default()
            };
            client.capture_event(event, None);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.close(Some(LAST));
        }
    }
}

/// The layer that reports what is logged as an error, for a subscriber that hands it nothing else.
pub(crate) fn layer() -> ErrorLayer {
    ErrorLayer::new()
}

/// Starts to report for this process, and has panics reported; does nothing without a DSN.
///
/// # Errors
/// The HTTP client cannot be built. A DSN that is none was said by [`Config::check`].
pub(crate) fn start(reporter: Reporter) -> Result<Guard, Error> {
    let Ok(Some(dsn)) = reporter.config.parsed() else { return Ok(Guard::default()) };
    let post = Post::new()?;
    // Made here and not by the crate's own start: that one reads the environment, proxies included.
    let client = Arc::new(Client::from(options(dsn, reporter, post)));
    Hub::main().bind_client(Some(Arc::clone(&client)));
    let of_panics = Arc::clone(&client);
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Not waited for: whoever can make a thread panic must not be able to hold it as well.
        of_panics.capture_event(panicked(info), None);
        next(info);
    }));
    Ok(Guard(Some(client)))
}

fn options(dsn: Dsn, reporter: Reporter, post: Post) -> ClientOptions {
    let (release, environment) = (reporter.release.clone(), reporter.environment.clone());
    let (cleaner, pace) = (Cleaner::new(reporter), Pace::default());
    let mut options = ClientOptions::default();
    options.dsn = Some(dsn);
    options.release = Some(Cow::Owned(release));
    options.environment = Some(Cow::Owned(environment));
    options.default_integrations = false;
    options.max_breadcrumbs = 0;
    options.shutdown_timeout = LAST;
    options.transport_channel_capacity = Some(WAITING);
    options.transport = Some(Arc::new(post));
    options.before_send = Some(Arc::new(move |event: Event<'static>| {
        let place = Place::of(&event);
        match pace.turn(&place.to_string(), Instant::now()) {
            Turn::Now { left_out } => {
                count("queued");
                Some(cleaner.clean(event, &place, left_out))
            }
            Turn::Repeated => {
                count("repeated");
                None
            }
            Turn::TooMany => {
                count("too_many");
                None
            }
        }
    }));
    options
}

/// Counts a report by what became of it.
fn count(outcome: &'static str) {
    counter!("bellwether_error_reports_total", "outcome" => outcome).increment(1);
}

/// The place in the code a report is of.
struct Place {
    target: String,
    file: String,
    line: String,
}

impl Place {
    fn of(event: &Event<'_>) -> Self {
        let said = |name: &str| match event.contexts.get(LOCATION) {
            Some(Context::Other(fields)) => match fields.get(name) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            },
            Some(_) | None => String::new(),
        };
        let target = event.logger.clone().unwrap_or_default();
        Self { target, file: said("file"), line: said("line") }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.target, self.file, self.line)
    }
}

/// A panic as a report: its words and its place. A stack would hold no names: they are stripped.
fn panicked(info: &PanicHookInfo<'_>) -> Event<'static> {
    let payload = info.payload();
    let words = payload
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    let location = info.location().map(|at| {
        Map::from([
            ("file".to_owned(), Value::from(at.file())),
            ("line".to_owned(), Value::from(at.line())),
        ])
    });
    let mechanism = Mechanism { ty: "panic".into(), handled: Some(false), ..Mechanism::default() };
    let exception = Exception {
        ty: "panic".into(),
        value: Some(words),
        mechanism: Some(mechanism),
        ..Exception::default()
    };
    Event {
        level: Level::Fatal,
        logger: Some("panic".to_owned()),
        exception: vec![exception].into(),
        contexts: location
            .map(|at| (LOCATION.to_owned(), Context::Other(at)))
            .into_iter()
            .collect(),
        ..Event::default()
    }
}
