//! Identity: which alerts are the same problem, and which problems recur together.
//!
//! Both are pure functions of the alert and the rules in force, so every process and every replay
//! finds the same value (R26). A version is a key in tables and on the wire and must never change;
//! another construction is another version.

use schemas::{Alert, Facts, Fingerprint, ProjectId, event::FingerprintBy, id};

use crate::{
    providers::{self, Provider},
    rules::Rules,
};

/// The version of what the sender says: project, provider, environment and the alert's identity.
pub const FINGERPRINT_VERSION: u32 = 1;

/// The version of what a rule says: its inputs instead of the alert's identity.
pub const FINGERPRINT_BY_RULE: u32 = 2;

/// The environment of an alert that names none (REQUIREMENTS section 2: unknown is production).
///
/// Sentry's issue webhooks name no environment while its events do, and the SDKs' own default is
/// this one: under another word an issue's resolve would never close what its events opened (R4).
const UNKNOWN_ENVIRONMENT: &str = "production";

/// Which problem an alert belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub fingerprint: Fingerprint,
    pub recurrence_key: Fingerprint,
    pub scope: Scope,
    /// The rule that said so and what of the alert it took; none: fingerprint v1.
    pub by: Option<FingerprintBy>,
}

/// Which problem an alert belongs to, by the rule of its project and provider, else by what its
/// sender says.
pub fn identify(project: &ProjectId, alert: &Alert, rules: &Rules) -> Identity {
    let rule = rules.fingerprint(project, &alert.facts.provider);
    let by = rule.and_then(|rule| {
        let inputs = rule.inputs(alert)?;
        Some(FingerprintBy { rule: rule.id.clone(), inputs })
    });
    let known_by = KnownBy { project, alert, by: by.as_ref() };
    let fingerprint = known_by.fingerprint();
    Identity {
        fingerprint,
        recurrence_key: recurrence_key(project, &alert.facts, fingerprint),
        scope: known_by.scope(fingerprint),
        by,
    }
}

/// What an alert's problem is known by.
#[derive(Clone, Copy)]
struct KnownBy<'a> {
    project: &'a ProjectId,
    alert: &'a Alert,
    by: Option<&'a FingerprintBy>,
}

impl KnownBy<'_> {
    /// hash(version, project, provider, environment, identity). Severity, status, counts and times
    /// are no part of it.
    fn fingerprint(&self) -> Fingerprint {
        let stated = self.alert.facts.environment.as_deref().filter(|word| !word.is_empty());
        self.of_environment(stated.unwrap_or(UNKNOWN_ENVIRONMENT))
    }

    fn of_environment(&self, environment: &str) -> Fingerprint {
        let (version, identity): (&[u8], _) = match self.by {
            None => (b"fingerprint-v1", &self.alert.identity),
            Some(by) => (b"fingerprint-v2", &by.inputs),
        };
        let mut parts: Vec<&[u8]> = vec![
            version,
            self.project.as_str().as_bytes(),
            self.alert.facts.provider.as_bytes(),
            environment.as_bytes(),
        ];
        parts.extend(identity.iter().map(String::as_bytes));
        Fingerprint(id::hash(&parts))
    }

    /// What an alert with the fingerprint `own` tells of.
    ///
    /// Sentry's issues, for one, are in one state over all environments, and its issue webhooks
    /// name none, while the events that open problems do. Other senders name the environment in
    /// every alert or in none.
    fn scope(&self, own: Fingerprint) -> Scope {
        let facts = &self.alert.facts;
        if !providers::by_name(&facts.provider).is_some_and(Provider::spans_environments) {
            return Scope::Own;
        }
        if facts.environment.as_deref().is_none_or(str::is_empty) {
            return Scope::Whole;
        }
        let whole = self.of_environment(UNKNOWN_ENVIRONMENT);
        if whole == own { Scope::Own } else { Scope::One { whole } }
    }
}

/// How an alert's problem hangs together with those of the same identity in other environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Not at all.
    Own,
    /// It is one environment's. `whole` is the problem of the identity without an environment,
    /// which keeps the list of those that are open elsewhere.
    One { whole: Fingerprint },
    /// The alert names no environment and tells of all.
    Whole,
}

/// The coarser identity recurrence is counted by: for senders whose alerts name a pod, the alert
/// name, namespace and target without what changes with every pod; else the fingerprint.
fn recurrence_key(project: &ProjectId, facts: &Facts, own: Fingerprint) -> Fingerprint {
    if !providers::by_name(&facts.provider).is_some_and(Provider::recurs_by_target) {
        return own;
    }
    let text = |field: &'_ Option<String>| field.clone().unwrap_or_default();
    Fingerprint(id::hash(&[
        b"recurrence-v1",
        project.as_str().as_bytes(),
        facts.provider.as_bytes(),
        text(&facts.alertname).as_bytes(),
        text(&facts.namespace).as_bytes(),
        without_pod_suffix(facts.target.as_deref().unwrap_or_default()).as_bytes(),
    ]))
}

/// A pod's name without the part that differs between the pods of one workload; any other text as
/// it is.
///
/// Kubernetes names pods `<workload>-<template hash>-<5 random>` (deployments; cron jobs put a
/// schedule time in the middle), `<workload>-<5 random>` (daemon sets, jobs) and
/// `<workload>-<ordinal>` (stateful sets).
pub fn without_pod_suffix(target: &str) -> &str {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !target.bytes().all(|b| word(b) || b == b'-' || b == b'.') {
        return target;
    }
    let split = |text: &'_ str| -> Option<(usize, usize)> {
        let dash = text.rfind('-')?;
        (dash > 0 && dash + 1 < text.len()).then_some((dash, text.len() - dash - 1))
    };
    let Some((dash, length)) = split(target) else { return target };
    let (head, last) = (&target[..dash], &target[dash + 1..]);
    if length <= 4 && last.bytes().all(|b| b.is_ascii_digit()) {
        return head;
    }
    if length != 5 || last.contains('.') {
        return target;
    }
    if let Some((dash, length)) = split(head)
        && (6..=10).contains(&length)
        && is_template_hash(&head[dash + 1..])
    {
        return &head[..dash];
    }
    if is_random(last) { head } else { target }
}

/// Template hashes and schedule times hold a digit; ordinary words of that length do not.
fn is_template_hash(text: &str) -> bool {
    !text.contains('.') && text.bytes().any(|b| b.is_ascii_digit())
}

/// The alphabet of k8s.io/apimachinery/pkg/util/rand: no vowels and nothing that looks like one.
/// A digit is asked for as well, so that a word such as `https` stays.
fn is_random(text: &str) -> bool {
    text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::samples;

    #[test]
    fn the_pod_suffix_goes_and_nothing_else() {
        for (target, expect) in [
            ("api-7d9f8b6c5-x2k4q", "api"),
            ("payment-api-6b8f5d4c9d-abcde", "payment-api"),
            ("backup-28394720-t7w9z", "backup"),
            ("node-exporter-x2k4q", "node-exporter"),
            ("postgres-0", "postgres"),
            ("kafka-broker-12", "kafka-broker"),
            ("kube-proxy", "kube-proxy"),
            ("checkout-https", "checkout-https"),
            ("web-frontend-proxy", "web-frontend-proxy"),
            ("10.0.0.7:9100", "10.0.0.7:9100"),
            ("db-1:9187", "db-1:9187"),
            ("app.views in checkout-0", "app.views in checkout-0"),
            ("-12345", "-12345"),
            ("api-", "api-"),
            ("", ""),
        ] {
            assert_eq!(without_pod_suffix(target), expect, "{target:?}");
        }
    }

    #[test]
    fn r26_the_fingerprint_names_the_problem_and_not_its_state() {
        let project = ProjectId::new("shop").unwrap();
        let base = samples::alert("7");
        let of = |change: &dyn Fn(&mut Alert)| {
            let mut alert = base.clone();
            change(&mut alert);
            identify(&project, &alert, Rules::builtin()).fingerprint
        };
        let own = of(&|_| {});
        // Golden: this value is a key in tables.
        assert_eq!(own.to_string(), "1745036e-7fef-8d29-8d50-e3110196bdc7");
        assert_eq!(own, of(&|a| a.facts.status = schemas::Status::Resolved));
        assert_eq!(own, of(&|a| a.facts.level = Some(schemas::Level::Fatal)));
        assert_eq!(own, of(&|a| a.facts.count = Some(9)));
        assert_eq!(own, of(&|a| a.provider_event_id = "other".into()));
        assert_eq!(own, of(&|a| a.facts.environment = Some(String::new())));
        assert_eq!(own, of(&|a| a.facts.environment = Some("production".into())));
        assert_ne!(own, of(&|a| a.facts.environment = Some("testing".into())));
        assert_ne!(own, of(&|a| a.facts.provider = "grafana".into()));
        assert_ne!(own, of(&|a| a.identity = vec!["8".into()]));
        let search = ProjectId::new("search").unwrap();
        assert_ne!(own, identify(&search, &base, Rules::builtin()).fingerprint);
    }

    #[test]
    fn recurrence_is_coarser_only_where_pods_are_named() {
        let project = ProjectId::new("shop").unwrap();
        let key = |provider: &str, target: &str, identity: &str| {
            let mut alert = samples::alert(identity);
            alert.facts.provider = provider.into();
            alert.facts.target = Some(target.into());
            let identity = identify(&project, &alert, Rules::builtin());
            (identity.fingerprint, identity.recurrence_key)
        };
        let (a, ra) = key("alertmanager", "api-7d9f8b6c5-x2k4q", "1");
        let (b, rb) = key("alertmanager", "api-7d9f8b6c5-z9w8v", "2");
        assert_ne!(a, b);
        assert_eq!(ra, rb);
        let (own, recurrence) = key("sentry", "api-7d9f8b6c5-x2k4q", "1");
        assert_eq!(own, recurrence);
    }
}
