//! The words of messages, one file a language. A language without one of them does not compile.

mod en;
mod zh_cn;
mod zh_tw;

use schemas::event::IncidentState;
use serde::{Deserialize, Deserializer, de};

/// A language that messages are written in. What a sender or a model said stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    SimplifiedChinese,
    TraditionalChinese,
    English,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SimplifiedChinese, Self::TraditionalChinese, Self::English];

    /// Its tag (BCP 47), as configurations and names of templates have it.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::SimplifiedChinese => "zh-CN",
            Self::TraditionalChinese => "zh-TW",
            Self::English => "en",
        }
    }

    /// The language of that tag, whatever the case of its letters.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(tag.trim()))
    }

    pub(in crate::notify) const fn words(self) -> &'static Words {
        match self {
            Self::SimplifiedChinese => &zh_cn::WORDS,
            Self::TraditionalChinese => &zh_tw::WORDS,
            Self::English => &en::WORDS,
        }
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tag = String::deserialize(deserializer)?;
        Self::from_tag(&tag).ok_or_else(|| {
            let known = Self::ALL.map(Self::tag).join(", ");
            de::Error::custom(format!("there is no language {tag:?}; there are {known}"))
        })
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Labels, and whole sentences with slots in braces.
        #[derive(Debug)]
        pub(in crate::notify) struct Words {
            $($(#[$doc])* pub(in crate::notify) $name: &'static str,)*
        }

        impl Words {
            /// Every word by its name.
            pub(in crate::notify) fn entries(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

words! {
    // The frame of an alert (R35, R66).
    alert recovered project frequency analysis inconclusive quote suggestion lasted approval
    // WeCom's lines (R37, R38).
    app_alert level source environment service place first_seen state unresolved resolved again
    occurrences users details severity instance job time recovered_at number
    // Feishu's card (R40).
    colon card_errors card_title card_wrong card_recovered card_project card_environment card_id
    card_start card_show card_from_errors card_from_alerts card_analysis card_suggestion
    card_lasted card_number card_time card_recovered_at
    // Where an incident stands.
    open acknowledged confirmed handed_off reopened state_resolved suppressed expired superseded
    /// Slots `actor`, `did`.
    done_by
    silenced_until
    /// Slot `count`.
    folded
    reminder came_back came_back_ignored raised tags
    // What operators do, and what stands on the keys that ask for it.
    ack unack resolve reopen silence unsilence confirm reject request_triage handoff note
    useful not_useful noise
    key_ack key_unack key_resolve key_reopen key_silence key_unsilence key_confirm key_reject
    key_handoff key_useful key_not_useful key_noise
    // Summaries.
    bundle hourly daily storm
    /// Slots `incidents`, `alerts`.
    counts
    /// Slot `count`.
    more
    // Tests.
    test_title test_lead
    // Replies.
    help_title help
    /// Slots `actor`, `did`.
    reply_done
    /// Slot `actor`.
    reply_same
    /// Slots `verb`, `reason`.
    reply_refused
    /// Slot `verb`.
    reply_unknown
    reply_triage reply_status reply_top reply_why nothing_open nothing_known
    // Why something is refused, by the fold's own word, and what to do.
    /// Slot `actor`.
    unknown_actor
    not_your_project other_chat unknown_incident not_open superseded_by_later no_diagnosis
    too_many_triage bad_arguments no_duration
}

impl Words {
    /// Where an incident stands.
    pub(in crate::notify) const fn standing(&self, state: IncidentState) -> &'static str {
        match state {
            IncidentState::Open => self.open,
            IncidentState::Acknowledged => self.acknowledged,
            IncidentState::Confirmed => self.confirmed,
            IncidentState::HandedOff => self.handed_off,
            IncidentState::Reopened => self.reopened,
            IncidentState::Resolved => self.state_resolved,
            IncidentState::Suppressed => self.suppressed,
            IncidentState::Expired => self.expired,
            IncidentState::Superseded => self.superseded,
        }
    }
}

/// `text` with its slots filled. What is put in is not looked at again, so a value with braces in it
/// stays what it is.
pub(in crate::notify) fn fill(text: &str, slots: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        filled.push_str(slots.iter().find(|(slot, _)| *slot == name).map_or("", |(_, v)| v));
        rest = behind;
    }
    filled.push_str(rest);
    filled
}
