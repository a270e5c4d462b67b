//! Sends as notify asks for them, where only delivering is looked at.

use lanes::job::{NewJob, Queue};
use schemas::{
    Facts, IncidentId, InputPosition, JobId, Level, Position, ProjectId, SourceId, Status, Time,
    alert::Risk,
    job::{SendJob, SendKind},
};
use uuid::Uuid;

fn opening(n: u32) -> Position {
    InputPosition { incarnation: 1_735_689_600, sequence: u64::from(n) + 1, record: 0 }.alert(0)
}

/// The send of a first message about problem `n` to `target`; one in three is urgent.
pub fn fire(n: u32, target: &str) -> NewJob {
    let project = ProjectId::new("shop").unwrap();
    let (subject, trigger) = (opening(n).to_string(), opening(n));
    let incident = IncidentId(Uuid::from_u128(u128::from(n) + 1));
    let facts = Facts {
        level: Some(Level::Error),
        ..Facts::new("sentry", SourceId::new("main").unwrap(), format!("boom {n}"), Status::Firing)
    };
    let send = SendJob {
        project: project.clone(),
        incident,
        subject: subject.clone(),
        opening: opening(n),
        kind: SendKind::Fire,
        target: target.into(),
        facts,
        risk: Risk::High,
        rule: "everything".into(),
        rules: "0123".into(),
        planned_at: Time::from_micros(1_735_689_600_000_000),
        frequency: None,
        cause: None,
        standing: None,
        summary: None,
        reply: None,
        tags: Vec::new(),
    };
    NewJob {
        id: JobId::send(&project, target, SendKind::Fire, &subject, trigger),
        queue: Queue::Send,
        project,
        incident,
        target: target.into(),
        trigger,
        not_before_delay: None,
        urgent: n.is_multiple_of(3),
        payload: schemas::codec::encode(&send),
    }
}
