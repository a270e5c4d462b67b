//! Logs to stderr and metrics for `/metrics`.

use std::{
    io::{IsTerminal, stderr},
    sync::OnceLock,
    time::Duration,
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    Error, Shutdown,
    reports::{self, Guard, Reporter},
};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: one line of text per event.
    #[default]
    Text,
    /// For machines: one JSON object per event.
    Json,
}

/// Seconds. The same buckets everywhere, so that histograms of several processes can be added.
const BUCKETS: [f64; 16] = [
    0.000_5, 0.001, 0.002, 0.004, 0.008, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    60.0,
];

/// Samples are moved into their buckets this often when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the log output of the process: stderr, because stdout belongs to the verbs.
///
/// `filter` is in `tracing` syntax, for example `info` or `info,ingest=debug`. What is logged as an
/// error is also reported by `reporter`, whatever the filter says; what it has to report when the
/// process ends is sent when the guard is dropped.
///
/// # Errors
/// A filter that is none, a second call, or an HTTP client that cannot be built.
pub fn init(format: LogFormat, filter: &str, reporter: Option<Reporter>) -> Result<Guard, Error> {
    let filter = parse(filter)?;
    let guard = reporter.map(reports::start).transpose()?.unwrap_or_default();
    let reported = guard.is_reporting().then(|| reports::layer().with_filter(LevelFilter::ERROR));
    let registry = tracing_subscriber::registry().with(reported);
    let installed = match format {
        LogFormat::Text => {
            // Colours only for eyes: a file keeps plain text.
            let lines = fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
            registry.with(lines.with_filter(filter)).try_init()
        }
        LogFormat::Json => {
            let lines = fmt::layer().json().flatten_event(true).with_writer(stderr);
            registry.with(lines.with_filter(filter)).try_init()
        }
    };
    installed.map_err(|e| Error::LogOutput { reason: e.to_string() })?;
    Ok(guard)
}

/// Whether `filter` is one, before anything is installed.
///
/// # Errors
/// What [`init`] would say.
pub fn check_filter(filter: &str) -> Result<(), Error> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter)
        .map_err(|e| Error::LogFilter { filter: filter.to_owned(), reason: e.to_string() })
}

/// What reads the metrics of this process. Clones read the same ones.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

/// The metrics of this process; the first call installs the recorder.
pub fn metrics() -> MetricsHandle {
    static HANDLE: OnceLock<MetricsHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            // The only error of `set_buckets` is an empty list.
            let builder = PrometheusBuilder::new();
            let recorder = builder.set_buckets(&BUCKETS).unwrap_or_default().build_recorder();
            let handle = MetricsHandle(recorder.handle());
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::error!("another metrics recorder is installed: /metrics stays empty");
            }
            handle
        })
        .clone()
}

impl MetricsHandle {
    /// Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the memory of histograms bounded while nobody scrapes, until told to stop.
    pub async fn upkeep(self, shutdown: Shutdown) {
        let mut every = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                _ = every.tick() => self.0.run_upkeep(),
                () = shutdown.stopping() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_installed_once_and_rendered() {
        let first = metrics();
        metrics::counter!("runtime_test_total", "kind" => "a").increment(2);
        metrics::histogram!("runtime_test_seconds").record(0.003);
        let text = metrics().render();
        assert!(text.contains("runtime_test_total{kind=\"a\"} 2"), "{text}");
        assert!(text.contains("runtime_test_seconds_bucket{le=\"0.004\"} 1"), "{text}");
        assert_eq!(first.render(), text);
    }

    #[test]
    fn a_bad_filter_is_an_error_that_names_it() {
        let error = init(LogFormat::Text, "info,=,=", None).map(drop).unwrap_err();
        assert!(error.to_string().starts_with("log filter \"info,=,=\": "), "{error}");
    }
}
