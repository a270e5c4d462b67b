//! What changed between two rounds of the poller.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use store::read::{
    View, Visible,
    home::{Reached, Trace},
};
use uuid::Uuid;

use super::{Position, WATCHED, What};

/// What the last round saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub position: Position,
    /// Absent before the first look.
    looked: bool,
    all: bool,
    watched: BTreeSet<String>,
    incidents: HashMap<Uuid, Trace>,
    /// Events counted of each (project, provider).
    heard: BTreeMap<(String, String), i64>,
    /// Records with an outcome, ticks and control left out.
    settled: i64,
}

/// What one round found.
#[derive(Debug)]
pub struct News {
    pub before: Position,
    pub position: Position,
    /// Another generation: nothing from before means anything.
    pub restarted: bool,
    /// The projects that are watched now.
    pub watched: BTreeSet<String>,
    /// Those of them nobody asked about until now.
    pub first_watched: Vec<String>,
    /// From now on every project is watched.
    pub all_since_now: bool,
    pub facts: Vec<What>,
    /// Said last, once all of `facts` were.
    pub end: Option<What>,
}

/// Outcomes that come by themselves, and the sum they are checked against.
const UNINTERESTING: [&str; 3] = ["tick", "control", "in_frames"];

impl Seen {
    /// Whether the tables can differ from what was seen, or somebody asks about more.
    pub fn must_look(&self, reached: &Reached, scopes: &[Visible], all: bool) -> bool {
        let named = |scope: &Visible| match scope {
            Visible::Everything => self.all,
            Visible::Projects(ids) => ids.iter().all(|id| self.watched.contains(id.as_str())),
        };
        !self.looked || *reached != self.position.0 || all != self.all || !scopes.iter().all(named)
    }

    /// Reads what somebody watches and compares.
    pub async fn look(
        &mut self,
        view: &mut View,
        reached: Reached,
        scopes: &[Visible],
        all: bool,
    ) -> Result<News, store::Error> {
        let restarted = self.looked && reached.generation != self.position.0.generation;
        if restarted {
            *self = Self::default();
        }
        let heard = view.heard().await?;
        let mut watched: BTreeSet<String> = scopes
            .iter()
            .flat_map(|scope| match scope {
                Visible::Everything => &[],
                Visible::Projects(ids) => ids.as_slice(),
            })
            .map(|id| id.as_str().to_owned())
            .collect();
        if all {
            watched.extend(heard.iter().map(|h| h.project.clone()));
        }
        let projects: Vec<String> = watched.iter().cloned().collect();
        let traces = view.traces(&projects, WATCHED).await?;
        let settled: i64 = view
            .ledgers()
            .await?
            .iter()
            .filter(|(_, outcome, _)| !UNINTERESTING.contains(&outcome.as_str()))
            .map(|(_, _, records)| records)
            .sum();

        // A project that turns up while all are watched is news; one that somebody begins to
        // watch is not.
        let new: Vec<String> = watched.difference(&self.watched).cloned().collect();
        let first_watched = if self.all { Vec::new() } else { new };
        let quiet = |project: &str| first_watched.iter().any(|p| p == project);

        let mut facts = Vec::new();
        let mut incidents = HashMap::with_capacity(traces.len());
        for trace in traces {
            let before = self.incidents.remove(&trace.incident);
            if before.as_ref() != Some(&trace) && !quiet(&trace.project) {
                facts.push(What::Incident(trace.clone()));
            }
            incidents.insert(trace.incident, trace);
        }
        let gone = self.incidents.drain().map(|(_, trace)| trace);
        facts.extend(gone.filter(|t| watched.contains(&t.project)).map(What::Incident));

        let mut totals = BTreeMap::new();
        for h in heard.into_iter().filter(|h| watched.contains(&h.project)) {
            let key = (h.project, h.provider);
            let before = self.heard.get(&key);
            if before != Some(&h.counters.total) && !quiet(&key.0) {
                let (project, provider) = key.clone();
                facts.push(What::Source { project, provider });
            }
            totals.insert(key, h.counters.total);
        }

        let touched: BTreeSet<String> = facts.iter().filter_map(project_of).collect();
        let end = if restarted {
            Some(What::Resync)
        } else if self.looked && (settled != self.settled || !touched.is_empty()) {
            Some(What::Counters { projects: touched })
        } else {
            None
        };
        let position = Position(reached);
        let news = News {
            before: self.position.clone(),
            position: position.clone(),
            restarted,
            watched: watched.clone(),
            first_watched,
            all_since_now: all && !self.all,
            facts,
            end,
        };
        *self = Self { position, looked: true, all, watched, incidents, heard: totals, settled };
        Ok(news)
    }
}

fn project_of(what: &What) -> Option<String> {
    match what {
        What::Incident(trace) => Some(trace.project.clone()),
        What::Source { project, .. } => Some(project.clone()),
        What::Counters { .. } | What::Beat { .. } | What::Resync => None,
    }
}
