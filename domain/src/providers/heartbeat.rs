//! Heartbeats of a provider's mirror, which this system writes itself (R53, R54): they show that
//! the way from the log to the dossier works, and are neither an alert nor an incident.

use schemas::{
    Alert, Facts, Level, Status,
    alert::{LogCorrelation, SourceRefs, Stage},
    record::Delivery,
};

use super::{
    Normalised, Provider, Reading,
    build::{self, MAX_LINE},
    json, times,
};

/// What every heartbeat is called.
const TITLE: &str = "SourceProviderHeartbeat";

const SUMMARY: &str = "Low-noise provider freshness smoke; verifies AwoooP source dossier \
                       ingestion without creating an incident.";

/// Reads a heartbeat of `provider`. Its body holds `event_id` (the stamp of its request), and
/// optionally `recorded_at`, `reason`, `run_ref`, `operator_id` and `auth_method`.
pub(super) fn normalise(
    provider: &dyn Provider,
    delivery: &Delivery,
    reading: &Reading<'_>,
) -> Normalised {
    let (mut body, note) = match json::body(&delivery.raw) {
        Ok(parsed) => parsed,
        Err(reason) => return Normalised::Rejected { reason },
    };
    let replaced = reading.redactor.value(&mut body);
    let Some(event_id) = json::text(&body, &["event_id"]).map(build::bounded_id) else {
        return Normalised::Rejected { reason: "missing_event_id".to_owned() };
    };
    let name = provider.name();
    let identity = format!("source-provider-heartbeat:{name}");
    let recorded_at = json::at(&body, &["recorded_at"]).and_then(times::time);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let reason = json::text(&body, &["reason"]).map(|t| build::cut(t, MAX_LINE));
    let mut annotations = vec![pair("summary", SUMMARY)];
    annotations.extend(reason.map(|reason| ("reason".to_owned(), reason)));
    let alert = Alert {
        stage: Stage::Heartbeat,
        provider_event_id: event_id,
        provider_ts: recorded_at,
        status_at: recorded_at,
        identity: vec![identity.clone()],
        occurrence: None,
        refs: SourceRefs::default(),
        correlation: LogCorrelation::default(),
        content: build::content(&body, &[Some(TITLE), Some(SUMMARY)], reading.redactor, replaced),
        notes: note.into_iter().collect(),
        facts: Facts {
            level: Some(Level::Info),
            severity_raw: Some("info".to_owned()),
            alertname: Some(TITLE.to_owned()),
            message: Some(SUMMARY.to_owned()),
            namespace: Some(format!("{}-prod", reading.project)),
            target: Some("source-provider-ingestion".to_owned()),
            issue_id: Some(identity),
            started_at: recorded_at,
            labels: vec![
                pair("provider", name),
                pair("synthetic", "true"),
                pair("alert_category", "alertchain_provider_freshness"),
                pair("telegram", "not_sent"),
                pair("incident", "not_created"),
            ],
            annotations,
            ..Facts::new(name, delivery.source.clone(), TITLE, Status::Firing)
        },
    };
    Normalised::Alerts { alerts: vec![alert], key: None }
}
