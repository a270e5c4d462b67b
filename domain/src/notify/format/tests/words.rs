use std::collections::BTreeSet;

use super::*;

#[test]
fn every_language_says_everything_with_the_same_slots() {
    let slots = |text: &str| -> BTreeSet<String> {
        let slot = |part: &str| part.split_once('}').map(|(name, _)| name.to_owned());
        text.split('{').skip(1).filter_map(slot).collect()
    };
    for language in Language::ALL {
        let entries = language.words().entries();
        for ((name, text), (_, english)) in
            entries.into_iter().zip(Language::English.words().entries())
        {
            assert!(!text.trim().is_empty(), "{} lacks {name}", language.tag());
            assert_eq!(slots(text), slots(english), "{} {name}", language.tag());
        }
    }
}

#[test]
fn english_words_are_english_and_chinese_ones_are_not() {
    let han = |text: &str| text.chars().any(|c| ('\u{4E00}'..='\u{9FFF}').contains(&c));
    for (name, text) in Language::English.words().entries() {
        assert!(!han(text), "{name}: {text}");
    }
    // What has no word of its own in Chinese.
    let same = ["approval", "quote", "done_by", "colon"];
    for language in [Language::SimplifiedChinese, Language::TraditionalChinese] {
        for (name, text) in language.words().entries() {
            assert!(han(text) || same.contains(&name), "{} {name}: {text}", language.tag());
        }
    }
}

#[test]
fn a_language_is_known_by_its_tag() {
    for language in Language::ALL {
        assert_eq!(Language::from_tag(language.tag()), Some(language));
        assert_eq!(Language::from_tag(&language.tag().to_lowercase()), Some(language));
    }
    for tag in ["", "zh", "de", "en-GB"] {
        assert_eq!(Language::from_tag(tag), None, "{tag}");
    }
}

#[test]
fn what_is_put_into_a_slot_is_not_looked_at_again() {
    check(&fill("{a} and {b}{none}!", &[("a", "{b}"), ("b", "x")]), "{b} and x!");
    check(&fill("a { brace", &[("a", "x")]), "a { brace");
}

/// What the samples say is English; so is everything around it.
#[test]
fn r66_every_text_of_every_kind_is_in_the_language_that_is_asked_for() {
    let han = |text: &str| {
        text.chars().any(|c| ('\u{2E80}'..='\u{FFEF}').contains(&c) && c != '\u{FE0F}')
    };
    for sample in crate::notify::format::sample::samples() {
        let texts = |language| {
            let message = Message { language: Some(language), ..sample.message() };
            [crate::notify::render_text(&message), wecom_text(&message)]
        };
        for text in texts(Language::English) {
            assert!(!han(&text), "{text}");
        }
        let traditional = texts(Language::TraditionalChinese);
        let simplified = texts(Language::SimplifiedChinese);
        assert!(traditional.iter().chain(&simplified).all(|text| han(text)), "{simplified:?}");
        assert_ne!(simplified[1], traditional[1]);
    }
}
