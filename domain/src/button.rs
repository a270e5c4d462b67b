//! What a button of a message carries: what it asks for, and of which incident.
//!
//! A chat hands it back as it was given, so that nobody has to remember what was shown to whom. It
//! names the lane, whose owner alone answers, and the position that opened the incident.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use schemas::{InputPosition, Lane, Position};

/// The longest text form, in bytes; every chat takes it (Telegram's limit is 64).
pub const MAX_BYTES: usize = 40;

/// Version of the text form, below 16.
const VERSION: u8 = 1;
/// In place of the length of an alert's index: the position is a record's.
const WHOLE: u8 = 15;

/// What can be asked for with a button, by the letter that stands for it. Letters are not given
/// anew: old messages keep their buttons.
const VERBS: [(char, &str); 13] = [
    ('a', "ack"),
    ('u', "unack"),
    ('r', "resolve"),
    ('o', "reopen"),
    ('s', "silence"),
    ('x', "unsilence"),
    ('c', "confirm"),
    ('j', "reject"),
    ('t', "request_triage"),
    ('h', "handoff"),
    ('y', "useful"),
    ('n', "not_useful"),
    ('q', "noise"),
];

/// A button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Button {
    verb: (char, &'static str),
    /// The lane whose owner answers.
    pub lane: Lane,
    /// What opened the incident.
    pub opening: Position,
}

/// The text is no button's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the text of a button")]
pub struct NotAButton;

impl Button {
    /// The button that asks for `verb`; none where no button does.
    pub fn new(verb: &str, lane: Lane, opening: Position) -> Option<Self> {
        let verb = *VERBS.iter().find(|(_, word)| *word == verb)?;
        Some(Self { verb, lane, opening })
    }

    /// What it asks for, in the word of commands.
    pub fn verb(&self) -> &'static str {
        self.verb.1
    }
}

/// The verb's letter, then the base64 (URL-safe, unpadded) of: three bytes with the version and the
/// lengths of the numbers, four bits each, and the numbers themselves, in as few bytes as they
/// need, most significant first: lane, incarnation, sequence, record, alert.
impl fmt::Display for Button {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { input, alert } = self.opening;
        let numbers = [
            u64::from(self.lane.0),
            input.incarnation.cast_unsigned(),
            input.sequence,
            u64::from(input.record),
            u64::from(alert.unwrap_or_default()),
        ];
        // At most 2 + 8 + 8 + 4 + 4 bytes of numbers: 29 with the lengths, 39 characters.
        let mut lengths = [0u8; 5];
        let mut bytes = vec![0; 3];
        for (number, length) in numbers.iter().zip(&mut lengths) {
            let zeros = (number.leading_zeros() / 8) as usize;
            bytes.extend(&number.to_be_bytes()[zeros..]);
            *length = (8 - zeros) as u8;
        }
        if alert.is_none() {
            lengths[4] = WHOLE;
        }
        bytes[0] = VERSION << 4 | lengths[0];
        bytes[1] = lengths[1] << 4 | lengths[2];
        bytes[2] = lengths[3] << 4 | lengths[4];
        write!(f, "{}{}", self.verb.0, BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Button {
    type Err = NotAButton;

    fn from_str(text: &str) -> Result<Self, NotAButton> {
        read(text).ok_or(NotAButton)
    }
}

fn read(text: &str) -> Option<Button> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let letter = text.chars().next()?;
    let verb = *VERBS.iter().find(|(known, _)| *known == letter)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.get(1..)?).ok()?;
    let (head, mut rest) = bytes.split_at_checked(3)?;
    let nibbles = [head[0] >> 4, head[0], head[1] >> 4, head[1], head[2] >> 4, head[2]];
    let [version, lengths @ ..] = nibbles.map(|nibble| nibble & 15);
    if version != VERSION {
        return None;
    }
    let mut numbers = [0u64; 5];
    for (index, (number, length)) in numbers.iter_mut().zip(lengths).enumerate() {
        if index == 4 && length == WHOLE {
            continue;
        }
        let (digits, behind) = rest.split_at_checked(usize::from(length))?;
        // One number has one form.
        if digits.len() > 8 || digits.first() == Some(&0) {
            return None;
        }
        *number = digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit));
        rest = behind;
    }
    let [lane, incarnation, sequence, record, alert] = numbers;
    if !rest.is_empty() {
        return None;
    }
    let alert = if lengths[4] == WHOLE { None } else { Some(u32::try_from(alert).ok()?) };
    let input = InputPosition {
        incarnation: incarnation.cast_signed(),
        sequence,
        record: u32::try_from(record).ok()?,
    };
    let lane = Lane(u16::try_from(lane).ok()?);
    Some(Button { verb, lane, opening: Position { input, alert } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(incarnation: i64, sequence: u64, record: u32, alert: Option<u32>) -> Position {
        Position { input: InputPosition { incarnation, sequence, record }, alert }
    }

    #[test]
    fn r36_the_text_of_a_button_never_changes() {
        let check = |verb, lane, opening, expect: &str| {
            let button = Button::new(verb, Lane(lane), opening).unwrap();
            assert_eq!(button.to_string(), expect);
            assert_eq!(expect.parse(), Ok(button));
            assert_eq!(button.verb(), verb);
        };
        check("ack", 0, at(1_763_617_422, 1, 0, Some(0)), "aEEEAaR6qjgE");
        check("resolve", 3, at(1_763_617_422, 70_000, 2, Some(1)), "rEUMRA2keqo4BEXACAQ");
        check("request_triage", 3, at(0, 0, 0, None), "tEQAPAw");
        let longest =
            Button::new("handoff", Lane(u16::MAX), at(-1, u64::MAX, u32::MAX, Some(u32::MAX)));
        let text = longest.unwrap().to_string();
        assert_eq!(text.len(), MAX_BYTES);
        assert_eq!(text.parse(), Ok(longest.unwrap()));
    }

    #[test]
    fn what_is_no_button_is_none() {
        assert_eq!(Button::new("note", Lane(0), at(0, 0, 0, None)), None);
        for text in [
            "",
            "a",
            "/ack INC-20261120-001",
            "aEEEAaR6qjg",
            "aEEEAaR6qjgEB",
            "zEQAPAw",
            "tIQAPAw",
            "tEQAPAA",
            "你好",
            "tEQAP你",
        ] {
            assert_eq!(text.parse::<Button>(), Err(NotAButton), "{text}");
        }
    }

    #[test]
    fn every_verb_of_the_fold_that_a_button_may_ask_for_has_a_letter() {
        use crate::observe::Verb;
        let letters: std::collections::BTreeSet<_> =
            VERBS.iter().map(|(letter, _)| letter).collect();
        assert_eq!(letters.len(), VERBS.len());
        let unknown = |word: &&str| Verb::from_word(word).is_none();
        let unknown: Vec<_> = VERBS.iter().map(|(_, word)| *word).filter(unknown).collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }

    proptest! {
        #[test]
        fn r36_every_button_reads_back_and_is_short_enough(
            verb in 0..VERBS.len(), lane: u16, incarnation: i64, sequence: u64, record: u32,
            alert: Option<u32>,
        ) {
            let opening = at(incarnation, sequence, record, alert);
            let button = Button::new(VERBS[verb].1, Lane(lane), opening).unwrap();
            let text = button.to_string();
            prop_assert!(text.len() <= MAX_BYTES);
            prop_assert_eq!(text.parse(), Ok(button));
        }

        #[test]
        fn one_button_has_one_text(text in "[a-z][A-Za-z0-9_-]{0,39}") {
            if let Ok(button) = text.parse::<Button>() {
                prop_assert_eq!(button.to_string(), text);
            }
        }
    }
}
