//! The home page: what needs me now, and the proof that the rest is quiet.

mod needs;
mod problems;
mod proof;

use std::collections::BTreeSet;

use schemas::{ProjectId, Time};
use store::{
    Store,
    read::{Visible, home as rows},
};

use super::{
    text::{self, Html},
    words::Words,
};
use crate::live::Position;

pub use self::{
    needs::Need,
    problems::{AiBox, Row},
    proof::Proof,
};

/// Problems shown.
const PROBLEMS: u32 = 50;
/// What needs somebody, at most.
const NEEDS: usize = 7;

/// What the page is about: one project, or all that the caller may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// As in the address: the project, or `~`.
    pub path: String,
    pub visible: Visible,
    /// Whether the caller may see figures that belong to lanes, not to projects.
    pub sees_all: bool,
}

impl Scope {
    /// Whether rows name their project.
    pub fn many(&self) -> bool {
        self.path == "~"
    }
}

/// A configured source, as far as the pages know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSource {
    pub id: String,
    pub provider: String,
    pub project: ProjectId,
}

/// A risk as it is shown: by class, and by word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RiskMark {
    pub class: &'static str,
    pub word: &'static str,
}

impl RiskMark {
    pub(super) fn of(risk: &str, words: &Words) -> Self {
        match risk {
            "CRITICAL" => Self { class: "critical", word: words.critical },
            "HIGH" => Self { class: "high", word: words.high },
            "LOW" => Self { class: "low", word: words.low },
            // MEDIUM, and what an older row may hold.
            _ => Self { class: "medium", word: words.medium },
        }
    }
}

/// The page's content.
#[derive(Debug)]
pub struct Home {
    /// What the read models included, as the live stream names it.
    pub position: Position,
    /// The one sentence.
    pub sentence: Html,
    /// How much needs somebody; stands in the tab's title.
    pub count: i64,
    /// A proof is missing: the title must not promise quiet.
    pub unproved: bool,
    /// Nothing was ever received.
    pub first_run: bool,
    pub many: bool,
    pub needs: Vec<Need>,
    /// Open incidents like those shown that did not fit.
    pub more: Option<Html>,
    pub problems: Vec<Row>,
    pub problems_scope: Html,
    pub proof: Proof,
    /// Paths at which this scope's sources are heard.
    pub addresses: Vec<String>,
}

/// What one snapshot of the tables says.
#[derive(Debug)]
struct Snapshot {
    now: Time,
    open: Vec<(String, i64, Time)>,
    urgent: Vec<rows::Problem>,
    heard: Vec<rows::Heard>,
    standings: Vec<rows::Standing>,
    ledgers: Vec<(i32, String, i64)>,
    parked: Vec<rows::Parked>,
}

impl Home {
    /// Reads one snapshot and puts it in words. A source not heard for `silent_after` seconds is
    /// silent.
    ///
    /// # Errors
    /// The tables could not be read.
    pub async fn read(
        store: &Store,
        scope: &Scope,
        known: &[KnownSource],
        silent_after: i64,
        words: &'static Words,
    ) -> Result<Self, store::Error> {
        let mut view = store.view(&scope.visible).await?;
        let heard = view.heard().await?;
        // Every incident was opened by an event that was counted in its project's coverage.
        let projects: BTreeSet<String> = heard.iter().map(|h| h.project.clone()).collect();
        let projects: Vec<String> = projects.into_iter().collect();
        let position = Position(view.reached().await?);
        let newest = view.newest_problems(&projects, PROBLEMS).await?;
        let snapshot = Snapshot {
            now: view.now().await?,
            open: view.open_by_risk(&projects).await?,
            urgent: view.urgent_problems(&projects, NEEDS as u32).await?,
            standings: view.standings().await?,
            ledgers: view.ledgers().await?,
            parked: if scope.sees_all { view.parked().await? } else { Vec::new() },
            heard,
        };
        drop(view);

        let now = snapshot.now;
        let known: Vec<&KnownSource> =
            known.iter().filter(|s| scope.visible.contains(s.project.as_str())).collect();
        let proof = Proof::new(&snapshot, scope, &known, silent_after, words);
        let needs = needs::Needs::new(&snapshot, scope, &proof, words);
        let first_run = snapshot.heard.is_empty();
        let sentence = needs::sentence(&needs, &proof, first_run, now, words);
        let shown = Html::text(&text::thousands(newest.len() as i64));
        Ok(Self {
            position,
            sentence,
            count: needs.count,
            unproved: !proof.holds(),
            first_run,
            many: scope.many(),
            more: needs.more,
            needs: needs.shown,
            problems: newest.into_iter().map(|p| Row::new(p, now, words)).collect(),
            problems_scope: Html::fill(words.problems_scope, &[("n", shown)]),
            proof,
            addresses: known.iter().map(|s| address(s)).collect(),
        })
    }
}

impl Home {
    /// Whether there is a ledger to show by lane.
    pub fn has_lanes(&self) -> bool {
        self.proof.ledger.as_ref().is_some_and(|ledger| !ledger.lanes.is_empty())
    }
}

/// Where a source is heard.
fn address(source: &KnownSource) -> String {
    let KnownSource { id, provider, .. } = source;
    if id == provider {
        format!("POST /webhook/{provider}")
    } else {
        format!("POST /webhook/{provider}/{id}")
    }
}
