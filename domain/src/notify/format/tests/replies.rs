use schemas::{
    InputPosition,
    event::IncidentState,
    job::{Reply, ReplyTo, Standing},
};

use super::*;
use crate::notify::render_text;

fn asked(verb: &str, arguments: &str, refused: Option<&str>) -> Reply {
    Reply {
        to: ReplyTo {
            provider: "telegram".into(),
            source: SourceId::new("bot").unwrap(),
            chat: Some("1".into()),
            message: None,
            at: InputPosition { incarnation: 7, sequence: 9, record: 0 }.alert(0),
            ours: false,
        },
        verb: verb.into(),
        arguments: arguments.into(),
        actor: "ada".into(),
        refused: refused.map(Into::into),
    }
}

fn text(reply: &Reply, standing: Option<&Standing>, language: Language) -> String {
    let facts = facts("sentry", "boom");
    let message = Message {
        reply: Some(reply),
        standing,
        language: Some(language),
        ..message(SendKind::Reply, &facts)
    };
    check(&render_text(&message), &wecom_text(&message));
    render_text(&message)
}

#[test]
fn r16_help_names_every_command_in_every_language() {
    for language in Language::ALL {
        let help = text(&asked("help", "{}", None), None, language);
        for command in ["help", "status", "ack", "resolve", "silence", "triage", "why", "top"] {
            assert!(help.contains(&format!("\n/{command}")), "{command}: {help}");
        }
        // What nobody knows is answered with what there is.
        for unknown in [asked("dance", "{}", Some("unknown_verb")), asked("dance", "{}", None)] {
            let text = text(&unknown, None, language);
            assert!(text.contains("/dance") && text.ends_with(&help), "{text}");
        }
    }
}

#[test]
fn r16_what_was_done_is_said_with_where_the_incident_stands() {
    let standing = Standing {
        state: IncidentState::Acknowledged,
        verb: Some("ack".into()),
        actor: Some("ada".into()),
        at: told_at(),
        silenced_until: None,
        folded: 0,
        rose: None,
    };
    let done = text(&asked("ack", "{}", None), Some(&standing), Language::English);
    let expect = "✅ Done, ada: acknowledge\n🆔 INC-20260102-007 boom\n📌 State: acknowledged\n\
                  👤 ada: acknowledge · 2026-01-02 05:40:00";
    check(&done, expect);
    let same = text(&asked("ack", r#"{"changed":false}"#, None), None, Language::English);
    check(&same, "✅ It was like that already, ada; nothing changed.");
}

#[test]
fn r16_a_refusal_is_polite_and_says_what_to_do() {
    for (reason, remedy) in [
        ("unknown_actor", "`bellwether operators map"),
        ("not_your_project", "administrator"),
        ("other_chat", "in a chat of that project"),
        ("unknown_incident", "project/INC-"),
        ("not_open", "reopen"),
        ("superseded", "later incident"),
        ("no_diagnosis", "/triage"),
        ("too_many_triage", "yourself"),
        ("bad_duration", "30m"),
        ("something new\nforged", "something new forged"),
    ] {
        let said = text(&asked("ack", "{}", Some(reason)), None, Language::English);
        assert!(said.starts_with("🙏 Sorry, /ack was not done: "), "{said}");
        assert!(said.contains(remedy) && said.lines().count() == 1, "{said}");
    }
    let stranger = asked("ack", "{}", Some("unknown_actor"));
    let (actor, source) = (&stranger.actor, &stranger.to.source);
    let command = format!("`bellwether operators map {actor} NAME --source {source}`");
    let said = text(&stranger, None, Language::English);
    assert!(said.contains(&command), "{said}");
}

#[test]
fn r16_results_are_shown_a_line_each() {
    let lines = r#"{"lines": ["INC-1 boom", "forged\nline", 7]}"#;
    let top = text(&asked("top", lines, None), None, Language::English);
    check(&top, "🔝 What occurs most\nINC-1 boom\nforged line");
    let none = text(&asked("status", "{}", None), None, Language::English);
    check(&none, "📊 How things stand\nNothing is open.");
    let none = text(&asked("why", "{}", None), None, Language::English);
    check(&none, "❓ Why\nNothing is known of that.");
}

/// Every verb of a chat's commands is answered with what it did, never with what there is to ask.
#[test]
fn r16_every_verb_that_takes_effect_has_a_name_in_every_language() {
    for verb in [
        "ack",
        "unack",
        "resolve",
        "reopen",
        "silence",
        "unsilence",
        "confirm",
        "reject",
        "request_triage",
        "handoff",
        "note",
    ] {
        for language in Language::ALL {
            let done = text(&asked(verb, "{}", None), None, language);
            assert!(!done.contains("/help") && done.lines().count() == 1, "{verb}: {done}");
        }
    }
}
