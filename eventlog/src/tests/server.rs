//! A nats-server of one's own on a free port, gone when dropped.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{JetStream, JetStreamConfig, Log as _};

pub(super) struct Server {
    program: PathBuf,
    dir: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// A fresh server that syncs before it acks; none, with the reason printed, when there is no
    /// program to start.
    pub(super) fn start() -> Option<Self> {
        let Some(program) = program() else {
            eprintln!(
                "skipped: no nats-server in BELLWETHER_NATS_SERVER, .tools/ or on PATH; \
                 `cargo xtask up` installs one"
            );
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "listen: 127.0.0.1:-1\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            dir.path().join("data")
        );
        fs::write(dir.path().join("nats.conf"), config).unwrap();
        let child = spawn(&program, dir.path(), None);
        let port = await_port(dir.path(), child.id());
        Some(Self { program, dir, port, child })
    }

    pub(super) fn config(&self) -> JetStreamConfig {
        JetStreamConfig { url: format!("nats://127.0.0.1:{}", self.port), ..Self::limits() }
    }

    /// The configuration without an address.
    pub(super) fn limits() -> JetStreamConfig {
        JetStreamConfig { max_bytes: 64 << 20, ..JetStreamConfig::default() }
    }

    /// A connection, with all streams made.
    pub(super) async fn log(&self) -> JetStream {
        self.log_with(self.config()).await
    }

    pub(super) async fn log_with(&self, config: JetStreamConfig) -> JetStream {
        let log = JetStream::connect(&config).await.unwrap();
        log.ensure(&super::streams(&config)).await.unwrap();
        log
    }

    /// Ends it as a power switch would end the process.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port and data.
    pub(super) fn restart(&mut self) {
        self.child = spawn(&self.program, self.dir.path(), Some(self.port));
    }

    /// Makes it stand still (`STOP`) or go on (`CONT`).
    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> Option<PathBuf> {
    let named = env::var_os("BELLWETHER_NATS_SERVER").map(PathBuf::from);
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools");
    let installed = [tools.join("nats-server"), tools.join("bin/nats-server")];
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|dir| dir.join("nats-server"));
    named.into_iter().chain(installed).chain(on_path).find(|program| program.is_file())
}

fn spawn(program: &Path, dir: &Path, port: Option<u16>) -> Child {
    let mut command = Command::new(program);
    command.arg("-c").arg(dir.join("nats.conf")).arg("--ports_file_dir").arg(dir);
    if let Some(port) = port {
        command.args(["-p", &port.to_string()]);
    }
    let log = fs::File::create(dir.join("nats.log")).unwrap();
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// The port the server chose, from the file it writes when it listens.
fn await_port(dir: &Path, pid: u32) -> u16 {
    let program = format!("nats-server_{pid}.ports");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(dir.join(&program)).unwrap_or_default();
        let ports: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(url) = ports["nats"][0].as_str() {
            return url.rsplit_once(':').unwrap().1.parse().unwrap();
        }
        assert!(Instant::now() < deadline, "no ports file {program} in {dir:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
