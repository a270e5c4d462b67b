//! A real Alertmanager, fed through its own API, posting to a real ingest.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    fleet::{ALERTMANAGER_PASSWORD, Fleet, PATIENCE},
    oracle,
    receivers::alertmanager::Alertmanager,
};

/// What makes it group at once, repeat every second or so and post to `ingest`.
fn config(ingest: SocketAddr) -> String {
    format!(
        "route:\n  receiver: bellwether\n  group_by: [alertname]\n  group_wait: 100ms\n  \
         group_interval: 500ms\n  repeat_interval: 1s\nreceivers:\n- name: bellwether\n  \
         webhook_configs:\n  - url: http://{ingest}/webhook/alertmanager\n    \
         send_resolved: true\n    http_config:\n      basic_auth:\n        \
         username: alertmanager\n        password: {ALERTMANAGER_PASSWORD}\n"
    )
}

/// Tells it of one alert, as Prometheus does: `since` when, and whether it is over now.
async fn tell(to: &Alertmanager, instance: &str, since: jiff::Timestamp, firing: bool) {
    let now = jiff::Timestamp::now();
    let ends = if firing { now + Duration::from_secs(300) } else { now };
    let alert = json!([{
        "labels": {"alertname": "InstanceDown", "instance": instance, "severity": "critical"},
        "annotations": {"summary": format!("{instance} is down")},
        "startsAt": since.to_string(), "endsAt": ends.to_string(),
    }]);
    to.post(&alert).await;
}

/// The fingerprint it gives the alert of `instance`.
async fn fingerprint(of: &Alertmanager, instance: &str) -> String {
    let alerts = of.alerts().await;
    let alert = alerts.iter().find(|alert| alert["labels"]["instance"] == instance);
    alert.unwrap()["fingerprint"].as_str().unwrap().to_owned()
}

/// Asks the API until the incidents of `instance`, oldest first, are as wanted.
async fn incidents(fleet: &Fleet, instance: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    let console = fleet.member(0).console.unwrap();
    loop {
        let answer = fleet.get(console, "/api/v1/incidents?project_id=infra&limit=200").await;
        let mut of: Vec<Value> = answer["items"].as_array().unwrap().clone();
        of.retain(|i| i["action"].as_str().unwrap().ends_with(instance));
        of.reverse();
        if wanted(&of) {
            return of;
        }
        assert!(Instant::now() < deadline, "{instance}: {of:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// R6: alerts, repeats and resolves of a real Alertmanager come out right.
#[tokio::test(flavor = "multi_thread")]
async fn r6_a_real_alertmanager_fires_repeats_resolves_and_fires_again() {
    if !Alertmanager::is_installed() {
        return;
    }
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_worker"), "").await;
    let all = fleet.start("ingest,console,triage-worker,notifier-worker,projector");
    let ingest = fleet.member(all).ingest.unwrap();
    let alertmanager = Alertmanager::start(fleet.world.dir.path(), &config(ingest)).await;
    let is = |i: &Value, status: &str| i["status"] == status;

    // Two alerts of one group are two incidents; repeats open nothing.
    let since = jiff::Timestamp::now();
    tell(&alertmanager, "db-1:9100", since, true).await;
    tell(&alertmanager, "db-2:9100", since, true).await;
    let one =
        incidents(&fleet, "db-1:9100", |i| i.len() == 1 && i[0]["occurrences"].as_u64() >= Some(3))
            .await;
    assert!(is(&one[0], "open") && one[0]["risk"] == "CRITICAL", "{one:?}");
    let other = incidents(&fleet, "db-2:9100", |i| i.len() == 1).await;
    assert_ne!(one[0]["incident_id"], other[0]["incident_id"]);

    // The sender's fingerprint is the problem's name, and is what its labels give.
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select facts->>'issue_id', count(*) from dossier where target_resource = 'db-1:9100'
         group by 1",
    )
    .fetch_all(&mut fleet.world.sql().await)
    .await
    .unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].0, fingerprint(&alertmanager, "db-1:9100").await);

    // One resolves, the other goes on.
    tell(&alertmanager, "db-1:9100", since, false).await;
    let one = incidents(&fleet, "db-1:9100", |i| i.len() == 1 && is(&i[0], "resolved")).await;
    let other = incidents(&fleet, "db-2:9100", |i| i.len() == 1).await;
    assert!(is(&other[0], "open"), "{other:?}");

    // It fires again: another episode, another incident.
    tell(&alertmanager, "db-1:9100", jiff::Timestamp::now(), true).await;
    let again = incidents(&fleet, "db-1:9100", |i| i.len() == 2 && is(&i[1], "open")).await;
    assert_eq!(again[0]["incident_id"], one[0]["incident_id"]);
    assert_eq!((&again[1]["cause"], &again[1]["episode"]), (&json!("regression"), &json!(2)));

    // Told: each once, however often it repeated. That one fired again within the hour of its message
    // is edited into that (R43).
    drop(alertmanager);
    fleet.settled().await;
    let seen = fleet.receiver.seen();
    assert_eq!(seen.of_type("incident.fire").len(), 2);
    assert_eq!(seen.of_type("incident.resolve").len(), 1);
    fleet.stop_all();
    oracle::check(&fleet.world).await;
}
