//! Roles as processes of their own, which can be killed: the programs `bellwether` and `worker`.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{World, receiver::Receiver};

/// Secret of the fleet's sentry source.
pub const SENTRY_SECRET: &str = "a-secret-of-the-sentry-source";
/// Password of the fleet's alertmanager source; the user is `alertmanager`.
pub const ALERTMANAGER_PASSWORD: &str = "a-password-of-the-alertmanager-source";
/// Key of the fleet's operator.
pub const OPERATOR_KEY: &str = "bwk_of_the_fleet";

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A world, a webhook receiver, and processes that play roles in it.
pub struct Fleet {
    pub world: World,
    pub receiver: Receiver,
    pub client: reqwest::Client,
    program: PathBuf,
    config: PathBuf,
    members: Vec<Member>,
}

/// One process.
pub struct Member {
    child: Child,
    roles: String,
    /// Where it receives webhooks, if it does.
    pub ingest: Option<SocketAddr>,
    /// Where its API answers, if it does.
    pub console: Option<SocketAddr>,
}

impl Fleet {
    /// A world with a configuration; no process yet. `program` is the test program `worker`;
    /// `more` is added to the configuration, and may have a `[deliver]` of its own.
    pub async fn new(program: &str, more: &str) -> Self {
        Self::with_lanes(program, 2, more).await
    }

    /// The same with another number of lanes than two.
    pub async fn with_lanes(program: &str, lanes: u16, more: &str) -> Self {
        let world = World::with_lanes(lanes).await;
        let receiver = Receiver::start().await;
        let config = world.dir.path().join("bellwether.toml");
        std::fs::write(&config, configuration(&world, &receiver, more)).unwrap();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(15)).build().unwrap();
        let program = PathBuf::from(program);
        Self { world, receiver, client, program, config, members: Vec::new() }
    }

    /// The configuration file of its processes.
    pub fn config(&self) -> &std::path::Path {
        &self.config
    }

    /// Starts a process with these roles; returns its number.
    pub fn start(&mut self, roles: &str) -> usize {
        self.spawn(roles, None)
    }

    /// Starts a process that is killed when a loop passes `point` for the `nth` time.
    pub fn start_doomed(&mut self, roles: &str, point: &str, nth: u32) -> usize {
        self.spawn(roles, Some((point, nth)))
    }

    fn spawn(&mut self, roles: &str, fault: Option<(&str, u32)>) -> usize {
        let number = self.members.len();
        let member = self.process(number, roles, fault, None);
        self.members.push(member);
        number
    }

    /// Starts a process that is gone again, with its roles and its addresses.
    pub fn restart(&mut self, number: usize) {
        let old = &self.members[number];
        let (roles, ingest) = (old.roles.clone(), old.ingest);
        self.members[number] = self.process(number, &roles, None, ingest);
    }

    fn process(
        &self,
        number: usize,
        roles: &str,
        fault: Option<(&str, u32)>,
        ingest: Option<SocketAddr>,
    ) -> Member {
        let log = self.world.dir.path().join(format!("member-{number}.log"));
        let mut command = Command::new(&self.program);
        command.arg(&self.config).arg(roles);
        if let Some((point, nth)) = fault {
            command.arg(point).arg(nth.to_string());
        }
        if let Some(address) = ingest {
            command.env("BELLWETHER__INGEST__LISTEN", address.to_string());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        // It says where it listens, then closes nothing and says no more.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || {
            let line = lines.next().map(Result::unwrap);
            let line = line.unwrap_or_else(|| {
                panic!("{roles} ended while starting: {}", std::fs::read_to_string(&log).unwrap())
            });
            line.parse().ok()
        };
        let (ingest, console) = (address(), address());
        Member { child, roles: roles.to_owned(), ingest, console }
    }

    /// A process.
    pub fn member(&self, number: usize) -> &Member {
        &self.members[number]
    }

    /// Waits until a doomed process is gone.
    pub fn wait_until_dead(&mut self, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.members[number].child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "process {number} never reached its end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills a process as `kill -9` does.
    pub fn kill(&mut self, number: usize) {
        self.members[number].child.kill().unwrap();
        self.members[number].child.wait().unwrap();
    }

    /// Whether a process still runs.
    pub fn is_alive(&mut self, number: usize) -> bool {
        self.members[number].child.try_wait().unwrap().is_none()
    }

    /// Sends a signal to a process.
    pub fn signal(&self, number: usize, signal: Signal) {
        kill(Pid::from_raw(self.members[number].child.id() as i32), signal).unwrap();
    }

    /// How many files a process has open, sockets among them.
    pub fn open_files(&self, number: usize) -> usize {
        let folder = format!("/proc/{}/fd", self.members[number].child.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// The most memory a process had so far, in bytes.
    pub fn peak_memory(&self, number: usize) -> u64 {
        let path = format!("/proc/{}/status", self.members[number].child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Stops these processes; fails the test when one does not end well.
    pub fn stop(&mut self, numbers: &[usize]) {
        for number in numbers {
            self.signal(*number, Signal::SIGTERM);
        }
        for number in numbers {
            self.wait_until_dead(*number);
            let status = self.members[*number].child.wait().unwrap();
            assert!(status.success(), "process {number} ended with {status} when told to stop");
        }
    }

    /// Stops every process that still runs, in order; fails the test when one does not end well.
    pub fn stop_all(&mut self) {
        let alive: Vec<usize> = (0..self.members.len()).filter(|n| self.is_alive(*n)).collect();
        self.stop(&alive);
    }

    /// Whoever posts to a member; works on while the fleet is changed.
    pub fn sender(&self, number: usize) -> Sender {
        let ingest = self.members[number].ingest.expect("a member that plays ingest");
        Sender { client: self.client.clone(), ingest }
    }

    /// Asks the API.
    pub async fn get(&self, console: SocketAddr, path: &str) -> Value {
        let response = self
            .client
            .get(format!("http://{console}{path}"))
            .bearer_auth(OPERATOR_KEY)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until everything that was accepted is folded, told and projected.
    ///
    /// First notify and project cover what the log holds now, so that every job it causes exists;
    /// then no job is open; then both cover the answers and outcomes those jobs appended.
    pub async fn settled(&self) {
        let log = self.world.log().await;
        let stream = schemas::subject::deliveries_stream(&self.world.namespace);
        for _ in 0..2 {
            let last = log.info(&stream).await.unwrap().last_sequence;
            let covered = "select count(*) from cursor where stage in ('notify', 'project')
                           and through_seq >= $1";
            let lanes = i64::from(self.world.lanes.get());
            self.until(covered, i64::try_from(last).unwrap(), 2 * lanes).await;
            let open = "select count(*) from job where state in ('pending', 'claimed') and $1 = 0";
            self.until(open, 0, 0).await;
        }
    }

    /// Asks the tables until the answer to `question`, a count, is `wanted`.
    pub async fn until(&self, question: &'static str, argument: i64, wanted: i64) {
        let mut sql = self.world.sql().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer: i64 =
                sqlx::query_scalar(question).bind(argument).fetch_one(&mut sql).await.unwrap();
            if answer == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{question} ({argument}) still says {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

/// Posts deliveries and repeats each until it is accepted.
#[derive(Clone)]
pub struct Sender {
    client: reqwest::Client,
    ingest: SocketAddr,
}

impl Sender {
    /// Posts a body as the fleet's sentry source would; the delivery's id once it is accepted.
    pub async fn sentry(&self, resource: &str, body: &Value) -> String {
        let body = body.to_string();
        let request = self
            .client
            .post(format!("http://{}/webhook/sentry", self.ingest))
            .header("sentry-hook-resource", resource)
            .header("sentry-hook-signature", sign(SENTRY_SECRET, body.as_bytes()))
            .body(body);
        accepted(request).await
    }

    /// Posts a body as the fleet's alertmanager source would.
    pub async fn alertmanager(&self, body: &Value) -> String {
        let request = self
            .client
            .post(format!("http://{}/webhook/alertmanager", self.ingest))
            .basic_auth("alertmanager", Some(ALERTMANAGER_PASSWORD))
            .body(body.to_string());
        accepted(request).await
    }
}

/// Hex HMAC-SHA256, as Sentry signs.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    const_hex::encode(mac.finalize().into_bytes())
}

/// Sends until it is accepted: senders repeat what was answered 503 or not at all.
async fn accepted(request: reqwest::RequestBuilder) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = request.try_clone().unwrap().send().await;
        match answer {
            Ok(response) if response.status() == 202 => {
                let body: Value = response.json().await.unwrap();
                return body["event_id"].as_str().unwrap().to_owned();
            }
            Ok(response) if response.status() != 503 => {
                panic!("{}: {}", response.status(), response.text().await.unwrap())
            }
            Ok(_) | Err(_) => {}
        }
        assert!(Instant::now() < deadline, "never accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A first message does not wait long for an analysis that most tests have none of.
const DELIVER: &str = "deliver = { lease_ms = 4000, hold_ms = 200 }";

fn configuration(world: &World, receiver: &Receiver, more: &str) -> String {
    format!(
        r#"
environment = "test"
log.filter = "info"
nats = {{ url = "{nats}", lanes = {lanes} }}
postgres = {{ url = "{postgres}", connections = 6 }}
ingest.listen = "127.0.0.1:0"
console.listen = "127.0.0.1:0"
observe.tick_seconds = 1
{deliver}

[sources.sentry]
project = "shop"
secret = "{SENTRY_SECRET}"

[sources.alertmanager]
project = "infra"
basic = {{ user = "alertmanager", password = "{ALERTMANAGER_PASSWORD}" }}

[channels.hook]
kind = "webhook"
url = "{url}"
secret = "{secret}"
allow_private = true
timeout_ms = 1500

[console.operators.tester]
key_sha256 = "{key}"
role = "viewer"
projects = ["*"]
{more}
"#,
        deliver = if more.contains("[deliver]") { "" } else { DELIVER },
        nats = world.nats.url(),
        lanes = world.lanes,
        postgres = world.database_url,
        url = receiver.url,
        secret = receiver.secret,
        key = const_hex::encode(Sha256::digest(OPERATOR_KEY)),
    )
}
