//! Messages to show what a text looks like, and to try templates with.

use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone};
use schemas::{
    Facts, IncidentId, InputPosition, Level, ProjectId, SourceId, Status, Time,
    event::{Cause, EscalationLevel, Frequency, IncidentState},
    job::{Analysis, Reply, ReplyTo, SendKind, Standing, Summary, SummaryItem, SummaryReason},
};
use uuid::Uuid;

use super::Message;
use crate::providers;

/// A message, and all it is made from.
#[derive(Clone, Debug)]
pub struct Sample {
    pub kind: SendKind,
    pub facts: Facts,
    pub analysis: Option<Analysis>,
    pub project: ProjectId,
    pub told_at: Time,
    pub zone: TimeZone,
    pub frequency: Option<Frequency>,
    pub cause: Option<Cause>,
    pub standing: Option<Standing>,
    pub summary: Option<Summary>,
    pub reply: Option<Reply>,
    pub tags: Vec<String>,
}

/// 2025-11-20 06:00:00 UTC.
const TOLD_AT: Time = Time::from_micros(1_763_618_400_000_000);

impl Sample {
    /// A message of that kind about `facts`, with whatever such a message may have.
    pub fn new(kind: SendKind, facts: Facts, project: ProjectId) -> Self {
        let open = match kind {
            SendKind::Fire | SendKind::Update | SendKind::Remind => true,
            SendKind::Resolve | SendKind::Summary | SendKind::Test | SendKind::Reply => false,
        };
        let changed = kind == SendKind::Update;
        Self {
            kind,
            analysis: open.then(analysis),
            frequency: open.then_some(Frequency {
                count_1h: 3,
                count_24h: 12,
                count_7d: 40,
                level: EscalationLevel::Escalate,
            }),
            cause: open.then_some(Cause::New),
            standing: changed.then(standing),
            summary: (kind == SendKind::Summary).then(|| summary(&facts)),
            reply: (kind == SendKind::Reply).then(|| reply(&facts.source)),
            tags: Vec::new(),
            facts,
            project,
            told_at: TOLD_AT,
            zone: TimeZone::fixed(Offset::constant(8)),
        }
    }

    /// What texts are made from.
    pub fn message(&self) -> Message<'_> {
        Message {
            kind: self.kind,
            facts: &self.facts,
            analysis: self.analysis.as_ref(),
            number: "INC-20251120-001",
            project: &self.project,
            told_at: self.told_at,
            zone: &self.zone,
            frequency: self.frequency,
            cause: self.cause,
            standing: self.standing.as_ref(),
            summary: self.summary.as_ref(),
            reply: self.reply.as_ref(),
            tags: &self.tags,
            language: None,
            written: None,
        }
    }
}

/// What there are samples of: an error of a program, and something watched that crossed a line.
pub const SAMPLES: [&str; 2] = ["error", "alert"];

/// The facts of the sample of that name, one of [`SAMPLES`].
pub fn sample_facts(name: &str, kind: SendKind) -> Option<Facts> {
    let error = name == SAMPLES[0];
    let provider = providers::all()
        .iter()
        .find(|p| if error { p.tells_errors() } else { p.told_as().is_some() })?
        .name();
    let source = SourceId::new(provider).ok()?;
    let over = kind == SendKind::Resolve;
    let status = if over { Status::Resolved } else { Status::Firing };
    let ended_at = over.then(|| TOLD_AT.plus_seconds(-30));
    let started_at = Some(TOLD_AT.plus_seconds(-1_800));
    match name {
        "error" => Some(Facts {
            level: Some(Level::Error),
            severity_raw: Some("error".into()),
            alertname: Some("ValueError".into()),
            message: Some("score is empty".into()),
            culprit: Some("app.main.get_recommend".into()),
            environment: Some("production".into()),
            service: Some("recommendation-api".into()),
            target: Some("app.main.get_recommend".into()),
            sender_project: Some("recommendation-api".into()),
            platform: Some("python".into()),
            issue_id: Some("12345".into()),
            url: Some("https://errors.example.com/issues/12345/".into()),
            started_at,
            ended_at,
            first_seen: started_at,
            count: Some(12),
            user_count: Some(15),
            ..Facts::new(provider, source, "ValueError: invalid score: None", status)
        }),
        "alert" => Some(Facts {
            level: Some(Level::Fatal),
            severity_raw: Some("critical".into()),
            alertname: Some("RedisConnectionFailed".into()),
            message: Some("Redis is away\nRecommendations are degraded".into()),
            environment: Some("production".into()),
            service: Some("recommendation-api".into()),
            target: Some("redis:6379".into()),
            issue_id: Some("f404ecabc8dd5cd7".into()),
            url: Some("http://prometheus.example.com:9090/graph".into()),
            started_at,
            ended_at,
            labels: pairs(&[
                ("alertname", "RedisConnectionFailed"),
                ("severity", "critical"),
                ("instance", "redis:6379"),
                ("job", "redis-exporter"),
            ]),
            annotations: pairs(&[
                ("summary", "Redis is away"),
                ("description", "Recommendations are degraded"),
            ]),
            ..Facts::new(provider, source, "RedisConnectionFailed", status)
        }),
        _ => None,
    }
}

/// Samples of every kind, with much and with nothing to say.
pub(super) fn samples() -> &'static [Sample] {
    static ALL: LazyLock<Vec<Sample>> = LazyLock::new(|| {
        let mut all = Vec::new();
        let Ok(project) = ProjectId::new("shop") else { return all };
        for kind in SendKind::ALL {
            for name in SAMPLES {
                let Some(facts) = sample_facts(name, kind) else { continue };
                let bare =
                    Facts::new(facts.provider.as_str(), facts.source.clone(), "x", facts.status);
                all.push(Sample::new(kind, facts, project.clone()));
                all.push(Sample {
                    analysis: None,
                    frequency: None,
                    cause: None,
                    standing: None,
                    ..Sample::new(kind, bare, project.clone())
                });
            }
        }
        all
    });
    &ALL
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn analysis() -> Analysis {
    Analysis {
        root_cause: "the pool of connections is exhausted".into(),
        impact: "recommendations are empty".into(),
        fix_suggestion: "raise max_connections".into(),
        prevention: "alert on the pool's use".into(),
        confidence: 0.875,
        analyzed_by: "openclaw".into(),
        model: Some("sample-model".into()),
        ..Analysis::default()
    }
}

fn standing() -> Standing {
    Standing {
        state: IncidentState::Acknowledged,
        verb: Some("ack".into()),
        actor: Some("ada".into()),
        at: TOLD_AT,
        silenced_until: None,
        folded: 2,
        rose: None,
    }
}

fn summary(facts: &Facts) -> Summary {
    let item = |title: &str, level, state, alerts| SummaryItem {
        incident: IncidentId(Uuid::nil()),
        opening: InputPosition::default().alert(0),
        provider: facts.provider.clone(),
        title: title.to_owned(),
        level: Some(level),
        environment: facts.environment.clone(),
        alerts,
        state,
    };
    Summary {
        reason: SummaryReason::Hourly,
        key: "sample".into(),
        since: TOLD_AT.plus_seconds(-3_600),
        until: TOLD_AT,
        incidents: 23,
        alerts: 140,
        group: pairs(&[("environment", "production")]),
        items: vec![
            item(&facts.title, Level::Error, IncidentState::Open, 4),
            item("disk is nearly full", Level::Warning, IncidentState::Acknowledged, 1),
        ],
    }
}

fn reply(source: &SourceId) -> Reply {
    Reply {
        to: ReplyTo {
            provider: "chat".into(),
            source: source.clone(),
            chat: Some("1".into()),
            message: Some("2".into()),
            at: InputPosition::default().alert(0),
            ours: false,
        },
        verb: "help".into(),
        arguments: "{}".into(),
        actor: "ada".into(),
        refused: None,
    }
}
