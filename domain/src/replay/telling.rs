//! The sequential fold of a lane's decision events: who must be told what (invariant I4).

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Event, ProjectId, Time};

use super::Error;
use crate::notify::{Changes, Found, Missing, Plan, Prepared, ProblemKey, State, decide, prepare};

/// What notify's tables hold, in the form rows are stored in, and what it said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telling {
    told: BTreeMap<ProblemKey, (Vec<u8>, Option<Time>)>,
    /// The problems that have one, by when they are due.
    due: BTreeSet<(Time, ProblemKey)>,
    in_force: Option<Vec<u8>>,
    gathered: Option<Vec<u8>>,
    /// Every notice, in order.
    pub notices: Vec<Event>,
    pub plans: Vec<Plan>,
}

impl Telling {
    /// Decides about events of one lane, in their order, with every row read back for each.
    ///
    /// # Errors
    /// For an event of a newer binary, where the live loop would halt as well.
    pub fn sequential(events: impl IntoIterator<Item = Event>) -> Result<Self, Error> {
        let mut telling = Self::default();
        for event in events {
            let mut state = telling.load()?;
            telling.apply(&mut state, vec![event])?;
        }
        Ok(telling)
    }

    /// What an owner of the lane holds that takes it over now.
    ///
    /// # Errors
    /// When a row cannot be read back.
    pub fn load(&self) -> Result<State, Error> {
        Ok(State::restore(self.in_force.as_deref(), self.gathered.as_deref())?)
    }

    /// Decides about one batch with the state of an owner that decided about everything before it, or
    /// took the lane over since.
    ///
    /// # Errors
    /// When a row cannot be read back, or one was looked at that was not asked for.
    pub fn apply(&mut self, state: &mut State, batch: Vec<Event>) -> Result<(), Error> {
        let batch: Vec<Prepared> =
            batch.into_iter().map(prepare).collect::<Result<_, _>>().map_err(Error::Rules)?;
        let missing = state.missing(&batch);
        let found = self.find(&missing);
        state.learn(missing, found)?;
        for prepared in &batch {
            let decided = decide(state, prepared);
            self.notices.extend(decided.notices);
            self.plans.extend(decided.plans);
        }
        self.keep(state.take_changes()?);
        Ok(())
    }

    /// Keys of the summaries that are still to be told, or still grow.
    ///
    /// # Errors
    /// When what is gathered cannot be read back.
    pub fn open(&self) -> Result<Vec<(ProjectId, String)>, Error> {
        Ok(self
            .load()?
            .gathering()
            .map(|(project, key)| (project.clone(), key.to_owned()))
            .collect())
    }

    /// How many problems are remembered.
    pub fn remembered(&self) -> usize {
        self.told.len()
    }

    fn find(&self, missing: &Missing) -> Found {
        let row = |key: &ProblemKey| Some((key.clone(), self.told.get(key)?.0.clone()));
        let due = missing.due.iter().flat_map(|asked| {
            let due = self.due.iter().take_while(|(due, _)| *due <= asked.until);
            due.take(asked.limit).filter_map(|(_, key)| row(key))
        });
        Found { rows: missing.rows.iter().filter_map(row).collect(), due: due.collect() }
    }

    fn keep(&mut self, changes: Changes) {
        let Changes { rows, gone, in_force, gathered } = changes;
        for ((key, state), due) in rows {
            self.forget(&key);
            self.due.extend(due.map(|due| (due, key.clone())));
            self.told.insert(key, (state, due));
        }
        for key in gone {
            self.forget(&key);
        }
        self.in_force = in_force.or(self.in_force.take());
        self.gathered = gathered.or(self.gathered.take());
    }

    fn forget(&mut self, key: &ProblemKey) {
        if let Some((_, Some(due))) = self.told.remove(key) {
            self.due.remove(&(due, key.clone()));
        }
    }
}
