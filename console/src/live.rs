//! The page's live stream: server-sent events that carry facts, never HTML.
//!
//! One [`Hub`] a process asks the tables what changed, many times a second but only while somebody
//! listens, and every connection gets what concerns its projects. An event's id is a position: the
//! generation, and per lane the sequence up to which the projector has applied. Whoever comes back
//! with an id gets what was missed since, or `resync`: fetch everything again.

mod diff;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::Shutdown;
use serde_json::{Value, json};
use store::{
    Store,
    read::{
        View, Visible,
        home::{Reached, Trace},
    },
};
use tokio::{
    sync::{Notify, broadcast, watch},
    time::{Instant, MissedTickBehavior},
};

use self::diff::Seen;
pub use self::stream::{Listener, NoRoom};

/// How often the tables are asked while somebody listens.
const ROUND_EVERY: Duration = Duration::from_millis(100);
/// How often a connection is told that all is well, and how far the read models are.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Facts kept for those who come back.
const KEPT: usize = 1024;
/// Incidents watched of each project and list: more than a page shows.
const WATCHED: u32 = 64;
/// Connections of one process.
const MAX_LISTENERS: usize = 1024;

/// Something that changed.
#[derive(Clone, Debug)]
pub enum What {
    /// An incident that a page may show is new, changed, or no longer among those.
    Incident(Trace),
    /// A provider of a project was heard.
    Source { project: String, provider: String },
    /// The end of a round: the ledger or facts of these projects changed.
    Counters { projects: BTreeSet<String> },
    /// All is well; how far the slowest lane is behind, in milliseconds.
    Beat { at: i64, behind_ms: i64 },
    /// Another generation is shown from now on.
    Resync,
}

/// A change with the positions around it.
#[derive(Clone, Debug)]
pub struct Fact {
    pub what: What,
    /// The position whoever has this event, and maybe not the next, is known to have reached.
    pub id: Position,
    /// The position that includes it.
    pub at: Position,
}

/// [`Reached`] as an event id: `generation:lane=sequence,...`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub Reached);

impl Position {
    /// Whether nothing up to `other` is missing from what this position includes.
    pub fn covers(&self, other: &Self) -> bool {
        let at = |lane| self.0.lanes.get(lane).copied().unwrap_or(0);
        self.0.generation == other.0.generation
            && other.0.lanes.iter().all(|(lane, sequence)| at(lane) >= *sequence)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.0.generation)?;
        for (i, (lane, sequence)) in self.0.lanes.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{lane}={sequence}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (generation, lanes) = text.split_once(':').ok_or(())?;
        let lane = |pair: &str| {
            let (lane, sequence) = pair.split_once('=')?;
            Some((lane.parse().ok()?, sequence.parse().ok()?))
        };
        let lanes: Option<BTreeMap<i32, i64>> =
            lanes.split(',').filter(|pair| !pair.is_empty()).map(lane).collect();
        let generation = generation.parse().map_err(|_| ())?;
        Ok(Self(Reached { generation, lanes: lanes.ok_or(())? }))
    }
}

impl Fact {
    /// Whether someone who sees `scope` may know of it.
    pub fn concerns(&self, scope: &Visible) -> bool {
        match &self.what {
            What::Incident(trace) => scope.contains(&trace.project),
            What::Source { project, .. } => scope.contains(project),
            What::Counters { projects } => {
                *scope == Visible::Everything || projects.iter().any(|p| scope.contains(p))
            }
            What::Beat { .. } | What::Resync => true,
        }
    }

    /// The event's name.
    pub const fn name(&self) -> &'static str {
        match &self.what {
            What::Incident(_) => "incident",
            What::Source { .. } => "source",
            What::Counters { .. } => "counters",
            What::Beat { .. } => "beat",
            What::Resync => "resync",
        }
    }

    /// The event's data.
    pub fn data(&self) -> Value {
        match &self.what {
            What::Incident(t) => json!({
                "id": t.incident, "project": t.project, "risk": t.risk, "status": t.status,
                "ver": t.updated_at.micros(),
            }),
            What::Source { project, provider } => json!({"project": project, "id": provider}),
            What::Counters { .. } | What::Resync => json!({}),
            What::Beat { at, behind_ms } => json!({"at": at, "behind_ms": behind_ms}),
        }
    }
}

/// What connections and the poller share.
#[derive(Debug, Default)]
struct Shared {
    /// Who listens to what.
    scopes: BTreeMap<u64, Visible>,
    next: u64,
    /// The newest facts, oldest first.
    kept: VecDeque<Arc<Fact>>,
    /// The position that includes everything no longer kept.
    floor: Position,
    /// Since which position each project is watched without a gap.
    since: BTreeMap<String, Position>,
    /// The same for all projects at once.
    since_all: Option<Position>,
    position: Position,
    /// The newest beat, for those who come between two.
    beat: Option<Arc<Fact>>,
}

/// The one poller of a process, and its listeners.
#[derive(Debug)]
pub struct Hub {
    store: Store,
    shared: Mutex<Shared>,
    facts: broadcast::Sender<Arc<Fact>>,
    wake: Notify,
    /// Rounds that ended, and whether more will follow.
    rounds: watch::Sender<(u64, bool)>,
}

impl Hub {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            shared: Mutex::default(),
            facts: broadcast::channel(2 * KEPT).0,
            wake: Notify::new(),
            rounds: watch::channel((0, true)).0,
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Every change of it is whole when the lock is released.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks and tells until told to stop; then ends all connections.
    pub async fn run(&self, shutdown: &Shutdown) {
        tokio::select! {
            () = shutdown.stopping() => {}
            () = self.poll() => {}
        }
        self.rounds.send_modify(|(_, open)| *open = false);
    }

    async fn poll(&self) {
        loop {
            self.wake.notified().await;
            let mut every = tokio::time::interval(ROUND_EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut seen = Seen::default();
            let mut beat_at = Instant::now();
            let mut failing = false;
            loop {
                every.tick().await;
                let scopes: Vec<Visible> = self.shared().scopes.values().cloned().collect();
                if scopes.is_empty() {
                    break;
                }
                let beat = Instant::now() >= beat_at || self.shared().beat.is_none();
                match self.round(&mut seen, &scopes, beat).await {
                    Ok(()) => {
                        failing = false;
                        if beat {
                            beat_at = Instant::now() + BEAT_EVERY;
                        }
                        self.rounds.send_modify(|(rounds, _)| *rounds += 1);
                    }
                    // Connections hear nothing, which their pages show as stale.
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!(%error, "the live stream cannot read its tables");
                    }
                    Err(_) => {}
                }
            }
            let shared = &mut *self.shared();
            shared.kept.clear();
            shared.since.clear();
            shared.since_all = None;
            shared.beat = None;
        }
    }

    /// Looks once and tells what is new.
    async fn round(
        &self,
        seen: &mut Seen,
        scopes: &[Visible],
        beat: bool,
    ) -> Result<(), store::Error> {
        let mut view = self.store.view(&Visible::Everything).await?;
        let reached = view.reached().await?;
        let all = scopes.contains(&Visible::Everything);
        if seen.must_look(&reached, scopes, all) {
            let news = seen.look(&mut view, reached, scopes, all).await?;
            self.tell(news);
        }
        if beat {
            let (at, behind_ms) = behind(&mut view).await?;
            let position = seen.position.clone();
            let what = What::Beat { at, behind_ms };
            let fact = Arc::new(Fact { what, id: position.clone(), at: position });
            self.shared().beat = Some(Arc::clone(&fact));
            // Nobody listening is no failure.
            let _ = self.facts.send(fact);
        }
        Ok(())
    }

    fn tell(&self, news: diff::News) {
        let shared = &mut *self.shared();
        if news.restarted {
            shared.kept.clear();
            shared.since.clear();
            shared.since_all = None;
        }
        shared.position = news.position.clone();
        shared.since.retain(|project, _| news.watched.contains(project));
        for project in news.first_watched {
            shared.since.insert(project, news.position.clone());
        }
        if news.all_since_now {
            shared.since_all = Some(news.position.clone());
        }
        for what in news.facts {
            let fact = Arc::new(Fact { what, id: news.before.clone(), at: news.position.clone() });
            shared.kept.push_back(Arc::clone(&fact));
            if shared.kept.len() > KEPT {
                shared.floor =
                    shared.kept.pop_front().map_or_else(Position::default, |f| f.at.clone());
            }
            let _ = self.facts.send(fact);
        }
        if let Some(what) = news.end {
            let fact = Fact { what, id: news.position.clone(), at: news.position };
            let _ = self.facts.send(Arc::new(fact));
        }
    }
}

/// Postgres's clock in microseconds, and how many milliseconds the slowest lane of the read models
/// is behind it.
async fn behind(view: &mut View) -> Result<(i64, i64), store::Error> {
    let now = view.now().await?;
    let standings = view.standings().await?;
    let slowest = standings.iter().filter(|s| s.stage == "project").map(|s| s.lane_time).min();
    let behind = slowest.map_or(0, |t| now.micros_since(t).max(0) / 1000);
    Ok((now.micros(), behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written_and_cover_what_they_include() {
        let position = |text: &str| text.parse::<Position>().unwrap();
        for text in ["1:", "1:0=4", "2:0=4,3=900"] {
            assert_eq!(position(text).to_string(), text);
        }
        for text in ["", "1", "x:0=1", "1:0", "1:0=x", "1:0=1;1=2"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        for (a, b, covers) in [
            ("1:0=4,1=2", "1:0=4", true),
            ("1:0=4,1=2", "1:0=4,1=2", true),
            ("1:0=4", "1:0=4,1=2", false),
            ("1:0=3,1=9", "1:0=4", false),
            ("2:0=9", "1:0=4", false),
        ] {
            assert_eq!(position(a).covers(&position(b)), covers, "{a} covers {b}");
        }
    }
}
