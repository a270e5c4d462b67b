//! The text of matchers.

use schemas::record::{MatchOperator, Matcher};

use super::{Error, MOST_MATCHERS};

/// Longest text, in bytes.
const LONGEST_TEXT: usize = 32 * 1024;

/// What a word without quotes ends before.
const ENDS_A_WORD: &str = "{}!=~,\\\"'`";

/// Whether a name may stand without quotes.
pub(super) fn is_bare_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| !c.is_whitespace() && !ENDS_A_WORD.contains(c))
}

/// The matchers of a text.
pub(super) fn matchers(text: &str) -> Result<Vec<Matcher>, Error> {
    if text.len() > LONGEST_TEXT {
        return Err(Error::TooLong { name: "the text".to_owned() });
    }
    let mut reader = Reader { rest: text, whole: text };
    let braces = reader.take('{');
    let mut all = Vec::new();
    loop {
        let end = if braces { reader.peek() == Some('}') } else { reader.peek().is_none() };
        // Behind a comma there may be nothing.
        if end {
            break;
        }
        if all.len() == MOST_MATCHERS {
            return Err(Error::TooMany(all.len() + 1));
        }
        all.push(reader.matcher()?);
        if !reader.take(',') {
            break;
        }
    }
    if braces && !reader.take('}') {
        return Err(reader.expected("a comma or a closing brace"));
    }
    match reader.peek() {
        None => Ok(all),
        Some(_) => Err(reader.expected("a comma or the end")),
    }
}

struct Reader<'a> {
    rest: &'a str,
    whole: &'a str,
}

impl<'a> Reader<'a> {
    fn matcher(&mut self) -> Result<Matcher, Error> {
        let name = match self.peek() {
            Some('"') => self.quoted()?,
            _ => self.word().ok_or_else(|| self.expected("a name"))?.to_owned(),
        };
        let operator = self.operator()?;
        let value = match self.peek() {
            Some('"') => self.quoted()?,
            // `foo=` asks for what is not there.
            _ => self.word().unwrap_or_default().to_owned(),
        };
        Ok(Matcher { name, operator, value })
    }

    fn operator(&mut self) -> Result<MatchOperator, Error> {
        self.peek();
        // The longer ones first.
        let all = [
            MatchOperator::Regex,
            MatchOperator::NotRegex,
            MatchOperator::NotEqual,
            MatchOperator::Equal,
        ];
        for operator in all {
            if let Some(rest) = self.rest.strip_prefix(operator.word()) {
                self.rest = rest;
                return Ok(operator);
            }
        }
        Err(self.expected("=, !=, =~ or !~"))
    }

    /// A word without quotes; none where there is none.
    fn word(&mut self) -> Option<&'a str> {
        self.peek();
        let ends = |c: char| c.is_whitespace() || ENDS_A_WORD.contains(c);
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// A text in double quotes, in which a quote, a backslash and a line end stand behind a backslash.
    fn quoted(&mut self) -> Result<String, Error> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, escaped @ ('"' | '\\'))) => out.push(escaped),
                    // As in an expression: `"a\.b"`.
                    Some((_, other)) => out.extend(['\\', other]),
                    None => break,
                },
                other => out.push(other),
            }
        }
        self.rest = "";
        Err(self.expected("a closing quote"))
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.rest = self.rest.get(wanted.len_utf8()..).unwrap_or_default();
        }
        there
    }

    /// The next character that is no white space.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn expected(&self, expected: &'static str) -> Error {
        let read = self.whole.len() - self.rest.len();
        let at = self.whole.get(..read).unwrap_or_default().chars().count() + 1;
        Error::Syntax { at, expected, found: self.rest.chars().take(20).collect() }
    }
}
