//! What people ask for in a chat: with a button, a reaction or a command, alike in every chat.

use std::fmt;

use schemas::{Lane, Position, ProjectId};
use serde_json::{Value, json};

use super::by_name;
use crate::{button::Button, redact::Redactor};

/// Longest text of a command that is looked at, in characters.
const MAX_TEXT: usize = 4096;

/// Longest id of a chat or of a message, in bytes.
const MAX_ID: usize = 128;

/// Longest reply credential, in bytes.
const MAX_CREDENTIAL: usize = 2048;

/// A silence that says no time ends after so many minutes, and none lasts longer than the other.
pub const SILENCE_MINUTES: (u32, u32) = (60, 7 * 24 * 60);

/// What a person did in a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interaction {
    /// Who: `<provider>:<id of the user there>`.
    pub user: String,
    pub by: By,
    pub place: Place,
    /// The message that was pressed or reacted to, as the channel names it that sent it.
    pub on: Option<Target>,
    pub ask: Ask,
}

/// With what a person asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The message that has it shows what came of it.
    Button,
    Reaction,
    /// Written: it is always answered.
    Command,
}

/// What a delivery itself brings for its answer: whoever has it may write there without being asked
/// who they are. So it shows nothing, and nothing is derived from it; it is read from the raw delivery
/// when an answer is sent, and stands nowhere else (I8).
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyCredential {
    text: String,
    /// How long after the delivery it may be used, in seconds.
    pub seconds: i64,
    /// How often it may be used.
    pub uses: u32,
}

impl ReplyCredential {
    /// Of what stands in the delivery; none where that is nothing, or nothing that is ever given.
    pub(super) fn new(text: Option<&str>, seconds: i64, uses: u32) -> Option<Self> {
        let fits = |text: &&str| {
            (1..=MAX_CREDENTIAL).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let text = text.filter(fits)?.to_owned();
        Some(Self { text, seconds, uses })
    }

    /// What it is, for the request that uses it.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ReplyCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyCredential")
            .field("seconds", &self.seconds)
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

/// Where a person asks: the chat, and the message in it that asks or has the button.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub chat: Option<String>,
    pub message: Option<String>,
}

impl Place {
    /// Of what the chat calls them; an id that none gives is left out.
    pub(super) fn new(chat: Option<&str>, message: Option<&str>) -> Self {
        let fits = |id: &&str| {
            (1..=MAX_ID).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:@".contains(&b))
        };
        let kept = |id: Option<&str>| id.filter(fits).map(str::to_owned);
        Self { chat: kept(chat), message: kept(message) }
    }
}

/// What it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Something to be done with an incident.
    Do {
        /// In the word of commands.
        verb: &'static str,
        target: Target,
        /// What goes with it, as JSON text.
        arguments: String,
    },
    /// Nothing but an answer: `help`, `status`, ..., or what of a command could not be understood.
    Say { about: String },
}

/// The incident that something is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one that was opened there; the owner of that lane answers.
    Opening { lane: Lane, opening: Position },
    /// The one of that number; without a project it is one of the source's.
    Number { project: Option<ProjectId>, number: Number },
    /// The one that a message tells of. The id is as the chat's channels record it.
    Message { chat: &'static str, id: String },
}

/// `INC-YYYYMMDD-NNN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// `YYYYMMDD`.
    pub day: String,
    pub number: u32,
}

/// The words of commands that ask for something to be done, and the verb each stands for.
const VERBS: [(&str, &str); 17] = [
    ("ack", "ack"),
    ("unack", "unack"),
    ("resolve", "resolve"),
    ("reopen", "reopen"),
    ("silence", "silence"),
    ("unsilence", "unsilence"),
    ("confirm", "confirm"),
    ("reject", "reject"),
    ("triage", "request_triage"),
    ("handoff", "handoff"),
    ("note", "note"),
    ("useful", "useful"),
    ("not_useful", "not_useful"),
    ("notuseful", "not_useful"),
    ("noise", "noise"),
    (QUESTIONS[0], QUESTIONS[0]),
    (QUESTIONS[1], QUESTIONS[1]),
];

/// What is asked about an incident: nothing is done, and only the lane that has it can answer.
pub(crate) const QUESTIONS: [&str; 2] = ["why", "status"];

/// The words of commands that ask for an answer alone.
const ANSWERS: [&str; 4] = ["help", "status", "why", "top"];

/// Whether a chat of ours takes this word, in small letters, behind a slash for a command.
pub(crate) fn is_command(word: &str) -> bool {
    ANSWERS.contains(&word) || VERBS.iter().any(|(name, _)| *name == word)
}

/// What cards made elsewhere call their buttons.
const ACTIONS: [(&str, &str); 3] =
    [("confirm_diagnosis", "confirm"), ("reject_diagnosis", "reject"), ("acknowledge", "ack")];

/// What a message asks for: its first word is the command's name, behind a slash or, where
/// the message is meant for us and nobody else, without one. `replied_to` is the message it
/// answers. None: it is no command.
pub(super) fn command(text: &str, addressed: bool, replied_to: Option<Target>) -> Option<Ask> {
    let text: String = text.chars().take(MAX_TEXT).collect();
    let text = text.trim();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let name = match name.strip_prefix('/') {
        // `/ack@our_bot`, as Telegram completes it in groups.
        Some(name) => name.split('@').next().unwrap_or_default(),
        None if addressed => name,
        None => return None,
    };
    let name = name.to_ascii_lowercase();
    let named = rest.split_whitespace().next();
    let about_one = match name.as_str() {
        "why" => replied_to.is_some() || named.is_some(),
        "status" => replied_to.is_some() || named.and_then(incident).is_some(),
        _ => false,
    };
    if ANSWERS.contains(&name.as_str()) && !about_one {
        return Some(Ask::Say { about: name });
    }
    let Some((_, verb)) = VERBS.iter().find(|(word, _)| *word == name) else {
        return Some(Ask::Say { about: "unknown_command".to_owned() });
    };
    let rest = rest.trim();
    let (first, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (target, said) = match (incident(first), replied_to) {
        (Some(target), _) => (target, behind.trim()),
        (None, Some(target)) => (target, rest),
        (None, None) => return Some(Ask::Say { about: format!("no_incident_named: {name}") }),
    };
    let arguments = match (*verb, said) {
        ("handoff" | "note", "") => {
            return Some(Ask::Say { about: format!("nothing_said: {name}") });
        }
        (_, "") => json!({}),
        ("handoff", to) => json!({ "to": to }),
        ("silence", duration) => match minutes(duration) {
            Some(minutes) => json!({ "minutes": minutes }),
            None => return Some(Ask::Say { about: format!("no_duration: {name}") }),
        },
        (_, text) => json!({ "text": text }),
    };
    Some(Ask::Do { verb, target, arguments: arguments.to_string() })
}

/// The minutes of a duration: `30m`, `2h`, `1d`, or minutes alone; none where it is none, or
/// longer than a silence may be.
fn minutes(text: &str) -> Option<u32> {
    let text = text.split_whitespace().next()?;
    let (number, each) = match text.strip_suffix(['m', 'M']) {
        Some(number) => (number, 1),
        None => match (text.strip_suffix(['h', 'H']), text.strip_suffix(['d', 'D'])) {
            (Some(number), _) => (number, 60),
            (None, Some(number)) => (number, 24 * 60),
            (None, None) => (text, 1),
        },
    };
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let minutes = number.parse::<u32>().ok()?.checked_mul(each)?;
    (1..=SILENCE_MINUTES.1).contains(&minutes).then_some(minutes)
}

/// What a button asks for, by what it carries: the text of one of ours, a command, or an object
/// with an `action` and an `incident_id`, which may stand in a text.
pub(super) fn press(value: &Value) -> Ask {
    pressed(value, 0).unwrap_or(Ask::Say { about: "unknown_button".to_owned() })
}

fn pressed(value: &Value, depth: u8) -> Option<Ask> {
    if let Some(text) = value.as_str() {
        if let Ok(button) = text.parse::<Button>() {
            let Button { lane, opening, .. } = button;
            let target = Target::Opening { lane, opening };
            return Some(Ask::Do { verb: button.verb(), target, arguments: "{}".to_owned() });
        }
        // A text may hold a text that holds an object; there is no end to what could be held.
        return match serde_json::from_str(text) {
            Ok(value) if depth < 2 => pressed(&value, depth + 1),
            Ok(_) | Err(_) => command(text, false, None),
        };
    }
    if let Some(ours) = value.get("button") {
        return ours.is_string().then(|| pressed(ours, depth)).flatten();
    }
    let action = value.get("action")?.as_str()?;
    let done = VERBS.iter().filter(|(word, _)| !QUESTIONS.contains(word));
    let named = done.chain(&ACTIONS).find(|(word, verb)| [*word, *verb].contains(&action));
    let Some((_, verb)) = named else {
        return Some(Ask::Say { about: "unknown_button".to_owned() });
    };
    let name = value.get("incident_id").and_then(Value::as_str).unwrap_or_default();
    let Some(mut target) = incident(name) else {
        return Some(Ask::Say { about: format!("no_incident_named: {verb}") });
    };
    if let Target::Number { project: project @ None, .. } = &mut target {
        let named = value.get("project_id").and_then(Value::as_str);
        *project = named.and_then(|named| ProjectId::new(named).ok());
    }
    Some(Ask::Do { verb, target, arguments: "{}".to_owned() })
}

/// `project/INC-YYYYMMDD-NNN`, or the number alone.
fn incident(name: &str) -> Option<Target> {
    let (project, number) = match name.rsplit_once('/') {
        Some((project, number)) => (Some(ProjectId::new(project).ok()?), number),
        None => (None, name),
    };
    let number = number.get(..4).filter(|p| p.eq_ignore_ascii_case("INC-")).and(number.get(4..))?;
    let (day, number) = number.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if day.len() != 8 || !digits(day) || !digits(number) {
        return None;
    }
    let number = number.parse().ok().filter(|number| *number > 0)?;
    Some(Target::Number { project, number: Number { day: day.to_owned(), number } })
}

/// `<chat>:<id>`, the name of a user in records; none where the id is none that a chat gives: it is
/// shown to operators as it is.
pub(super) fn user(chat: &str, id: &str) -> Option<String> {
    let fits = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    fits.then(|| format!("{chat}:{id}"))
}

/// Whether that is how records name a user of a chat.
pub fn is_chat_user(text: &str) -> bool {
    text.split_once(':').is_some_and(|(chat, id)| {
        by_name(chat).is_some_and(|provider| provider.channel_type() == "chat")
            && user(chat, id).is_some()
    })
}

/// A name out of the chat's own list (of a kind of event, of a reaction) as it may stand in a reason.
/// Never what a person wrote: that may be anything.
pub(super) fn word_of(text: &str) -> String {
    let is_name = (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+.:".contains(&b));
    let shown = if is_name { text } else { "unnamed" };
    Redactor::builtin().text(shown).0.into_owned()
}

#[cfg(test)]
mod tests {
    use schemas::InputPosition;

    use super::*;

    fn shown(ask: &Ask) -> String {
        match ask {
            Ask::Say { about } => format!("says {about}"),
            Ask::Do { verb, target, arguments } => {
                let target = match target {
                    Target::Opening { lane, opening } => format!("{lane}:{opening}"),
                    Target::Number { project, number: Number { day, number } } => {
                        format!("{}/{day}-{number}", project.as_ref().map_or("", |p| p.as_str()))
                    }
                    Target::Message { chat, id } => format!("{chat}:{id}"),
                };
                format!("{verb} {target} {arguments}")
            }
        }
    }

    #[test]
    fn r15_commands_are_read_alike_in_every_chat() {
        let check = |text: &str, expect: &str| {
            let asked = command(text, false, None);
            assert_eq!(asked.as_ref().map_or("none".into(), shown), expect, "{text}");
        };
        check("/help", "says help");
        check(" /STATUS  now", "says status");
        check("/ack INC-20261120-001", "ack /20261120-1 {}");
        check("/ack@bw_bot shop/inc-20261120-1234", "ack shop/20261120-1234 {}");
        check(
            "/resolve shop/INC-20261120-001 it was\n DNS",
            r#"resolve shop/20261120-1 {"text":"it was\n DNS"}"#,
        );
        check("/silence INC-20261120-001", "silence /20261120-1 {}");
        for (written, minutes) in
            [("1h", 60), ("30m", 30), ("90", 90), ("2D", 2880), ("7d", 10_080)]
        {
            let expect = format!(r#"silence /20261120-1 {{"minutes":{minutes}}}"#);
            check(&format!("/silence INC-20261120-001 {written}"), &expect);
        }
        for none in ["0m", "8d", "-1h", "1w", "h", "1.5h", "99999999999m", "soon"] {
            check(&format!("/silence INC-20261120-001 {none}"), "says no_duration: silence");
        }
        check("/unsilence INC-20261120-001", "unsilence /20261120-1 {}");
        check("/why", "says why");
        check("/why shop/INC-20261120-001", "why shop/20261120-1 {}");
        check("/why not", "says no_incident_named: why");
        check("/status shop/INC-20261120-001", "status shop/20261120-1 {}");
        check("/triage INC-20261120-001", "request_triage /20261120-1 {}");
        check("/useful INC-20261120-001", "useful /20261120-1 {}");
        check("/notuseful INC-20261120-001", "not_useful /20261120-1 {}");
        check("/noise shop/INC-20261120-001", "noise shop/20261120-1 {}");
        check("/handoff INC-20261120-001 dba", r#"handoff /20261120-1 {"to":"dba"}"#);
        check("/handoff INC-20261120-001", "says nothing_said: handoff");
        check("/ack", "says no_incident_named: ack");
        for no_number in [
            "INC-20261120-0",
            "INC-2026112-1",
            "INC-20261120",
            "INC-20261120-+1",
            "INC-20261120-99999999999",
            "Shop/INC-20261120-001",
            "a/b/INC-20261120-001",
            "INC-你好",
        ] {
            check(&format!("/ack {no_number}"), "says no_incident_named: ack");
        }
        check("/reboot the <b>world</b>", "says unknown_command");
        check("/", "says unknown_command");
        check("ack INC-20261120-001", "none");
        check("", "none");
        check("hello /ack INC-20261120-001", "none");
        let addressed = command("ack INC-20261120-001", true, None).unwrap();
        assert_eq!(shown(&addressed), "ack /20261120-1 {}");
    }

    #[test]
    fn i8_a_reply_credential_shows_nothing_and_is_of_a_form() {
        let long = "x".repeat(MAX_CREDENTIAL + 1);
        for none in [None, Some(""), Some("a b"), Some("a\nb"), Some("ä"), Some(long.as_str())] {
            assert_eq!(ReplyCredential::new(none, 60, 2), None);
        }
        let credential = ReplyCredential::new(Some("c-295ee57216a5dc9de90fefd0aadb4b1d"), 60, 2);
        let credential = credential.unwrap();
        assert_eq!(credential.expose(), "c-295ee57216a5dc9de90fefd0aadb4b1d");
        let shown = format!("{credential:?} {credential:#?}");
        assert!(shown.contains("60") && !shown.contains("295ee"), "{shown}");
    }

    #[test]
    fn r15_an_answer_to_a_message_is_about_its_incident() {
        let message = || Some(Target::Message { chat: "lark", id: "om_1".into() });
        let check = |text: &str, expect: &str| {
            assert_eq!(shown(&command(text, false, message()).unwrap()), expect, "{text}");
        };
        check("/ack", "ack lark:om_1 {}");
        check("/silence 2h", r#"silence lark:om_1 {"minutes":120}"#);
        check("/why", "why lark:om_1 {}");
        check("/note it is DNS", r#"note lark:om_1 {"text":"it is DNS"}"#);
        check("/ack INC-20261120-001", "ack /20261120-1 {}");
    }

    #[test]
    fn r17_r36_buttons_are_ours_or_name_an_action_and_an_incident() {
        let input = InputPosition { incarnation: 9, sequence: 4, record: 1 };
        let ours = Button::new("confirm", Lane(2), input.alert(3)).unwrap().to_string();
        let check = |value: Value, expect: &str| {
            assert_eq!(shown(&press(&value)), expect, "{value}");
        };
        check(json!(ours), "confirm 2:9-4-1-3 {}");
        check(json!({"button": ours}), "confirm 2:9-4-1-3 {}");
        check(json!(json!({"button": ours}).to_string()), "confirm 2:9-4-1-3 {}");
        check(json!(json!(ours).to_string()), "confirm 2:9-4-1-3 {}");
        let seed = json!({"action": "confirm_diagnosis", "incident_id": "INC-20240115-001"});
        check(seed.clone(), "confirm /20240115-1 {}");
        check(json!(seed.to_string()), "confirm /20240115-1 {}");
        let mut of_project = seed.clone();
        of_project["project_id"] = json!("shop");
        check(of_project, "confirm shop/20240115-1 {}");
        check(json!({"action": "resolve", "incident_id": 7}), "says no_incident_named: resolve");
        check(json!({"action": "re<b>oot"}), "says unknown_button");
        check(json!("/ack INC-20240115-001"), "ack /20240115-1 {}");
        let deep = (0..9).fold(json!(ours), |value, _| json!(value.to_string()));
        for none in [
            json!(null),
            json!(7),
            json!([]),
            json!({"key": "value"}),
            json!("x"),
            deep,
            json!({"button": {"button": {}}}),
        ] {
            check(none, "says unknown_button");
        }
    }
}
