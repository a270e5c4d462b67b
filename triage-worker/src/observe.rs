//! Stage observe: the input log, in order, through `domain::observe`, into problems, decision and
//! alert events, incident numbers and triage jobs.
//!
//! It reads rows before a fold and writes them after it; what happens in between is decided in
//! `domain`. The live owner of a lane is also its clock: it appends a tick every few seconds.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU16,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::{
    effect::{Effects, Opening, TriageAsk},
    observe::{self, Changes, Due, FOLD_VERSION, Found, LaneState, Missing, Prepared, SEEN_DAYS},
    providers,
    rules::Rules,
};
use eventlog::Appender;
use futures_util::future::BoxFuture;
use jiff::tz::{Offset, TimeZone};
use lanes::{Halt, Input, Item, Out, Stage};
use runtime::Clock;
use schemas::{
    CodecError, Event, Facts, IncidentId, JobId, Lane, LaneKey, Outcome, Record, RecordId, Time,
    codec,
    event::{Kind, Opened, Settled},
    id,
    job::TriageJob,
    record::{Body, Control, IncidentNumber, Tick},
    subject::Class,
};
use serde::Deserialize;
use store::{
    job::{NewJob, Queue},
    lane::{JobState, LaneConnection, LaneTransaction},
    observe::{HandleRow, SeenRow, WantsNumber},
    recorded::RecordedAnswer,
};

/// Observe's section of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Time zone whose days incident numbers count in: `+08:00`, `Europe/Berlin`.
    #[serde(with = "jiff::fmt::serde::tz::required")]
    pub zone: TimeZone,
    /// Seconds between two ticks of a lane, as far as the loop's beats allow.
    pub tick_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { zone: TimeZone::fixed(Offset::constant(8)), tick_seconds: 5 }
    }
}

/// The stage.
#[derive(Debug)]
pub struct ObserveStage {
    config: Config,
    lanes: NonZeroU16,
    /// Absent in a generation that only follows: the live one makes the ticks.
    ticker: Option<Ticker>,
}

/// Appends ticks.
#[derive(Debug)]
struct Ticker {
    appender: Appender,
    clock: Clock,
    /// Per lane: the last tick and the last beat, by Postgres's clock.
    last: Mutex<HashMap<Lane, (Time, Time)>>,
}

/// What the owner of a lane holds in memory.
#[derive(Debug)]
pub struct LaneObserve {
    state: LaneState,
    /// What the folds of this batch ask for.
    effects: Effects,
    /// Answers that took effect in this batch.
    answers: Vec<RecordedAnswer>,
    /// Lane days whose partitions are there.
    days: BTreeSet<i32>,
}

impl ObserveStage {
    /// The stage for a log with `lanes` lanes. With an appender it also makes the lanes' ticks,
    /// which is the live generation's part; `clock` stamps them.
    pub fn new(
        config: Config,
        lanes: NonZeroU16,
        appender: Option<Appender>,
        clock: Clock,
    ) -> Self {
        let ticker = appender.map(|appender| Ticker { appender, clock, last: Mutex::default() });
        Self { config, lanes, ticker }
    }

    /// The day an incident's number counts in, as `YYYYMMDD`.
    fn day(&self, at: Time) -> String {
        at.timestamp().to_zoned(self.config.zone.clone()).strftime("%Y%m%d").to_string()
    }

    /// Numbers the incidents that opened, where this generation may, and asks for the control
    /// records that say so.
    async fn number(
        &self,
        transaction: &mut LaneTransaction<'_>,
        openings: Vec<Opening>,
        out: &mut Out,
    ) -> Result<(), store::Error> {
        if openings.is_empty() {
            return Ok(());
        }
        let standing = transaction.hold().await?;
        let mut opened_at = HashMap::new();
        let wanted: Vec<WantsNumber> = openings
            .into_iter()
            .filter(|o| standing.job_state(o.opening.input) == JobState::Pending)
            .map(|o| {
                opened_at.insert(o.incident, o.opened_at);
                let day = self.day(o.opened_at);
                WantsNumber { project: o.project, incident: o.incident, opening: o.opening, day }
            })
            .collect();
        for (given, number) in transaction.assign_incident_numbers(&wanted).await? {
            let WantsNumber { project, incident, opening, day } = given;
            let body = Control::IncidentNumber(IncidentNumber { incident, opening, day, number });
            // Derived, so that a batch that is tried again asks for the same record.
            let id = RecordId(id::derive(incident.0, "number", 0));
            let at = opened_at.get(&incident).copied().unwrap_or(out.lane_time);
            let body = Body::Control(Box::new(body));
            out.controls.push(Record::new(id, at, Some(project), body));
        }
        Ok(())
    }

    async fn write_batch(
        &self,
        transaction: &mut LaneTransaction<'_>,
        changes: &Changes,
        effects: Effects,
        out: &mut Out,
    ) -> Result<(), store::Error> {
        transaction.upsert_problems(&changes.problems);
        transaction.upsert_openings(&changes.incidents);
        let seen: Vec<SeenRow> = changes
            .seen
            .iter()
            .map(|seen| SeenRow { day: seen.day, key: seen.key, expires: seen.expires })
            .collect();
        transaction.insert_seen(&seen);
        transaction.insert_rejected(&changes.rejected).await?;
        let handles = changes.handles.iter().map(|handle| {
            let (project, opening) = handle.named.clone();
            HandleRow { day: handle.day, key: handle.key, project, opening }
        });
        transaction.insert_handles(&Vec::from_iter(handles));
        transaction.forget_given_up(&changes.redriven).await?;
        // One that this batch parked and redrove: its row would be made only after this.
        out.parked.retain(|(at, _)| changes.redriven.binary_search(at).is_err());
        if let Some(in_force) = &changes.lane {
            transaction.put_lane_state(in_force);
        }
        self.number(transaction, effects.openings, out).await?;
        let mut asks = effects.triage;
        give_facts(transaction, &mut asks).await?;
        let jobs: Vec<NewJob> = asks.into_iter().map(triage_job).collect();
        transaction.insert_jobs(&jobs).await
    }
}

/// Gives the triage calls that operators ask for the facts of their openings, which stand with the
/// calls those asked for: in this batch, or in the table.
async fn give_facts(
    transaction: &mut LaneTransaction<'_>,
    asks: &mut [TriageAsk],
) -> Result<(), store::Error> {
    let opening = |ask: &TriageAsk| JobId::triage(ask.job.opening, "open");
    let wanted: HashMap<JobId, IncidentId> = asks
        .iter()
        .filter(|ask| ask.job.facts.is_none())
        .map(|ask| (opening(ask), ask.job.incident))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut facts: HashMap<JobId, Facts> = asks
        .iter()
        .filter(|ask| wanted.contains_key(&ask.id))
        .filter_map(|ask| Some((ask.id, ask.job.facts.clone()?)))
        .collect();
    let earlier: Vec<(IncidentId, JobId)> = wanted
        .into_iter()
        .filter(|(job, _)| !facts.contains_key(job))
        .map(|(job, incident)| (incident, job))
        .collect();
    for (job, payload) in transaction.triage_payloads(&earlier).await? {
        let asked: TriageJob = codec::decode("triage job", &payload).map_err(unreadable("job"))?;
        facts.extend(asked.facts.map(|facts| (job, facts)));
    }
    for ask in asks.iter_mut().filter(|ask| ask.job.facts.is_none()) {
        if let Some(facts) = facts.get(&opening(ask)) {
            ask.give(facts.clone());
        }
    }
    Ok(())
}

/// An answer that took effect, for whoever would ask the same again (I7).
fn recorded(event: &Event) -> Option<RecordedAnswer> {
    let (Kind::Answered(answered), Some(project)) = (&event.kind, &event.project) else {
        return None;
    };
    let model = answered.result.analysis.as_ref().and_then(|analysis| analysis.model.clone());
    // What needed no model is the same under every prompt.
    let prompt = model.as_ref().map(|_| answered.prompt.clone());
    Some(RecordedAnswer {
        project: project.clone(),
        opening: answered.opening,
        reason: answered.reason.clone(),
        prompt: prompt.unwrap_or_default(),
        model: model.unwrap_or_default(),
        at: event.at.input,
        result: codec::encode(&answered.result),
    })
}

/// The job row of a triage call.
fn triage_job(ask: TriageAsk) -> NewJob {
    NewJob {
        id: ask.id,
        queue: Queue::Triage,
        project: ask.job.project.clone(),
        incident: ask.job.incident,
        // Triage calls need no order among themselves.
        target: String::new(),
        trigger: ask.trigger,
        not_before_delay: None,
        urgent: false,
        payload: codec::encode(&ask.job),
    }
}

impl Stage for ObserveStage {
    type Prepared = Prepared;
    type Context = Rules;
    type State = LaneObserve;

    fn name(&self) -> &'static str {
        "observe"
    }

    fn input(&self) -> Input {
        Input::Records
    }

    fn fold_version(&self) -> u32 {
        FOLD_VERSION
    }

    fn linger(&self) -> Duration {
        // Here alerts become batches; what follows goes by batches.
        Duration::from_millis(5)
    }

    fn context(&self, lane: &LaneObserve) -> Rules {
        lane.state.rules().clone()
    }

    fn prepare(&self, rules: &Rules, item: &Item) -> Result<Prepared, Halt> {
        let Item { at, bytes, stored_at, of_all } = item;
        let input = observe::Input { at: *at, bytes, stored_at: *stored_at, of_all: *of_all };
        observe::prepare(input, rules).map_err(|e| Halt { reason: format!("record {at}: {e}") })
    }

    fn ends_batch(&self, prepared: &Prepared) -> bool {
        prepared.ends_batch()
    }

    fn load<'a>(
        &'a self,
        connection: &'a mut LaneConnection,
        lane: Lane,
    ) -> BoxFuture<'a, Result<LaneObserve, store::Error>> {
        Box::pin(async move {
            let lane_time = connection.cursor().await?.lane_time;
            let in_force = connection.lane_state().await?;
            let state = LaneState::restore(lane, self.lanes, lane_time, in_force.as_deref())
                .map_err(unreadable("lane_state"))?;
            Ok(LaneObserve {
                state,
                effects: Effects::default(),
                answers: Vec::new(),
                days: BTreeSet::new(),
            })
        })
    }

    fn gather<'a>(
        &'a self,
        connection: &'a mut LaneConnection,
        lane: &'a mut LaneObserve,
        batch: &'a [(Item, Prepared)],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let missing = lane.state.missing(batch.iter().map(|(_, prepared)| prepared));
            for day in &missing.days {
                // Outside of the batch's transaction: making a partition locks its parent.
                if !lane.days.contains(day) {
                    connection.open_day(*day).await?;
                    lane.days.insert(*day);
                }
            }
            let mut missing = missing;
            loop {
                let found = find(connection, &missing).await?;
                lane.state.learn(missing, found).map_err(unreadable("problem"))?;
                missing = lane.state.further(batch.iter().map(|(_, prepared)| prepared));
                if missing.is_empty() {
                    return Ok(());
                }
            }
        })
    }

    fn fold(&self, lane: &mut LaneObserve, item: Item, prepared: Prepared, out: &mut Out) {
        let verdict = lane.state.fold(prepared, &mut lane.effects);
        match verdict.reason {
            Some(reason) if verdict.outcome == Outcome::Parked => out.park(item.at, reason),
            Some(_) | None => out.count(verdict.outcome),
        }
        lane.answers.extend(lane.effects.events.iter().filter_map(recorded));
        out.events.append(&mut lane.effects.events);
        out.lane_time = lane.state.lane_time();
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        lane: &'a mut LaneObserve,
        out: &'a mut Out,
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let changes = lane.state.take_changes().map_err(|e| store::Error::Column {
                table: "problem",
                column: "state",
                detail: e.to_string(),
            })?;
            let effects = std::mem::take(&mut lane.effects);
            transaction.insert_answers(&std::mem::take(&mut lane.answers));
            self.write_batch(transaction, &changes, effects, out).await
        })
    }

    fn ended(&self, events: &[Event], failed: Option<&store::Error>) {
        tell(events, failed);
    }

    fn beat<'a>(&'a self, lane: Lane, now: Time) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(ticker) = &self.ticker {
                ticker.beat(lane, now, self.config.tick_seconds).await;
            }
        })
    }
}

/// Reads the rows a batch looks at.
async fn find(connection: &mut LaneConnection, missing: &Missing) -> Result<Found, store::Error> {
    let last = missing.days.last().copied().unwrap_or_default();
    let first = missing.days.first().copied().unwrap_or_default().saturating_sub(SEEN_DAYS);
    Ok(Found {
        problems: connection.load_problems(&missing.problems).await?,
        incidents: connection.load_openings(&missing.incidents).await?,
        seen: connection.load_seen(&missing.seen, first, last).await?,
        given_up: connection.load_given_up(&missing.originals).await?,
        handles: connection.load_handles(&missing.handles).await?,
        due: match missing.due {
            Some(Due { until, limit }) => connection.load_due_problems(until, limit).await?,
            None => Vec::new(),
        },
    })
}

fn unreadable(table: &'static str) -> impl FnOnce(CodecError) -> store::Error {
    move |e| store::Error::Column { table, column: "state", detail: e.to_string() }
}

impl Ticker {
    /// Appends a tick, unless the next beat is early enough for it.
    async fn beat(&self, lane: Lane, now: Time, every_seconds: u32) {
        let every = i64::from(every_seconds) * 1_000_000;
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((tick, beat)) = last.get_mut(&lane) {
                let apart = now.micros_since(*beat);
                *beat = now;
                if now.micros_since(*tick) + apart <= every && *tick <= now {
                    return;
                }
            }
            last.insert(lane, (now, now));
        }
        let record = Record::new(
            runtime::record_id(&self.clock),
            self.clock.now(),
            None,
            Body::Tick(Tick { now }),
        );
        // A tick that does not get into the log is no loss: the next one says as much.
        if let Err(error) = self.appender.append(LaneKey::Lane(lane), Class::Data, record).await {
            tracing::warn!(lane = lane.0, "append a tick of lane {lane}: {error}");
        }
    }
}

/// What people and meters are told of a batch; `failed` is why it could not be written.
fn tell(events: &[Event], failed: Option<&store::Error>) {
    for event in events {
        match &event.kind {
            Kind::Observed(observed) => {
                metrics::counter!(
                    "bellwether_alerts_total",
                    "provider" => observed.alert.facts.provider.clone(),
                    "effect" => observed.effect.word(),
                )
                .increment(u64::from(failed.is_none()));
            }
            Kind::Opened(opened) => tell_opened(opened, failed),
            Kind::Settled(settled) if failed.is_none() => tell_settled(settled),
            Kind::Settled(_)
            | Kind::Repeated(_)
            | Kind::Resolved(_)
            | Kind::Suppressed(_)
            | Kind::Stale(_)
            | Kind::Answered(_)
            | Kind::Ticked
            | Kind::RulesChanged(_)
            | Kind::Escalated(_)
            | Kind::Expired(_)
            | Kind::Applied(_)
            | Kind::Refused(_)
            | Kind::SilenceChanged(_)
            | Kind::Asked(_)
            | Kind::Tested(_)
            | Kind::Sent(_)
            | Kind::Planned(_)
            | Kind::Withheld(_) => {}
        }
    }
}

/// R46: an incident of a provider with names of its own.
fn tell_opened(opened: &Opened, failed: Option<&store::Error>) {
    let Some(prefix) = providers::log_prefix(&opened.facts.provider) else { return };
    let approval_id = tracing::field::display(opened.incident);
    if let Some(error) = failed {
        tracing::error!(approval_id, %error, "{prefix}_incident_creation_failed");
        return;
    }
    let issue_id = opened.facts.issue_id.as_deref();
    let risk_level = opened.risk.word();
    tracing::info!(approval_id, issue_id, risk_level, "{prefix}_incident_created");
}

/// R46: a delivery that could not be read, of a provider with names of its own.
fn tell_settled(settled: &Settled) {
    let Some(prefix) = providers::log_prefix(&settled.provider) else { return };
    if settled.outcome != Outcome::Rejected {
        return;
    }
    let record = tracing::field::display(settled.record);
    let error = settled.reason.as_deref().unwrap_or_default();
    if error.starts_with("missing_issue_id") {
        tracing::warn!(record, "{prefix}_parse_missing_issue_id");
    } else {
        tracing::error!(record, error, "{prefix}_parse_failed");
    }
}
