//! Triage with its real roles: who is asked, how often, and what that may cost.

mod budget;
mod calls;
mod chain;
mod feedback;
mod injection;
mod playbook;
mod report;
mod scaling;
mod similar;

use std::{collections::BTreeMap, time::Duration};

use schemas::{Position, codec, job::AnswerResult, job::TriageJob};
use tests::fleet::Fleet;
use uuid::Uuid;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A triage job that is over.
#[derive(Clone, Debug)]
struct Over {
    title: String,
    opening: Position,
    result: AnswerResult,
}

impl Over {
    /// Who was asked and how that ended, the word alone.
    fn words(&self) -> Vec<String> {
        let word = |how: &str| how.split(':').next().unwrap_or_default().to_owned();
        self.result.attempts.iter().map(|(who, how)| format!("{who} {}", word(how))).collect()
    }
}

/// Every triage job that is done, by id.
async fn over(url: &str) -> BTreeMap<Uuid, Over> {
    use sqlx::Connection;
    let mut sql = sqlx::PgConnection::connect(url).await.unwrap();
    let rows: Vec<(Uuid, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select id, payload, result from job where queue = 'triage' and state = 'done'",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let read = |(id, payload, result): (Uuid, Vec<u8>, Vec<u8>)| {
        let asked: TriageJob = codec::decode("triage job", &payload).unwrap();
        let result = codec::decode("answer", &result).unwrap();
        let title = asked.facts.map(|facts| facts.title).unwrap_or_default();
        (id, Over { title, opening: asked.opening, result })
    };
    rows.into_iter().map(read).collect()
}

/// Waits until so many triage jobs are done.
async fn until_done(fleet: &Fleet, jobs: usize) -> BTreeMap<Uuid, Over> {
    let done = "select count(*) from job where queue = 'triage' and state = 'done' and $1 = 0";
    fleet.until(done, 0, i64::try_from(jobs).unwrap()).await;
    over(&fleet.world.database_url).await
}
