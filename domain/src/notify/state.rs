//! What notify remembers of a lane between events, besides the rows of its problems.
//!
//! Two blobs: what is in force (rules, silences, what inhibits), which changes seldom, and what is
//! gathered (summaries, storms, budgets), which changes with nearly every batch and stays small.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use schemas::{
    CodecError, Fingerprint, IncidentId, ProjectId, Time, alert::Risk, codec, event::Kind,
    job::SummaryReason, record::Silence,
};

use super::{
    Prepared,
    decide::key_of,
    summary::Gathering,
    working::{Changes, Found, Key, Missing, Working},
};
use crate::{
    matcher::Matchers,
    observe::{Due, Unasked},
    rules::Rules,
};

/// The newest shape of what is in force that this binary writes and reads. 2 has the rules, 3 has
/// silences and what inhibits, and keeps what was told as rows.
const STATE_VERSION: u32 = 3;

/// The newest shape of what is gathered.
const GATHERED_VERSION: u32 = 1;

/// At most so many problems are looked at by one tick; the next goes on.
pub const DUE_PER_TICK: usize = 500;

/// A lane's state: what is in force, what is gathered, and the rows in hand.
#[derive(Debug, Default)]
pub struct State {
    pub(super) in_force: InForce,
    pub(super) gathered: Gathered,
    /// By scope and id; compiled.
    pub(super) silences: BTreeMap<(Option<ProjectId>, String), Silencing>,
    pub(super) rows: Working,
    pub(super) in_force_changed: bool,
    pub(super) gathered_changed: bool,
}

/// A silence and what it asks for.
#[derive(Clone, Debug)]
pub(super) struct Silencing {
    pub silence: Silence,
    pub matchers: Matchers,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(super) struct InForce {
    #[n(0)]
    version: u32,
    /// The distinct ways fires were planned by the fold before rows were kept; incidents refer to
    /// them by index. They are told of their end, and forgotten.
    #[n(1)]
    ways: Vec<Way>,
    #[n(2)]
    fires: BTreeMap<IncidentId, u32>,
    /// As their text; left out while they are the built-in ones.
    #[cbor(n(3), with = "rules_text", has_nil)]
    pub rules: Rules,
    #[n(4)]
    #[cbor(default)]
    silences: Vec<Stored>,
    /// What fires and inhibits, by what it inhibits.
    #[n(5)]
    #[cbor(default)]
    pub sources: BTreeMap<Inhibited, Vec<Source>>,
}

/// A silence as it is stored.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    project: Option<ProjectId>,
    #[n(1)]
    id: String,
    #[n(2)]
    silence: Silence,
}

/// What is inhibited: alerts of a project that fit the rule and have these values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub(super) struct Inhibited {
    #[n(0)]
    pub project: ProjectId,
    #[n(1)]
    pub rule: String,
    #[n(2)]
    pub values: Vec<String>,
}

/// What inhibits.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Source {
    #[n(0)]
    pub fingerprint: Fingerprint,
    #[n(1)]
    pub incident: IncidentId,
    /// It fits the other side as well.
    #[n(2)]
    pub is_target: bool,
}

/// How a fire was planned before rows were kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Way {
    #[n(0)]
    pub rule: String,
    #[n(1)]
    pub receivers: Vec<String>,
    #[n(2)]
    pub risk: Risk,
}

/// What is gathered in a lane.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Gathered {
    #[n(0)]
    version: u32,
    /// By where they are gathered: project, reason, route, group.
    #[n(1)]
    pub summaries: BTreeMap<String, Gathering>,
    /// Until when a group that was told waits before it is told again.
    #[n(2)]
    pub groups: BTreeMap<String, Time>,
    /// When messages about new problems went out lately.
    #[n(3)]
    pub recent: BTreeMap<ProjectId, Vec<Time>>,
    /// Since when messages are counted, and how many there were.
    #[n(4)]
    pub spent: BTreeMap<ProjectId, (Time, u32)>,
    /// Storms that are told and in which something still fires, by key.
    #[n(5)]
    #[cbor(default)]
    pub calm: BTreeMap<String, Gathering>,
}

impl Default for InForce {
    fn default() -> Self {
        Self {
            version: STATE_VERSION,
            ways: Vec::new(),
            fires: BTreeMap::new(),
            rules: Rules::builtin().clone(),
            silences: Vec::new(),
            sources: BTreeMap::new(),
        }
    }
}

impl State {
    /// The state of a lane from what was last in force and gathered in it; without, it begins.
    ///
    /// # Errors
    /// When it was written by a later binary, or cannot be read.
    pub fn restore(in_force: Option<&[u8]>, gathered: Option<&[u8]>) -> Result<Self, CodecError> {
        const WHAT: &str = "notify state";
        let mut state = Self::default();
        let newer = |found, known| Err(CodecError::Newer { what: WHAT, found, known });
        if let Some(bytes) = in_force {
            let stored: InForce = codec::decode(WHAT, bytes)?;
            if stored.version > STATE_VERSION {
                return newer(stored.version, STATE_VERSION);
            }
            state.in_force = InForce { version: STATE_VERSION, ..stored };
        }
        if let Some(bytes) = gathered {
            state.gathered = codec::decode(WHAT, bytes)?;
            if state.gathered.version > GATHERED_VERSION {
                return newer(state.gathered.version, GATHERED_VERSION);
            }
        }
        for Stored { project, id, silence } in std::mem::take(&mut state.in_force.silences) {
            let matchers = Matchers::new(silence.matchers.iter().cloned())
                .map_err(|e| CodecError::Decode { what: WHAT, detail: e.to_string() })?;
            state.silences.insert((project, id), Silencing { silence, matchers });
        }
        Ok(state)
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.in_force.rules
    }

    /// The summaries that are still to be told, or still grow: each one's project and key.
    pub fn gathering(&self) -> impl Iterator<Item = (&ProjectId, &str)> {
        self.gathered.summaries.values().map(|open| (&open.project, open.key.as_str()))
    }

    /// What `batch` will look at and is not in hand. Load it and hand it to [`Self::learn`] before
    /// deciding.
    pub fn missing<'a>(&self, batch: impl IntoIterator<Item = &'a Prepared>) -> Missing {
        let mut missing = Missing::default();
        let mut events = 0;
        for prepared in batch {
            events += 1;
            let event = &prepared.event;
            if let Kind::Ticked = event.kind {
                let due = missing.due.get_or_insert(Due { until: event.lane_time, limit: 0 });
                due.until = due.until.max(event.lane_time);
                due.limit += DUE_PER_TICK;
            }
            missing.rows.extend(key_of(event).filter(|key| !self.rows.knows(key)));
        }
        if let Some(due) = &mut missing.due {
            // What an event puts off within the batch is not counted by its tick.
            due.limit += events;
            let bundles = self.gathered.summaries.values().filter(|gathering| {
                gathering.reason == SummaryReason::Bundle && gathering.due <= due.until
            });
            let members = bundles.flat_map(|gathering| {
                let key = |member: &Fingerprint| (gathering.project.clone(), *member);
                gathering.members.iter().map(key)
            });
            missing.rows.extend(members.filter(|key: &Key| !self.rows.knows(key)));
        }
        missing
    }

    /// Takes in what was found of what was missing.
    ///
    /// # Errors
    /// When a row was written by a later fold, or cannot be read.
    pub fn learn(&mut self, missing: Missing, found: Found) -> Result<(), CodecError> {
        self.rows.learn(missing, found)
    }

    /// Hands over what was changed since the last call.
    ///
    /// # Errors
    /// When a decision looked at a row that had not been asked for: nothing of this batch may be
    /// kept.
    pub fn take_changes(&mut self) -> Result<Changes, Unasked> {
        let (rows, gone) = self.rows.take_changes()?;
        let in_force = std::mem::take(&mut self.in_force_changed).then(|| {
            let silences = self.silences.iter().map(|((project, id), silencing)| Stored {
                project: project.clone(),
                id: id.clone(),
                silence: silencing.silence.clone(),
            });
            codec::encode(&InForce { silences: silences.collect(), ..self.in_force.clone() })
        });
        let gathered = std::mem::take(&mut self.gathered_changed).then(|| {
            self.gathered.version = GATHERED_VERSION;
            codec::encode(&self.gathered)
        });
        Ok(Changes { rows, gone, in_force, gathered })
    }

    /// How the fire of an incident was planned before rows were kept.
    pub(super) fn way(&self, incident: IncidentId) -> Option<&Way> {
        let index = *self.in_force.fires.get(&incident)?;
        self.in_force.ways.get(index as usize)
    }

    /// Forgets an incident that was told before rows were kept.
    pub(super) fn forget_way(&mut self, incident: IncidentId) -> Option<Way> {
        let way = self.way(incident).cloned();
        if self.in_force.fires.remove(&incident).is_some() {
            self.in_force_changed = true;
            if self.in_force.fires.is_empty() {
                self.in_force.ways.clear();
            }
        }
        way
    }
}

/// Rules as a state holds them.
mod rules_text {
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
