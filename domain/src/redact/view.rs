//! What a text says where its characters are not written as themselves: percent-encoded, escaped as
//! in JSON or HTML, or parted by what is not shown.

use std::ops::Range;

use crate::text::is_hidden;

/// A text with one level of escapes read, and where each byte of it came from.
pub(super) struct View {
    pub text: String,
    /// Of each byte of `text`, where it begins in the original; one more for the end.
    at: Vec<u32>,
}

/// Whether `text` holds what is not shown: controls, colours of a terminal, characters without width,
/// and those that stand for broken bytes.
pub(super) fn has_hidden(text: &str) -> bool {
    text.contains(hides)
}

fn hides(c: char) -> bool {
    !matches!(c, '\n' | '\r' | '\t')
        && (is_hidden(c) || matches!(c, '\u{200C}' | '\u{200D}' | '\u{FFFD}'))
}

/// `text` with one level of escapes read and without what is not shown; none if it has nothing of
/// either.
pub(super) fn view(text: &str) -> Option<View> {
    let bytes = text.as_bytes();
    let escapes = bytes.iter().any(|b| matches!(b, b'%' | b'\\' | b'&'));
    if !escapes && !has_hidden(text) {
        return None;
    }
    read(text, true).or_else(|| read(text, false)).filter(|view| view.text != text)
}

/// What an escape stands for.
enum Means {
    Byte(u8),
    Char(char),
}

/// None if bytes that `wide` escapes stand for are no characters.
fn read(text: &str, wide: bool) -> Option<View> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = Vec::with_capacity(text.len() + 1);
    let mut place = 0;
    while let Some(c) = text[place..].chars().next() {
        let rest = &text.as_bytes()[place..];
        let length = match escape(rest) {
            Some((Means::Byte(byte), length)) if wide || byte.is_ascii() => {
                out.push(byte);
                length
            }
            Some((Means::Char(c), length)) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                length
            }
            Some(_) | None if hides(c) => colour(rest).unwrap_or(c.len_utf8()),
            Some(_) | None => {
                out.extend_from_slice(&rest[..c.len_utf8()]);
                c.len_utf8()
            }
        };
        at.resize(out.len(), place as u32);
        place += length;
    }
    at.push(text.len() as u32);
    Some(View { text: String::from_utf8(out).ok()?, at })
}

/// What an escape at the beginning of `rest` stands for, and its length.
fn escape(rest: &[u8]) -> Option<(Means, usize)> {
    let number = |digits: &[u8], base| {
        let digits = std::str::from_utf8(digits).ok()?;
        digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(digits, base).ok())?
    };
    let char = |code: u32| char::from_u32(code).map(Means::Char);
    match rest {
        [b'%', high, low, ..] => number(&[*high, *low], 16)
            .and_then(|n| u8::try_from(n).ok())
            .map(|n| (Means::Byte(n), 3)),
        [b'\\', b'u', digits @ ..] => Some((number(digits.get(..4)?, 16).and_then(char)?, 6)),
        [b'\\', b'n', ..] => Some((Means::Byte(b'\n'), 2)),
        [b'\\', b'r', ..] => Some((Means::Byte(b'\r'), 2)),
        [b'\\', b't', ..] => Some((Means::Byte(b'\t'), 2)),
        [b'\\', mark @ (b'"' | b'\'' | b'\\' | b'/'), ..] => Some((Means::Byte(*mark), 2)),
        [b'&', b'#', entity @ ..] => {
            let end = entity.iter().take(7).position(|b| *b == b';')?;
            let code = match entity {
                [b'x' | b'X', ..] => number(&entity[1..end], 16),
                _ => number(&entity[..end], 10),
            };
            Some((code.and_then(char)?, end + 3))
        }
        [b'&', ..] => {
            const NAMED: [(&[u8], u8); 5] = [
                (b"&amp;", b'&'),
                (b"&quot;", b'"'),
                (b"&apos;", b'\''),
                (b"&lt;", b'<'),
                (b"&gt;", b'>'),
            ];
            let named = NAMED.iter().find(|(name, _)| rest.starts_with(name));
            named.map(|(name, byte)| (Means::Byte(*byte), name.len()))
        }
        _ => None,
    }
}

/// The length of a terminal's colour sequence: its parameters, and one letter that ends them.
fn colour(rest: &[u8]) -> Option<usize> {
    let parameters =
        rest.strip_prefix(b"\x1b[")?.iter().take_while(|b| matches!(b, b' '..=b'?')).count();
    let ends = rest.get(2 + parameters).is_some_and(|b| matches!(b, b'@'..=b'~'));
    Some(2 + parameters + usize::from(ends))
}

impl View {
    /// Where `range` of this text stands in the original.
    pub fn back(&self, range: Range<usize>) -> Range<usize> {
        self.at[range.start] as usize..self.at[range.end] as usize
    }

    /// This view of `before`'s text, as one of the text that `before` is a view of.
    pub fn of(mut self, before: &Self) -> Self {
        self.at.iter_mut().for_each(|at| *at = before.at[*at as usize]);
        self
    }
}
