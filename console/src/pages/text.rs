//! How values read on a page: ages, clock times, numbers, and senders' text made harmless.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use schemas::Time;

use super::words::Words;

/// HTML that is escaped already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

impl Html {
    /// Text, escaped.
    pub fn text(text: &str) -> Self {
        let mut html = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                _ => html.push(c),
            }
        }
        Self(html)
    }

    /// A message with its slots filled.
    pub fn fill(message: &str, slots: &[(&str, Self)]) -> Self {
        let mut html = String::new();
        let mut rest = message;
        while let Some((before, after)) = rest.split_once('{') {
            html.push_str(&Self::text(before).0);
            let (name, tail) = after.split_once('}').unwrap_or((after, ""));
            let slot = slots.iter().find(|(slot, _)| *slot == name);
            html.push_str(slot.map_or("", |(_, value)| &value.0));
            rest = tail;
        }
        html.push_str(&Self::text(rest).0);
        Self(html)
    }

    /// A number that may change in place.
    pub fn number(n: i64) -> Self {
        Self(format!("<b class=\"v\">{}</b>", thousands(n)))
    }

    /// How long ago, counting on: exact to the second below an hour, a date from a day on.
    pub fn age(at: Time, now: Time, words: &Words) -> Self {
        let (stamp, title) = stamps(at);
        let text = match now.micros_since(at) / 1_000_000 {
            seconds if seconds >= 86_400 => title[..10].to_owned(),
            seconds => span(seconds.max(0), words),
        };
        Self(format!("<time data-age datetime=\"{stamp}\" title=\"{title}\">{text}</time>"))
    }

    /// The time of day.
    pub fn clock(at: Time) -> Self {
        let (stamp, title) = stamps(at);
        let text = &title[11..19];
        Self(format!("<time data-clock datetime=\"{stamp}\" title=\"{title}\">{text}</time>"))
    }

    /// The one number of the page.
    pub fn lead(n: i64) -> Self {
        Self(format!("<strong class=\"one v\">{}</strong>", thousands(n)))
    }

    /// Text of a sender, in its own direction.
    pub fn foreign(text: &str) -> Self {
        Self(format!("<bdi dir=\"auto\">{}</bdi>", Self::text(&visible(text))))
    }
}

/// For machines, and for people to the millisecond.
fn stamps(at: Time) -> (String, String) {
    let stamp = at.timestamp();
    (format!("{stamp:.3}"), stamp.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string())
}

/// A length of time in words.
pub fn span(seconds: i64, words: &Words) -> String {
    let (n, h) = (seconds / 60, seconds / 3600);
    match seconds {
        ..60 => words.age_s.replace("{n}", &seconds.to_string()),
        60..3600 => words.age_m.replace("{n}", &n.to_string()),
        _ if n % 60 == 0 => words.age_hours.replace("{n}", &h.to_string()),
        _ => {
            let minutes = format!("{:02}", n % 60);
            words.age_h.replace("{h}", &h.to_string()).replace("{m}", &minutes)
        }
    }
}

/// With a comma at each thousand.
pub fn thousands(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::from(if n < 0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The first `longest` characters.
pub fn cut(text: &str, longest: usize) -> &str {
    text.char_indices().nth(longest).map_or(text, |(end, _)| &text[..end])
}

/// Characters that would act instead of being seen become readable: control characters as their
/// pictures, characters that reorder or hide text as their code point.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.push(' '),
            '\0'..='\u{1f}' => shown.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{7f}' => shown.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => {
                // Writing into a string cannot fail.
                let _ = write!(shown, "[U+{:04X}]", u32::from(c));
            }
            _ => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::ALL;

    #[test]
    fn foreign_text_is_only_ever_text() {
        let html = Html::foreign("<img onerror=\"x\"> \u{202e}evil\u{0} 'a' & b").to_string();
        assert_eq!(
            html,
            "<bdi dir=\"auto\">&lt;img onerror=&quot;x&quot;&gt; [U+202E]evil\u{2400} &#39;a&#39; \
             &amp; b</bdi>"
        );
    }

    #[test]
    fn slots_are_filled_and_the_rest_is_escaped() {
        let html =
            Html::fill("{n} < {t}, {unknown}.", &[("n", Html::text("1")), ("t", Html::text("&"))]);
        assert_eq!(html.to_string(), "1 &lt; &amp;, .");
    }

    #[test]
    fn lengths_and_numbers_are_short() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 m"),
            (3599, "59 m"),
            (3600, "1 h"),
            (7440, "2 h 04 m"),
        ] {
            assert_eq!(span(seconds, ALL[0]), text);
        }
        for (n, text) in [(0, "0"), (999, "999"), (1_204_331, "1,204,331"), (-1000, "-1,000")] {
            assert_eq!(thousands(n), text);
        }
        let at = Time::from_micros(1_763_683_200_000_000);
        let age = Html::age(at, at.plus_seconds(660), ALL[0]).to_string();
        assert!(age.contains("2025-11-21T00:00:00.000Z") && age.ends_with(">11 m</time>"), "{age}");
        let age = Html::age(at, at.plus_seconds(90_000), ALL[0]).to_string();
        assert!(age.ends_with(">2025-11-21</time>"), "{age}");
    }
}
