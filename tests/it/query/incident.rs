//! One incident as the API shows it, from opening to close.

use schemas::{
    JobId, Outcome,
    alert::Stage,
    event::{Effect, Kind, Planned, Repeated, Resolved},
    job::{SendKind, SendResult},
    record::SendOutcome,
};
use serde_json::{Value, json};

use super::{
    API,
    desk::{ANN, Desk, Sample, samples},
    strings,
};

/// Sentry's event ids are 32 hex digits, which read as a UUID like our own.
#[tokio::test]
async fn b2_why_finds_a_senders_id_that_looks_like_one_of_ours() {
    const ID: &str = "aa11bb22cc33dd44ee55ff6600112233";
    let desk = Desk::start().await;
    let s = Sample { effect: Effect::Opened, incident: true, ..samples(1)[0].clone() };
    let s = Sample { project: "payments", provider: "sentry", stage: Stage::Received, ..s };
    let mut observed = s.observed();
    let Kind::Observed(of) = &mut observed.kind else { panic!("{observed:?}") };
    of.alert.provider_event_id = ID.to_owned();
    desk.apply(&[s.opened(), observed, s.settled(Outcome::Observed, None)], true).await;
    let why = desk.ok(ANN, &format!("{API}/why/{ID}?project_id=payments")).await;
    assert_eq!((&why["id"], &why["project_id"]), (&json!(ID), &json!("payments")));
    assert_eq!(why["alerts"][0]["effect"], "opened");
    let (status, body) = desk.get(ANN, &format!("{API}/why/{ID}0?project_id=payments")).await;
    assert_eq!(status, 404, "{body}");
    desk.stop().await;
}

#[tokio::test]
async fn r31_r71_an_incident_from_opening_to_close() {
    let desk = Desk::start().await;
    let s = Sample { effect: Effect::Opened, incident: true, ..samples(1)[0].clone() };
    let s = Sample { project: "payments", provider: "sentry", stage: Stage::Received, ..s };
    let opening = s.opened();
    let run = JobId::triage(opening.at, "open");
    let path = format!("{API}/deliveries/{}", s.record());

    // Before it is projected its outcome is not known; a waiting caller gets it when it is.
    let (status, body) = desk.get(ANN, &path).await;
    assert_eq!((status, &body["status"]), (404, &json!(404)), "{body}");
    let waiting = format!("{path}?wait=10");
    let batch = [opening.clone(), s.observed(), s.settled(Outcome::Observed, None)];
    let (waited, ()) = tokio::join!(desk.get(ANN, &waiting), desk.apply(&batch, true));
    let (status, delivery) = waited;
    assert_eq!(status, 200, "{delivery}");
    assert_eq!(delivery["outcome"], "observed");
    assert_eq!(delivery["reason"], Value::Null);
    assert_eq!(delivery["alerts"][0]["effect"], "opened");
    assert_eq!(delivery["sends"], json!([]));

    let incident = &delivery["incidents"][0];
    assert_eq!(incident["incident_id"], json!(s.incident_id()));
    assert_eq!(incident["status"], "open");
    assert_eq!(incident["action"], "Sentry ERROR Alert: app.score");
    assert_eq!(incident["requested_by"], "sentry-webhook");
    let title = s.facts().title;
    assert_eq!(
        incident["description"],
        format!("{title}\n\nRoot Cause: 待分析\nSuggestion: 待 AI 分析")
    );
    assert_eq!(
        (&incident["llm_provider"], &incident["llm_confidence"]),
        (&json!("pending"), &json!(0.0))
    );
    assert_eq!(incident["analysis"], Value::Null);
    assert_eq!(incident["runs"][0]["run_id"], json!(run));
    assert_eq!(incident["runs"][0]["state"], "running");
    assert_eq!(incident["number"], Value::Null);

    // R34: the number is observe's to give; here it stands.
    sqlx::query("insert into incident_number values ('payments', '20251012', 7, $1, '')")
        .bind(s.incident_id().0)
        .execute(&mut desk.sql().await)
        .await
        .unwrap();

    // All that follows, in one batch.
    let later = Sample { n: s.n + 1, effect: Effect::Repeated, ..s.clone() };
    let sent = SendOutcome {
        job: JobId(run.0),
        incident: Some(s.incident_id()),
        target: "ops".into(),
        channel: "webhook".into(),
        kind: "fire".into(),
        subject: opening.at.to_string(),
        trigger: opening.at,
        attempts: 2,
        result: SendResult::Delivered(Some("m-1".into())),
    };
    let planned = Planned {
        incident: s.incident_id(),
        opening: opening.at,
        kind: SendKind::Fire,
        receiver: "default".into(),
        rule: "everything".into(),
        summary: None,
        reason: None,
    };
    let resolved = Resolved {
        incident: s.incident_id(),
        fingerprint: s.key(),
        opening: opening.at,
        occurrences: 2,
        facts: s.facts(),
        flapping: None,
    };
    let repeated = Repeated {
        incident: s.incident_id(),
        fingerprint: s.key(),
        opening: opening.at,
        occurrences: 2,
        frequency: None,
        level: None,
        rise: None,
    };
    desk.apply(
        &[
            later.event(Kind::Repeated(repeated)),
            later.observed(),
            s.answered(run),
            later.event(Kind::Sent(Box::new(sent.clone()))),
            later.event(Kind::Sent(Box::new(sent))),
            later.event(Kind::Planned(planned)),
            later.event(Kind::Resolved(Box::new(resolved))),
        ],
        true,
    )
    .await;
    let incidents = desk.ok(ANN, &format!("{API}/incidents?status=resolved")).await;
    assert_eq!((&incidents["total"], &incidents["limit"]), (&json!(1), &json!(50)));
    let incident = &incidents["items"][0];
    assert_eq!(incident["number"], "INC-20251012-007");
    assert_eq!(incident["occurrences"], 2);
    assert_eq!(incident["closed_at"], json!(later.time()));
    assert_eq!(
        incident["description"],
        format!("{title}\n\nRoot Cause: Redis 連線池耗盡\nSuggestion: 調高 max_connections")
    );
    assert_eq!(
        (&incident["llm_provider"], &incident["llm_confidence"]),
        (&json!("playbook"), &json!(0.75))
    );
    assert_eq!(incident["runs"][0]["state"], "completed");
    assert_eq!(
        incident["runs"][0]["attempts"][0],
        json!({"analyst": "openclaw", "end": "timeout"})
    );
    assert_eq!(incident["runs"][0]["started_at"], json!(s.time()));
    let open = desk.ok(ANN, &format!("{API}/incidents?status=open")).await;
    assert_eq!(open["items"], json!([]));
    let sends = desk.ok(ANN, &path).await["sends"].clone();
    assert_eq!(sends.as_array().unwrap().len(), 1);
    assert_eq!((&sends[0]["result"], &sends[0]["detail"]), (&json!("delivered"), &json!("m-1")));

    // The dossier by run: both events of the incident, newest first.
    let dossier = desk.ok(ANN, &format!("{API}/events/dossier?run_id={run}")).await;
    let want = [later.provider_event_id(), s.provider_event_id()];
    assert_eq!(strings(&dossier["events"], "provider_event_id"), want);
    let none = desk.ok(ANN, &format!("{API}/events/dossier?run_id={}", s.key())).await;
    assert_eq!(none["total"], 0);
    desk.stop().await;
}
