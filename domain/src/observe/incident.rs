//! An incident's state in the fold: found by the position that opened it, which every generation
//! shares, whatever problem it belongs to in this one.

use minicbor::{Decode, Encode};
use schemas::{CodecError, Fingerprint, IncidentId, Position, ProjectId, codec, id};

use super::FOLD_VERSION;

/// What is known of one incident.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
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
}

impl Incident {
    /// An incident nobody has looked at yet.
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self { fold: FOLD_VERSION, fingerprint, answered: Vec::new() }
    }

    /// Takes the answer for `reason`; false when there was one before.
    pub fn answer(&mut self, reason: &str) -> bool {
        self.fold = FOLD_VERSION;
        let first = !self.answered.iter().any(|known| known == reason);
        if first {
            self.answered.push(reason.to_owned());
        }
        first
    }

    /// The row's form.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From the row's form. States of earlier folds are brought up to this one here.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let state: Self = codec::decode("incident state", bytes)?;
        super::known_fold("incident state", state.fold)?;
        Ok(state)
    }
}

/// The id of the incident opened at a position.
pub fn incident_id(project: &ProjectId, opening: Position) -> IncidentId {
    IncidentId(id::hash(&[project.as_str().as_bytes(), opening.to_string().as_bytes()]))
}
