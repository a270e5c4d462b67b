//! Who does which job next.

use std::time::Duration;

use super::{Budget, Job, JobRow, Queue, silent::SILENT};
use crate::{Error, Store};

/// What a worker has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Targets that have their share of its places.
    pub full: Vec<String>,
    /// It has a place for finding out whether a silent target answers again.
    pub probes: bool,
}

impl Default for Room {
    /// For everything.
    fn default() -> Self {
        Self { full: Vec::new(), probes: true }
    }
}

impl Store {
    /// Claims up to `n` due jobs of `queue` for `lease`: urgent ones first, then the oldest.
    ///
    /// Due is a job of the live or the frozen generation that is pending and not put off, or whose
    /// lease ran out; whose target is not paused and has `room`; and before which no job of
    /// the same (queue, target, incident) is still to be done. Of a target in `budgets` no more are
    /// claimed than its budget allows, and each claim spends one message of it, by this server's
    /// clock: so any number of workers share one budget, and a job that has to wait for it is not
    /// claimed, which costs it no attempt. An urgent job never waits for what is not, however old
    /// that is; with urgent ones without end the others wait. Of a target in `budgets` that is silent
    /// (see [`super::Health`]) one is claimed at a time, however many workers there are, and that is
    /// one that is not urgent where there is any: what a target took without a word may be lost to its
    /// reader, so nobody is found out about by the most urgent pages first. For its turn it counts as
    /// urgent if an urgent one waits for it. With urgent ones alone the oldest goes.
    pub async fn claim(
        &self,
        queue: Queue,
        n: usize,
        lease: Duration,
        room: &Room,
        budgets: &[Budget],
    ) -> Result<Vec<Job>, Error> {
        let rows: Vec<JobRow> = sqlx::query_as(
            // By target, so that a long queue of a paused or full target is never walked: the
            // targets that have jobs, one index look-up each; of each the oldest few that may
            // start, urgent or not; of those as many as its budget allows; of all the first.
            //
            // The row of a budget is locked before it is read, and skipped while another claim has
            // it: that one takes the jobs.
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
             ), limited as (
                 select * from unnest($5::text[], $6::float8[], $7::float8[])
                               as l (target, per_second, burst)
             ), budget as (
                 select b.target, has.tokens, b.silent >= $8 as probed,
                        case when b.silent >= $8 then 1 else floor(has.tokens)::bigint end as room,
                        case when b.silent >= $8 then 2 when b.silent > 0 then 1 else 0 end
                        as health
                 from target b join limited l on l.target = b.target
                 cross join lateral (
                     select least(l.burst, coalesce(b.tokens + l.per_second * greatest(0,
                            extract(epoch from now() - b.filled_at)::float8), l.burst)) as tokens
                 ) has
                 where b.target in (select target from targets)
                   and b.target <> all ($4)
                   and b.not_before <= now()
                   and has.tokens >= 1
                   and (b.silent < $8 or $9 and coalesce(b.probe_at <= now(), true))
                 for update of b skip locked
             ), open as (
                 select t.generation, t.target, coalesce(b.health, 0) as health,
                        least($2, case when l.target is null then $2
                                       else coalesce(b.room, 0) end) as room
                 from targets t
                 left join limited l on l.target = t.target
                 left join budget b on b.target = t.target
                 where t.target <> all ($4)
                   and not exists (
                       select from target paused
                       where paused.target = t.target and paused.not_before > now())
             ), candidate as (
                 select next.*,
                        next.urgent or next.health = 2
                            and bool_or(next.urgent) over (partition by next.target) as presses,
                        row_number() over (partition by next.target
                                           order by next.urgent <> (next.health = 2) desc,
                                                    next.not_before, next.ordinal)
                        as place
                 from open
                 cross join (values (true), (false)) as class (urgent)
                 cross join lateral (
                     select j.generation, j.id, j.target, j.urgent, j.not_before, j.ordinal,
                            open.room, open.health
                     from job j
                     where j.generation = open.generation and j.queue = $1
                       and j.target = open.target and j.urgent = class.urgent
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
                     limit open.room
                     for update of j skip locked
                 ) next
             ), due as (
                 select generation, id, target, health from candidate
                 where place <= room
                 order by presses desc, not_before, ordinal
                 limit $2
             ), spent as (
                 update target
                 set tokens = budget.tokens - taken.messages,
                     filled_at = greatest(target.filled_at, now()),
                     probe_at = case when budget.probed then now() + make_interval(secs => $3)
                                     else target.probe_at end
                 from budget
                 join (select target, count(*) as messages from due group by target) taken
                   on taken.target = budget.target
                 where target.target = budget.target
             )
             update job
             set state = 'claimed', claim = gen_random_uuid(), attempts = job.attempts + 1,
                 lease_until = clock_timestamp() + make_interval(secs => $3)
             from due
             where job.generation = due.generation and job.id = due.id
             returning job.generation, job.id, job.lane, job.project, job.incident, job.target,
                       job.attempts, job.trigger, job.payload, job.result, job.result_end,
                       job.reason, job.claim, due.health",
        )
        .bind(queue.word())
        .bind(i64::try_from(n).unwrap_or(i64::MAX))
        .bind(lease.as_secs_f64())
        .bind(&room.full)
        .bind(budgets.iter().map(|b| b.target.as_str()).collect::<Vec<_>>())
        .bind(budgets.iter().map(|b| f64::from(b.per_minute) / 60.0).collect::<Vec<_>>())
        .bind(budgets.iter().map(|b| f64::from(b.burst)).collect::<Vec<_>>())
        .bind(SILENT)
        .bind(room.probes)
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("claim jobs"))?;
        rows.into_iter().map(|row| row.into_job(queue)).collect()
    }
}
