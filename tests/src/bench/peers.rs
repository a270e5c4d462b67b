//! What accepting is compared with, in the same run: a publisher with nothing around it, and the
//! Alertmanager of this machine's package.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use eventlog::{JetStream, JetStreamConfig, Log, Publish, topology::StreamSpec};
use futures_util::{StreamExt, stream};

/// Messages on their way at once, as many as a client's bound on unacknowledged ones allows for.
const IN_FLIGHT: usize = 1_024;

/// The bytes of records into a stream of their own, without HTTP, checks or frames.
pub struct Publisher {
    log: JetStream,
    stream: String,
    /// What the messages hold, in turn.
    bodies: Vec<Bytes>,
}

impl Publisher {
    /// On this server, whose stream it makes; `packed` bodies become one message.
    pub async fn new(url: &str, bodies: &[Vec<u8>], packed: usize) -> Self {
        let config = format!(r#"{{"url": "{url}", "namespace": "bare{packed}", "max_bytes": -1}}"#);
        let config: JetStreamConfig = serde_json::from_str(&config).unwrap();
        let log = JetStream::connect(&config).await.unwrap();
        let stream = format!("BARE-{packed}");
        let spec = StreamSpec {
            name: stream.clone(),
            subjects: vec![format!("bare{packed}.>")],
            max_age: None,
            max_bytes: None,
            lanes: None,
            duplicate_window: Duration::from_secs(1),
        };
        log.ensure(&[spec]).await.unwrap();
        let bodies = bodies.chunks_exact(packed).map(|some| some.concat().into()).collect();
        Self { log, stream, bodies }
    }

    /// Messages that the server acknowledged a second, for this long.
    pub async fn rate(&self, time: Duration) -> f64 {
        let begin = Instant::now();
        let subject = format!("{}.x", self.log.namespace());
        let due = self.bodies.iter().cycle().take_while(|_| begin.elapsed() < time);
        let acknowledged = stream::iter(due)
            .map(|body| {
                self.log.publish(Publish {
                    stream: self.stream.clone(),
                    subject: subject.clone(),
                    message_id: None,
                    headers: Vec::new(),
                    payload: body.clone(),
                    fence: None,
                    keep_forever: false,
                })
            })
            .buffer_unordered(IN_FLIGHT)
            .fold(0u64, async |count, ack| count + u64::from(ack.is_ok()))
            .await;
        acknowledged as f64 / begin.elapsed().as_secs_f64()
    }
}

/// The Debian package's program.
const PROGRAM: &str = "prometheus-alertmanager";

/// A running Alertmanager that tells nobody; ended when dropped.
pub struct Alertmanager {
    child: Child,
    /// Where its API is.
    pub address: SocketAddr,
}

impl Alertmanager {
    /// Starts one; none where the package is not installed.
    pub async fn start(dir: &Path) -> Option<Self> {
        Command::new(PROGRAM).arg("--version").output().ok()?;
        let config = dir.join("alertmanager.yml");
        std::fs::write(&config, "route:\n  receiver: nobody\nreceivers:\n- name: nobody\n")
            .unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "{PROGRAM} does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(started)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
