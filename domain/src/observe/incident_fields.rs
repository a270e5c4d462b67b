//! An incident as the sources' approval record (R31, R32, R66): what its opening alert makes of it,
//! and the analysis once there is one.

use schemas::{Facts, StackFrame, alert::Risk, event::Frequency, job::Analysis};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::providers;

/// What stands for a root cause while there is no analysis (R30).
const PENDING_CAUSE: &str = "待分析";
/// What stands for a suggestion while there is no analysis.
const PENDING_SUGGESTION: &str = "待 AI 分析";
/// Who answered while nobody did.
const PENDING: &str = "pending";

/// The fields of the approval record, in the sources' words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentFields {
    pub action: String,
    /// Title, root cause and suggestion.
    pub description: String,
    /// `LOW`, `MEDIUM`, `HIGH` or `CRITICAL`.
    pub risk: &'static str,
    /// Who asks for the approval.
    pub requested_by: String,
    /// Nothing is checked before anything is done, because nothing is done.
    pub dry_run_checks: Vec<String>,
    pub blast_radius: BlastRadius,
    /// What else the sender and the analysts say.
    pub metadata: Map<String, Value>,
}

/// What an approval would touch: reading alone, so these are the sources' constants.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlastRadius {
    pub affected_pods: u32,
    pub estimated_downtime: &'static str,
    pub related_services: Vec<String>,
    pub data_impact: &'static str,
}

impl IncidentFields {
    /// The fields of an incident that an alert with these facts opened.
    pub fn of(
        facts: &Facts,
        risk: Risk,
        analysis: Option<&Analysis>,
        frequency: Option<Frequency>,
    ) -> Self {
        Self {
            action: action(facts),
            description: description(&facts.title, analysis),
            risk: risk.word(),
            requested_by: format!("{}-webhook", facts.provider),
            dry_run_checks: Vec::new(),
            blast_radius: BlastRadius {
                affected_pods: 1,
                estimated_downtime: "0",
                related_services: service(facts).into_iter().collect(),
                data_impact: "READ_ONLY",
            },
            metadata: metadata(facts, analysis, frequency),
        }
    }
}

/// `{Provider} {LEVEL} Alert: {culprit}` of an error; of anything else
/// `{Provider} {SEVERITY} Alert: {target or alertname}`.
fn action(facts: &Facts) -> String {
    let about = if is_error(facts) {
        culprit(facts)
    } else {
        facts.target.as_deref().or(facts.alertname.as_deref())
    };
    let about = about.unwrap_or(&facts.title);
    let provider = display_name(&facts.provider);
    format!("{provider} {} Alert: {about}", severity(facts).to_uppercase())
}

fn description(title: &str, analysis: Option<&Analysis>) -> String {
    let cause = analysis.map_or(PENDING_CAUSE, |a| &a.root_cause);
    let suggestion = analysis.map_or(PENDING_SUGGESTION, |a| &a.fix_suggestion);
    format!("{title}\n\nRoot Cause: {cause}\nSuggestion: {suggestion}")
}

fn metadata(
    facts: &Facts,
    analysis: Option<&Analysis>,
    frequency: Option<Frequency>,
) -> Map<String, Value> {
    let provider = facts.provider.replace('-', "_");
    let count = facts.count.or(is_error(facts).then_some(1));
    let mut metadata = Map::new();
    let mut put = |name: &str, value: Value| metadata.insert(name.to_owned(), value);
    put("source", json!(facts.provider));
    put("alert_type", json!(format!("{provider}_{}", severity(facts).to_lowercase())));
    put(&format!("{provider}_issue_id"), json!(facts.issue_id));
    put(&format!("{provider}_project"), json!(project(facts)));
    put("culprit", json!(culprit(facts)));
    put("error_count", json!(count));
    put("first_seen", json!(facts.first_seen));
    put("stacktrace", facts.stack.iter().map(frame).collect());
    put("llm_provider", json!(analysis.map_or(PENDING, |a| &a.analyzed_by)));
    put("llm_confidence", json!(analysis.map_or(0.0, |a| a.confidence)));
    if let Some(frequency) = frequency {
        put("anomaly_frequency", json!(frequency));
    }
    metadata
}

fn frame(frame: &StackFrame) -> Value {
    let StackFrame { filename, function, lineno, context_line } = frame;
    json!({
        "filename": filename, "function": function, "lineno": lineno, "context_line": context_line,
    })
}

fn is_error(facts: &Facts) -> bool {
    providers::tells_errors(&facts.provider)
}

/// The sender's word for severity. R22: the defaults of the source are an error's only.
fn severity(facts: &Facts) -> &str {
    let stated = facts.severity_raw.as_deref().or(facts.level.map(|level| level.word()));
    stated.unwrap_or(if is_error(facts) { "error" } else { "unknown" })
}

fn culprit(facts: &Facts) -> Option<&str> {
    facts.culprit.as_deref().or(is_error(facts).then_some("unknown"))
}

fn project(facts: &Facts) -> Option<&str> {
    facts.sender_project.as_deref().or(is_error(facts).then_some("unknown"))
}

/// What runs there: an error's project, else the service that is named.
fn service(facts: &Facts) -> Option<String> {
    let named = if is_error(facts) {
        project(facts)
    } else {
        facts.service.as_deref().or(facts.sender_project.as_deref()).or(facts.namespace.as_deref())
    };
    named.map(str::to_owned)
}

/// A provider as people write it.
fn display_name(provider: &str) -> String {
    let mut letters = provider.chars();
    match providers::by_name(provider) {
        Some(known) => known.title().to_owned(),
        None => letters
            .next()
            .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect()),
    }
}

#[cfg(test)]
mod tests {

    use schemas::{Level, SourceId, Status, event::EscalationLevel};

    use super::*;

    fn facts(provider: &str) -> Facts {
        let source = SourceId::new("s").unwrap();
        Facts::new(provider, source, "ValueError in calculate_score", Status::Firing)
    }

    fn analysis() -> Analysis {
        Analysis {
            root_cause: "Redis 連線池耗盡".into(),
            impact: String::new(),
            fix_suggestion: "調高 max_connections".into(),
            prevention: String::new(),
            confidence: 0.8,
            analyzed_by: "openclaw".into(),
            model: None,
            ..Analysis::default()
        }
    }

    fn of(facts: &Facts, analysis: Option<&Analysis>) -> IncidentFields {
        IncidentFields::of(facts, Level::risk(facts.level), analysis, None)
    }

    #[test]
    fn r31_r66_action() {
        #[track_caller]
        fn check(facts: &Facts, expect: &str) {
            assert_eq!(of(facts, None).action, expect);
        }
        check(&facts("sentry"), "Sentry ERROR Alert: unknown");
        check(
            &Facts {
                severity_raw: Some("fatal".into()),
                culprit: Some("app.score in calculate".into()),
                ..facts("sentry")
            },
            "Sentry FATAL Alert: app.score in calculate",
        );
        let named = Facts { alertname: Some("InstanceDown".into()), ..facts("alertmanager") };
        check(&named, "Alertmanager UNKNOWN Alert: InstanceDown");
        check(
            &Facts { level: Some(Level::Fatal), target: Some("redis:6379".into()), ..named },
            "Alertmanager FATAL Alert: redis:6379",
        );
        check(&facts("signoz"), "SigNoz UNKNOWN Alert: ValueError in calculate_score");
    }

    #[test]
    fn r30_r31_description() {
        let check = |analysis: Option<&Analysis>, expect: &str| {
            assert_eq!(of(&facts("sentry"), analysis).description, expect);
        };
        check(None, "ValueError in calculate_score\n\nRoot Cause: 待分析\nSuggestion: 待 AI 分析");
        check(
            Some(&analysis()),
            "ValueError in calculate_score\n\nRoot Cause: Redis 連線池耗盡\nSuggestion: 調高 max_connections",
        );
    }

    #[test]
    fn r31_description_equals_the_golden_texts() {
        for (golden, analysis) in [
            (include_str!("../../fixtures/notify/goldens/incident.pending.description.txt"), None),
            (
                include_str!("../../fixtures/notify/goldens/incident.analysed.description.txt"),
                Some(&analysis()),
            ),
        ] {
            assert_eq!(of(&facts("sentry"), analysis).description, golden);
        }
    }

    #[test]
    fn r32_everything_of_a_sentry_incident() {
        let facts = Facts {
            level: Some(Level::Error),
            severity_raw: Some("error".into()),
            culprit: Some("app.main.get_recommend".into()),
            sender_project: Some("recommendation-api".into()),
            issue_id: Some("12345".into()),
            count: Some(12),
            first_seen: Some("2025-10-31T04:30:45Z".parse().unwrap()),
            stack: vec![StackFrame { lineno: Some(7), ..StackFrame::default() }],
            ..facts("sentry")
        };
        let frequency = Frequency {
            count_1h: 3,
            count_24h: 12,
            count_7d: 40,
            level: EscalationLevel::Escalate,
        };
        let fields = IncidentFields::of(&facts, Risk::High, Some(&analysis()), Some(frequency));
        assert_eq!(
            serde_json::to_value(&fields).unwrap(),
            json!({
                "action": "Sentry ERROR Alert: app.main.get_recommend",
                "description": "ValueError in calculate_score\n\nRoot Cause: Redis 連線池耗盡\nSuggestion: 調高 max_connections",
                "risk": "HIGH",
                "requested_by": "sentry-webhook",
                "dry_run_checks": [],
                "blast_radius": {
                    "affected_pods": 1,
                    "estimated_downtime": "0",
                    "related_services": ["recommendation-api"],
                    "data_impact": "READ_ONLY",
                },
                "metadata": {
                    "source": "sentry",
                    "alert_type": "sentry_error",
                    "sentry_issue_id": "12345",
                    "sentry_project": "recommendation-api",
                    "culprit": "app.main.get_recommend",
                    "error_count": 12,
                    "first_seen": "2025-10-31T04:30:45Z",
                    "stacktrace": [{
                        "filename": null, "function": null, "lineno": 7, "context_line": null,
                    }],
                    "llm_provider": "openclaw",
                    "llm_confidence": 0.8,
                    "anomaly_frequency": {
                        "count_1h": 3, "count_24h": 12, "count_7d": 40,
                        "escalation_level": "ESCALATE",
                    },
                },
            })
        );
    }

    #[test]
    fn r32_what_is_unknown_has_the_words_of_the_source_for_sentry_alone() {
        let sentry = of(&facts("sentry"), None);
        assert_eq!(sentry.blast_radius.related_services, ["unknown"]);
        let metadata = &sentry.metadata;
        assert_eq!(metadata["llm_provider"], "pending");
        assert_eq!(metadata["llm_confidence"], 0.0);
        assert_eq!(metadata["error_count"], 1);
        assert_eq!(metadata["first_seen"], Value::Null);
        assert!(!metadata.contains_key("anomaly_frequency"));

        let other = of(&Facts { service: Some("cart".into()), ..facts("uptime-kuma") }, None);
        assert_eq!(other.action, "Uptime Kuma UNKNOWN Alert: ValueError in calculate_score");
        assert_eq!(other.requested_by, "uptime-kuma-webhook");
        assert_eq!(other.blast_radius.related_services, ["cart"]);
        assert_eq!(other.metadata["alert_type"], "uptime_kuma_unknown");
        assert_eq!(other.metadata["source"], "uptime-kuma");
        assert_eq!(other.metadata["culprit"], Value::Null);
        assert_eq!(other.metadata["uptime_kuma_issue_id"], Value::Null);
        assert!(of(&facts("custom"), None).blast_radius.related_services.is_empty());
    }
}
