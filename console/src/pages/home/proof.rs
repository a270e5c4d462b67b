//! The proof of quiet: who was heard, whether the ledger is balanced, whether the workers move.

use std::collections::BTreeMap;

use schemas::{Outcome, Time};
use store::read::home::Heard;

use super::{KnownSource, Scope, Snapshot};
use crate::pages::{
    text::{self, Html},
    words::Words,
};

/// Ticks move every stage of every lane each 5 s; one that has not moved for this long stands still.
const STILL_AFTER_SECONDS: i64 = 30;

/// What the page can prove.
#[derive(Debug)]
pub struct Proof {
    pub sources: Vec<SourceRow>,
    /// `6 of 7 heard`.
    pub heard: Html,
    pub heard_count: usize,
    /// Absent while nothing was counted.
    pub ledger: Option<Ledger>,
    /// Stages that stand still: name, lanes, since when.
    pub still: Vec<(String, usize, Time)>,
    /// Dead letters; absent for those who may not see the figure.
    pub parked: Option<i64>,
    pub last_event: Option<Time>,
    pub last_event_shown: Option<Html>,
}

/// One source, as far as its provider tells sources of a project apart.
#[derive(Debug)]
pub struct SourceRow {
    pub key: String,
    pub project: String,
    pub provider: String,
    pub state: SourceState,
    pub word: &'static str,
    pub hint: String,
    pub last: Option<Html>,
    pub last_at: Option<Time>,
    pub total: Html,
    pub duplicates: Html,
}

/// Whether a source was heard in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    Fresh,
    Silent,
    Never,
}

/// I2 over all lanes.
#[derive(Debug)]
pub struct Ledger {
    pub balanced: bool,
    /// In words; absent for those who may not see the figures.
    pub sum: Option<Html>,
    /// When the newest lane was last counted.
    pub at: Option<Html>,
    pub outcomes: Vec<&'static str>,
    pub lanes: Vec<LedgerLane>,
}

/// I2 of one lane.
#[derive(Debug)]
pub struct LedgerLane {
    pub lane: i32,
    pub in_frames: Html,
    /// In the order of [`Ledger::outcomes`].
    pub outcomes: Vec<Html>,
    pub difference: i64,
    pub difference_shown: Html,
}

impl Proof {
    pub(super) fn new(
        snapshot: &Snapshot,
        scope: &Scope,
        known: &[&KnownSource],
        silent_after: i64,
        words: &'static Words,
    ) -> Self {
        let sources = sources(snapshot, known, silent_after, words);
        let heard_count = sources.iter().filter(|s| s.state == SourceState::Fresh).count();
        let last_event = snapshot.heard.iter().map(|h| h.latest_received_at).max();
        let slots =
            [("n", Html::number(heard_count as i64)), ("all", Html::number(sources.len() as i64))];
        Self {
            heard: Html::fill(words.sources_heard, &slots),
            heard_count,
            ledger: ledger(snapshot, scope.sees_all, words),
            still: still(snapshot),
            parked: scope.sees_all.then(|| snapshot.parked.iter().map(|p| p.records).sum()),
            last_event,
            last_event_shown: last_event.map(Html::clock),
            sources,
        }
    }

    /// Whether nothing is missing from the proof.
    pub fn holds(&self) -> bool {
        self.heard_count == self.sources.len()
            && self.ledger.as_ref().is_some_and(|l| l.balanced)
            && self.still.is_empty()
            && self.parked.unwrap_or(0) == 0
    }
}

/// The sources that were heard and those that are configured, by project and provider.
fn sources(
    snapshot: &Snapshot,
    known: &[&KnownSource],
    silent_after: i64,
    words: &'static Words,
) -> Vec<SourceRow> {
    let mut rows = BTreeMap::<(&str, &str), Option<&Heard>>::new();
    for source in known {
        rows.insert((source.project.as_str(), &source.provider), None);
    }
    for heard in &snapshot.heard {
        rows.insert((&heard.project, &heard.provider), Some(heard));
    }
    let within = text::span(silent_after, words);
    let row = |((project, provider), heard): ((&str, &str), Option<&Heard>)| {
        // Heartbeats and tests are asked for: they must not hide a sender that is dead.
        let last_at = heard.and_then(|h| h.latest_real_received_at);
        let state = match last_at {
            None => SourceState::Never,
            Some(at) if snapshot.now.micros_since(at) > silent_after * 1_000_000 => {
                SourceState::Silent
            }
            Some(_) => SourceState::Fresh,
        };
        let (word, hint) = match state {
            SourceState::Fresh => (words.fresh, words.fresh_hint),
            SourceState::Silent => (words.silent, words.silent_hint),
            SourceState::Never => (words.never, words.never_hint),
        };
        SourceRow {
            key: format!("{project}.{provider}"),
            project: project.to_owned(),
            provider: provider.to_owned(),
            state,
            word,
            hint: hint.replace("{t}", &within),
            last: last_at.map(|at| Html::age(at, snapshot.now, words)),
            last_at,
            total: Html::number(heard.map_or(0, |h| h.counters.total)),
            duplicates: Html::number(heard.map_or(0, |h| h.counters.duplicates)),
        }
    };
    rows.into_iter().map(row).collect()
}

/// Per lane: records in frames, each outcome, and their difference, which I2 says is 0.
fn ledger(snapshot: &Snapshot, sees_all: bool, words: &'static Words) -> Option<Ledger> {
    let mut lanes = BTreeMap::<i32, BTreeMap<&str, i64>>::new();
    for (lane, outcome, records) in &snapshot.ledgers {
        lanes.entry(*lane).or_default().insert(outcome, *records);
    }
    if lanes.is_empty() {
        return None;
    }
    let total = |word: &str| lanes.values().filter_map(|lane| lane.get(word)).sum::<i64>();
    let difference = |lane: &BTreeMap<&str, i64>| {
        let named: i64 =
            lane.iter().filter(|(word, _)| **word != "in_frames").map(|(_, n)| n).sum();
        lane.get("in_frames").copied().unwrap_or(0) - named
    };
    let balanced = lanes.values().all(|lane| difference(lane) == 0);
    let counted = snapshot.standings.iter().filter(|s| s.stage == "observe").map(|s| s.moved_at);
    let at = counted.max().map(Html::clock);
    if !sees_all {
        return Some(Ledger { balanced, sum: None, at, outcomes: Vec::new(), lanes: Vec::new() });
    }
    let [observed, recorded, rejected, parked] =
        [Outcome::Observed, Outcome::Recorded, Outcome::Rejected, Outcome::Parked]
            .map(|outcome| total(outcome.word()));
    let whole = total("in_frames");
    let named: i64 = Outcome::ALL.iter().map(|outcome| total(outcome.word())).sum();
    let sum = Html::fill(
        words.ledger_sum,
        &[
            ("total", Html::number(whole)),
            ("observed", Html::number(observed)),
            ("recorded", Html::number(recorded)),
            ("rejected", Html::number(rejected)),
            ("parked", Html::number(parked)),
            ("other", Html::number(named - observed - recorded - rejected - parked)),
        ],
    );
    let outcomes: Vec<&'static str> =
        Outcome::ALL.iter().map(|o| o.word()).filter(|word| total(word) > 0).collect();
    let row = |(lane, counts): (&i32, &BTreeMap<&str, i64>)| LedgerLane {
        lane: *lane,
        in_frames: Html::number(counts.get("in_frames").copied().unwrap_or(0)),
        outcomes: outcomes
            .iter()
            .map(|word| Html::number(counts.get(word).copied().unwrap_or(0)))
            .collect(),
        difference: difference(counts),
        difference_shown: Html::number(difference(counts)),
    };
    let lanes = lanes.iter().map(row).collect();
    Some(Ledger { balanced, sum: Some(sum), at, outcomes, lanes })
}

/// Stages whose cursors do not move, with the number of such lanes and since when.
fn still(snapshot: &Snapshot) -> Vec<(String, usize, Time)> {
    let mut still = BTreeMap::<&str, (usize, Time)>::new();
    for standing in &snapshot.standings {
        if snapshot.now.micros_since(standing.moved_at) > STILL_AFTER_SECONDS * 1_000_000 {
            let (lanes, since) = still.entry(&standing.stage).or_insert((0, standing.moved_at));
            *lanes += 1;
            *since = standing.moved_at.min(*since);
        }
    }
    still.into_iter().map(|(stage, (lanes, since))| (stage.to_owned(), lanes, since)).collect()
}
