//! A real Alertmanager, of the Debian package `prometheus-alertmanager`.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const PROGRAM: &str = "prometheus-alertmanager";

/// No wait for it is longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Alertmanager; ended when dropped.
#[derive(Debug)]
pub struct Alertmanager {
    /// Where its page and its API are.
    pub url: String,
    child: Child,
    client: reqwest::Client,
}

impl Alertmanager {
    /// True where it is installed; otherwise says that a test is skipped.
    pub fn is_installed() -> bool {
        let found = Command::new(PROGRAM).arg("--version").output().is_ok();
        if !found {
            println!("skipped: {PROGRAM} is not installed (Debian package {PROGRAM})");
        }
        found
    }

    /// Starts one with this configuration, in `dir`.
    pub async fn start(dir: &Path, config: &str) -> Self {
        let path = dir.join("alertmanager.yml");
        std::fs::write(&path, config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("alertmanager.log")).unwrap())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let started = Self { url, child, client: reqwest::Client::new() };
        let deadline = Instant::now() + PATIENCE;
        while started.client.get(format!("{}/-/ready", started.url)).send().await.is_err() {
            assert!(Instant::now() < deadline, "Alertmanager does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        started
    }

    /// Posts alerts to it, as Prometheus does.
    pub async fn post(&self, alerts: &Value) {
        let url = format!("{}/api/v2/alerts", self.url);
        let answer = self.client.post(url).json(alerts).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// The alerts that fire there now.
    pub async fn alerts(&self) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts", self.url);
        let answer = self.client.get(url).send().await.unwrap();
        answer.json::<Vec<Value>>().await.unwrap()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
