//! What operators do, analysts say and reminders ask.

use schemas::{
    JobId, SourceId,
    alert::Risk,
    event::{Answered, Asked, Escalated, EscalationLevel, Frequency, Refused, Stale, Tested},
    job::{Analysis, AnswerResult, ReplyTo, SendKind},
};

use super::*;

use IncidentState::{Acknowledged, Open, Reopened, Resolved as Over};

fn analysis() -> Analysis {
    Analysis {
        root_cause: "a lock".into(),
        impact: String::new(),
        fix_suggestion: String::new(),
        prevention: String::new(),
        confidence: 0.5,
        analyzed_by: "playbook".into(),
        model: None,
        ..Analysis::default()
    }
}

fn answered(story: &Story, problem: u64, analysis: Option<Analysis>) -> Kind {
    let opening = story.openings[&problem];
    Kind::Answered(Box::new(Answered {
        incident: incident(opening),
        opening,
        job: JobId(Uuid::from_u128(1)),
        reason: "open".into(),
        prompt: "p".into(),
        result: AnswerResult {
            analysis,
            attempts: vec![],
            latency_ms: 0,
            ..AnswerResult::default()
        },
        fingerprint: Some(fingerprint(problem)),
    }))
}

#[test]
fn an_answer_is_edited_into_the_message_and_hastens_it() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    story.new_one(2, Level::Warning);
    let none = answered(&story, 1, None);
    assert_eq!(story.say(none), [""; 0]);
    let said = answered(&story, 1, Some(analysis()));
    let prepared = [prepare(story.event(said)).unwrap()];
    let missing = story.telling.load().unwrap().missing(&prepared);
    assert_eq!(missing.rows.len(), 1);
    let said = answered(&story, 1, Some(analysis()));
    assert_eq!(story.say(said), ["update to default"]);
    // It was told in a summary: there is no message to edit.
    let said = answered(&story, 2, Some(analysis()));
    assert_eq!(story.say(said), [""; 0]);
    let said = answered(&story, 1, Some(analysis()));
    story.resolve(1);
    assert_eq!(story.say(said), [""; 0]);
}

#[test]
fn a_raise_is_edited_into_the_message() {
    let mut story = Story::new();
    story.new_one(1, Level::Warning);
    story.new_one(2, Level::Error);
    let raised = |story: &Story, problem: u64| {
        Kind::Escalated(Box::new(Escalated {
            incident: incident(story.openings[&problem]),
            fingerprint: fingerprint(problem),
            opening: story.openings[&problem],
            before: EscalationLevel::None,
            frequency: Frequency { count_1h: 5, ..Frequency::default() },
            risk_before: Risk::Medium,
            risk: Risk::Critical,
            rule: "escalation".into(),
            triage: None,
        }))
    };
    let kind = raised(&story, 1);
    assert_eq!(story.say(kind), [""; 0]);
    let kind = raised(&story, 2);
    assert_eq!(story.say(kind), ["update to default"]);
    let plan = story.plan();
    assert_eq!((plan.risk, plan.frequency.unwrap().count_1h), (Risk::Critical, 5));
}

#[test]
fn what_operators_do_is_edited_into_the_message() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    assert_eq!(story.ack(1), ["update to default"]);
    let standing = story.plan().standing.clone().unwrap();
    assert_eq!((standing.state, standing.actor.as_deref()), (Acknowledged, Some("ada")));
    assert_eq!(story.apply(1, "unack", (Acknowledged, Open), "{}"), ["update to default"]);
    let said = story.apply(1, "resolve", (Open, Over), "{}");
    assert_eq!(said, ["resolved_by_operator", "update to default"]);
    // Opened again, it ends as any other.
    assert_eq!(story.apply(1, "reopen", (Over, Reopened), "{}"), ["update to default"]);
    assert_eq!(story.resolve(1), ["resolve to default"]);
    // What changed nothing says nothing, and what nobody was told of is edited nowhere.
    assert_eq!(story.apply(1, "ack", (Over, Over), "{}"), ["update to default"]);
    story.new_one(2, Level::Warning);
    assert_eq!(story.ack(2), [""; 0]);
}

#[test]
fn r70_what_expires_is_no_message_but_an_edit() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    assert_eq!(story.expire(1), ["expired", "update to default"]);
    assert_eq!(story.plan().standing.clone().unwrap().state, IncidentState::Expired);
    assert_eq!(story.expire(1), ["expired"]);
    story.new_one(2, Level::Warning);
    assert_eq!(story.expire(2), ["expired"]);
}

#[test]
fn a9_an_incident_that_is_silenced_is_heard_again_when_that_is_over() {
    let mut story = Story::new();
    story.new_one(1, Level::Fatal);
    let said = story.apply(1, "silence", (Open, Open), "{\"minutes\":30}");
    assert_eq!(said, ["update to default"]);
    assert!(story.plan().standing.clone().unwrap().silenced_until.is_some());
    assert_eq!(story.at(60).repeat(1), ["silenced"]);
    assert_eq!(rule(&story), "incident_silence");
    assert_eq!(story.at(30 * 60 - 1).tick(), [""; 0]);
    assert_eq!(story.at(30 * 60).tick(), ["remind to default"]);
    assert_eq!(story.repeat(1), ["once_per_60m in hourly:everything"]);
    // One that is lifted, and one that somebody has, is not called out again.
    story.apply(1, "silence", (Open, Open), "{\"minutes\":30}");
    assert_eq!(story.apply(1, "unsilence", (Open, Open), "{}"), ["update to default"]);
    assert_eq!(story.repeat(1), ["once_per_60m in hourly:everything"]);
    story.apply(1, "silence", (Open, Open), "{\"minutes\":30}");
    story.ack(1);
    story.at(HOUR - 5).tick();
    assert_eq!(story.at(HOUR + 60).tick().last().unwrap(), "update to default");
}

const REMIND: &str = "[defaults.reminder]\nid = \"step\"\nminutes = 10\ntimes = 2\n\
    receivers = [\"second\"]\nlevels = [\"error\", \"fatal\"]";

#[test]
fn when_nobody_acknowledges_others_are_told_as_well() {
    let mut story = Story::with(&document(REMIND));
    story.new_one(1, Level::Error);
    story.new_one(2, Level::Error);
    story.at(300).ack(2);
    assert_eq!(story.at(599).tick(), [""; 0]);
    assert_eq!(story.at(600).tick(), ["remind to default", "remind to second"]);
    assert_eq!((rule(&story).as_str(), story.plan().kind), ("step", SendKind::Remind));
    assert_eq!(story.at(1_200).tick(), ["remind to default", "remind to second"]);
    assert_eq!(story.at(1_800).tick(), [""; 0], "twice, as the rule says");
    // Who was reminded is told of the end.
    assert_eq!(story.resolve(1), ["resolve to default", "resolve to second"]);
    // Given back, it is reminded of again.
    story.apply(2, "unack", (Acknowledged, Open), "{}");
    assert_eq!(story.at(2_400).tick(), ["remind to default", "remind to second"]);
}

#[test]
fn reminders_end_with_the_incident_and_are_only_of_the_levels_named() {
    let mut story = Story::with(&document(REMIND));
    story.new_one(1, Level::Error);
    story.resolve(1);
    story.open(2, Cause::Reappearance, of(Level::Warning));
    assert_eq!(story.at(600).tick(), [""; 0]);
}

fn to() -> ReplyTo {
    ReplyTo {
        provider: "telegram".into(),
        source: SourceId::new("bot").unwrap(),
        chat: Some("42".into()),
        message: None,
        at: at(99),
        ours: false,
    }
}

#[test]
fn r15_r17_who_asks_in_a_chat_is_answered_there() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    let asked = Asked {
        incident: None,
        opening: None,
        verb: "help".into(),
        arguments: "{}".into(),
        actor: "telegram:1".into(),
        to: to(),
    };
    assert_eq!(story.say(Kind::Asked(Box::new(asked))), ["reply to chat:telegram/bot"]);
    let refused = Refused {
        incident: None,
        opening: None,
        verb: "ack".into(),
        actor: "telegram:1".into(),
        auth_method: "chat".into(),
        reason: "unknown_incident".into(),
        reply: Some(to()),
    };
    assert_eq!(story.say(Kind::Refused(Box::new(refused.clone()))), ["reply to chat:telegram/bot"]);
    let reply = story.plan().reply.clone().unwrap();
    assert_eq!(reply.refused.as_deref(), Some("unknown_incident"));
    assert_eq!(story.plan().subject, "7-99-0-0");
    let nobody = Refused { reply: None, ..refused };
    assert_eq!(story.say(Kind::Refused(Box::new(nobody))), [""; 0]);
    let opening = story.openings[&1];
    let applied = Applied {
        incident: incident(opening),
        fingerprint: fingerprint(1),
        opening,
        verb: "ack".into(),
        actor: "ada".into(),
        auth_method: "chat".into(),
        before: Open,
        after: Acknowledged,
        changed: true,
        arguments: "{}".into(),
        triage: None,
        reply: Some(to()),
        diagnosis: None,
    };
    // What is thought of a message changes none (A15).
    for verb in ["useful", "not_useful", "noise"] {
        let said = Applied { verb: verb.into(), after: Open, ..applied.clone() };
        let told = story.say(Kind::Applied(Box::new(said)));
        assert_eq!(told, ["reply to chat:telegram/bot"], "{verb}");
    }
    assert_eq!(
        story.say(Kind::Applied(Box::new(applied))),
        ["update to default", "reply to chat:telegram/bot"]
    );
    // The incident may be of another project than the chat.
    assert_eq!(story.plan().facts.title, "");
}

#[test]
fn r18_a_test_goes_where_the_routes_or_the_sender_say() {
    let mut story = Story::new();
    let tested = |channel: Option<&str>| {
        Kind::Tested(Box::new(Tested {
            record: schemas::RecordId(Uuid::from_u128(3)),
            facts: of(Level::Info),
            channel: channel.map(str::to_owned),
        }))
    };
    assert_eq!(story.say(tested(None)), ["test to default"]);
    assert_eq!(story.say(tested(None)), ["test to default"], "each is told");
    assert_eq!(story.say(tested(Some("ops"))), ["test to channel:ops"]);
    assert_eq!(story.telling.remembered(), 0);
    story.rules("[[defaults.routes]]\nname = \"nobody\"\nreceivers = []");
    assert_eq!(story.say(tested(None)), ["no_receiver"]);
}

#[test]
fn clocks_and_stale_changes_say_nothing() {
    let mut story = Story::new();
    story.new_one(1, Level::Error);
    let time = Time::from_micros(1);
    let fingerprint = fingerprint(1);
    let stale = Stale { fingerprint, status_at: time, last_change: time, rule: None };
    assert_eq!(story.say(Kind::Stale(stale)), [""; 0]);
    assert_eq!(story.tick(), [""; 0]);
    assert_eq!(story.say(Kind::RulesChanged(None)), [""; 0]);
}
