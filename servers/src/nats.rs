//! A local nats-server with JetStream that syncs every message to disk before it acks.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Error, Programs, end, end_stale, private_folder, wait_ready, write_private};

/// How long a start may take: a large log on a cold disk is read first.
const READY_SECONDS: u64 = 60;

/// How a nats-server is started.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Folder for data, configuration, log and pid file.
    pub dir: PathBuf,
    /// Fixed port; none lets the server choose a free one on the first start.
    pub port: Option<u16>,
    /// `sync_interval: always`: an ack means the message is on disk.
    pub sync_always: bool,
    /// User name and password every client must present.
    pub credentials: Option<(String, String)>,
}

/// A running nats-server; ended when dropped.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    options: NatsOptions,
    child: Child,
    port: u16,
    monitor_port: u16,
}

impl NatsServer {
    /// Starts it on the data in `options.dir` and waits until it takes connections.
    pub fn start(programs: &Programs, options: NatsOptions) -> Result<Self, Error> {
        private_folder(&options.dir)?;
        let pid_file = options.dir.join("nats.pid");
        end_stale(&pid_file, &options.dir, Signal::SIGTERM)?;
        let program = programs.nats_server.clone();
        let port = options.port;
        let (child, port, monitor_port) = spawn(&program, &options, port, None, READY_SECONDS)?;
        Ok(Self { program, options, child, port, monitor_port })
    }

    /// `nats://…`, with the credentials a client must present left out.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Base URL of the monitoring endpoints.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True while the process lives.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same data and ports.
    pub fn restart(&mut self) -> Result<(), Error> {
        end(&mut self.child, Signal::SIGTERM);
        let (port, monitor) = (Some(self.port), Some(self.monitor_port));
        let (child, ..) = spawn(&self.program, &self.options, port, monitor, READY_SECONDS)?;
        self.child = child;
        Ok(())
    }

    /// Stops it from running without ending it (SIGSTOP).
    pub fn pause(&self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGSTOP);
    }

    /// Lets it run again.
    pub fn resume(&self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGCONT);
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        end(&mut self.child, Signal::SIGTERM);
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.resume();
        self.stop();
    }
}

fn spawn(
    program: &Path,
    options: &NatsOptions,
    port: Option<u16>,
    monitor_port: Option<u16>,
    seconds: u64,
) -> Result<(Child, u16, u16), Error> {
    let dir = &options.dir;
    remove_ports_files(dir)?;
    let config = dir.join("nats.conf");
    let log = dir.join("nats.log");
    let sync = if options.sync_always { "always" } else { "2m" };
    let authorization =
        options.credentials.as_ref().map_or_else(String::new, |(user, password)| {
            format!("authorization {{ user: {user:?}, password: {password:?} }}\n")
        });
    let number = |p: Option<u16>| p.map_or_else(|| "-1".to_owned(), |p| p.to_string());
    let text = format!(
        "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nmax_payload: 8388608\n\
         pid_file: {:?}\nports_file_dir: {:?}\n{authorization}\
         jetstream {{ store_dir: {:?}, sync_interval: {sync} }}\n",
        number(port),
        number(monitor_port),
        dir.join("nats.pid"),
        dir,
        dir.join("data"),
    );
    write_private(&config, &text)?;
    let out = fs::File::create(&log).map_err(Error::io("create", &log))?;
    let err = out.try_clone().map_err(Error::io("open", &log))?;
    let mut child = Command::new(program)
        .arg("-c")
        .arg(&config)
        // A terminal's Ctrl-C must reach us alone, so that the order of stopping is ours.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(Error::io("start", program))?;
    let ports_file = dir.join(format!("nats-server_{}.ports", child.id()));
    let mut found = None;
    let ready = wait_ready("nats-server", &mut child, &log, seconds, || {
        found = ports(&ports_file);
        found.is_some_and(|(_, monitor)| healthy(monitor))
    });
    if let Err(error) = ready {
        // Left alone it would write into the same data as the one that is started next.
        end(&mut child, Signal::SIGTERM);
        return Err(error);
    }
    let (port, monitor) = found.unwrap_or_default();
    Ok((child, port, monitor))
}

/// A server that was killed leaves its ports file, which is named by process id: in a container the
/// next server has the same one and would seem to listen where the last one did.
fn remove_ports_files(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("look into", dir))? {
        let file = entry.map_err(Error::io("look into", dir))?.path();
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|n| n.starts_with("nats-server_") && n.ends_with(".ports")) {
            fs::remove_file(&file).map_err(Error::io("remove", &file))?;
        }
    }
    Ok(())
}

/// The ports the server says it listens on.
fn ports(file: &Path) -> Option<(u16, u16)> {
    let text = fs::read_to_string(file).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    let port = |key: &str| -> Option<u16> {
        json.get(key)?.get(0)?.as_str()?.rsplit(':').next()?.parse().ok()
    };
    Some((port("nats")?, port("monitoring")?))
}

/// JetStream has recovered its streams and takes requests.
fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.0 200") || text.starts_with("HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program in place of nats-server that notes its process id and then does `then`.
    fn stand_in(dir: &Path, then: &str) -> (PathBuf, NatsOptions) {
        let program = dir.join("program");
        let text = format!("#!/bin/sh\necho $$ > {dir:?}/pid\n{then}\n");
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let options =
            NatsOptions { dir: dir.to_owned(), port: None, sync_always: true, credentials: None };
        (program, options)
    }

    #[test]
    fn a_server_that_does_not_get_ready_is_not_left_running() {
        let dir = tempfile::tempdir().unwrap();
        let (program, options) = stand_in(dir.path(), "exec sleep 60");
        let error = spawn(&program, &options, None, None, 1).unwrap_err();
        assert!(matches!(error, Error::NotReady { .. }), "{error}");
        let pid: i32 = fs::read_to_string(dir.path().join("pid")).unwrap().trim().parse().unwrap();
        assert!(kill(Pid::from_raw(pid), None).is_err(), "it still runs");
    }

    #[test]
    fn ports_of_a_killed_server_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let stale = dir.path().join("nats-server_12.ports");
        let other = dir.path().join("nats.log");
        fs::write(&stale, r#"{"nats":["nats://127.0.0.1:1"],"monitoring":["http://127.0.0.1:2"]}"#)
            .unwrap();
        assert_eq!(ports(&stale), Some((1, 2)));
        let (program, options) = stand_in(dir.path(), "exit 3");
        let error = spawn(&program, &options, None, None, 5).unwrap_err();
        assert!(matches!(error, Error::Ended { .. }), "{error}");
        assert!(!stale.exists() && other.exists());
    }
}
