//! WeCom's group robot: the text as it is rendered for WeCom, or as markdown where it is too long
//! for a text (developer.work.weixin.qq.com, "Group robot configuration").
//!
//! The robot answers 200 to nearly everything; what became of a message stands in `errcode`. It
//! gives no message id and knows no repeat. Limits are in bytes of UTF-8, of which most characters
//! here have three.

use domain::notify::{Language, Message, wecom_text};
use schemas::job::SendKind;
use serde_json::{Value, json};

use super::{
    Channel, Form, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt, is_said,
    robot, text,
};
use crate::config::Target;

#[cfg(test)]
mod tests;

/// The longest text and the longest markdown, in bytes.
const MAX_TEXT: usize = 2_048;
const MAX_MARKDOWN: usize = 4_096;

/// A text that stands in for a refused one is short.
const MAX_PLAIN: usize = 1_024;

/// POSTs texts.
pub struct WecomRobot;

impl Channel for WecomRobot {
    fn kind(&self) -> &'static str {
        "wecom-robot"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "url",
                need: Need::Must,
                form: Form::Address,
                remedy: "set it to the robot's webhook address, with its key",
            },
            Key {
                name: "mention",
                need: Need::May,
                form: Form::Texts { what: "one of these is nobody", fits: is_said },
                remedy: "list user ids, or @all",
            },
            Key {
                name: "mention_mobiles",
                need: Need::May,
                form: Form::Texts { what: "one of these is no number of a phone", fits: is_mobile },
                remedy: "list the numbers as they are in WeCom, like 13800001111",
            },
        ]
    }

    fn check(&self, target: &Target) -> Result<(), (&'static str, String, &'static str)> {
        robot::check(target, "key")
    }

    fn can_edit(&self, _: &Target) -> bool {
        false
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn rate(&self) -> Rate {
        robot::RATE
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let (users, mobiles) = rung(n, target);
        let rendered = wecom_text(&n.message(&n.shown_number()));
        let text = without_tags(&rendered);
        // Only a text rings people.
        if text.len() <= MAX_TEXT || !users.is_empty() || !mobiles.is_empty() {
            return post(&as_text(&text, MAX_TEXT, users, mobiles), target);
        }
        let content =
            text::cut(&without_markup(&rendered), MAX_MARKDOWN, char::len_utf8).into_owned();
        post(&json!({ "msgtype": "markdown", "markdown": { "content": content } }), target)
    }

    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let (users, mobiles) = rung(n, target);
        let text = wecom_text(&n.message(&n.shown_number()));
        post(&as_text(&without_tags(&text), MAX_PLAIN, users, mobiles), target)
    }

    fn text(&self, message: &Message<'_>) -> String {
        wecom_text(message)
    }

    fn language(&self) -> Language {
        Language::SimplifiedChinese
    }

    fn outcome(&self, response: &Response) -> Verdict {
        robot::outcome(response, by_code)
    }
}

/// What a code other than 0 means: the robot has not taken the message.
fn by_code(code: i64, said: &str) -> Verdict {
    let reason = format!("errcode {code}: {}", excerpt(said));
    let advice = |advice: &str| Verdict::Refused(format!("{reason} ({advice})"));
    match code {
        -1 => Verdict::Retry { after: None, pause_target: false, reason },
        45009 | 45033 => Verdict::Retry { after: None, pause_target: true, reason },
        93000 => advice("the url's key is wrong, or the robot was removed: set the channel's url"),
        93004 | 93008 => advice("the robot is not in the group any more: set another robot's url"),
        60020 => advice("this machine's address is not on the list of trusted addresses"),
        // 40058, 40008, 44004, 45002, and whatever else it has against how a message is put.
        _ => Verdict::TryPlain(reason),
    }
}

fn as_text(text: &str, limit: usize, users: &[String], mobiles: &[String]) -> Value {
    let mut body = json!({
        "msgtype": "text",
        "text": { "content": text::cut(text, limit, char::len_utf8) },
    });
    for (name, all) in [("mentioned_list", users), ("mentioned_mobile_list", mobiles)] {
        if !all.is_empty() {
            body["text"][name] = json!(all);
        }
    }
    body
}

/// Whom the message rings: those the channel names, of what fires, or still does and nobody has it.
fn rung<'a>(n: &Notification, target: &'a Target) -> (&'a [String], &'a [String]) {
    match n.kind {
        SendKind::Fire | SendKind::Remind => {
            (target.texts("mention"), target.texts("mention_mobiles"))
        }
        SendKind::Resolve
        | SendKind::Update
        | SendKind::Summary
        | SendKind::Test
        | SendKind::Reply => (&[], &[]),
    }
}

/// The text without what WeCom would read as a mention (`<@user>`) or a tag: it has no escape for
/// them, so the bracket that begins one is written as a letter that looks like it.
fn without_tags(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let begins = |next: &char| next.is_ascii_alphabetic() || matches!(next, '@' | '/' | '!');
        match c {
            '<' if rest.peek().is_some_and(begins) => shown.push('＜'),
            c => shown.push(c),
        }
    }
    shown
}

/// The same without anything that is markup in WeCom's markdown, which has no escape either.
fn without_markup(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (i, line) in text.lines().enumerate() {
        if i > 0 {
            shown.push('\n');
        }
        let mut begun = false;
        for c in line.chars() {
            shown.push(match c {
                '<' => '＜',
                '[' => '［',
                ']' => '］',
                '*' => '＊',
                '`' => '｀',
                '#' if !begun => '＃',
                '>' if !begun => '＞',
                c => c,
            });
            begun |= !c.is_whitespace();
        }
    }
    shown
}

fn is_mobile(text: &str) -> bool {
    text == "@all"
        || ((5..=20).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-')))
}

fn post(body: &Value, target: &Target) -> Result<Request, String> {
    Ok(Request::post_json(target.url()?.clone(), body))
}
