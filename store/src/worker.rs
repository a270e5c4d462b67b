//! Who is alive and can own lanes.

use schemas::{Generation, id};
use uuid::Uuid;

use crate::{Error, Store};

/// One worker's place among those of one stage and generation.
///
/// A process that runs several stages has one worker id and a row for each stage.
#[derive(Clone, Debug)]
pub struct Place {
    row: Uuid,
    key: String,
}

impl Place {
    /// The place of `worker` among the workers of a stage in a generation.
    pub fn new(worker: Uuid, stage: &str, generation: Generation) -> Self {
        let key = format!("{stage}:{generation}");
        Self { row: id::hash(&[worker.as_bytes(), key.as_bytes()]), key }
    }
}

impl Store {
    /// Says that the worker lives, and counts those that do: its own row included, without those
    /// that said nothing for `dead_after_seconds`.
    pub async fn beat(&self, place: &Place, dead_after_seconds: f64) -> Result<u16, Error> {
        let live: i64 = sqlx::query_scalar(
            "with beat as ( \
               insert into worker (id, stage, beat_at) values ($1, $2, clock_timestamp()) \
               on conflict (id) do update set beat_at = excluded.beat_at), \
             buried as ( \
               delete from worker where id <> $1 \
               and beat_at < clock_timestamp() - interval '1 hour') \
             select 1 + count(*) from worker where stage = $2 and id <> $1 \
             and beat_at > clock_timestamp() - make_interval(secs => $3)",
        )
        .bind(place.row)
        .bind(&place.key)
        .bind(dead_after_seconds)
        .fetch_one(self.pool())
        .await
        .map_err(Error::doing("say that the worker lives"))?;
        Ok(live.try_into().unwrap_or(u16::MAX))
    }

    /// Takes the worker's row away, so that the others need not wait for it to be dead.
    pub async fn leave(&self, place: &Place) -> Result<(), Error> {
        sqlx::query("delete from worker where id = $1")
            .bind(place.row)
            .execute(self.pool())
            .await
            .map_err(Error::doing("take the worker's row away"))?;
        Ok(())
    }
}
