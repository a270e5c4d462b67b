//! What notify remembers between events: which incidents' fires went to which receivers.
//!
//! It is one blob a lane, written with each batch that changes it, so an open incident costs its id
//! and a small number, and nothing is kept of an incident that is over.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use schemas::{CodecError, IncidentId, alert::Risk};

use crate::rules::Rules;

/// The newest shape of the state this binary writes and reads. 2 has the rules.
const STATE_VERSION: u32 = 2;

/// The rules in force, and the incidents that are open, as notify planned for them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct State {
    #[n(0)]
    version: u32,
    /// The distinct ways fires were planned; incidents refer to them by index.
    #[n(1)]
    ways: Vec<Way>,
    #[n(2)]
    fires: BTreeMap<IncidentId, u32>,
    /// As their text; left out while they are the built-in ones.
    #[cbor(n(3), with = "in_force", has_nil)]
    rules: Rules,
}

/// How the fire of an incident was planned.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Way {
    /// The rule that decided.
    #[n(0)]
    pub rule: String,
    /// Who was to be told; none when the rule tells nobody.
    #[n(1)]
    pub receivers: Vec<String>,
    /// The incident's risk when it was opened.
    #[n(2)]
    pub risk: Risk,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: STATE_VERSION,
            ways: Vec::new(),
            fires: BTreeMap::new(),
            rules: Rules::builtin().clone(),
        }
    }
}

impl State {
    /// How the fire of `incident` was planned; none when it is not open or was never seen.
    pub fn fire(&self, incident: IncidentId) -> Option<&Way> {
        self.fires.get(&incident).and_then(|way| self.ways.get(*way as usize))
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Puts other rules in force.
    pub(super) fn put_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// How many incidents are remembered.
    pub fn open(&self) -> usize {
        self.fires.len()
    }

    /// Remembers how the fire of `incident` was planned.
    pub(super) fn open_incident(&mut self, incident: IncidentId, way: Way) {
        let index = self.ways.iter().position(|known| *known == way).unwrap_or_else(|| {
            self.ways.push(way);
            self.ways.len() - 1
        });
        self.fires.insert(incident, index as u32);
    }

    /// Forgets an incident that is over, and says how its fire was planned.
    pub(super) fn close_incident(&mut self, incident: IncidentId) -> Option<Way> {
        let index = self.fires.remove(&incident)?;
        let way = self.ways.get(index as usize).cloned();
        if self.fires.is_empty() {
            self.ways.clear();
        }
        way
    }

    /// As stored.
    pub fn encode(&self) -> Vec<u8> {
        schemas::codec::encode(self)
    }

    /// From what was stored.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut state: Self = schemas::codec::decode("notify state", bytes)?;
        if state.version > STATE_VERSION {
            return Err(CodecError::Newer {
                what: "notify state",
                found: state.version,
                known: STATE_VERSION,
            });
        }
        state.version = STATE_VERSION;
        Ok(state)
    }
}

/// Rules as a state holds them.
mod in_force {
    use minicbor::{
        Decoder, Encoder,
        decode::Error as Refused,
        encode::{Error as Failed, Write},
    };

    use super::Rules;

    pub fn encode<C, W: Write>(
        rules: &Rules,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Failed<W::Error>> {
        e.str(rules.text())?.ok()
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Rules, Refused> {
        let at = d.position();
        Rules::parse(d.str()?).map_err(|e| Refused::message(e).at(at))
    }

    pub fn nil() -> Option<Rules> {
        Some(Rules::builtin().clone())
    }

    pub fn is_nil(rules: &Rules) -> bool {
        rules == Rules::builtin()
    }
}
