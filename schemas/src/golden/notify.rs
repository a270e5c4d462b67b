//! Samples of silences, of what is asked in chats, and of the messages that are planned.

use super::{at, facts, text, time, uuid};
use crate::{
    IncidentId, JobId, Level, ProjectId, RecordId, SourceId,
    alert::Risk,
    event::{
        Applied, Asked, Cause, EscalationLevel, Frequency, IncidentState, Kind, Planned, Refused,
        Tested, Withheld,
    },
    job::{
        Reply, ReplyTo, Rose, SendJob, SendKind, SendResult, Standing, Summary, SummaryItem,
        SummaryReason,
    },
    record::{Body, Control, MatchOperator, Matcher, SendOutcome, Silence, SilenceChange},
};

fn silence(silence: Option<Silence>) -> SilenceChange {
    SilenceChange { id: "deploy-17".into(), silence, operator: "ada".into() }
}

fn whole_silence() -> SilenceChange {
    let matcher = |name: &str, operator, value: &str| Matcher {
        name: name.into(),
        operator,
        value: value.into(),
    };
    silence(Some(Silence {
        matchers: vec![
            matcher("alertname", MatchOperator::Equal, "KubePodCrashLooping"),
            matcher("severity", MatchOperator::NotEqual, "critical"),
            matcher("namespace", MatchOperator::Regex, "shop-.*"),
            matcher("team", MatchOperator::NotRegex, "db|infra"),
        ],
        starts_at: Some(time(60)),
        ends_at: time(3660),
        owner: "ada".into(),
        reason: "deployment".into(),
    }))
}

fn reply_to() -> ReplyTo {
    ReplyTo {
        provider: "telegram".into(),
        source: SourceId::new("ops-bot").unwrap(),
        chat: text("-100123"),
        message: text("77"),
        at: at(),
        ours: false,
    }
}

pub(super) fn bodies() -> Vec<(&'static str, Body)> {
    let control = |change| Body::Control(Box::new(Control::Silence(change)));
    vec![
        ("control-silence", control(whole_silence())),
        ("control-silence-over", control(silence(None))),
        (
            "outcome-not-needed",
            Body::Outcome(Box::new(SendOutcome {
                job: JobId(uuid(5)),
                incident: Some(IncidentId(uuid(6))),
                target: "hook".into(),
                channel: "webhook".into(),
                kind: "update".into(),
                subject: at().to_string(),
                trigger: at(),
                attempts: 1,
                result: SendResult::NotNeeded("the message says it".into()),
            })),
        ),
    ]
}

pub(super) fn kinds() -> Vec<(&'static str, Kind)> {
    let applied = Applied {
        reply: Some(reply_to()),
        ..super::incident::applied(IncidentState::Open, IncidentState::Acknowledged)
    };
    vec![
        ("silence-changed", Kind::SilenceChanged(Box::new(whole_silence()))),
        ("applied-reply", Kind::Applied(Box::new(applied))),
        (
            "refused-reply",
            Kind::Refused(Box::new(Refused {
                incident: None,
                opening: Some(at()),
                verb: "ack".into(),
                actor: "telegram:160213506".into(),
                auth_method: "chat".into(),
                reason: "unknown_actor".into(),
                reply: Some(reply_to()),
            })),
        ),
        (
            "refused-reply-ours",
            Kind::Refused(Box::new(Refused {
                incident: None,
                opening: Some(at()),
                verb: "ack".into(),
                actor: "telegram:160213506".into(),
                auth_method: "chat".into(),
                reason: "unknown_actor".into(),
                reply: Some(ReplyTo { ours: true, ..reply_to() }),
            })),
        ),
        (
            "asked",
            Kind::Asked(Box::new(Asked {
                incident: Some(IncidentId(uuid(6))),
                opening: Some(at()),
                verb: "why".into(),
                arguments: "{}".into(),
                actor: "ada".into(),
                to: reply_to(),
            })),
        ),
        (
            "tested",
            Kind::Tested(Box::new(Tested {
                record: RecordId(uuid(1)),
                facts: facts(),
                channel: text("office"),
            })),
        ),
        (
            "planned-summary",
            Kind::Planned(Planned {
                incident: IncidentId(uuid(6)),
                opening: at(),
                kind: SendKind::Summary,
                receiver: "default".into(),
                rule: "warnings".into(),
                summary: text("hourly/default/20251120T05"),
                reason: None,
            }),
        ),
        (
            "planned-reason",
            Kind::Planned(Planned {
                incident: IncidentId(uuid(6)),
                opening: at(),
                kind: SendKind::Remind,
                receiver: "default".into(),
                rule: "everything/policy.production.fatal".into(),
                summary: None,
                reason: text("level_rose"),
            }),
        ),
        (
            "withheld-summary",
            Kind::Withheld(Withheld {
                incident: IncidentId(uuid(6)),
                opening: at(),
                reason: "inhibited".into(),
                rule: "node-down".into(),
                summary: text("hourly/default/20251120T05"),
                by: text("INC-20251120-003"),
            }),
        ),
    ]
}

pub(super) fn sends() -> Vec<(&'static str, SendJob)> {
    let send = |kind| SendJob {
        project: ProjectId::new("shop").unwrap(),
        incident: IncidentId(uuid(6)),
        subject: at().to_string(),
        opening: at(),
        kind,
        target: "office".into(),
        facts: facts(),
        risk: Risk::High,
        rule: "everything".into(),
        rules: "0011223344556677".into(),
        planned_at: time(3),
        frequency: None,
        cause: None,
        standing: None,
        summary: None,
        reply: None,
        tags: Vec::new(),
    };
    let fire = SendJob {
        frequency: Some(Frequency {
            count_1h: 5,
            count_24h: 12,
            count_7d: 300,
            level: EscalationLevel::Escalate,
        }),
        cause: Some(Cause::Reappearance),
        tags: vec!["environment:testing".into()],
        ..send(SendKind::Fire)
    };
    let update = SendJob {
        standing: Some(Standing {
            state: IncidentState::Acknowledged,
            verb: text("ack"),
            actor: text("ada"),
            at: time(9),
            silenced_until: Some(time(3600)),
            folded: 2,
            rose: None,
        }),
        ..send(SendKind::Update)
    };
    let remind = SendJob {
        standing: Some(Standing {
            state: IncidentState::Open,
            verb: None,
            actor: None,
            at: time(9),
            silenced_until: None,
            folded: 0,
            rose: Some(Rose { from: Some(Level::Warning), to: Level::Fatal, news: true }),
        }),
        ..send(SendKind::Remind)
    };
    let summary = |reason| SendJob {
        summary: Some(Box::new(Summary {
            reason,
            key: "default/20251120T05".into(),
            since: time(0),
            until: time(60),
            incidents: 12,
            alerts: 340,
            group: vec![("alertname".into(), "KubePodCrashLooping".into())],
            items: vec![SummaryItem {
                incident: IncidentId(uuid(6)),
                opening: at(),
                provider: "sentry".into(),
                title: "KeyError: total".into(),
                level: Some(Level::Warning),
                environment: text("production"),
                alerts: 3,
                state: IncidentState::Open,
            }],
        })),
        ..send(SendKind::Summary)
    };
    let reply = SendJob {
        reply: Some(Box::new(Reply {
            to: reply_to(),
            verb: "ack".into(),
            arguments: "{}".into(),
            actor: "ada".into(),
            refused: text("not_open"),
        })),
        ..send(SendKind::Reply)
    };
    vec![
        ("fire", fire),
        ("update", update),
        ("remind", send(SendKind::Remind)),
        ("remind-rose", remind),
        ("summary-bundle", summary(SummaryReason::Bundle)),
        ("summary-hourly", summary(SummaryReason::Hourly)),
        ("summary-daily", summary(SummaryReason::Daily)),
        ("summary-storm", summary(SummaryReason::Storm)),
        ("test", send(SendKind::Test)),
        ("reply", reply),
    ]
}
