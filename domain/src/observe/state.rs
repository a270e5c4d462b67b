//! The rows a batch works on: asked for before it, changed by it, written after it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    num::NonZeroU16,
};

use minicbor::{Decode, Encode};
use schemas::{CodecError, Fingerprint, IncidentId, Lane, Position, ProjectId, Time, codec};
use uuid::Uuid;

use super::{
    Change, Elsewhere, FOLD_VERSION, LaneState, Problem, Scope, Sighting,
    fold::lane_time_after,
    incident::{Incident, incident_id},
    known_fold,
    prepare::{Content, Kind, Prepared, SeenKey},
    problem::Latest,
};
use crate::rules::Rules;

/// How many days back a sender's delivery id is looked for: the longest it means anything (72 h)
/// begins on at most this many days before the current one.
pub const SEEN_DAYS: i32 = 3;

/// Rows kept from batch to batch; once there are more, all are read anew.
const CACHED: usize = 10_000;

/// Names a problem.
pub type ProblemKey = (ProjectId, Fingerprint);

/// Names an incident.
pub type IncidentKey = (ProjectId, IncidentId);

/// Rows a batch looks at and the state does not hold.
#[derive(Debug, Default)]
pub struct Missing {
    pub problems: BTreeSet<ProblemKey>,
    pub incidents: BTreeSet<IncidentKey>,
    pub seen: BTreeSet<Uuid>,
    /// Lane days the batch falls on; their partitions must be there.
    pub days: BTreeSet<i32>,
}

/// What was found of [`Missing`]; what is absent here does not exist.
#[derive(Debug, Default)]
pub struct Found {
    pub problems: Vec<(ProblemKey, Vec<u8>)>,
    pub incidents: Vec<(IncidentKey, Vec<u8>)>,
    /// Until when each key means the same delivery; the latest where there are several.
    pub seen: Vec<(Uuid, Time)>,
}

/// What a batch changed; each key once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub problems: Vec<(ProblemKey, Vec<u8>)>,
    pub incidents: Vec<(IncidentKey, Vec<u8>)>,
    pub seen: Vec<NewSeen>,
    /// What is in force in the lane, if the batch changed it; for [`LaneState::restore`].
    pub lane: Option<Vec<u8>>,
}

/// A sender's delivery id that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSeen {
    /// Lane day it was applied on.
    pub day: i32,
    pub key: Uuid,
    /// Lane time until which it means the same delivery.
    pub expires: Time,
}

/// The rows in hand.
#[derive(Debug, Default)]
pub(super) struct Working {
    problems: Rows<ProblemKey, Problem>,
    incidents: Rows<IncidentKey, Incident>,
    seen: HashMap<Uuid, Time>,
    /// Until when, by lane day and key.
    seen_added: BTreeMap<(i32, Uuid), Time>,
    pub rules_changed: bool,
    /// A row was looked at that nobody had asked for. What was folded since is not to be written.
    unasked: Option<&'static str>,
}

/// Rows by key; a row known not to exist is `None`.
#[derive(Debug)]
struct Rows<K, V> {
    rows: HashMap<K, Row<V>>,
}

#[derive(Debug)]
struct Row<V> {
    value: Option<V>,
    changed: bool,
}

/// A fold looked at a row that was not asked for: a fault in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fold looked at a {0} that was not loaded")]
pub struct Unasked(pub &'static str);

/// What is in force in a lane, besides its rows.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct InForce {
    /// Version of the fold that wrote it.
    #[n(0)]
    fold: u32,
    /// Text of the rules document; none is the built-in one.
    #[n(1)]
    rules: Option<String>,
}

impl LaneState {
    /// The state of a lane whose last record was folded at `lane_time`, with what was last in
    /// force in it; without, the built-in rules are.
    ///
    /// # Errors
    /// When it was written by a later fold, or cannot be read.
    pub fn restore(
        lane: Lane,
        lanes: NonZeroU16,
        lane_time: Time,
        in_force: Option<&[u8]>,
    ) -> Result<Self, CodecError> {
        const WHAT: &str = "lane state";
        let mut rules = Rules::builtin().clone();
        if let Some(bytes) = in_force {
            let state: InForce = codec::decode(WHAT, bytes)?;
            known_fold(WHAT, state.fold)?;
            if let Some(text) = state.rules {
                rules = Rules::parse(&text)
                    .map_err(|e| CodecError::Decode { what: WHAT, detail: e.to_string() })?;
            }
        }
        Ok(Self::new(lane, lanes, lane_time, rules))
    }

    /// What `batch` will look at and the state does not hold. Load it and hand it to
    /// [`Self::learn`] before folding.
    pub fn missing<'a>(&self, batch: impl IntoIterator<Item = &'a Prepared>) -> Missing {
        let mut missing = Missing::default();
        let mut lane_time = self.lane_time();
        for prepared in batch {
            lane_time = lane_time_after(lane_time, prepared);
            missing.days.insert(lane_time.day());
            let Content::Record(record) = &prepared.content else { continue };
            let Some(project) = &record.project else { continue };
            if let Some((alerts, key)) = prepared.told() {
                let own = alerts.iter().map(|a| a.identity.fingerprint);
                let lists = alerts.iter().filter_map(|a| match a.identity.scope {
                    Scope::One { whole } => Some(whole),
                    Scope::Own | Scope::Whole => None,
                });
                let keys = own.chain(lists).map(|fingerprint| (project.clone(), fingerprint));
                missing.problems.extend(keys.filter(|key| !self.working.problems.knows(key)));
                missing.seen.extend(key.map(|key| key.key));
            } else if let Kind::Answer(answer) = &record.kind {
                let key = (project.clone(), incident_id(project, answer.opening));
                if !self.working.incidents.knows(&key) {
                    missing.incidents.insert(key);
                }
            }
        }
        missing
    }

    /// What `batch` will look at besides, now that [`Self::missing`] was learnt: the problems that
    /// alerts of no environment tell of in others. To be asked for likewise.
    pub fn listed<'a>(&self, batch: impl IntoIterator<Item = &'a Prepared>) -> Missing {
        let mut missing = Missing::default();
        for prepared in batch {
            let Content::Record(record) = &prepared.content else { continue };
            let (Some(project), Some((alerts, _))) = (&record.project, prepared.told()) else {
                continue;
            };
            for alert in alerts.iter().filter(|a| a.identity.scope == Scope::Whole) {
                let listed = self.working.elsewhere(&(project.clone(), alert.identity.fingerprint));
                let keys = listed.iter().map(|other| (project.clone(), other.fingerprint));
                missing.problems.extend(keys.filter(|key| !self.working.problems.knows(key)));
            }
        }
        missing
    }

    /// Takes in what was found of what was missing.
    ///
    /// # Errors
    /// When a row was written by a later fold, or cannot be read.
    pub fn learn(&mut self, missing: Missing, found: Found) -> Result<(), CodecError> {
        let working = &mut self.working;
        working.problems.learn(missing.problems, found.problems, Problem::decode)?;
        working.incidents.learn(missing.incidents, found.incidents, Incident::decode)?;
        working.seen.extend(found.seen);
        Ok(())
    }

    /// Hands over what was changed since the last call, in the order of the keys.
    ///
    /// # Errors
    /// When a fold looked at a row that had not been asked for: nothing of this batch may be kept.
    pub fn take_changes(&mut self) -> Result<Changes, Unasked> {
        let lane = std::mem::take(&mut self.working.rules_changed).then(|| {
            let text = Some(self.rules().text().to_owned());
            codec::encode(&InForce { fold: FOLD_VERSION, rules: text })
        });
        let working = &mut self.working;
        if let Some(what) = working.unasked {
            return Err(Unasked(what));
        }
        working.seen.clear();
        Ok(Changes {
            problems: working.problems.take_changes(Problem::encode),
            incidents: working.incidents.take_changes(Incident::encode),
            seen: std::mem::take(&mut working.seen_added)
                .into_iter()
                .map(|((day, key), expires)| NewSeen { day, key, expires })
                .collect(),
            lane,
        })
    }
}

impl Working {
    /// The incident a problem's latest episode opened, and where.
    pub fn incident_of(&mut self, key: &ProblemKey) -> Option<(IncidentId, Position)> {
        if !self.problems.knows(key) {
            self.unasked = Some("problem");
        }
        self.problems.rows.get(key)?.value.as_ref()?.latest().incident
    }

    /// Applies an alert to its problem and returns the latest episode after it.
    pub fn apply(&mut self, key: ProblemKey, sighting: &Sighting) -> (Change, Latest) {
        if !self.problems.knows(&key) {
            self.unasked = Some("problem");
        }
        let row = self.problems.rows.entry(key).or_insert(Row { value: None, changed: true });
        row.changed = true;
        Problem::apply(&mut row.value, sighting)
    }

    /// True while a problem's episode is open.
    pub fn is_open(&self, key: &ProblemKey) -> bool {
        let row = self.problems.rows.get(key).and_then(|row| row.value.as_ref());
        row.is_some_and(Problem::is_open)
    }

    /// The open problems of the same identity in other environments, as this problem lists them.
    pub fn elsewhere(&self, key: &ProblemKey) -> &[Elsewhere] {
        let row = self.problems.rows.get(key).and_then(|row| row.value.as_ref());
        row.and_then(|problem| problem.elsewhere.as_deref()).unwrap_or_default()
    }

    /// Notes in a problem's list that another is open, or no longer is.
    pub fn list(&mut self, key: ProblemKey, other: Elsewhere, open: bool) {
        if !self.problems.knows(&key) {
            self.unasked = Some("problem");
        }
        let row = self.problems.rows.entry(key).or_insert(Row { value: None, changed: true });
        row.changed = true;
        Problem::list(&mut row.value, other, open);
    }

    /// Puts a new incident there.
    pub fn open_incident(&mut self, key: IncidentKey, incident: Incident) {
        self.incidents.rows.insert(key, Row { value: Some(incident), changed: true });
    }

    /// Takes an answer; true when it is the first for its reason.
    pub fn answer(&mut self, key: &IncidentKey, reason: &str) -> bool {
        if !self.incidents.knows(key) {
            self.unasked = Some("incident");
        }
        let Some(row) = self.incidents.rows.get_mut(key) else { return false };
        let first = row.value.as_mut().is_some_and(|incident| incident.answer(reason));
        row.changed |= first;
        first
    }

    /// Until when a sender's delivery id means the same delivery, if it was applied before.
    pub fn seen_until(&self, key: Uuid) -> Option<Time> {
        self.seen.get(&key).copied()
    }

    /// Notes a sender's delivery id as applied.
    pub fn note_seen(&mut self, key: SeenKey, now: Time) {
        let expires = now.plus_seconds(key.seconds);
        self.seen.insert(key.key, expires);
        self.seen_added.insert((now.day(), key.key), expires);
    }
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord, V> Rows<K, V> {
    fn knows(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    fn learn(
        &mut self,
        asked: BTreeSet<K>,
        found: Vec<(K, Vec<u8>)>,
        decode: fn(&[u8]) -> Result<V, CodecError>,
    ) -> Result<(), CodecError> {
        for (key, bytes) in found {
            let value = Some(decode(&bytes)?);
            self.rows.insert(key, Row { value, changed: false });
        }
        for key in asked {
            self.rows.entry(key).or_insert(Row { value: None, changed: false });
        }
        Ok(())
    }

    fn take_changes(&mut self, encode: fn(&V) -> Vec<u8>) -> Vec<(K, Vec<u8>)> {
        let mut changed = Vec::new();
        for (key, row) in &mut self.rows {
            if std::mem::take(&mut row.changed)
                && let Some(value) = &row.value
            {
                changed.push((key.clone(), encode(value)));
            }
        }
        changed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if self.rows.len() > CACHED {
            self.rows.clear();
        }
        changed
    }
}
