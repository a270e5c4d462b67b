//! The rows a batch works on: asked for before it, changed by it, written after it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroU16,
};

use minicbor::{Decode, Encode};
use schemas::{
    CodecError, Fingerprint, IncidentId, InputPosition, Lane, Position, ProjectId, Time, codec,
};
use uuid::Uuid;

use super::{
    FOLD_VERSION, LaneState, Problem, Scope,
    fold::lane_time_after,
    handle::{self, Named},
    incident::incident_id,
    known_fold,
    operators::Operators,
    prepare::{Content, Kind, Prepared},
};
use crate::{
    providers::{self, Ask, Target},
    rules::Rules,
};

/// How many days back a sender's delivery id is looked for: the longest it means anything (72 h)
/// begins on at most this many days before the current one.
pub const SEEN_DAYS: i32 = 3;

/// At most so many problems are looked at by one tick; the next goes on.
pub const DUE_PER_TICK: usize = 1_000;

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
    /// Records of which it matters whether they were given up: ended rejected or parked, and were
    /// not redriven since.
    pub originals: BTreeSet<InputPosition>,
    /// Names of incidents.
    pub handles: BTreeSet<Uuid>,
    /// The problems that come due.
    pub due: Option<Due>,
    /// Lane days the batch falls on; their partitions must be there.
    pub days: BTreeSet<i32>,
}

impl Missing {
    /// True when no row is asked for.
    pub fn is_empty(&self) -> bool {
        let Self { problems, incidents, seen, originals, handles, due, days: _ } = self;
        problems.is_empty()
            && incidents.is_empty()
            && seen.is_empty()
            && originals.is_empty()
            && handles.is_empty()
            && due.is_none()
    }
}

/// Problems that are due: the first ones in the order of due, project and fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// At or before this lane time.
    pub until: Time,
    pub limit: usize,
}

/// What was found of [`Missing`]; what is absent here does not exist.
#[derive(Debug, Default)]
pub struct Found {
    pub problems: Vec<(ProblemKey, Vec<u8>)>,
    pub incidents: Vec<(IncidentKey, Vec<u8>)>,
    /// Until when each key means the same delivery; the latest where there are several.
    pub seen: Vec<(Uuid, Time)>,
    /// Those of the originals that were given up.
    pub given_up: Vec<InputPosition>,
    /// What each name means; the latest where there are several.
    pub handles: Vec<(Uuid, Named)>,
    pub due: Vec<(ProblemKey, Vec<u8>)>,
}

/// A problem's key and state, and when it is due.
pub type ProblemRow = ((ProblemKey, Vec<u8>), Option<Time>);

/// What a batch changed; each key once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub problems: Vec<ProblemRow>,
    pub incidents: Vec<(IncidentKey, Vec<u8>)>,
    pub seen: Vec<NewSeen>,
    /// Records that were rejected, with the lane day.
    pub rejected: Vec<(i32, InputPosition)>,
    /// Records that were given up, and are no longer.
    pub redriven: Vec<InputPosition>,
    /// What incidents are named by besides.
    pub handles: Vec<NewHandle>,
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

/// A name of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHandle {
    /// Lane day it was given on.
    pub day: i32,
    pub key: Uuid,
    pub named: Named,
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
    /// The newest version of each provider that read something of the lane.
    #[n(2)]
    #[cbor(default)]
    providers: BTreeMap<String, u32>,
    /// Who the users of chats are.
    #[n(3)]
    #[cbor(default)]
    operators: Operators,
}

impl LaneState {
    /// The state of a lane whose last record was folded at `lane_time`, with what was last in
    /// force in it; without, the built-in rules are.
    ///
    /// # Errors
    /// When it was written by a later fold or with a later provider, or cannot be read.
    pub fn restore(
        lane: Lane,
        lanes: NonZeroU16,
        lane_time: Time,
        in_force: Option<&[u8]>,
    ) -> Result<Self, CodecError> {
        const WHAT: &str = "lane state";
        let mut rules = Rules::builtin().clone();
        let (mut read_by, mut operators) = (BTreeMap::new(), Operators::default());
        if let Some(bytes) = in_force {
            let state: InForce = codec::decode(WHAT, bytes)?;
            known_fold(WHAT, state.fold)?;
            if let Some(text) = state.rules {
                rules = Rules::parse(&text)
                    .map_err(|e| CodecError::Decode { what: WHAT, detail: e.to_string() })?;
            }
            known_providers(&state.providers)?;
            (read_by, operators) = (state.providers, state.operators);
        }
        Ok(Self::new(lane, lanes, lane_time, rules, read_by, operators))
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
            if let Kind::Tick { .. } = record.kind {
                let due = missing.due.get_or_insert(Due { until: lane_time, limit: 0 });
                due.until = lane_time;
                due.limit += DUE_PER_TICK;
            }
            let Some(project) = &record.project else { continue };
            if let Kind::Redrive(redrive) = &record.kind {
                missing.originals.insert(redrive.original.input);
            }
            if let Some((alerts, key)) = prepared.told() {
                let own = alerts.iter().map(|a| a.identity.fingerprint);
                let lists = alerts.iter().filter_map(|a| match a.identity.scope {
                    Scope::One { whole } => Some(whole),
                    Scope::Own | Scope::Whole => None,
                });
                let keys = own.chain(lists).map(|fingerprint| (project.clone(), fingerprint));
                missing.problems.extend(keys.filter(|key| !self.working.knows_problem(key)));
                missing.seen.extend(key.map(|key| key.key));
            }
            if let Some(asked) = prepared.interaction()
                && let Ask::Do { target, .. } = &asked.ask
            {
                let named = asked.on.iter().chain([target]);
                missing.handles.extend(named.map(|named| handle::of_target(project, named)));
            }
            if let Some(opening) = opening_of(&record.kind) {
                let key = (project.clone(), incident_id(project, opening));
                if !self.working.knows_incident(&key) {
                    missing.incidents.insert(key);
                }
            }
        }
        missing
    }

    /// What `batch` will look at besides, now that [`Self::missing`] was learnt: problems that rows
    /// it looks at name. To be asked for likewise, again and again until it is empty.
    pub fn further<'a>(&self, batch: impl IntoIterator<Item = &'a Prepared>) -> Missing {
        let working = &self.working;
        let mut missing = Missing::default();
        // Names that the batch itself gives, as far as it was looked through.
        let mut given: HashMap<Uuid, &Named> = HashMap::new();
        for prepared in batch {
            let Content::Record(record) = &prepared.content else { continue };
            given.extend(record.names.iter().map(|(key, named)| (*key, named)));
            let Some(project) = &record.project else { continue };
            let mut named = Vec::new();
            // What somebody in a chat may act on, which may be another project's.
            if let Some(Ask::Do { target, .. }) = prepared.interaction().map(|asked| &asked.ask) {
                let key = handle::of_target(project, target);
                let known = working.known_handle(key).into_iter().chain(given.get(&key).copied());
                // A position that was opened before names were kept: of the source's own project.
                let opening = match target {
                    Target::Opening { opening, .. } => Some((project.clone(), *opening)),
                    Target::Number { .. } | Target::Message { .. } => None,
                };
                for (project, opening) in known.chain(&opening) {
                    let key = (project.clone(), incident_id(project, *opening));
                    match working.problem_of(&key) {
                        Some(problem) => {
                            let problem = (project.clone(), problem);
                            let list = working.list_of(&problem);
                            let list = list.map(|list| (project.clone(), list));
                            let keys = list.into_iter().chain([problem]);
                            missing.problems.extend(keys.filter(|k| !working.knows_problem(k)));
                        }
                        None if !working.knows_incident(&key) => {
                            missing.incidents.insert(key);
                        }
                        None => {}
                    }
                }
            }
            // What alerts of no environment tell of in others.
            for alert in prepared.told().map(|(alerts, _)| alerts).unwrap_or_default() {
                if alert.identity.scope == Scope::Whole {
                    let listed = working.elsewhere(&(project.clone(), alert.identity.fingerprint));
                    named.extend(listed.iter().map(|other| other.fingerprint));
                }
            }
            // What an operator may end, and the list it stands on.
            if let Kind::Command(command) = &record.kind
                && let Some(opening) = command.opening
                && let Some(problem) =
                    working.problem_of(&(project.clone(), incident_id(project, opening)))
            {
                named.push(problem);
                named.extend(working.list_of(&(project.clone(), problem)));
            }
            let keys = named.into_iter().map(|fingerprint| (project.clone(), fingerprint));
            missing.problems.extend(keys.filter(|key| !working.knows_problem(key)));
        }
        missing
    }

    /// Takes in what was found of what was missing.
    ///
    /// # Errors
    /// When a row was written by a later fold, or cannot be read.
    pub fn learn(&mut self, missing: Missing, found: Found) -> Result<(), CodecError> {
        self.working.learn(missing, found)
    }

    /// Hands over what was changed since the last call, in the order of the keys.
    ///
    /// # Errors
    /// When a fold looked at a row that had not been asked for: nothing of this batch may be kept.
    pub fn take_changes(&mut self) -> Result<Changes, Unasked> {
        let lane = std::mem::take(&mut self.working.in_force_changed).then(|| {
            codec::encode(&InForce {
                fold: FOLD_VERSION,
                rules: Some(self.rules().text().to_owned()),
                providers: self.read_by().clone(),
                operators: self.operators().clone(),
            })
        });
        Ok(Changes { lane, ..self.working.take_changes()? })
    }
}

/// The incident a record is about, by the position that opened it.
fn opening_of(kind: &Kind) -> Option<Position> {
    match kind {
        Kind::Answer(answer) => Some(answer.opening),
        Kind::Command(command) => command.opening,
        Kind::Delivery(_)
        | Kind::Outcome(_)
        | Kind::Tick { .. }
        | Kind::Redrive(_)
        | Kind::Rules(_)
        | Kind::ChatOperator(_)
        | Kind::Silence(_)
        | Kind::Control => None,
    }
}

/// Refuses a lane of which a later provider than this binary has read something: it would read the
/// rest otherwise.
fn known_providers(read_by: &BTreeMap<String, u32>) -> Result<(), CodecError> {
    for (name, found) in read_by {
        let known = providers::by_name(name).map(|provider| (provider.name(), provider.version()));
        match known {
            Some((what, known)) if known < *found => {
                return Err(CodecError::Newer { what, found: *found, known });
            }
            Some(_) => {}
            None => {
                let detail = format!("this binary has no provider {name:?}, which read of it");
                return Err(CodecError::Decode { what: "lane state", detail });
            }
        }
    }
    Ok(())
}

/// The state of a problem, as its row holds it.
pub(super) fn problem_row(problem: &Problem) -> (Vec<u8>, Option<Time>) {
    (problem.encode(), problem.due)
}
