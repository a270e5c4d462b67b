//! Texts as receivers take them: in parts, cut by the unit the receiver counts in, and with links to
//! the web only.

use std::borrow::Cow;

use reqwest::Url;
use schemas::job::SendKind;

use super::Notification;

/// Stands where something was cut off.
pub const MARK: char = '…';

/// The head of `text` that counts at most `limit`, with [`MARK`] at its end where something is
/// missing. `units` is what the receiver counts a character as; no character is cut in two.
pub fn cut(text: &str, limit: usize, units: impl Fn(char) -> usize) -> Cow<'_, str> {
    let room = limit.saturating_sub(units(MARK));
    let (mut used, mut end) = (0, 0);
    for (at, c) in text.char_indices() {
        used += units(c);
        if used > limit {
            return Cow::Owned(format!("{}{MARK}", &text[..end]));
        }
        if used <= room {
            end = at + c.len_utf8();
        }
    }
    Cow::Borrowed(text)
}

/// A flat text in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Its first line that says something.
    pub headline: &'a str,
    /// What stands below it, where the text draws rules: between them.
    pub sections: Vec<String>,
}

/// Takes a flat text apart at the lines that are drawn.
pub fn parts(text: &str) -> Parts<'_> {
    let mut lines = text.lines().map(str::trim_end);
    let headline = lines.find(|line| !line.is_empty() && !is_rule(line)).unwrap_or_default();
    let mut sections = vec![Vec::new()];
    for line in lines {
        if is_rule(line) {
            sections.push(Vec::new());
        } else if let Some(section) = sections.last_mut() {
            section.push(line);
        }
    }
    let sections = sections.iter().map(|lines| lines.join("\n").trim_matches('\n').to_owned());
    Parts { headline, sections: sections.filter(|section| !section.is_empty()).collect() }
}

/// A line that is drawn, not written.
fn is_rule(line: &str) -> bool {
    let drawn = |c: char| matches!(c, '─' | '━' | '═' | '—' | '-' | '=');
    line.chars().count() >= 3 && line.chars().all(drawn)
}

/// The sender's page of an incident, where it is on the web, with what stands for it.
pub fn link(n: &Notification) -> Option<(Url, String)> {
    match n.kind {
        SendKind::Fire | SendKind::Resolve | SendKind::Update | SendKind::Remind => {}
        // Not about one alert.
        SendKind::Summary | SendKind::Test | SendKind::Reply => return None,
    }
    let url = Url::parse(n.facts.url.as_deref()?).ok()?;
    let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"))?.to_owned();
    Some((url, format!("🔗 {host}")))
}

/// Chat and message of `<chat>/<message>`, as messages are called where ids are unique within a
/// chat only.
pub fn place(message: &str) -> Option<(&str, &str)> {
    message.rsplit_once('/').filter(|(chat, id)| !chat.is_empty() && !id.is_empty())
}

/// Where a reply goes: the chat, and the message it answers. None for what is no reply.
///
/// # Errors
/// Where it cannot be answered in this provider's chats.
pub fn asked<'a>(
    n: &'a Notification,
    provider: &str,
) -> Result<Option<(&'a str, Option<&'a str>)>, String> {
    let Some(reply) = &n.reply else { return Ok(None) };
    if reply.to.provider != provider {
        return Err(format!("it answers a question that was not asked in {provider}"));
    }
    let chat = reply.to.chat.as_deref().ok_or("the question names no chat to answer in")?;
    // Either its id, or its id behind its chat's.
    let message = reply.to.message.as_deref();
    let message = message.map(|message| place(message).map_or(message, |(_, id)| id));
    Ok(Some((chat, message)))
}

#[cfg(test)]
mod tests {
    use schemas::{
        InputPosition, SourceId,
        job::{Reply, ReplyTo},
    };

    use super::*;
    use crate::channels::tests::notification;

    #[test]
    fn a6_cut_between_characters_in_the_receivers_unit() {
        let bytes = char::len_utf8;
        for (text, limit, expect) in [
            ("abcd", 4, "abcd"),
            ("abcde", 4, "a…"),
            ("界界", 6, "界界"),
            ("界界界", 8, "界…"),
            ("界界", 5, "…"),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, limit, bytes), expect, "{text} {limit}");
        }
        assert_eq!(cut("🦀🦀🦀", 5, char::len_utf16), "🦀🦀…");
        assert_eq!(cut("&&&", 2, |_| 1), "&…");
    }

    #[test]
    fn a_text_is_taken_apart_at_its_rules() {
        let text = "═══\n❌ SENTRY ERROR 告警\n═══\n📦 a\n\n🔖 b\n───\n🆔 c\n";
        let expect = Parts {
            headline: "❌ SENTRY ERROR 告警",
            sections: vec!["📦 a\n\n🔖 b".into(), "🆔 c".into()],
        };
        assert_eq!(parts(text), expect);
        assert_eq!(parts("one line"), Parts { headline: "one line", sections: vec![] });
        assert_eq!(parts("a\n--\nb").sections, ["--\nb"]);
        assert_eq!(parts("").headline, "");
    }

    #[test]
    fn only_the_web_is_linked_to() {
        let check = |url: &str, expect: Option<&str>| {
            let mut n = notification();
            n.facts.url = Some(url.to_owned());
            assert_eq!(link(&n).map(|(url, label)| format!("{url} {label}")).as_deref(), expect);
        };
        check("https://a.example/x y", Some("https://a.example/x%20y 🔗 a.example"));
        check("HTTP://A.example", Some("http://a.example/ 🔗 a.example"));
        for url in ["javascript:alert(1)", "ftp://a.example", "file:///etc/passwd", "a", ""] {
            check(url, None);
        }
        assert_eq!(link(&notification()), None);
        let mut n = Notification { kind: SendKind::Reply, ..notification() };
        n.facts.url = Some("https://a.example".into());
        assert_eq!(link(&n), None);
    }

    #[test]
    fn a_reply_goes_to_where_it_was_asked() {
        let n = |provider: &str, chat: Option<&str>, message: Option<&str>| Notification {
            reply: Some(Reply {
                to: ReplyTo {
                    provider: provider.into(),
                    source: SourceId::new("team").unwrap(),
                    chat: chat.map(str::to_owned),
                    message: message.map(str::to_owned),
                    at: InputPosition { incarnation: 7, sequence: 1, record: 0 }.whole(),
                    ours: false,
                },
                verb: "ack".into(),
                arguments: "{}".into(),
                actor: "ada".into(),
                refused: None,
            }),
            ..notification()
        };
        assert_eq!(asked(&notification(), "slack"), Ok(None));
        let there = n("slack", Some("C1"), Some("C1/17.4"));
        assert_eq!(asked(&there, "slack"), Ok(Some(("C1", Some("17.4")))));
        let there = n("slack", Some("C1"), Some("17.4"));
        assert_eq!(asked(&there, "slack"), Ok(Some(("C1", Some("17.4")))));
        assert_eq!(asked(&n("slack", Some("C1"), None), "slack"), Ok(Some(("C1", None))));
        assert!(asked(&there, "telegram").unwrap_err().contains("not asked in telegram"));
        assert!(asked(&n("slack", None, None), "slack").unwrap_err().contains("no chat"));
    }
}
