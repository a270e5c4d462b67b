//! An incident's state in the fold: found by the position that opened it, which every generation
//! shares, whatever problem it belongs to in this one.
//!
//! Whether its episode is over stands with its problem; here stands what operators and analysts did.

mod opinion;
mod verb;

use minicbor::{Decode, Encode};
use schemas::{
    CodecError, Fingerprint, IncidentId, Position, ProjectId, Time, codec, event::IncidentState,
    id, job::Analysis,
};

use super::FOLD_VERSION;

pub use opinion::{Opinion, Says};
pub use verb::{Asked, Episode, Verb, remark, silence_minutes};

/// What is known of one incident.
///
/// A field that is added gets a new number and is optional; a change of meaning raises
/// [`FOLD_VERSION`] and gets an upcaster in [`Incident::decode`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Incident {
    /// Version of the fold that wrote this state.
    #[n(0)]
    pub fold: u32,
    /// The problem it belongs to.
    #[n(1)]
    pub fingerprint: Fingerprint,
    /// Reasons of triage that were answered; each takes effect once.
    #[n(2)]
    pub answered: Vec<String>,
    /// An operator has it.
    #[n(3)]
    #[cbor(skip_if = "is_default")]
    pub acknowledged: bool,
    /// It was opened again after its end, and nobody had it then.
    #[n(4)]
    #[cbor(skip_if = "is_default")]
    pub reopened: bool,
    /// What the last hand-over said, as a hash.
    #[n(5)]
    pub handed_off: Option<u64>,
    /// The last triage that came to a diagnosis, by its reason.
    #[n(6)]
    pub diagnosis: Option<String>,
    /// The diagnosis that was confirmed, and the one that was rejected.
    #[n(7)]
    pub confirmed: Option<String>,
    #[n(8)]
    pub rejected: Option<String>,
    /// How often triage was asked for because a diagnosis was rejected, or just so.
    #[n(9)]
    #[cbor(skip_if = "is_default")]
    pub rejects: u32,
    #[n(10)]
    #[cbor(skip_if = "is_default")]
    pub requests: u32,
    /// What the last note said and who wrote it, as a hash.
    #[n(11)]
    pub noted: Option<u64>,
    /// Nobody is told of it until this lane time.
    #[n(12)]
    pub silenced_until: Option<Time>,
    /// What operators say of whether its messages were of use; the last word of each.
    #[n(13)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub opinions: Vec<Opinion>,
    /// What the diagnosis says, cut: whoever is asked again because it is rejected is told.
    #[n(14)]
    pub said: Option<Box<Analysis>>,
}

/// What is kept of each text of a diagnosis, in characters.
const SAID_MAX: usize = 400;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Incident {
    /// An incident nobody has looked at yet.
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self {
            fold: FOLD_VERSION,
            fingerprint,
            answered: Vec::new(),
            acknowledged: false,
            reopened: false,
            handed_off: None,
            diagnosis: None,
            confirmed: None,
            rejected: None,
            rejects: 0,
            requests: 0,
            noted: None,
            silenced_until: None,
            opinions: Vec::new(),
            said: None,
        }
    }

    /// Takes the answer for `reason`, which came to a diagnosis or not; false when there was one
    /// before.
    pub fn answer(&mut self, reason: &str, diagnosis: Option<&Analysis>) -> bool {
        self.fold = FOLD_VERSION;
        let first = !self.answered.iter().any(|known| known == reason);
        if first {
            self.answered.push(reason.to_owned());
            if let Some(said) = diagnosis {
                self.diagnosis = Some(reason.to_owned());
                self.said = Some(Box::new(in_short(said)));
            }
        }
        first
    }

    /// Where it stands, given how its episode ended, if it did.
    pub fn state(&self, over: Option<IncidentState>) -> IncidentState {
        match over {
            Some(over) => over,
            None if self.handed_off.is_some() => IncidentState::HandedOff,
            None if self.confirmed.is_some() => IncidentState::Confirmed,
            None if self.acknowledged => IncidentState::Acknowledged,
            None if self.reopened => IncidentState::Reopened,
            None => IncidentState::Open,
        }
    }

    /// The row's form.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From the row's form. States of earlier folds are brought up to this one here.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut state: Self = codec::decode("incident state", bytes)?;
        super::known_fold("incident state", state.fold)?;
        if state.fold < 3 {
            // Whether an answer came to a diagnosis was not kept; that it did is the rule.
            state.diagnosis = state.answered.last().cloned();
        }
        Ok(state)
    }
}

/// An analysis with its texts cut.
fn in_short(said: &Analysis) -> Analysis {
    let cut = |text: &str| text.chars().take(SAID_MAX).collect();
    Analysis {
        root_cause: cut(&said.root_cause),
        impact: cut(&said.impact),
        fix_suggestion: cut(&said.fix_suggestion),
        prevention: cut(&said.prevention),
        evidence: said.evidence.iter().map(|line| cut(line)).collect(),
        ..said.clone()
    }
}

/// The id of the incident opened at a position.
pub fn incident_id(project: &ProjectId, opening: Position) -> IncidentId {
    IncidentId(id::hash(&[project.as_str().as_bytes(), opening.to_string().as_bytes()]))
}
