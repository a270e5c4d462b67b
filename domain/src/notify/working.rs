//! The rows in hand while a batch is decided.

use std::collections::{BTreeSet, HashMap};

use schemas::{CodecError, Fingerprint, ProjectId, Time};

use super::row::Told;
use crate::observe::{Due, Unasked};

/// Rows kept from batch to batch; once there are more, all are read anew.
const CACHED: usize = 10_000;

/// Names a problem.
pub type Key = (ProjectId, Fingerprint);

/// Rows a batch looks at and that are not in hand.
#[derive(Debug, Default)]
pub struct Missing {
    pub rows: BTreeSet<Key>,
    /// The rows that come due.
    pub due: Option<Due>,
}

impl Missing {
    /// True when no row is asked for.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.due.is_none()
    }
}

/// What was found of [`Missing`]; what is absent here does not exist.
#[derive(Debug, Default)]
pub struct Found {
    pub rows: Vec<(Key, Vec<u8>)>,
    pub due: Vec<(Key, Vec<u8>)>,
}

/// A row's key and state, and when it is due.
pub type Row = ((Key, Vec<u8>), Option<Time>);

/// What a batch changed; each key once, in the order of the keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub rows: Vec<Row>,
    /// Rows that are no more.
    pub gone: Vec<Key>,
    /// What is in force in the lane, if the batch changed it, and what is gathered in it; both for
    /// [`super::State::restore`].
    pub in_force: Option<Vec<u8>>,
    pub gathered: Option<Vec<u8>>,
}

/// The rows in hand.
#[derive(Debug, Default)]
pub(super) struct Working {
    rows: HashMap<Key, Held>,
    /// The rows that come due within the batch. One whose time has changed since stands here under
    /// the old one as well.
    due: BTreeSet<(Time, Key)>,
    /// Until when `due` is complete.
    due_until: Option<Time>,
    /// A row was looked at that nobody had asked for. What was decided since is not to be written.
    unasked: Option<&'static str>,
}

/// A row; one known not to exist is none.
#[derive(Debug)]
struct Held {
    told: Option<Told>,
    changed: bool,
}

impl Working {
    pub fn knows(&self, key: &Key) -> bool {
        self.rows.contains_key(key)
    }

    /// Takes in what was found of what was missing.
    pub fn learn(&mut self, missing: Missing, found: Found) -> Result<(), CodecError> {
        for (key, bytes) in found.rows {
            let told = Some(Told::decode(&bytes)?);
            self.rows.insert(key, Held { told, changed: false });
        }
        for key in missing.rows {
            self.rows.entry(key).or_insert(Held { told: None, changed: false });
        }
        if let Some(asked) = missing.due {
            self.due_until = Some(asked.until);
            for (key, bytes) in found.due {
                // What is in hand is not older than its row.
                if !self.knows(&key) {
                    let told = Some(Told::decode(&bytes)?);
                    self.rows.insert(key.clone(), Held { told, changed: false });
                }
                let told = self.rows.get(&key).and_then(|held| held.told.as_ref());
                if let Some(due) = told.and_then(Told::due) {
                    self.due.insert((due, key));
                }
            }
        }
        Ok(())
    }

    /// A row, out of hand until it is [put](Self::put) back.
    pub fn take(&mut self, key: &Key) -> Option<Told> {
        let Some(held) = self.rows.get_mut(key) else {
            self.unasked = Some("row of a problem");
            return None;
        };
        held.told.take()
    }

    /// Puts a row back as it was.
    pub fn put_back(&mut self, key: Key, told: Told) {
        if let Some(held) = self.rows.get_mut(&key) {
            held.told = Some(told);
        }
    }

    /// Puts a row there.
    pub fn put(&mut self, key: Key, told: Told) {
        if let Some(due) = told.due()
            && self.due_until.is_some_and(|until| due <= until)
        {
            self.due.insert((due, key.clone()));
        }
        self.rows.insert(key, Held { told: Some(told), changed: true });
    }

    /// Forgets a row.
    pub fn forget(&mut self, key: Key) {
        self.rows.insert(key, Held { told: None, changed: true });
    }

    /// The first rows that are due `now`, in the order of due and key. Each is to be put back, due
    /// later or not at all, or to be forgotten.
    pub fn take_due(&mut self, now: Time, limit: usize) -> Vec<Key> {
        if self.due_until.is_none_or(|until| until < now) {
            self.unasked = Some("row that is due");
        }
        let mut keys = Vec::new();
        while keys.len() < limit
            && self.due.first().is_some_and(|(due, _)| *due <= now)
            && let Some((due, key)) = self.due.pop_first()
        {
            let told = self.rows.get(&key).and_then(|held| held.told.as_ref());
            if told.and_then(Told::due) == Some(due) {
                keys.push(key);
            }
        }
        keys
    }

    /// Hands over what was changed since the last call.
    pub fn take_changes(&mut self) -> Result<(Vec<Row>, Vec<Key>), Unasked> {
        if let Some(what) = self.unasked {
            return Err(Unasked(what));
        }
        self.due.clear();
        self.due_until = None;
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        for (key, held) in &mut self.rows {
            if !std::mem::take(&mut held.changed) {
                continue;
            }
            match &held.told {
                Some(told) => rows.push(((key.clone(), told.encode()), told.due())),
                None => gone.push(key.clone()),
            }
        }
        rows.sort_unstable_by(|((a, _), _), ((b, _), _)| a.cmp(b));
        gone.sort_unstable();
        if self.rows.len() > CACHED {
            self.rows.clear();
        }
        Ok((rows, gone))
    }
}
