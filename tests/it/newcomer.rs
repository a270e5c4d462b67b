//! What a newcomer does: start everything with one command, send the demo, ask the API; kill it,
//! start it again.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tests::{programs, temp_dir};

const PATIENCE: Duration = Duration::from_secs(60);

/// The shipped program, built beside the test's own.
pub fn bellwether() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_worker")).with_file_name("bellwether");
    assert!(program.exists(), "{} is missing; run `cargo xtask test`", program.display());
    program
}

/// A running `bellwether up` in a folder of its own.
pub struct Up {
    child: Child,
    dir: PathBuf,
    output: PathBuf,
    pub ingest: String,
    pub console: String,
}

impl Up {
    /// Starts it and waits until it says that it is up.
    pub fn start(home: &Path, name: &str) -> Self {
        Self::start_with(home, name, &[])
    }

    /// The same, in this environment.
    pub fn start_with(home: &Path, name: &str, env: &[(&str, String)]) -> Self {
        let (dir, output) = (home.join("kept"), home.join(name));
        let found = programs();
        let child = Command::new(bellwether())
            .args(["up", "--ingest", "127.0.0.1:0", "--console", "127.0.0.1:0", "--dir"])
            .arg(&dir)
            .env("BELLWETHER_NATS_SERVER", found.nats_server)
            .env("BELLWETHER_POSTGRES_BIN", found.postgres_bin)
            .env_remove("SENTRY_WEBHOOK_SECRET")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(output.with_extension("err")).unwrap())
            .spawn()
            .unwrap();
        let mut up = Self { child, dir, output, ingest: String::new(), console: String::new() };
        up.wait_for("bellwether is up");
        let running = std::fs::read_to_string(up.dir.join("running.toml")).unwrap();
        let address = |key: &str| {
            let line = running.lines().find(|l| l.starts_with(key)).unwrap();
            line.split('"').nth(1).unwrap().to_owned()
        };
        (up.ingest, up.console) = (address("ingest"), address("console"));
        up
    }

    fn text(&self) -> String {
        let mut text = String::new();
        File::open(&self.output).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(words) {
            let ended = self.child.try_wait().unwrap();
            let said = std::fs::read_to_string(self.output.with_extension("err")).unwrap();
            assert!(ended.is_none(), "up ended ({ended:?}): {said}");
            assert!(Instant::now() < deadline, "up never said {words:?}: {} {said}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn key(&self) -> String {
        std::fs::read_to_string(self.dir.join("operator-key")).unwrap().trim().to_owned()
    }

    fn demo(&self, count: u32) -> Output {
        Command::new(bellwether())
            .args(["demo", "--rate", "50", "--count", &count.to_string(), "--dir"])
            .arg(&self.dir)
            .output()
            .unwrap()
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub async fn get(&self, path: &str) -> Value {
        let client = reqwest::Client::new();
        let url = format!("{}{path}", self.console);
        let response = client.get(url).bearer_auth(self.key()).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.unwrap()
    }

    /// Asks until `enough` says yes.
    async fn get_until(&self, path: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            if enough(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} still says {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // In order, so that the servers it started end too.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Every analysed incident of the demo has its text and its triage.
fn analysed(answer: &Value) -> usize {
    answer["items"].as_array().unwrap().iter().filter(|i| !i["analysis"].is_null()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_then_the_demo_then_the_api() {
    let home = temp_dir();
    let mut up = Up::start(home.path(), "first");
    assert!(up.text().contains(&up.key()), "the key is printed");

    // Secrets are for their owner alone.
    for file in ["operator-key", "secrets.toml", "bellwether.toml", "nats/nats.conf"] {
        let mode = std::fs::metadata(up.dir.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }

    let demo = up.demo(40);
    let said = String::from_utf8_lossy(&demo.stdout).into_owned();
    assert!(demo.status.success(), "{said} {}", String::from_utf8_lossy(&demo.stderr));
    assert!(said.contains("40 of 40 accepted"), "{said}");

    // Grouped alerts with triage.
    let incidents = up.get_until("/api/v1/incidents?limit=200", |a| analysed(a) >= 5).await;
    let numbers: Vec<&str> = incidents["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["number"].as_str().unwrap())
        .collect();
    assert!(numbers.iter().all(|n| n.starts_with("INC-")), "{numbers:?}");
    let groups = up
        .get_until("/api/v1/events/dossier/recurrence?limit=300", |a| {
            a["summary"]["source_event_total"].as_u64() >= Some(50)
        })
        .await;
    assert!(groups["summary"]["recurrent_group_total"].as_u64().unwrap() >= 3, "{groups}");

    // The log channel printed the messages.
    up.wait_for(numbers[0]);
    up.wait_for("SENTRY ERROR 告警");

    // The visitor's token of the demo's front-end error is nowhere.
    let dossier = up.get("/api/v1/events/dossier?limit=50").await.to_string();
    assert!(!dossier.contains("demo-visitor-0123456789abcdef"));
    assert!(!dossier.contains("tok-9f8e7d6c5b4a"));

    // R65 in part: the console's port answers the webhook routes too.
    let client = reqwest::Client::new();
    let url = format!("{}/webhook/sentry", up.console);
    assert_eq!(client.post(url).body("{}").send().await.unwrap().status(), 401);
    let url = format!("{}/health", up.ingest);
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);

    // A second one in the same folder is refused with the reason.
    let second = Command::new(bellwether())
        .args(["up", "--ingest", "127.0.0.1:0", "--console", "127.0.0.1:0", "--dir"])
        .arg(&up.dir)
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another `bellwether up`"));

    // kill -9: its servers outlive it, are cleaned up by the next start, and nothing is lost.
    let before = up.get("/api/v1/incidents?limit=200").await;
    let key = up.key();
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    drop(up);
    let up = Up::start(home.path(), "second");
    assert_eq!(up.key(), key, "the key is kept");
    let after = up.get("/api/v1/incidents?limit=200").await;
    assert_eq!(before["items"], after["items"], "data is kept");
    assert!(up.demo(8).status.success());
}
