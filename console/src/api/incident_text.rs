//! The texts of an incident as an approval record (R31, R66).

use schemas::{Facts, job::Analysis};

/// What stands for a root cause while there is no analysis.
const PENDING_CAUSE: &str = "待分析";
/// What stands for a suggestion while there is no analysis.
const PENDING_SUGGESTION: &str = "待 AI 分析";

/// `Sentry {LEVEL} Alert: {culprit}`; for other providers
/// `{Provider} {SEVERITY} Alert: {target or alertname}`.
pub fn action(facts: &Facts) -> String {
    let word = facts.severity_raw.as_deref().or(facts.level.map(|level| level.word()));
    let (default_word, subject) = match facts.provider.as_str() {
        // R22: the defaults of the source, which are Sentry's only.
        "sentry" => ("error", facts.culprit.as_deref().unwrap_or("unknown")),
        _ => {
            let named = facts.target.as_deref().or(facts.alertname.as_deref());
            ("unknown", named.unwrap_or(&facts.title))
        }
    };
    let severity = word.unwrap_or(default_word).to_uppercase();
    format!("{} {severity} Alert: {subject}", display_name(&facts.provider))
}

/// Title, root cause and suggestion.
pub fn description(title: &str, analysis: Option<&Analysis>) -> String {
    let cause = analysis.map_or(PENDING_CAUSE, |a| &a.root_cause);
    let suggestion = analysis.map_or(PENDING_SUGGESTION, |a| &a.fix_suggestion);
    format!("{title}\n\nRoot Cause: {cause}\nSuggestion: {suggestion}")
}

/// Who asks for the approval.
pub fn requested_by(facts: &Facts) -> String {
    format!("{}-webhook", facts.provider)
}

/// A provider as people write it.
fn display_name(provider: &str) -> String {
    match provider {
        "signoz" => "SigNoz".to_owned(),
        other => {
            let mut chars = other.chars();
            chars
                .next()
                .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use schemas::{Level, SourceId, Status};

    use super::*;

    fn facts(provider: &str) -> Facts {
        Facts::new(
            provider,
            SourceId::new("s").unwrap(),
            "ValueError in calculate_score",
            Status::Firing,
        )
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
        }
    }

    #[test]
    fn r31_r66_action() {
        let check = |facts: &Facts, expect: &str| assert_eq!(action(facts), expect);
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
        assert_eq!(requested_by(&facts("sentry")), "sentry-webhook");
    }

    #[test]
    fn r30_r31_description() {
        let title = &facts("sentry").title;
        assert_eq!(
            description(title, None),
            "ValueError in calculate_score\n\nRoot Cause: 待分析\nSuggestion: 待 AI 分析"
        );
        assert_eq!(
            description(title, Some(&analysis())),
            "ValueError in calculate_score\n\nRoot Cause: Redis 連線池耗盡\nSuggestion: 調高 max_connections"
        );
    }

    #[test]
    fn r31_description_equals_the_golden_texts() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/goldens");
        let title = &facts("sentry").title;
        for (name, got) in [
            ("incident.pending.description.txt", description(title, None)),
            ("incident.analysed.description.txt", description(title, Some(&analysis()))),
        ] {
            match fs::read_to_string(shared.join(name)) {
                Ok(golden) => assert_eq!(got, golden, "{name}"),
                Err(_) => println!("skipped: {name} is not there"),
            }
        }
    }
}
