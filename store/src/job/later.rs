//! What still waits behind a job.

use super::Job;
use crate::{Error, Store};

/// How many are looked at.
const MOST: i64 = 50;

impl Store {
    /// The payloads of the jobs that wait behind `job`, of its queue, target and incident, in their
    /// order.
    pub async fn later(&self, job: &Job) -> Result<Vec<Vec<u8>>, Error> {
        sqlx::query_scalar(
            "select later.payload from job later
             where later.generation = $1 and later.queue = $2 and later.incident = $3
               and later.target = $4 and later.state in ('pending', 'claimed')
               and later.ordinal > (select ordinal from job where generation = $1 and id = $5)
             order by later.ordinal
             limit $6",
        )
        .bind(job.generation.0)
        .bind(job.queue.word())
        .bind(job.incident.0)
        .bind(&job.target)
        .bind(job.id.0)
        .bind(MOST)
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("read what waits behind a job"))
    }
}
