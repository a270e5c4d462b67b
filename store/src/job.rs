//! Effects that are asked for: job rows, the pauses of their targets, and what was told before.
//!
//! A row is claimed under a lease and a random claim; every later write names that claim, so a
//! worker that lost its lease changes nothing any more. The lease is measured by the database's
//! clock, which all workers share.

mod answer;
mod budget;
mod claim;
mod given_up;
mod later;
mod lease;
mod silent;
mod told;

use std::time::Duration;

use schemas::{Generation, IncidentId, InputPosition, JobId, Lane, Position, ProjectId};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Error, Store,
    lane::{JobState, LaneTransaction},
    projection::text,
};

pub use budget::Budget;
pub use claim::Room;
pub use given_up::{Resent, Unsent};
pub use silent::Health;
pub use told::{History, Message, Telling, Told, Untold};

/// What kind of effect; each has its own workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Ask an analyst. Payload [`schemas::job::TriageJob`].
    Triage,
    /// Tell a target. Payload [`schemas::job::SendJob`].
    Send,
}

impl Queue {
    /// The word in tables, metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Triage => "triage",
            Self::Send => "send",
        }
    }
}

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    Done,
    /// Given up, for an operator.
    Parked,
    /// It may have happened, and trying again could do it twice.
    Unknown,
}

impl End {
    /// The word in tables, metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Parked => "parked",
            Self::Unknown => "unknown",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Done, Self::Parked, Self::Unknown].into_iter().find(|end| end.word() == word)
    }
}

/// A job a fold asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Derived from its trigger, so that a fold that runs again asks for the same job.
    pub id: JobId,
    pub queue: Queue,
    pub project: ProjectId,
    pub incident: IncidentId,
    /// Jobs of one (queue, target, incident) are done in the order they are asked for; with ''
    /// order is free.
    pub target: String,
    /// What caused it; decides whether it is pending or shadow (I6).
    pub trigger: Position,
    /// How long after the commit it may start.
    pub not_before_delay: Option<Duration>,
    /// Somebody waits for it: among the due jobs of its target it goes first, whatever their age,
    /// and those it has to wait for (see `target`) go with it.
    pub urgent: bool,
    /// CBOR.
    pub payload: Vec<u8>,
}

/// A claimed job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub generation: Generation,
    pub id: JobId,
    pub queue: Queue,
    pub lane: Lane,
    pub project: ProjectId,
    pub incident: IncidentId,
    pub target: String,
    /// How often it was claimed, this time included.
    pub attempts: u32,
    pub trigger: Position,
    /// CBOR.
    pub payload: Vec<u8>,
    /// What the effect returned, when an earlier claim got that far; it is not performed again.
    pub result: Option<Vec<u8>>,
    /// How it ends and why; set with `result`.
    pub result_end: Option<(End, Option<String>)>,
    /// This claim.
    pub claim: Uuid,
    /// How its target answered until this claim.
    pub health: Health,
}

#[derive(FromRow)]
struct JobRow {
    generation: i32,
    id: Uuid,
    lane: i32,
    project: String,
    incident: Uuid,
    target: String,
    attempts: i32,
    trigger: String,
    payload: Vec<u8>,
    result: Option<Vec<u8>>,
    result_end: Option<String>,
    reason: Option<String>,
    claim: Uuid,
    health: i32,
}

impl JobRow {
    fn into_job(self, queue: Queue) -> Result<Job, Error> {
        fn unreadable(column: &'static str, detail: impl ToString) -> Error {
            Error::Column { table: "job", column, detail: detail.to_string() }
        }
        let result_end = match self.result_end {
            None => None,
            Some(word) => Some((
                End::from_word(&word).ok_or_else(|| unreadable("result_end", word))?,
                self.reason,
            )),
        };
        Ok(Job {
            generation: Generation(self.generation),
            id: JobId(self.id),
            queue,
            lane: Lane(u16::try_from(self.lane).map_err(|e| unreadable("lane", e))?),
            project: ProjectId::new(self.project).map_err(|e| unreadable("project", e))?,
            incident: IncidentId(self.incident),
            target: self.target,
            attempts: u32::try_from(self.attempts).map_err(|e| unreadable("attempts", e))?,
            trigger: self.trigger.parse().map_err(|e| unreadable("trigger", e))?,
            payload: self.payload,
            result: self.result,
            result_end,
            claim: self.claim,
            health: Health::of(self.health),
        })
    }
}

impl LaneTransaction<'_> {
    /// Asks for effects, in this order. Jobs that stand there already are left as they are.
    pub async fn insert_jobs(&mut self, jobs: &[NewJob]) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        let standing = self.hold().await?;
        let state = |input: InputPosition| match standing.job_state(input) {
            JobState::Pending => "pending",
            JobState::Shadow => "shadow",
        };
        let states: Vec<&str> = jobs.iter().map(|j| state(j.trigger.input)).collect();
        let ids: Vec<Uuid> = jobs.iter().map(|j| j.id.0).collect();
        let queues: Vec<&str> = jobs.iter().map(|j| j.queue.word()).collect();
        let projects: Vec<&str> = jobs.iter().map(|j| j.project.as_str()).collect();
        let incidents: Vec<Uuid> = jobs.iter().map(|j| j.incident.0).collect();
        let targets: Vec<&str> = jobs.iter().map(|j| j.target.as_str()).collect();
        let triggers: Vec<String> = jobs.iter().map(|j| j.trigger.to_string()).collect();
        let delays: Vec<f64> =
            jobs.iter().map(|j| j.not_before_delay.unwrap_or_default().as_secs_f64()).collect();
        let urgent: Vec<bool> = jobs.iter().map(|j| j.urgent).collect();
        let payloads: Vec<&[u8]> = jobs.iter().map(|j| j.payload.as_slice()).collect();
        sqlx::query(
            "insert into job (generation, id, queue, lane, project, incident, target, state,
                              not_before, trigger, payload, urgent)
             select $1, id, queue, $2, project, incident, target, state,
                    now() + make_interval(secs => delay), trigger, payload, urgent
             from unnest($3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[],
                         $9::float8[], $10::text[], $11::bytea[], $12::bool[])
                  with ordinality
                  as new (id, queue, project, incident, target, state, delay, trigger, payload,
                          urgent, n)
             order by n
             on conflict (generation, id) do nothing",
        )
        .bind(self.generation.0)
        .bind(i32::from(self.lane.0))
        .bind(ids)
        .bind(queues)
        .bind(projects)
        .bind(incidents)
        .bind(targets)
        .bind(states)
        .bind(delays)
        .bind(triggers)
        .bind(payloads)
        .bind(urgent)
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("insert jobs"))?;
        self.hurry_what_is_waited_for(jobs).await
    }

    /// What an urgent job waits for is urgent as well.
    async fn hurry_what_is_waited_for(&mut self, jobs: &[NewJob]) -> Result<(), Error> {
        let urgent = || jobs.iter().filter(|job| job.urgent && !job.target.is_empty());
        if urgent().next().is_none() {
            return Ok(());
        }
        sqlx::query(
            "update job set urgent = true
             from unnest($2::text[], $3::uuid[], $4::text[]) as now (queue, incident, target)
             where job.generation = $1 and job.queue = now.queue and job.incident = now.incident
               and job.target = now.target and job.state in ('pending', 'claimed', 'shadow')
               and not job.urgent",
        )
        .bind(self.generation.0)
        .bind(urgent().map(|job| job.queue.word()).collect::<Vec<_>>())
        .bind(urgent().map(|job| job.incident.0).collect::<Vec<_>>())
        .bind(urgent().map(|job| job.target.as_str()).collect::<Vec<_>>())
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("hurry jobs that urgent ones wait for"))?;
        Ok(())
    }

    /// Lets the sends of these incidents that wait for their analysis start now. A send that was
    /// tried already keeps its delay, which its target asked for.
    pub async fn hasten_sends(&mut self, incidents: &[IncidentId]) -> Result<(), Error> {
        if incidents.is_empty() {
            return Ok(());
        }
        let incidents: Vec<Uuid> = incidents.iter().map(|incident| incident.0).collect();
        sqlx::query(
            "update job set not_before = now()
             where generation = $1 and queue = 'send' and incident = any ($2)
               and state in ('pending', 'shadow') and attempts = 0 and not_before > now()",
        )
        .bind(self.generation.0)
        .bind(incidents)
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("hasten sends"))?;
        Ok(())
    }
}

impl Store {
    /// Keeps what the effect returned and how the job will end, before it goes to the log. False:
    /// the claim is lost.
    pub async fn store_result(
        &self,
        job: &Job,
        result: &[u8],
        end: End,
        reason: Option<&str>,
    ) -> Result<bool, Error> {
        let done = sqlx::query(
            "update job set result = $4, result_end = $5, reason = $6
             where generation = $1 and id = $2 and claim = $3",
        )
        .bind(job.generation.0)
        .bind(job.id.0)
        .bind(job.claim)
        .bind(result)
        .bind(end.word())
        .bind(reason.map(text))
        .execute(self.pool())
        .await
        .map_err(Error::doing("store a job's result"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Ends a job. False: the claim is lost.
    pub async fn settle(&self, job: &Job, end: End, reason: Option<&str>) -> Result<bool, Error> {
        let done = sqlx::query(
            "update job
             set state = $4, reason = $5, settled_at = now(), claim = null, lease_until = null
             where generation = $1 and id = $2 and claim = $3",
        )
        .bind(job.generation.0)
        .bind(job.id.0)
        .bind(job.claim)
        .bind(end.word())
        .bind(reason.map(text))
        .execute(self.pool())
        .await
        .map_err(Error::doing("settle a job"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Hands a job back, to be tried again not before `after`. False: the claim is lost.
    pub async fn retry(&self, job: &Job, after: Duration, reason: &str) -> Result<bool, Error> {
        let done = sqlx::query(
            "update job
             set state = 'pending', reason = $5, claim = null, lease_until = null,
                 not_before = now() + make_interval(secs => $4)
             where generation = $1 and id = $2 and claim = $3",
        )
        .bind(job.generation.0)
        .bind(job.id.0)
        .bind(job.claim)
        .bind(after.as_secs_f64())
        .bind(text(reason))
        .execute(self.pool())
        .await
        .map_err(Error::doing("hand a job back"))?;
        Ok(done.rows_affected() > 0)
    }
}
