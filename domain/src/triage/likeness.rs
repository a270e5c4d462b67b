//! What makes two alerts alike: the words that a past incident is found by.
//!
//! Both sides, what is kept of an incident whose diagnosis was confirmed and what is asked for a new
//! one, are made here, so that tables only compare. Chinese and other scripts without spaces are
//! taken in pairs of characters.

use schemas::{Facts, Fingerprint};

use super::cut;
use crate::observe::without_pod_suffix;

/// Most words of one alert.
pub const WORDS_MAX: usize = 48;

/// A past incident whose shared words weigh less than this is not like it: an exception of the same
/// type is, and a title that shares four words; one in the same place that shares one is not.
pub const LIKE_ENOUGH: u32 = 8;

/// What a shared word weighs, by where it stands.
const PROBLEM: u32 = 24;
const NAME: u32 = 8;
const PLACE: u32 = 4;
const TITLE: u32 = 2;
const MESSAGE: u32 = 1;

/// What is looked at of a text and of a name, in characters.
const TEXT_MAX: usize = 400;
const NAME_MAX: usize = 128;
/// Longest word, in characters; longer ones are ids.
const WORD_MAX: usize = 40;

/// Words that are in every other alert.
const COMMON: [&str; 24] = [
    "alert", "and", "any", "are", "been", "but", "error", "failed", "firing", "for", "from", "has",
    "have", "not", "the", "than", "that", "this", "too", "was", "were", "while", "with", "warning",
];

/// A word of an alert and what it weighs when another has it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub weight: u32,
}

/// The words of an alert of that problem, the weightiest first; each once, at most `WORDS_MAX`.
pub fn likeness(facts: &Facts, problem: Option<Fingerprint>) -> Vec<Word> {
    let mut words = Words(Vec::new());
    if let Some(problem) = problem {
        words.add(format!("problem:{problem}"), PROBLEM);
    }
    let exception = facts.title.split(':').next().filter(|head| is_exception(head));
    words.name("name", facts.alertname.as_deref().or(exception), NAME);
    words.name("place", facts.culprit.as_deref(), PLACE);
    words.name("place", facts.target.as_deref().map(without_pod_suffix), PLACE);
    words.name("service", facts.service.as_deref(), TITLE);
    words.text(&facts.title, TITLE);
    let annotated = || facts.annotation("description").or_else(|| facts.annotation("summary"));
    if let Some(message) = facts.message.as_deref().or_else(annotated) {
        words.text(message, MESSAGE);
    }
    words.0
}

struct Words(Vec<Word>);

impl Words {
    fn add(&mut self, text: String, weight: u32) {
        if self.0.len() < WORDS_MAX && !self.0.iter().any(|known| known.text == text) {
            self.0.push(Word { text, weight });
        }
    }

    /// A name as a whole, apart from words of the same letters.
    fn name(&mut self, kind: &str, name: Option<&str>, weight: u32) {
        let name = name.map(|name| cut(name.trim(), NAME_MAX).to_lowercase());
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.add(format!("{kind}:{name}"), weight);
        }
    }

    fn text(&mut self, text: &str, weight: u32) {
        let text = cut(text, TEXT_MAX).to_lowercase();
        for run in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let (mut word, mut before) = (String::new(), None);
            for c in run.chars() {
                if is_unspaced(c) {
                    self.plain(std::mem::take(&mut word), weight);
                    if let Some(before) = before.replace(c) {
                        self.add([before, c].iter().collect(), weight);
                    }
                } else {
                    before = None;
                    word.push(c);
                }
            }
            self.plain(word, weight);
        }
    }

    /// A word of a script with spaces: none that says nothing, and no number or id, which is another
    /// the next time.
    fn plain(&mut self, word: String, weight: u32) {
        let letters = word.chars().filter(|c| c.is_alphabetic()).count();
        let all = word.chars().count();
        if letters >= 3 && letters * 2 > all && all <= WORD_MAX && !COMMON.contains(&word.as_str())
        {
            self.add(word, weight);
        }
    }
}

/// `KeyError`, `java.lang.NullPointerException`: the head of a title that names a type.
fn is_exception(head: &str) -> bool {
    let last = head.rsplit('.').next().unwrap_or_default();
    last.chars().next().is_some_and(char::is_uppercase)
        && head.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
}

/// Scripts that are written without spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3134F}')
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::triage::tests::facts;

    /// What two alerts weigh together.
    fn alike(a: &Facts, b: &Facts) -> u32 {
        let other = likeness(b, None);
        let shared = |word: &Word| other.iter().any(|o| o.text == word.text);
        likeness(a, None).into_iter().filter(shared).map(|word| word.weight).sum()
    }

    #[test]
    fn r29_words_are_names_and_what_a_title_says() {
        let alert = Facts {
            alertname: Some("PoolExhausted".into()),
            target: Some("api-7d9f8b6c5d-x2x9z".into()),
            message: Some("100 of 100 in use, request 4f2a99017c".into()),
            ..facts("連線池耗盡: the pool of db_main is used up")
        };
        let words: Vec<String> = likeness(&alert, None)
            .into_iter()
            .map(|w| format!("{} {}", w.text, w.weight))
            .collect();
        assert_eq!(
            words,
            [
                "name:poolexhausted 8",
                "place:api 4",
                "連線 2",
                "線池 2",
                "池耗 2",
                "耗盡 2",
                "pool 2",
                "db_main 2",
                "used 2",
                "use 1",
                "request 1",
            ]
        );
        let problem = Fingerprint(Uuid::from_u128(7));
        let first = likeness(&alert, Some(problem)).swap_remove(0);
        assert_eq!(first, Word { text: format!("problem:{problem}"), weight: PROBLEM });
        assert!(first.weight >= LIKE_ENOUGH);
    }

    #[test]
    fn r29_the_same_exception_elsewhere_is_like_it_and_a_common_word_is_not() {
        let key = facts("KeyError: 'user' in calculate_score");
        let (nearer, farther) = (facts("KeyError: 'user' in rank"), facts("KeyError: 'item'"));
        assert!(alike(&key, &nearer) > alike(&key, &farther));
        assert!(alike(&key, &farther) >= LIKE_ENOUGH);
        assert!(alike(&key, &facts("TypeError: user is none")) < LIKE_ENOUGH);
        let disk = facts("磁碟空間不足 on db-1");
        assert!(alike(&disk, &facts("磁碟空間不足 on db-2")) >= LIKE_ENOUGH);
        assert!(alike(&disk, &facts("記憶體不足 on db-2")) < LIKE_ENOUGH);
        assert_eq!(alike(&facts("Error 500 in 0x7f1a2b"), &facts("Error 500 in 0x7f1a2b")), 0);
    }

    #[test]
    fn r29_no_alert_has_too_many_words_or_too_long_ones() {
        let long = (0..60).map(|n| format!("{} ", "x".repeat(n))).collect::<String>();
        let words = likeness(&facts(&long), None);
        assert!(words.iter().all(|w| w.text.chars().count() <= WORD_MAX), "{words:?}");
        let many = Facts {
            culprit: Some("c".repeat(9_000)),
            ..facts(&('\u{4E00}'..'\u{5E00}').collect::<String>())
        };
        let words = likeness(&many, Some(Fingerprint(Uuid::nil())));
        assert_eq!((words.len(), words[0].weight, words[1].weight), (WORDS_MAX, PROBLEM, PLACE));
        assert!(words.iter().all(|w| w.text.len() < 200));
        assert_eq!(likeness(&facts(""), None), []);
    }
}
