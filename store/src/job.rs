//! Effects that are asked for: job rows, the pauses of their targets, and what was told before.
//!
//! A row is claimed under a lease and a random claim; every later write names that claim, so a
//! worker that lost its lease changes nothing any more. The lease is measured by the database's
//! clock, which all workers share.

mod told;

use std::time::Duration;

use schemas::{
    Generation, IncidentId, InputPosition, JobId, Lane, Position, ProjectId, job::AnswerResult,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Error, Store,
    lane::{JobState, LaneTransaction},
    projection::text,
};

pub use told::{Telling, Told};

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
        let payloads: Vec<&[u8]> = jobs.iter().map(|j| j.payload.as_slice()).collect();
        sqlx::query(
            "insert into job (generation, id, queue, lane, project, incident, target, state,
                              not_before, trigger, payload)
             select $1, id, queue, $2, project, incident, target, state,
                    now() + make_interval(secs => delay), trigger, payload
             from unnest($3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[],
                         $9::float8[], $10::text[], $11::bytea[])
                  with ordinality
                  as new (id, queue, project, incident, target, state, delay, trigger, payload, n)
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
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("insert jobs"))?;
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
    /// Claims up to `n` due jobs of `queue` for `lease`, oldest first.
    ///
    /// Due is a job of the live or the frozen generation that is pending and not put off, or whose
    /// lease ran out; whose target is not paused and not one of `full`; and before which no job of
    /// the same (queue, target, incident) is still to be done.
    pub async fn claim(
        &self,
        queue: Queue,
        n: usize,
        lease: Duration,
        full: &[String],
    ) -> Result<Vec<Job>, Error> {
        let rows: Vec<JobRow> = sqlx::query_as(
            // By target, so that a long queue of a paused or full target is never walked: the
            // targets that have jobs, one index look-up each; of each the oldest few that may
            // start; of those the oldest.
            "with recursive live as (
                 select generation from generation where state in ('active', 'frozen')
             ), targets as (
                 select live.generation,
                        (select j.target from job j
                         where j.generation = live.generation and j.queue = $1
                           and j.state in ('pending', 'claimed')
                         order by j.generation, j.queue, j.target limit 1) as target
                 from live
                 union all
                 select t.generation,
                        (select j.target from job j
                         where j.generation = t.generation and j.queue = $1
                           and j.state in ('pending', 'claimed') and j.target > t.target
                         order by j.generation, j.queue, j.target limit 1)
                 from targets t
                 where t.target is not null
             ), due as (
                 select next.generation, next.id
                 from targets t
                 cross join lateral (
                     select j.generation, j.id, j.not_before, j.ordinal
                     from job j
                     where j.generation = t.generation and j.queue = $1 and j.target = t.target
                       and j.state in ('pending', 'claimed')
                       and j.not_before <= now()
                       and (j.state = 'pending' or j.lease_until <= now())
                       and (j.target = '' or not exists (
                             select from live
                             cross join lateral (
                                 select from job earlier
                                 where earlier.generation = live.generation
                                   and earlier.queue = j.queue
                                   and earlier.incident = j.incident
                                   and earlier.target = j.target
                                   and earlier.ordinal < j.ordinal
                                   and earlier.state in ('pending', 'claimed')
                                 limit 1) blocking))
                     order by j.not_before, j.ordinal
                     limit $2
                     for update of j skip locked
                 ) next
                 where t.target <> all ($4)
                   and not exists (
                       select from target paused
                       where paused.target = t.target and paused.not_before > now())
                 order by next.not_before, next.ordinal
                 limit $2
             )
             update job
             set state = 'claimed', claim = gen_random_uuid(), attempts = job.attempts + 1,
                 lease_until = clock_timestamp() + make_interval(secs => $3)
             from due
             where job.generation = due.generation and job.id = due.id
             returning job.generation, job.id, job.lane, job.project, job.incident, job.target,
                       job.attempts, job.trigger, job.payload, job.result, job.result_end,
                       job.reason, job.claim",
        )
        .bind(queue.word())
        .bind(i64::try_from(n).unwrap_or(i64::MAX))
        .bind(lease.as_secs_f64())
        .bind(full)
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("claim jobs"))?;
        rows.into_iter().map(|row| row.into_job(queue)).collect()
    }

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

    /// Lets no job of `target` start for `pause`, in any process. A longer pause stays.
    pub async fn pause_target(&self, target: &str, pause: Duration) -> Result<(), Error> {
        sqlx::query(
            "insert into target (target, not_before)
             values ($1, now() + make_interval(secs => $2))
             on conflict (target) do update
             set not_before = greatest(target.not_before, excluded.not_before)",
        )
        .bind(target)
        .bind(pause.as_secs_f64())
        .execute(self.pool())
        .await
        .map_err(Error::doing("pause a target"))?;
        Ok(())
    }

    /// The number an incident was given, `INC-YYYYMMDD-NNN`; wider past 999.
    pub async fn incident_number(&self, incident: IncidentId) -> Result<Option<String>, Error> {
        let row: Option<(String, i32)> =
            sqlx::query_as("select day, number from incident_number where incident = $1")
                .bind(incident.0)
                .fetch_optional(self.pool())
                .await
                .map_err(Error::doing("read an incident's number"))?;
        Ok(row.map(|(day, number)| format!("INC-{day}-{number:03}")))
    }

    /// What analysts said of an incident: the newest answer with an analysis, else the newest. A
    /// result counts from when it is stored: its record may be folded before its job is settled.
    pub async fn latest_answer(&self, incident: IncidentId) -> Result<Option<AnswerResult>, Error> {
        let results: Vec<Vec<u8>> = sqlx::query_scalar(
            "select result from job
             where incident = $1 and queue = 'triage' and result_end = 'done'
               and result is not null
             order by settled_at desc nulls first, ordinal desc
             limit 10",
        )
        .bind(incident.0)
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("read an incident's analysis"))?;
        let mut newest = None;
        for bytes in results {
            let answer: AnswerResult = schemas::codec::decode("answer", &bytes).map_err(|e| {
                Error::Column { table: "job", column: "result", detail: e.to_string() }
            })?;
            if answer.analysis.is_some() {
                return Ok(Some(answer));
            }
            newest.get_or_insert(answer);
        }
        Ok(newest)
    }
}
