//! Plain text of what a model wrote: no links, mentions, markup, commands or invisible characters.
//!
//! Chat clients make more clickable than is written as a link, and read what is written in
//! full-width or mathematical letters as well. So everything is looked for in a folded copy, where
//! such letters are plain ones, and taken out of the text itself, whose own punctuation stays.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use crate::{providers::is_command, text::is_hidden};

#[expect(clippy::expect_used, reason = "constant patterns; a test uses each")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// `[text](url)`, `![text](url)` and `<url|text>`: the text stays.
static LINK_WITH_TEXT: LazyLock<[Regex; 2]> = LazyLock::new(|| {
    [pattern(r"!?\[([^\[\]]*)\]\([^()\s]*\)"), pattern(r"<[^<>|\s]+\|([^<>|]*)>")]
});

/// `<at id=all>`, `<!channel>`, `<@U1>`, `<#C1>`, `</b>`, `<!-- -->`, `<|im_end|>`.
static TAG: LazyLock<Regex> = LazyLock::new(|| pattern(r"<[/!@#|A-Za-z][^<>]*>"));

/// Addresses with a scheme.
static LINKS: LazyLock<[Regex; 2]> = LazyLock::new(|| {
    [
        pattern(r"(?i)[a-z0-9+.-]{0,21}:/{2}[!-~]*"),
        pattern(r"(?i)(?:mailto|(?:java|vb)script|(?-u:\b)(?:data|tel|sms|magnet)):[!-~]+"),
    ]
});

/// Names with dots in them.
static DOTTED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+"));

/// Last parts of names that chat clients make clickable by themselves. Not all there are: most
/// file endings are domains as well.
const CLICKABLE: [&str; 20] = [
    "com", "net", "org", "info", "biz", "xyz", "top", "io", "co", "me", "ru", "cn", "tw", "app",
    "dev", "link", "site", "online", "shop", "click",
];

/// The dot of a host whose name is in another script than Latin.
static FOREIGN_DOT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?i)[^\x00-\x7F](\.)(?:{})\b", CLICKABLE.join("|"))));

/// Emphasis, code marks and headings of Markdown.
static MARKS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^[ \t]*#{1,6}[ \t]+|```[a-zA-Z]*|`|\*\*|~~"));

/// Characters written as entities of HTML.
static ENTITY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{2,6}));"));

/// `/word` where a chat would make a command of it.
static COMMAND: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:^|[^\p{L}\p{N}_/<>])(/)(?<word>[A-Za-z_]{2,20})(?:\.[^A-Za-z]|\.$|[^A-Za-z_/.]|$)")
});

/// Rounds of cleaning before everything that links and tags are made of is taken out at once.
const ROUNDS_MAX: usize = 20;

/// Links within texts of links that are taken apart in one round.
const NESTED_MAX: usize = 4;

/// Plain text, without empty lines and without blanks at the ends of lines.
pub fn clean(text: &str) -> String {
    let mut text = shown(text);
    // Taking one thing out can put another together, so until nothing changes.
    for round in 0.. {
        let mut next = shown(&without_entities(&text));
        for link in LINK_WITH_TEXT.iter() {
            // Before the addresses go, and links within texts of links with them.
            for _ in 0..NESTED_MAX {
                let Cow::Owned(less) = link.replace_all(&next, "$1") else { break };
                next = less;
            }
        }
        next = without(&next, &TAG);
        for link in LINKS.iter() {
            next = without(&next, link);
        }
        next = without_commands(&without_hosts(&next));
        next = without_first(&next, &FOREIGN_DOT, |_| true);
        next = MARKS.replace_all(&next, "").replace(['@', '＠', '﹫'], "");
        if next == text {
            break;
        }
        if round > ROUNDS_MAX {
            next.retain(|c| !"<>[]()/:.&".contains(unfold(c)));
        }
        text = next;
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Without what is not shown but changes what is. Joiners and variation selectors stay behind
/// characters that are made with them, which those of ASCII are not.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        let c = match c {
            '\n' => '\n',
            '\t' | '\r' => ' ',
            c if is_hidden(c) || is_blank(c) => continue,
            '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}' if before.is_ascii() => {
                continue;
            }
            // A stroke through the colon of an address.
            '\u{300}'..='\u{36F}' if before.is_ascii() && !before.is_ascii_alphanumeric() => {
                continue;
            }
            c => c,
        };
        out.push(c);
        before = c;
    }
    out
}

/// Letters that look like nothing, or like a space.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{34F}'
            | '\u{115F}'
            | '\u{1160}'
            | '\u{17B4}'
            | '\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{FFA0}'
            | '\u{FFF9}'..='\u{FFFB}'
    )
}

/// The plain letter or sign that stands for this one where addresses and tags are read.
fn unfold(c: char) -> char {
    let from = |base: u32, offset: u32| char::from_u32(base + offset).unwrap_or(c);
    let code = u32::from(c);
    match c {
        '０'..='９'
        | 'Ａ'..='Ｚ'
        | 'ａ'..='ｚ'
        | '：'
        | '／'
        | '．'
        | '＠'
        | '＜'
        | '＞'
        | '－'
        | '＿'
        | '＃'
        | '｜' => from(0x21, code - 0xFF01),
        '﹫' => '@',
        '﹕' | '\u{2236}' | '\u{A789}' => ':',
        '﹒' | '\u{2024}' | '｡' => '.',
        '\u{2044}' | '\u{2215}' | '\u{29F8}' => '/',
        '\u{2010}'..='\u{2015}' | '﹣' => '-',
        '﹤' => '<',
        '﹥' => '>',
        'Ⓐ'..='Ⓩ' => from(0x41, code - 0x24B6),
        'ⓐ'..='ⓩ' => from(0x61, code - 0x24D0),
        // Thirteen alphabets of capitals and small letters, then five rows of digits.
        '\u{1D400}'..='\u{1D6A3}' => match (code - 0x1D400) % 52 {
            capital @ 0..26 => from(0x41, capital),
            small => from(0x61, small - 26),
        },
        '\u{1D7CE}'..='\u{1D7FF}' => from(0x30, (code - 0x1D7CE) % 10),
        c => c,
    }
}

/// A text in plain letters that knows where each stands in the text it was made of.
struct Folded {
    text: String,
    /// For each byte of it the byte in the original that its character begins at.
    at: Vec<usize>,
}

impl Folded {
    fn of(text: &str) -> Self {
        let mut folded = Self { text: String::with_capacity(text.len()), at: Vec::new() };
        let mut before = ' ';
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let mut plain = unfold(c);
            // The full stop of Chinese ends sentences; between letters of Latin it is a dot in a name.
            if c == '。' {
                let next = chars.peek().map_or(' ', |(_, next)| unfold(*next));
                if before.is_ascii_alphanumeric() && next.is_ascii_alphanumeric() {
                    plain = '.';
                }
            }
            folded.text.push(plain);
            folded.at.resize(folded.text.len(), at);
            before = plain;
        }
        folded.at.push(text.len());
        folded
    }
}

/// Without what the pattern finds in the folded text.
fn without(text: &str, pattern: &Regex) -> String {
    let folded = Folded::of(text);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for found in pattern.find_iter(&folded.text) {
        out.push_str(&text[done..folded.at[found.start()]]);
        done = folded.at[found.end()];
    }
    out.push_str(&text[done..]);
    out
}

/// Without bare host names and the paths behind them.
fn without_hosts(text: &str) -> String {
    let folded = Folded::of(text);
    let plain = folded.text.as_str();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut done) = (0, 0);
    while let Some(name) = DOTTED.find_at(plain, at) {
        at = name.end();
        let last = name.as_str().rsplit('.').next().unwrap_or_default().to_lowercase();
        let first = name.as_str().split('.').next().unwrap_or_default();
        if !CLICKABLE.contains(&last.as_str()) && !first.eq_ignore_ascii_case("www") {
            continue;
        }
        // A full-width colon behind a name is punctuation.
        let behind = &plain[at..];
        let goes_on = behind.starts_with(['/', '?', '#'])
            || behind.starts_with(':') && text[folded.at[at]..].starts_with(':');
        if goes_on {
            at += behind.find(|c: char| !c.is_ascii_graphic()).unwrap_or(behind.len());
        }
        out.push_str(&text[done..folded.at[name.start()]]);
        done = folded.at[at];
    }
    out.push_str(&text[done..]);
    out
}

/// Commands of ours without their slash: a press on `/resolve INC-…` would send it.
fn without_commands(text: &str) -> String {
    without_first(text, &COMMAND, |found| {
        let word = found.name("word").map_or("", |word| word.as_str());
        is_command(&word.to_ascii_lowercase())
    })
}

/// Without the first group of what the pattern finds in the folded text, where `is` says so.
fn without_first(text: &str, pattern: &Regex, is: impl Fn(&regex::Captures<'_>) -> bool) -> String {
    let folded = Folded::of(text);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for found in pattern.captures_iter(&folded.text).filter(is) {
        let Some(part) = found.get(1) else { continue };
        out.push_str(&text[done..folded.at[part.start()]]);
        done = folded.at[part.end()];
    }
    out.push_str(&text[done..]);
    out
}

/// Entities as the characters they stand for.
fn without_entities(text: &str) -> String {
    let read = |found: &regex::Captures<'_>| {
        let number = |group: usize, radix| {
            found.get(group).and_then(|digits| u32::from_str_radix(digits.as_str(), radix).ok())
        };
        let named = || {
            Some(match found.get(3)?.as_str() {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => ' ',
                "colon" => ':',
                "sol" => '/',
                "period" => '.',
                "commat" => '@',
                "lbrack" => '[',
                "rbrack" => ']',
                "lpar" => '(',
                "rpar" => ')',
                "grave" => '`',
                _ => return None,
            })
        };
        let code = number(1, 10).or_else(|| number(2, 16));
        let c = code.map_or_else(named, |code| char::from_u32(code).or(Some(' ')));
        c.map_or_else(|| found[0].to_owned(), String::from)
    };
    ENTITY.replace_all(text, read).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(given: &str, want: &str) {
        assert_eq!(clean(given), want, "{given}");
    }

    #[test]
    fn links_mentions_and_markup_are_taken_out() {
        for (given, want) in [
            ("見[這裡](https://evil.example/x)處理", "見這裡處理"),
            ("看https://evil.example/a?b=c，然後重啟", "看，然後重啟"),
            ("<https://evil.example|點我>", "點我"),
            ("go to www.evil.example/x now", "go to  now"),
            ("go to login.evil.com/x now", "go to  now"),
            ("javascript:alert(1)", ""),
            ("<at id=all></at>@all <!channel> <@U123> @here", "all   here"),
            ("<<at>at id=all>x", "x"),
            ("ht<b>tps://evil.example/", ""),
            ("**重要** `kubectl get pods`\n## 標題", "重要 kubectl get pods\n標題"),
            ("```sh\nls\n```", "ls"),
            ("SELECT * FROM a WHERE x < 5 AND y > 3", "SELECT * FROM a WHERE x < 5 AND y > 3"),
            ("com.example.app.Foo@1f", "com.example.app.Foo1f"),
            ("main.py:evil.com/x", "main.py:"),
            ("app.main.get_recommend in main.py:3", "app.main.get_recommend in main.py:3"),
            ("a\u{202e}b\u{200b}c\u{7}d", "abcd"),
        ] {
            check(given, want);
        }
    }

    #[test]
    fn letters_that_only_look_different_hide_nothing() {
        for (given, want) in [
            ("ｈｔｔｐｓ：／／ｅｖｉｌ．ｅｘａｍｐｌｅ／ｘ 結束", "結束"),
            ("𝗁𝗍𝗍𝗉𝗌://evil.example 𝐞𝐯𝐢𝐥.com", ""),
            ("ⓔⓥⓘⓛ.com/x", ""),
            ("evil。com", ""),
            ("evil｡com/login", ""),
            ("evil․com", ""),
            ("＠all ﹫here", "all here"),
            ("＜at id=all＞＜/at＞大家", "大家"),
            ("h\u{200d}ttps://evil.example", ""),
            ("evil.c\u{200c}om", ""),
            ("evil.\u{fe0f}com/x", ""),
            ("ev\u{34f}il\u{2060}.com", ""),
            ("https:\u{338}//evil.example", ""),
            ("&lt;at id=all&gt;大家&lt;/at&gt;", "大家"),
            ("&#60;at id=all&#x3E;大家", "大家"),
            ("&amp;lt;b&amp;gt;粗", "粗"),
            ("https&colon;&sol;&sol;evil.example", ""),
            ("data:text/html,<b>x", ""),
            ("例え.com", "例えcom"),
            ("請看evil.com/x", "請看"),
        ] {
            check(given, want);
        }
    }

    #[test]
    fn commands_lose_their_slash_and_paths_do_not() {
        for (given, want) in [
            ("/resolve INC-20260101-001", "resolve INC-20260101-001"),
            ("請按 /ack。", "請按 ack。"),
            ("（/silence 24h）", "（silence 24h）"),
            ("／Resolve 1", "Resolve 1"),
            ("看 /var/log 與 /status/check、/top.sh", "看 /var/log 與 /status/check、/top.sh"),
            ("and/or; /healthz 500", "and/or; /healthz 500"),
        ] {
            check(given, want);
        }
    }

    /// Pieces that links, mentions and markup are made of.
    const PIECES: [&str; 40] = [
        "http",
        "https://",
        "://",
        "：／／",
        "<",
        ">",
        "<at id=all>",
        "@",
        "＠",
        "﹫",
        "[x](",
        "[",
        "]",
        "(",
        ")",
        "|",
        "&lt;",
        "&amp;",
        "&#64;",
        "&",
        ";",
        "evil",
        ".com",
        ".",
        "。",
        "．",
        "/",
        "/ack",
        "**",
        "~~",
        "`",
        "\u{200b}",
        "\u{200d}",
        "\u{338}",
        "\u{fe0f}",
        "ｈｔｔｐ",
        "𝗁",
        "javascript:",
        "\n# ",
        "字",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// However they are put together, nothing of them is left, and cleaning again changes nothing.
        #[test]
        fn nothing_is_put_together_by_taking_apart(
            pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..24)
        ) {
            let given = pieces.concat();
            let got = clean(&given);
            for forbidden in ["@", "＠", "﹫", "://", "：／／", "**", "~~", "`", "<at", "&lt;", "javascript:h"] {
                prop_assert!(!got.contains(forbidden), "{forbidden} of {given:?} in {got:?}");
            }
            // `evil.comhttp` and `evil.com.字` are no hosts that there are.
            let goes_on = |rest: &str| {
                let next = rest.chars().next().map_or(' ', unfold);
                next.is_ascii_alphanumeric() || "._-。".contains(next)
            };
            let host = got.split("evil.com").skip(1).any(|rest| !goes_on(rest));
            prop_assert!(!host, "{given:?}: {got:?}");
            prop_assert_eq!(clean(&got), got, "{:?}", given);
        }
    }

    #[test]
    fn text_that_is_only_text_stays() {
        for text in [
            "連線池耗盡。io 等待過長；請先備份（重要）：再重啟。",
            "［重要］（請先備份）",
            "👨‍👩‍👧 ❤️ 1. 重啟 app.main，2. 查 log",
            "p99 > 3 s & CPU < 5 %",
            "é ü ñ",
        ] {
            check(text, text);
        }
    }
}
