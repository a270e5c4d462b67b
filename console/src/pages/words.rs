//! The words of the pages, one file a language. A language without one of them does not compile.

mod en;
mod zh_cn;
mod zh_tw;

use axum::http::{HeaderMap, header};

use super::session::cookie;

/// Name of the cookie and of the parameter that choose a language.
pub const CHOICE: &str = "lang";

/// The languages, the first of which is the default.
pub const ALL: [&Words; 3] = [&en::WORDS, &zh_cn::WORDS, &zh_tw::WORDS];

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Whole messages with slots in braces; nothing is glued together from parts.
        #[derive(Debug)]
        pub struct Words { $($(#[$doc])* pub $name: &'static str,)* }

        impl Words {
            #[cfg(test)]
            fn entries(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

words! {
    /// Language tag.
    tag
    /// The language's own name, short.
    name
    home sign_in sign_out key_label key_wrong sign_in_lead foreign_form skip projects all_projects
    language theme theme_light theme_dark theme_system navigation
    /// What the pill says.
    live live_behind paused reconnecting stale signed_out connecting pause resume caught_up
    need_one need_many need_no_age nothing proof first_run first_run_demo first_run_urls
    /// Begins the sentence when a proof is missing.
    no_incidents proof_silent proof_ledger proof_still proof_parked more_below
    needs_title problems_title problems_scope sources_title ledger_title facts_title
    show new_count announce_new announce_critical
    risk what state count analysis age number source project last_heard events duplicates lane
    critical high medium low
    open resolved suppressed gone
    fresh silent never fresh_hint never_hint silent_hint
    need_silent need_parked need_parked_hint need_still need_still_hint need_ledger
    need_ledger_hint
    ai likely possible weak no_answer pending root_cause impact fix prevention
    evidence inconclusive prompt
    sources_heard ledger_sum balanced unbalanced parked_count last_event ledger_lanes in_frames
    difference not_shown
    age_s age_m age_h age_hours
    no_project unreadable retry no_problems
}

/// The language of a request: asked for in the address, chosen before, else the browser's.
pub fn of(asked: Option<&str>, headers: &HeaderMap) -> &'static Words {
    let chosen = asked.or_else(|| cookie(headers, CHOICE));
    if let Some(words) = chosen.and_then(|tag| ALL.into_iter().find(|w| w.tag == tag)) {
        return words;
    }
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    accepted.and_then(preferred).unwrap_or(ALL[0])
}

/// The best of the languages for an `Accept-Language` value.
fn preferred(accepted: &str) -> Option<&'static Words> {
    let mut ranges: Vec<(f32, &str)> = accepted
        .split(',')
        .filter_map(|range| {
            let (tag, quality) = range.split_once(';').unwrap_or((range, ""));
            let quality =
                quality.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.parse().ok())?;
            (quality > 0.0).then_some((quality, tag.trim()))
        })
        .collect();
    ranges.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranges.into_iter().find_map(|(_, tag)| {
        let tag = tag.to_ascii_lowercase();
        let mut parts = tag.split('-');
        match parts.next()? {
            "en" => Some(ALL[0]),
            "zh" => {
                let traditional = parts.any(|part| matches!(part, "tw" | "hk" | "mo" | "hant"));
                Some(if traditional { ALL[2] } else { ALL[1] })
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_language_is_the_one_asked_for_then_chosen_then_accepted() {
        let check = |asked: Option<&str>, cookie: &str, accepted: &str, expect: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            headers.insert(header::ACCEPT_LANGUAGE, accepted.parse().unwrap());
            assert_eq!(of(asked, &headers).tag, expect, "{asked:?} {cookie} {accepted}");
        };
        check(None, "", "", "en");
        check(None, "", "de-DE,de;q=0.9", "en");
        check(None, "", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN");
        check(None, "", "zh", "zh-CN");
        check(None, "", "zh-Hant-HK", "zh-TW");
        check(None, "", "en;q=0.5, zh-TW", "zh-TW");
        check(None, "", "zh;q=0, en", "en");
        check(None, "lang=zh-CN", "en", "zh-CN");
        check(None, "lang=xx", "en", "en");
        check(Some("zh-TW"), "lang=zh-CN", "en", "zh-TW");
    }

    #[test]
    fn every_language_says_everything_with_the_same_slots() {
        let slots = |text: &str| -> BTreeSet<String> {
            let slot = |part: &str| part.split_once('}').map(|(name, _)| name.to_owned());
            text.split('{').skip(1).filter_map(slot).collect()
        };
        for words in ALL {
            for ((key, text), (_, english)) in words.entries().into_iter().zip(ALL[0].entries()) {
                assert!(!text.is_empty(), "{} lacks {key}", words.tag);
                assert_eq!(slots(text), slots(english), "{} {key}", words.tag);
            }
        }
    }
}
