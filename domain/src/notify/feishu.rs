//! The message of a Feishu or Lark custom bot: R40's card, and the plain text in its place.
//!
//! Whatever stands in an alert or an analysis is text: nothing in it becomes markup, a link or a
//! mention (`<at id=all></at>` would ring everybody in the chat).

use schemas::{Level, job::SendKind};
use serde_json::{Value, json};

use super::{
    format::{self, Frame, Language, Message, Words, fill},
    render::{analyst, cut, duration, percent, provider_title, root_cause, severity, single_line},
};
use crate::{providers, text::is_hidden};

#[cfg(test)]
mod tests;

/// The body of a custom bot's request, without its signature, with a card.
///
/// `text_limit` is how many characters (code points) of each longer text are shown.
pub fn feishu_card(message: &Message<'_>, text_limit: usize) -> Value {
    let words = message.words(Language::SimplifiedChinese);
    if let Some(notice) = notice(message, words) {
        return notice_card(&notice);
    }
    let card = Card {
        m: message,
        words,
        error: providers::tells_errors(&message.facts.provider),
        text_limit,
    };
    json!({
        "msg_type": "interactive",
        "card": {
            "config": { "wide_screen_mode": true, "enable_forward": true },
            "header": {
                "template": card.colour(),
                "title": { "content": card.title(), "tag": "plain_text" },
            },
            "elements": card.elements(),
        },
    })
}

/// The body of a custom bot's request, without its signature, with `text` and no markup.
///
/// A text message has no escape for its one tag, `<at>`, so no `<` is left in it.
pub fn feishu_text(text: &str) -> Value {
    json!({ "msg_type": "text", "content": { "text": text.replace('<', "＜") } })
}

/// The text of a message that is no alert or is written by an operator: its first line is the
/// headline.
fn notice(message: &Message<'_>, words: &Words) -> Option<String> {
    let frame = Frame { bar: "", rule: "" };
    if let Some(written) = message.written {
        return Some(written.to_owned());
    }
    match message.kind {
        SendKind::Summary => Some(format::summary(message, message.summary?, words, frame)),
        SendKind::Test => Some(format::test(message, words, frame)),
        SendKind::Reply => Some(format::reply(message, message.reply?, words)),
        SendKind::Fire | SendKind::Resolve | SendKind::Update | SendKind::Remind => None,
    }
}

fn notice_card(notice: &str) -> Value {
    let mut lines = notice.lines().filter(|line| !line.is_empty());
    let title = lines.next().unwrap_or_default();
    let mut body: Vec<String> = lines.map(escape).collect();
    if body.is_empty() {
        // A card has to have something below its headline.
        body.push(escape(title));
    }
    json!({
        "msg_type": "interactive",
        "card": {
            "config": { "wide_screen_mode": true, "enable_forward": true },
            "header": {
                "template": "blue",
                "title": { "content": title, "tag": "plain_text" },
            },
            "elements": [text(body.join("\n"))],
        },
    })
}

struct Card<'a> {
    m: &'a Message<'a>,
    words: &'static Words,
    /// The alert is an error of a program.
    error: bool,
    text_limit: usize,
}

impl Card<'_> {
    /// R40: by the sender's word for an error. Others have other words (R67): by what they mean.
    fn colour(&self) -> &'static str {
        let facts = self.m.facts;
        let level = match &facts.severity_raw {
            Some(word) if self.error => Level::from_word(&word.trim().to_ascii_lowercase()),
            Some(_) | None => facts.level,
        };
        match (self.m.is_over(), level) {
            (true, _) => "green",
            (false, Some(Level::Warning)) => "yellow",
            (false, Some(Level::Info)) => "blue",
            (false, Some(Level::Error | Level::Fatal) | None) => "red",
        }
    }

    fn title(&self) -> String {
        let provider = match self.error {
            true => self.words.card_errors.to_owned(),
            false => single_line(&self.m.facts.provider, cut::WORD).to_uppercase(),
        };
        let over = self.m.is_over();
        let end = if over { self.words.card_recovered } else { self.words.card_wrong };
        let slots = [
            ("provider", &*provider),
            ("severity", &severity(self.m.facts).unwrap_or_default()),
            ("project", &self.project()),
            ("environment", &self.environment()),
            ("end", end),
        ];
        fill(self.words.card_title, &slots)
    }

    fn elements(&self) -> Vec<Value> {
        let mut elements = vec![self.fields(), text(self.body())];
        elements.extend(self.analysis().map(text));
        elements.extend(self.changes().map(text));
        let url = self.m.facts.url.as_deref().filter(|url| is_web(url));
        elements.extend(url.map(|url| self.button(url)));
        elements.push(json!({ "tag": "hr" }));
        elements.push(self.note(url.and_then(origin)));
        elements
    }

    fn fields(&self) -> Value {
        let field =
            |short: bool, content: String| json!({ "is_short": short, "text": lark_md(content) });
        let words = self.words;
        let over = self.m.is_over();
        let when = if over { words.card_recovered_at } else { words.card_time };
        let id = self.m.facts.issue_id.as_deref().unwrap_or(self.m.number);
        json!({
            "fields": [
                field(true, self.named("🕐", when, &self.time())),
                field(true, self.named("📋", words.card_project, &escape(&self.project()))),
                field(false, String::new()),
                field(true, self.named("📍", words.card_environment, &escape(&self.environment()))),
                field(true, self.named("🔢", words.card_id, &line(id))),
                field(false, String::new()),
            ],
            "tag": "div",
        })
    }

    /// A name in bold, and a text below it.
    fn named(&self, mark: &str, name: &str, text: &str) -> String {
        format!("**{mark} {name}{}**\n{text}", self.words.colon)
    }

    /// What is wrong; of what is over only as much as is needed to know it again.
    fn body(&self) -> String {
        let facts = self.m.facts;
        let (headline, value) = self.headline();
        let mut body = format!("**{headline}**");
        if let Some(value) = value {
            body.push_str(&format!("\n{value}"));
        }
        if self.m.is_over() {
            let words = self.words;
            if let Some(duration) = duration(facts) {
                let (name, colon) = (words.card_lasted, words.colon);
                body.push_str(&format!("\n**⏱️ {name}{colon}** {duration}"));
            }
            let (name, colon) = (words.card_number, words.colon);
            body.push_str(&format!("\n**🆔 {name}{colon}** {}", line(self.m.number)));
            return body;
        }
        let message = facts.message.as_deref().filter(|text| !text.trim().is_empty());
        // R5: where there is no message, the title stands for it.
        if let Some(message) = message.or(self.error.then_some(&facts.title)) {
            body.push_str(&format!("\n\n**Message: **\n{}", self.block(message)));
        }
        body
    }

    /// What kind of thing it is and where; of an error, which names a type, also what it says.
    fn headline(&self) -> (String, Option<String>) {
        let facts = self.m.facts;
        if !self.error {
            let place = facts.target.as_deref().unwrap_or_default();
            return (join(&[&line(&facts.title), &line(place)]), None);
        }
        // An error's title is `type: value`; without a type the alert is named by its title.
        let kind = facts.alertname.as_deref().filter(|name| *name != facts.title).unwrap_or("");
        let rest = facts.title.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':'));
        let value = rest.filter(|_| !kind.is_empty()).map_or(facts.title.as_str(), str::trim_start);
        let place = facts.culprit.as_deref().unwrap_or_default();
        (join(&[&line(kind), &line(place)]), Some(self.block(value)))
    }

    fn analysis(&self) -> Option<String> {
        let analysis = self.m.analysis.filter(|_| !self.m.is_over())?;
        let words = self.words;
        let share = percent(analysis.confidence).to_string();
        let slots = [("analyst", &*escape(&analyst(analysis))), ("percent", &share)];
        Some(format!(
            "**🧠 {}**\n{}\n**💡 {}{colon}**\n{}\n**🆔 {}{colon}** {}",
            fill(words.card_analysis, &slots),
            escape(&root_cause(analysis, words, cut::FIELD)),
            words.card_suggestion,
            line(&analysis.fix_suggestion),
            words.card_number,
            line(self.m.number),
            colon = words.colon,
        ))
    }

    /// What makes it more than a first message, and what was done since.
    fn changes(&self) -> Option<String> {
        let (m, words) = (self.m, self.words);
        let mut lines: Vec<String> = [
            format::tags(m, words),
            format::came_back(m, words),
            format::reminder(m, words),
            format::raised(m, words),
        ]
        .into_iter()
        .flatten()
        .collect();
        let standing = format::standing(m, words);
        let numbered = m.analysis.is_some() || m.is_over();
        if !standing.is_empty() && !numbered {
            lines.push(format!("🆔 {}: {}", words.card_number, m.number));
        }
        lines.extend(standing);
        let lines: Vec<String> = lines.iter().map(|line| escape(line)).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn button(&self, url: &str) -> Value {
        let (label, style) = match self.m.is_over() {
            false => (self.words.card_start, "primary"),
            true => (self.words.card_show, "default"),
        };
        json!({
            "actions": [{
                "tag": "button",
                "text": { "content": label, "tag": "plain_text" },
                "type": style,
                "url": url,
                "value": { "key": "value" },
            }],
            "tag": "action",
        })
    }

    fn note(&self, origin: Option<String>) -> Value {
        let title = escape(&provider_title(&self.m.facts.provider));
        let from = match self.error {
            true => self.words.card_from_errors,
            false => self.words.card_from_alerts,
        };
        let name = fill(from, &[("provider", &title)]);
        let content = origin.map_or_else(|| name.clone(), |origin| format!("[{name}]({origin})"));
        json!({ "elements": [lark_md(content)], "tag": "note" })
    }

    fn project(&self) -> String {
        let facts = self.m.facts;
        let stated = match self.error {
            true => facts.sender_project.as_deref(),
            false => [&facts.sender_project, &facts.service, &facts.namespace]
                .into_iter()
                .find_map(|text| text.as_deref()),
        };
        let stated = single_line(stated.unwrap_or_default(), cut::FIELD);
        if stated.is_empty() { self.m.project.to_string() } else { stated }
    }

    fn environment(&self) -> String {
        let stated = self.m.facts.environment.as_deref().unwrap_or_default();
        let stated = single_line(stated, cut::FIELD);
        if stated.is_empty() { "UNKNOWN".to_owned() } else { stated }
    }

    /// When it happened. An old issue's first occurrence is no news: what came back is shown with
    /// the time it was heard of.
    fn time(&self) -> String {
        let facts = self.m.facts;
        let stated = match self.m.is_over() {
            false => facts.started_at.filter(|at| facts.first_seen != Some(*at)),
            true => facts.ended_at,
        };
        self.m.local(stated.unwrap_or(self.m.told_at))
    }

    /// A text of several lines, cut and escaped.
    fn block(&self, text: &str) -> String {
        let mut shown = text.trim().chars().filter(|c| *c == '\n' || *c == '\t' || !is_hidden(*c));
        let mut head: String = shown.by_ref().take(self.text_limit).collect();
        if shown.next().is_some() {
            head.push('…');
        }
        escape(&head)
    }
}

/// The words that are there, with a space between them.
fn join(words: &[&str]) -> String {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn text(content: String) -> Value {
    json!({ "tag": "div", "text": lark_md(content) })
}

fn lark_md(content: String) -> Value {
    json!({ "content": content, "tag": "lark_md" })
}

/// One line of foreign text, cut and escaped.
fn line(text: &str) -> String {
    escape(&single_line(text, cut::FIELD))
}

/// Foreign text for `lark_md`, which shows HTML character references as what they stand for.
///
/// What begins markup, a link or a tag is written as a reference; so is an ampersand that would
/// begin one, lest `&lt;` be shown as something else than it was.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let special = match c {
            '*' | '~' | '<' | '>' | '[' | ']' | '`' => true,
            '&' => is_reference(&text[at + 1..]),
            _ => false,
        };
        if special {
            escaped.push_str(&format!("&#{};", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// True for a character reference such as `#60;` or `lt;` after its ampersand.
fn is_reference(rest: &str) -> bool {
    let name = rest.strip_prefix('#').unwrap_or(rest);
    let length = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
    (1..=32).contains(&length) && name[length..].starts_with(';')
}

fn is_web(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, rest)| {
        (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
            && !rest.is_empty()
    })
}

/// `scheme://host[:port]/` of a page. None for a host that could end the link it is put into.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    // Before an @ there may be a password.
    let host = authority.rsplit('@').next()?;
    let plain = |c: char| c.is_alphanumeric() || ".-_:[]".contains(c);
    let scheme = scheme.to_ascii_lowercase();
    (!host.is_empty() && host.chars().all(plain)).then(|| format!("{scheme}://{host}/"))
}
