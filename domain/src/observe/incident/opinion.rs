//! What operators say of the messages about an incident: whether they were of use.

use minicbor::{Decode, Encode};
use schemas::id;

use super::{Incident, Verb};

/// How many operators' words are kept of one incident; the oldest goes.
const MOST: usize = 100;

/// What one operator said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Opinion {
    /// The operator's name, as a hash.
    #[n(0)]
    pub who: u64,
    #[n(1)]
    pub says: Says,
}

/// What can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Says {
    #[n(0)]
    Useful,
    #[n(1)]
    NotUseful,
    #[n(2)]
    Noise,
}

impl Verb {
    /// What it says of the messages, where it is said of them: nothing is done then, and nobody is
    /// told.
    pub const fn opinion(self) -> Option<Says> {
        match self {
            Self::Useful => Some(Says::Useful),
            Self::NotUseful => Some(Says::NotUseful),
            Self::Noise => Some(Says::Noise),
            Self::Ack
            | Self::Unack
            | Self::Resolve
            | Self::Reopen
            | Self::Confirm
            | Self::Reject
            | Self::RequestTriage
            | Self::Handoff
            | Self::Note
            | Self::Silence
            | Self::Unsilence => None,
        }
    }

    /// Whether it is about the diagnosis that stands, or about what was told with it.
    pub const fn is_about_diagnosis(self) -> bool {
        matches!(self, Self::Confirm | Self::Reject) || self.opinion().is_some()
    }
}

impl Incident {
    /// Notes what an operator says; false where it was said before.
    pub(super) fn opine(&mut self, actor: &str, says: Says) -> bool {
        let opinion = Opinion { who: id::hash(&[actor.as_bytes()]).as_u64_pair().0, says };
        if self.opinions.contains(&opinion) {
            return false;
        }
        self.opinions.retain(|known| known.who != opinion.who);
        if self.opinions.len() >= MOST {
            self.opinions.remove(0);
        }
        self.opinions.push(opinion);
        true
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Fingerprint, Time, event::IncidentState};

    use super::*;

    #[test]
    fn a15_the_last_word_of_each_operator_counts() {
        let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
        let mut say = |verb: &str, actor| {
            let verb = Verb::from_word(verb).unwrap();
            let over = Some(IncidentState::Resolved);
            let asked = incident.apply(verb, actor, "{}", over, Time::default()).unwrap();
            assert_eq!((asked.episode, asked.triage), (None, None));
            asked.changed
        };
        assert!(say("noise", "ada"));
        assert!(!say("noise", "ada"));
        assert!(say("noise", "bob"));
        assert!(say("useful", "ada"));
        assert!(say("not_useful", "ada"));
        assert!(!say("noise", "bob"));
        let said: Vec<Says> = incident.opinions.iter().map(|opinion| opinion.says).collect();
        assert_eq!(said, [Says::Noise, Says::NotUseful]);
        assert_eq!(Incident::decode(&incident.encode()).unwrap(), incident);
    }

    #[test]
    fn a15_however_many_speak_the_state_stays_small() {
        let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
        for n in 0..MOST + 7 {
            assert!(incident.opine(&format!("op-{n}"), Says::Useful));
        }
        assert_eq!(incident.opinions.len(), MOST);
        assert!(!incident.opine(&format!("op-{}", MOST + 6), Says::Useful));
    }
}
