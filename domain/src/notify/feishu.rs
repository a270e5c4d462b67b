//! The message of a Feishu or Lark custom bot: R40's card, and the plain text in its place.
//!
//! Whatever stands in an alert or an analysis is text: nothing in it becomes markup, a link or a
//! mention (`<at id=all></at>` would ring everybody in the chat).

use jiff::tz::TimeZone;
use schemas::{
    Facts, Level, ProjectId, Time,
    job::{Analysis, SendKind},
};
use serde_json::{Value, json};

use super::render::{analyst, cut, duration, percent, severity, single_line};
use crate::{providers, text::is_hidden};

#[cfg(test)]
mod tests;

/// What a card is made from.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub kind: SendKind,
    pub facts: &'a Facts,
    pub analysis: Option<&'a Analysis>,
    /// The incident's number (`INC-YYYYMMDD-NNN`).
    pub number: &'a str,
    /// The tenant, named where the payload names no project of its own.
    pub project: &'a ProjectId,
    /// When it was decided (lane time): shown where the payload does not say when it happened.
    pub told_at: Time,
    /// The zone that times are shown in.
    pub zone: &'a TimeZone,
}

/// The body of a custom bot's request, without its signature, with a card.
///
/// `text_limit` is how many characters (code points) of each longer text are shown.
pub fn feishu_card(message: &Message<'_>, text_limit: usize) -> Value {
    let card =
        Card { m: message, error: providers::tells_errors(&message.facts.provider), text_limit };
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

struct Card<'a> {
    m: &'a Message<'a>,
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
        match (self.m.kind, level) {
            (SendKind::Resolve, _) => "green",
            (_, Some(Level::Warning)) => "yellow",
            (_, Some(Level::Info)) => "blue",
            (_, Some(Level::Error | Level::Fatal) | None) => "red",
        }
    }

    fn title(&self) -> String {
        let provider = match self.error {
            true => "网站服务".to_owned(),
            false => single_line(&self.m.facts.provider, cut::WORD).to_uppercase(),
        };
        let severity = severity(self.m.facts).unwrap_or_default();
        let (project, environment) = (self.project(), self.environment());
        let end = match self.m.kind {
            SendKind::Fire
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => "出现异常",
            SendKind::Resolve => "已恢复",
        };
        format!("【{provider}{severity}】 {project}项目在{environment}环境{end}")
    }

    fn elements(&self) -> Vec<Value> {
        let mut elements = vec![self.fields(), text(self.body())];
        elements.extend(self.analysis().map(text));
        let url = self.m.facts.url.as_deref().filter(|url| is_web(url));
        elements.extend(url.map(|url| self.button(url)));
        elements.push(json!({ "tag": "hr" }));
        elements.push(self.note(url.and_then(origin)));
        elements
    }

    fn fields(&self) -> Value {
        let field =
            |short: bool, content: String| json!({ "is_short": short, "text": lark_md(content) });
        let when = match self.m.kind {
            SendKind::Fire
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => "时间",
            SendKind::Resolve => "恢复时间",
        };
        let id = self.m.facts.issue_id.as_deref().unwrap_or(self.m.number);
        json!({
            "fields": [
                field(true, format!("**🕐 {when}：**\n{}", self.time())),
                field(true, format!("**📋 项目：**\n{}", escape(&self.project()))),
                field(false, String::new()),
                field(true, format!("**📍 部署环境：**\n{}", escape(&self.environment()))),
                field(true, format!("**🔢 事件 ID：**\n{}", line(id))),
                field(false, String::new()),
            ],
            "tag": "div",
        })
    }

    /// What is wrong; of what is over only as much as is needed to know it again.
    fn body(&self) -> String {
        let facts = self.m.facts;
        let (headline, value) = self.headline();
        let mut body = format!("**{headline}**");
        if let Some(value) = value {
            body.push_str(&format!("\n{value}"));
        }
        match self.m.kind {
            SendKind::Fire
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => {
                let message = facts.message.as_deref().filter(|text| !text.trim().is_empty());
                // R5: where there is no message, the title stands for it.
                let message = message.or(self.error.then_some(&facts.title));
                if let Some(message) = message {
                    body.push_str(&format!("\n\n**Message: **\n{}", self.block(message)));
                }
            }
            SendKind::Resolve => {
                if let Some(duration) = duration(facts) {
                    body.push_str(&format!("\n**⏱️ 持续：** {duration}"));
                }
                body.push_str(&format!("\n**🆔 编号：** {}", line(self.m.number)));
            }
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
        let analysis = match self.m.kind {
            SendKind::Fire
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => self.m.analysis?,
            SendKind::Resolve => return None,
        };
        Some(format!(
            "**🧠 {} 分析（信心：{}%）**\n{}\n**💡 建议：**\n{}\n**🆔 编号：** {}",
            escape(&analyst(analysis)),
            percent(analysis.confidence),
            line(&analysis.root_cause),
            line(&analysis.fix_suggestion),
            line(self.m.number),
        ))
    }

    fn button(&self, url: &str) -> Value {
        let (label, style) = match self.m.kind {
            SendKind::Fire
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => ("开始处理", "primary"),
            SendKind::Resolve => ("查看详情", "default"),
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
        let name = match self.error {
            true => format!("来自{title}日志平台"),
            false => format!("来自{title}告警平台"),
        };
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
        let stated = match self.m.kind {
            SendKind::Fire
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => facts.started_at.filter(|at| facts.first_seen != Some(*at)),
            SendKind::Resolve => facts.ended_at,
        };
        let time = stated.unwrap_or(self.m.told_at).timestamp().to_zoned(self.m.zone.clone());
        time.strftime("%Y-%m-%d %H:%M:%S").to_string()
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

/// A provider as people write it.
fn provider_title(name: &str) -> String {
    match providers::by_name(name) {
        Some(provider) => provider.title().to_owned(),
        None => single_line(name, cut::WORD),
    }
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
