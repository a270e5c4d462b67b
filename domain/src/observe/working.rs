//! The rows in hand while a batch is folded.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    hash::Hash,
};

use schemas::{CodecError, Fingerprint, IncidentId, InputPosition, Position, Time};
use uuid::Uuid;

use super::{
    Elsewhere, Incident, Problem,
    handle::Named,
    prepare::SeenKey,
    problem::{Sighting, Turned},
    state::{
        Changes, Found, IncidentKey, Missing, NewHandle, NewSeen, ProblemKey, Unasked, problem_row,
    },
};

/// Rows kept from batch to batch; once there are more, all are read anew.
const CACHED: usize = 10_000;

/// The rows in hand.
#[derive(Debug, Default)]
pub(super) struct Working {
    problems: Rows<ProblemKey, Problem>,
    incidents: Rows<IncidentKey, Incident>,
    seen: HashMap<Uuid, Time>,
    /// Until when, by lane day and key.
    seen_added: BTreeMap<(i32, Uuid), Time>,
    /// The problems that come due within the batch. One whose time has changed since stands here
    /// under the old one as well.
    due: BTreeSet<(Time, ProblemKey)>,
    /// Until when `due` is complete.
    due_until: Option<Time>,
    /// Records that were given up, of those that were looked up or given up in this batch.
    given_up: BTreeSet<InputPosition>,
    originals: BTreeSet<InputPosition>,
    rejected: BTreeMap<InputPosition, i32>,
    redriven: BTreeSet<InputPosition>,
    /// Names that were looked up or given in this batch; none for one that means nothing.
    handles: HashMap<Uuid, Option<Named>>,
    /// Those given, by lane day and key.
    handles_added: BTreeMap<(i32, Uuid), Named>,
    pub in_force_changed: bool,
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

impl Working {
    pub fn knows_problem(&self, key: &ProblemKey) -> bool {
        self.problems.knows(key)
    }

    pub fn knows_incident(&self, key: &IncidentKey) -> bool {
        self.incidents.knows(key)
    }

    /// The problem an incident belongs to, as far as it is known.
    pub fn problem_of(&self, key: &IncidentKey) -> Option<Fingerprint> {
        self.incidents.get(key).map(|incident| incident.fingerprint)
    }

    /// The problem that keeps the list a problem stands on, as far as it is known.
    pub fn list_of(&self, key: &ProblemKey) -> Option<Fingerprint> {
        self.problems.get(key)?.part.as_ref().map(|part| part.whole)
    }

    /// Takes in what was found of what was missing.
    pub fn learn(&mut self, missing: Missing, found: Found) -> Result<(), CodecError> {
        let Found { problems, incidents, seen, given_up, handles, due } = found;
        self.problems.learn(missing.problems, problems, Problem::decode)?;
        self.incidents.learn(missing.incidents, incidents, Incident::decode)?;
        self.seen.extend(seen);
        self.given_up.extend(given_up);
        self.originals.extend(missing.originals);
        self.handles.extend(missing.handles.into_iter().map(|key| (key, None)));
        self.handles.extend(handles.into_iter().map(|(key, named)| (key, Some(named))));
        if let Some(asked) = missing.due {
            self.due_until = Some(asked.until);
            for (key, state) in due {
                // What is in hand is not older than its row.
                if !self.problems.knows(&key) {
                    let found = vec![(key.clone(), state)];
                    self.problems.learn(BTreeSet::new(), found, Problem::decode)?;
                }
                if let Some(due) = self.problems.get(&key).and_then(|problem| problem.due) {
                    self.due.insert((due, key));
                }
            }
        }
        Ok(())
    }

    /// Hands over what was changed since the last call.
    pub fn take_changes(&mut self) -> Result<Changes, Unasked> {
        if let Some(what) = self.unasked {
            return Err(Unasked(what));
        }
        self.seen.clear();
        self.due.clear();
        self.due_until = None;
        self.given_up.clear();
        self.originals.clear();
        self.handles.clear();
        let problems = self.problems.take_changes(problem_row).into_iter();
        let incidents = self.incidents.take_changes(Incident::encode);
        let seen = std::mem::take(&mut self.seen_added).into_iter();
        let rejected = std::mem::take(&mut self.rejected).into_iter();
        let handles = std::mem::take(&mut self.handles_added).into_iter();
        Ok(Changes {
            problems: problems.map(|(key, (state, due))| ((key, state), due)).collect(),
            incidents,
            seen: seen.map(|((day, key), expires)| NewSeen { day, key, expires }).collect(),
            rejected: rejected.map(|(at, day)| (day, at)).collect(),
            redriven: std::mem::take(&mut self.redriven).into_iter().collect(),
            handles: handles.map(|((day, key), named)| NewHandle { day, key, named }).collect(),
            lane: None,
        })
    }

    /// The incident a problem's latest episode opened, and where.
    pub fn latest_of(&mut self, key: &ProblemKey) -> Option<(IncidentId, Position)> {
        if !self.problems.knows(key) {
            self.unasked = Some("problem");
        }
        self.problems.get(key)?.latest().incident
    }

    /// Applies an alert to its problem.
    pub fn apply(&mut self, key: ProblemKey, sighting: &Sighting<'_>) -> Turned {
        self.change(key, |problem| Problem::apply(problem, sighting))
    }

    /// Changes a problem, and notes when it comes due.
    pub fn change<T>(
        &mut self,
        key: ProblemKey,
        change: impl FnOnce(&mut Option<Problem>) -> T,
    ) -> T {
        let mut entry = match self.problems.rows.entry(key) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                self.unasked = Some("problem");
                entry.insert_entry(Row { value: None, changed: true })
            }
        };
        let due_of = |row: &Row<Problem>| row.value.as_ref().and_then(|problem| problem.due);
        let before = due_of(entry.get());
        let made = change(&mut entry.get_mut().value);
        entry.get_mut().changed = true;
        let after = due_of(entry.get());
        if after != before
            && let Some(due) = after
            && self.due_until.is_some_and(|until| due <= until)
        {
            self.due.insert((due, entry.key().clone()));
        }
        made
    }

    /// A problem, if it exists.
    pub fn problem(&mut self, key: &ProblemKey) -> Option<&Problem> {
        if !self.problems.knows(key) {
            self.unasked = Some("problem");
        }
        self.problems.get(key)
    }

    /// True while a problem's episode is open.
    pub fn is_open(&self, key: &ProblemKey) -> bool {
        self.problems.get(key).is_some_and(Problem::is_open)
    }

    /// The open problems of the same identity in other environments, as this problem lists them.
    pub fn elsewhere(&self, key: &ProblemKey) -> &[Elsewhere] {
        let problem = self.problems.get(key);
        problem.and_then(|problem| problem.elsewhere.as_deref()).unwrap_or_default()
    }

    /// The first problems that are due `now`, in the order of due, project and fingerprint. Each is
    /// to be changed, and is due later then or not at all.
    pub fn take_due(&mut self, now: Time, limit: usize) -> Vec<ProblemKey> {
        if self.due_until.is_none_or(|until| until < now) {
            self.unasked = Some("problem that is due");
        }
        let mut keys = Vec::new();
        while keys.len() < limit
            && self.due.first().is_some_and(|(due, _)| *due <= now)
            && let Some((due, key)) = self.due.pop_first()
        {
            if self.problems.get(&key).and_then(|problem| problem.due) == Some(due) {
                keys.push(key);
            }
        }
        keys
    }

    /// Puts a new incident there.
    pub fn open_incident(&mut self, key: IncidentKey, incident: Incident) {
        self.incidents.rows.insert(key, Row { value: Some(incident), changed: true });
    }

    /// The problem of an incident; none when there is none of that opening.
    pub fn fingerprint_of(&mut self, key: &IncidentKey) -> Option<Fingerprint> {
        if !self.incidents.knows(key) {
            self.unasked = Some("incident");
        }
        self.problem_of(key)
    }

    /// An incident, to be changed; none when there is none of that opening.
    pub fn incident(&mut self, key: &IncidentKey) -> Option<&mut Incident> {
        if !self.incidents.knows(key) {
            self.unasked = Some("incident");
        }
        let row = self.incidents.rows.get_mut(key)?;
        let incident = row.value.as_mut()?;
        row.changed = true;
        Some(incident)
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

    /// What a name means, as far as it is known.
    pub fn known_handle(&self, key: Uuid) -> Option<&Named> {
        self.handles.get(&key)?.as_ref()
    }

    /// The incident of that name, if it names one.
    pub fn named(&mut self, key: Uuid) -> Option<Named> {
        if !self.handles.contains_key(&key) {
            self.unasked = Some("name of an incident");
        }
        self.known_handle(key).cloned()
    }

    /// Notes a name of an incident.
    pub fn name(&mut self, key: Uuid, named: Named, now: Time) {
        self.handles.insert(key, Some(named.clone()));
        self.handles_added.insert((now.day(), key), named);
    }

    /// Notes a record as parked. The owner of the lane keeps its row.
    pub fn park(&mut self, at: InputPosition) {
        self.given_up.insert(at);
    }

    /// Notes a record as rejected.
    pub fn reject(&mut self, at: InputPosition, now: Time) {
        self.given_up.insert(at);
        self.rejected.insert(at, now.day());
    }

    /// Whether a record was given up and not redriven since.
    pub fn is_given_up(&mut self, at: InputPosition) -> bool {
        if !self.originals.contains(&at) {
            self.unasked = Some("record that was given up");
        }
        self.given_up.contains(&at)
    }

    /// Notes a record that was given up as redriven.
    pub fn redrive(&mut self, at: InputPosition) {
        self.given_up.remove(&at);
        // One of this batch has no row yet, if it was rejected; if it was parked, it has.
        self.rejected.remove(&at);
        self.redriven.insert(at);
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

    fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)?.value.as_ref()
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

    fn take_changes<R>(&mut self, row_of: fn(&V) -> R) -> Vec<(K, R)> {
        let mut changed = Vec::new();
        for (key, row) in &mut self.rows {
            if std::mem::take(&mut row.changed)
                && let Some(value) = &row.value
            {
                changed.push((key.clone(), row_of(value)));
            }
        }
        changed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if self.rows.len() > CACHED {
            self.rows.clear();
        }
        changed
    }
}
