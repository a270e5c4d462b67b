//! Plain text of what a model wrote: no links, mentions, markup, commands or invisible characters.
//!
//! Chat clients make more clickable than is written as a link, and read what is written in
//! full-width or mathematical letters as well. So everything is looked for in a folded copy, where
//! such letters are plain ones, and taken out of the text itself, whose own punctuation stays.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use crate::{providers::is_command, text::is_hidden};

#[cfg(test)]
mod tests;

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

/// Last parts of names that chat clients make clickable by themselves. Not all there are: many
/// file endings and words of programs are domains as well.
const CLICKABLE: [&str; 109] = [
    "com", "net", "org", "info", "biz", "edu", "gov", "mil", "mobi", "asia", "eu", "us", "uk",
    "ca", "de", "fr", "nl", "ch", "it", "pt", "se", "dk", "fi", "cz", "hu", "ro", "gr", "tr", "ua",
    "su", "ru", "cn", "tw", "hk", "jp", "kr", "sg", "vn", "ph", "in", "au", "nz", "br", "mx", "cl",
    "za", "ng", "ir", "ae", "io", "co", "me", "ai", "gg", "tv", "ws", "to", "ly", "gl", "gd", "tk",
    "ga", "cf", "gq", "pw", "la", "vc", "app", "dev", "link", "click", "site", "website", "online",
    "xyz", "top", "shop", "store", "cloud", "tech", "club", "vip", "icu", "cyou", "buzz", "fun",
    "lol", "live", "pro", "win", "bid", "space", "world", "today", "life", "blog", "news", "chat",
    "social", "digital", "agency", "bank", "finance", "money", "loan", "casino", "monster", "sbs",
    "cfd",
];

/// Last parts of names of files and of hosts of one's own that are no domains anywhere: nothing
/// makes them clickable, whatever stands behind them.
const NO_DOMAINS: [&str; 59] = [
    "js", "jsx", "tsx", "mjs", "css", "htm", "html", "json", "jsonl", "yaml", "yml", "toml", "xml",
    "ini", "cfg", "conf", "cnf", "env", "txt", "csv", "log", "lock", "go", "java", "class", "jar",
    "war", "kt", "rb", "php", "jsp", "cs", "cpp", "hpp", "lua", "erl", "exs", "sql", "proto",
    "tar", "gz", "exe", "dll", "sock", "pid", "tmp", "bak", "pem", "crt", "key", "local",
    "internal", "svc", "lan", "ts", "ex", "vue", "swift", "scala",
];

/// Last parts of names of files that are domains as well: a number behind a colon is a line of them.
const WITH_LINES: [&str; 10] = ["py", "rs", "sh", "pl", "pm", "cc", "so", "md", "mm", "properties"];

/// What behind a name makes an address of it: a path, a query, a fragment or a port.
static GOES_ON: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^\.?(?:/|[?#][a-zA-Z0-9_%&=/!-]|:(?<port>[0-9]{2,5})(?:/|(?-u:\b)))")
});

/// The dot of a host whose name is in another script than Latin.
static FOREIGN_DOT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[^\x00-\x7F](\.)(?<last>[a-zA-Z]{2,63})(?-u:\b)(?<behind>/?)"));

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
        next = without_first(&next, &FOREIGN_DOT, |found| {
            let last = found["last"].to_ascii_lowercase();
            is_clickable(&last) || !found["behind"].is_empty() && may_be_domain(&last)
        });
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

/// Whether a name that ends so, in small letters, is clickable with nothing behind it.
fn is_clickable(last: &str) -> bool {
    CLICKABLE.contains(&last) || last.starts_with("xn--")
}

/// Whether there may be a domain of this name, in small letters: there are more than a thousand and
/// new ones every year.
fn may_be_domain(last: &str) -> bool {
    last.len() >= 2
        && last.bytes().all(|byte| byte.is_ascii_lowercase())
        && !NO_DOMAINS.contains(&last)
}

/// Whether a name is a folder or file within a path that is written from its root.
fn is_in_path(before: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._~/-".contains(c);
    let path = before.trim_end_matches(is_part);
    let path = &before[path.len()..];
    let rooted = ["/", "./", "../", "~/"].iter().any(|root| path.starts_with(root));
    rooted && path.ends_with('/') && path.len() > 1 && !path.contains("//")
}

/// Without bare host names and the paths behind them.
fn without_hosts(text: &str) -> String {
    let folded = Folded::of(text);
    let plain = folded.text.as_str();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut done) = (0, 0);
    while let Some(name) = DOTTED.find_at(plain, at) {
        at = name.end();
        let last = name.as_str().rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let first = name.as_str().split('.').next().unwrap_or_default();
        // A full-width colon behind a name is punctuation.
        let colon = |place: usize| text[folded.at[place]..].starts_with(':');
        let behind = &plain[at..];
        let address = GOES_ON.captures(behind).is_some_and(|found| {
            let Some(port) = found.name("port") else { return true };
            let is_line = WITH_LINES.contains(&last.as_str()) && !found[0].ends_with('/');
            colon(at + port.start() - 1) && !is_line
        });
        let by_itself = is_clickable(&last) || first.eq_ignore_ascii_case("www");
        let unlisted = || may_be_domain(&last) && !is_in_path(&plain[..name.start()]);
        if !(by_itself || address && unlisted()) {
            continue;
        }
        let goes_on =
            address || behind.starts_with(['/', '?', '#']) || behind.starts_with(':') && colon(at);
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
