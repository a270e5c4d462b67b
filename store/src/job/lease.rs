//! Claims that last, and jobs that wait for one.

use std::time::Duration;

use super::{Job, Queue};
use crate::{Error, Store};

impl Store {
    /// Lets a claim last `lease` from now. False: it is lost.
    pub async fn renew(&self, job: &Job, lease: Duration) -> Result<bool, Error> {
        let done = sqlx::query(
            "update job set lease_until = clock_timestamp() + make_interval(secs => $4)
             where generation = $1 and id = $2 and claim = $3",
        )
        .bind(job.generation.0)
        .bind(job.id.0)
        .bind(job.claim)
        .bind(lease.as_secs_f64())
        .execute(self.pool())
        .await
        .map_err(Error::doing("renew the claim of a job"))?;
        Ok(done.rows_affected() > 0)
    }

    /// How long the oldest job without a target has been due while nobody has claimed it.
    pub async fn oldest_due(&self, queue: Queue) -> Result<Duration, Error> {
        let seconds: Option<f64> = sqlx::query_scalar(
            "select extract(epoch from now() - min(oldest.not_before))::float8
             from generation g
             cross join (values (true), (false)) as class (urgent)
             cross join lateral (
                 select j.not_before from job j
                 where j.generation = g.generation and j.queue = $1 and j.target = ''
                   and j.urgent = class.urgent and j.state = 'pending'
                 order by j.not_before, j.ordinal limit 1) oldest
             where g.state in ('active', 'frozen')",
        )
        .bind(queue.word())
        .fetch_one(self.pool())
        .await
        .map_err(Error::doing("look for the oldest job that is due"))?;
        Ok(Duration::from_secs_f64(seconds.unwrap_or(0.0).max(0.0)))
    }
}
