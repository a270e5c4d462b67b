//! A real Alertmanager, fed through its own API, posting to a real ingest.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    fleet::{ALERTMANAGER_PASSWORD, Fleet, PATIENCE},
    oracle,
};

const PROGRAM: &str = "prometheus-alertmanager";

/// A running Alertmanager; ended when dropped.
struct Alertmanager {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl Alertmanager {
    /// Starts one that groups at once, repeats every second or so and posts to `ingest`.
    async fn start(dir: &Path, ingest: std::net::SocketAddr) -> Self {
        let config = dir.join("alertmanager.yml");
        let text = format!(
            "route:\n  receiver: bellwether\n  group_by: [alertname]\n  group_wait: 100ms\n  \
             group_interval: 500ms\n  repeat_interval: 1s\nreceivers:\n- name: bellwether\n  \
             webhook_configs:\n  - url: http://{ingest}/webhook/alertmanager\n    \
             send_resolved: true\n    http_config:\n      basic_auth:\n        \
             username: alertmanager\n        password: {ALERTMANAGER_PASSWORD}\n"
        );
        std::fs::write(&config, text).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("alertmanager.log")).unwrap())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let started = Self { child, url, client: reqwest::Client::new() };
        let deadline = Instant::now() + PATIENCE;
        while started.client.get(format!("{}/-/ready", started.url)).send().await.is_err() {
            assert!(Instant::now() < deadline, "Alertmanager does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        started
    }

    /// Tells it of one alert, as Prometheus does: `since` when, and whether it is over now.
    async fn tell(&self, instance: &str, since: jiff::Timestamp, firing: bool) {
        let now = jiff::Timestamp::now();
        let ends = if firing { now + Duration::from_secs(300) } else { now };
        let alert = json!([{
            "labels": {"alertname": "InstanceDown", "instance": instance, "severity": "critical"},
            "annotations": {"summary": format!("{instance} is down")},
            "startsAt": since.to_string(), "endsAt": ends.to_string(),
        }]);
        let url = format!("{}/api/v2/alerts", self.url);
        let answer = self.client.post(url).json(&alert).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// The fingerprint it gives the alert of `instance`.
    async fn fingerprint(&self, instance: &str) -> String {
        let url = format!("{}/api/v2/alerts", self.url);
        let alerts: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        let alert = alerts.as_array().unwrap().iter().find(|a| a["labels"]["instance"] == instance);
        alert.unwrap()["fingerprint"].as_str().unwrap().to_owned()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    if Command::new(PROGRAM).arg("--version").output().is_err() {
        println!("skipped: {PROGRAM} is not installed (Debian package {PROGRAM})");
        return;
    }
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_worker"), "").await;
    let all = fleet.start("ingest,console,triage-worker,notifier-worker,projector");
    let ingest = fleet.member(all).ingest.unwrap();
    let alertmanager = Alertmanager::start(fleet.world.dir.path(), ingest).await;
    let is = |i: &Value, status: &str| i["status"] == status;

    // Two alerts of one group are two incidents; repeats open nothing.
    let since = jiff::Timestamp::now();
    alertmanager.tell("db-1:9100", since, true).await;
    alertmanager.tell("db-2:9100", since, true).await;
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
    assert_eq!(rows[0].0, alertmanager.fingerprint("db-1:9100").await);

    // One resolves, the other goes on.
    alertmanager.tell("db-1:9100", since, false).await;
    let one = incidents(&fleet, "db-1:9100", |i| i.len() == 1 && is(&i[0], "resolved")).await;
    let other = incidents(&fleet, "db-2:9100", |i| i.len() == 1).await;
    assert!(is(&other[0], "open"), "{other:?}");

    // It fires again: another episode, another incident.
    alertmanager.tell("db-1:9100", jiff::Timestamp::now(), true).await;
    let again = incidents(&fleet, "db-1:9100", |i| i.len() == 2 && is(&i[1], "open")).await;
    assert_eq!(again[0]["incident_id"], one[0]["incident_id"]);
    assert_eq!((&again[1]["cause"], &again[1]["episode"]), (&json!("regression"), &json!(2)));

    // Told: three fires, one resolve, however often it repeated.
    drop(alertmanager);
    fleet.settled().await;
    let seen = fleet.receiver.seen();
    assert_eq!(seen.of_type("incident.fire").len(), 3);
    assert_eq!(seen.of_type("incident.resolve").len(), 1);
    fleet.stop_all();
    oracle::check(&fleet.world).await;
}
