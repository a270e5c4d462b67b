//! The keys below a message (R36): what can be pressed, in which order, and what stands on it.

use schemas::job::Standing;
use serde::Deserialize;

use super::words::{Language, Words};

/// A key, which asks for one of two things by where the incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyName {
    /// Acknowledge, or give back.
    Ack,
    /// Resolve, or reopen.
    Resolve,
    /// Silence for an hour, or end the silence.
    Silence,
    /// Confirm the diagnosis.
    Confirm,
    /// Reject the diagnosis, and ask for another.
    Reject,
    /// Hand off to somebody else.
    Handoff,
    /// Say that the message was of use (A15); like the next two, on no message unless a configuration
    /// says so.
    Useful,
    /// Say that it was not.
    NotUseful,
    /// Say that there was nothing to tell of.
    Noise,
}

impl KeyName {
    /// The six of every message, in the order they are shown in unless a configuration says
    /// otherwise.
    pub const ALL: [Self; 6] =
        [Self::Ack, Self::Resolve, Self::Silence, Self::Confirm, Self::Reject, Self::Handoff];

    /// What can be shown besides.
    pub const FURTHER: [Self; 3] = [Self::Useful, Self::NotUseful, Self::Noise];

    /// The word in configurations.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Resolve => "resolve",
            Self::Silence => "silence",
            Self::Confirm => "confirm",
            Self::Reject => "reject",
            Self::Handoff => "handoff",
            Self::Useful => "useful",
            Self::NotUseful => "not_useful",
            Self::Noise => "noise",
        }
    }

    /// The key of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::FURTHER).find(|key| key.word() == word)
    }
}

/// What stands below a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The verb it asks for, as [`crate::button::Button`] knows it.
    pub verb: &'static str,
    /// What stands on it.
    pub label: &'static str,
}

/// How many keys stand beside each other.
const IN_A_ROW: usize = 3;

/// The keys of `shown`, in its order and in rows, of an incident that stands there; absent: nobody
/// did anything with it yet.
///
/// All of them are there whether or not there is a diagnosis by now: a message cannot be told when
/// it comes, and whoever presses too early is answered so.
pub fn keyboard(
    shown: &[KeyName],
    standing: Option<&Standing>,
    language: Language,
) -> Vec<Vec<Key>> {
    let words = language.words();
    let keys: Vec<Key> = shown.iter().map(|name| key(*name, standing, words)).collect();
    keys.chunks(IN_A_ROW).map(<[Key]>::to_vec).collect()
}

fn key(name: KeyName, standing: Option<&Standing>, words: &Words) -> Key {
    use schemas::event::IncidentState as State;
    let state = standing.map_or(State::Open, |standing| standing.state);
    let silenced = standing.is_some_and(|standing| standing.silenced_until.is_some());
    let taken = match state {
        State::Acknowledged | State::Confirmed => true,
        State::Open
        | State::HandedOff
        | State::Reopened
        | State::Resolved
        | State::Suppressed
        | State::Expired
        | State::Superseded => false,
    };
    let (verb, label) = match name {
        KeyName::Ack if taken => ("unack", words.key_unack),
        KeyName::Ack => ("ack", words.key_ack),
        KeyName::Resolve if state.is_over() => ("reopen", words.key_reopen),
        KeyName::Resolve => ("resolve", words.key_resolve),
        KeyName::Silence if silenced => ("unsilence", words.key_unsilence),
        KeyName::Silence => ("silence", words.key_silence),
        KeyName::Confirm => ("confirm", words.key_confirm),
        KeyName::Reject => ("reject", words.key_reject),
        KeyName::Handoff => ("handoff", words.key_handoff),
        KeyName::Useful => ("useful", words.key_useful),
        KeyName::NotUseful => ("not_useful", words.key_not_useful),
        KeyName::Noise => ("noise", words.key_noise),
    };
    Key { verb, label }
}
