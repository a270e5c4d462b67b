//! Triage calls as observe asks for them, where only asking is looked at; and alerts that cause them.

use lanes::job::{NewJob, Queue};
use schemas::{
    Facts, IncidentId, InputPosition, JobId, Lane, Level, Position, ProjectId, SourceId, Status,
    codec, job::TriageJob,
};
use serde_json::{Value, json};
use store::Store;
use uuid::Uuid;

use crate::GENERATION;

/// The triage call about problem `n` of project `shop`, triggered further on than the log of any test
/// comes.
pub fn triage(n: u32) -> NewJob {
    let sequence = u64::from(n) + 1;
    triggered(n, InputPosition { incarnation: i64::from(u32::MAX), sequence, record: 0 })
}

/// The same, triggered there.
pub fn triggered(n: u32, input: InputPosition) -> NewJob {
    let project = ProjectId::new("shop").unwrap();
    let opening: Position = input.alert(0);
    let incident = IncidentId(Uuid::from_u128(u128::from(n) + 1));
    let facts = Facts {
        level: Some(Level::Error),
        ..Facts::new("sentry", SourceId::new("main").unwrap(), format!("boom {n}"), Status::Firing)
    };
    let job = TriageJob::new(project.clone(), incident, opening, "open", Some(facts));
    NewJob {
        id: JobId::triage(opening, "open"),
        queue: Queue::Triage,
        project,
        incident,
        target: String::new(),
        trigger: opening,
        not_before_delay: None,
        urgent: false,
        payload: codec::encode(&job),
    }
}

/// Asks for jobs as the fold of a lane does.
pub async fn ask(store: &Store, lane: Lane, jobs: &[NewJob]) {
    let mut owned = store.own_lane("test", GENERATION, lane).await.unwrap().unwrap();
    let mut batch = owned.begin();
    batch.insert_jobs(jobs).await.unwrap();
    batch.commit().await.unwrap();
    owned.release().await;
}

/// An error of an issue of its own, as Sentry posts it.
pub fn error(n: u32) -> Value {
    let event = json!({
        "event_id": format!("{n:032x}"), "issue_id": (70_000 + n).to_string(),
        "title": format!("Boom {n} in checkout"), "culprit": "shop.cart", "level": "error",
        "project": 1, "environment": "production",
    });
    json!({ "action": "created", "data": { "error": event } })
}
