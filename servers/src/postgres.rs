//! A local Postgres cluster on a loopback port, durable as Postgres is by default.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};

use super::{
    Error, Programs, end, end_stale, private_folder, unprivileged, version_of, wait_ready,
    write_private,
};

/// How a Postgres is started.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Folder for data, log and password file.
    pub dir: PathBuf,
    /// Fixed port; none takes a free one.
    pub port: Option<u16>,
    /// Password of the user `bellwether`, set when the cluster is made.
    pub password: String,
}

/// A running Postgres; ended when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    bin: PathBuf,
    options: PostgresOptions,
    user: Option<User>,
    child: Child,
    port: u16,
}

/// `postgres://…` of the database `name` of a server started here.
pub fn url(password: &str, port: u16, name: &str) -> String {
    format!("postgres://bellwether:{password}@127.0.0.1:{port}/{name}")
}

impl PostgresServer {
    /// Makes the cluster if there is none, starts it and waits until it takes connections.
    pub fn start(programs: &Programs, options: PostgresOptions) -> Result<Self, Error> {
        let dir = &options.dir;
        private_folder(dir)?;
        let user = unprivileged();
        if let Some(user) = &user {
            chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .map_err(Error::io("give to an unprivileged user", dir))?;
            reachable(dir, user)?;
            reachable(&programs.postgres_bin, user)?;
        }
        let bin = programs.postgres_bin.clone();
        let data = dir.join("data");
        if data.join("PG_VERSION").exists() {
            same_version(&bin, &data)?;
            end_stale(&data.join("postmaster.pid"), &data, Signal::SIGINT)?;
        } else {
            make_cluster(&bin, &data, &options, user.as_ref())?;
        }
        let (child, port) = spawn(&bin, &options, user.as_ref(), options.port)?;
        Ok(Self { bin, options, user, child, port })
    }

    /// `postgres://…` of the database `name`.
    pub fn url(&self, name: &str) -> String {
        url(&self.options.password, self.port, name)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True while the process lives.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as a crash does (immediate shutdown: no checkpoint, recovery on the next start).
    pub fn kill(&mut self) {
        end(&mut self.child, Signal::SIGQUIT);
    }

    /// Starts it again on the same data and port.
    pub fn restart(&mut self) -> Result<(), Error> {
        end(&mut self.child, Signal::SIGINT);
        let (child, _) = spawn(&self.bin, &self.options, self.user.as_ref(), Some(self.port))?;
        self.child = child;
        Ok(())
    }

    /// Ends it in order (fast shutdown).
    pub fn stop(&mut self) {
        end(&mut self.child, Signal::SIGINT);
    }

    /// Stops it from running without ending it (SIGSTOP of the postmaster only).
    pub fn pause(&self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGSTOP);
    }

    /// Lets it run again.
    pub fn resume(&self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGCONT);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.resume();
        self.stop();
    }
}

/// A command that runs as the unprivileged user when we are root.
fn command(program: &Path, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    // A terminal's Ctrl-C must reach us alone, so that the order of stopping is ours.
    command.process_group(0).stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

fn make_cluster(
    bin: &Path,
    data: &Path,
    options: &PostgresOptions,
    user: Option<&User>,
) -> Result<(), Error> {
    let password_file = options.dir.join("password");
    let log = options.dir.join("initdb.log");
    // An earlier initdb that was interrupted leaves a folder it refuses to go on with.
    if data.exists() {
        fs::remove_dir_all(data).map_err(Error::io("remove the unfinished", data))?;
    }
    write_private(&password_file, &options.password)?;
    if let Some(user) = user {
        chown(&password_file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .map_err(Error::io("give to an unprivileged user", &password_file))?;
    }
    let initdb = bin.join("initdb");
    let output = command(&initdb, user)
        .current_dir(&options.dir)
        .args(["--username", "bellwether", "--auth", "scram-sha-256", "--encoding", "UTF8"])
        .args(["--locale", "C", "--pwfile"])
        .arg(&password_file)
        .arg("--pgdata")
        .arg(data)
        .output()
        .map_err(Error::io("run", &initdb));
    let removed = fs::remove_file(&password_file).map_err(Error::io("remove", &password_file));
    let output = output?;
    removed?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    fs::write(&log, &text).map_err(Error::io("write", &log))?;
    let tail = String::from_utf8_lossy(&text).into_owned();
    Err(Error::Ended { program: "initdb", status: output.status, log, tail })
}

fn spawn(
    bin: &Path,
    options: &PostgresOptions,
    user: Option<&User>,
    port: Option<u16>,
) -> Result<(Child, u16), Error> {
    let program = bin.join("postgres");
    let log = options.dir.join("postgres.log");
    let data = options.dir.join("data");
    // A free port can be taken by somebody else before Postgres has it: then take another.
    let mut tries = 0;
    loop {
        tries += 1;
        let chosen = match port {
            Some(port) => port,
            None => free_port().map_err(Error::io("find a free port for", &program))?,
        };
        let out = fs::File::create(&log).map_err(Error::io("create", &log))?;
        let err = out.try_clone().map_err(Error::io("open", &log))?;
        let mut child = command(&program, user)
            .current_dir(&options.dir)
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", &format!("port={chosen}"), "-c", "max_connections=200"])
            // Under full load a gigabyte of log is written in half a minute, and every checkpoint
            // makes the log longer by whole pages.
            .args(["-c", "max_wal_size=4GB"])
            // A batch is a message of up to some megabytes. By default glibc gives such memory
            // back to the kernel after each, and the kernel clears it again for the next.
            .env("MALLOC_MMAP_THRESHOLD_", "33554432")
            .env("MALLOC_TRIM_THRESHOLD_", "67108864")
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(Error::io("start", &program))?;
        let pid_file = data.join("postmaster.pid");
        let ready = wait_ready("postgres", &mut child, &log, 60, || {
            // The last line of the pid file says "ready" once connections are taken.
            fs::read_to_string(&pid_file).is_ok_and(|t| t.lines().any(|l| l.trim() == "ready"))
                && TcpStream::connect(("127.0.0.1", chosen)).is_ok()
        });
        match ready {
            Ok(()) => return Ok((child, chosen)),
            Err(Error::Ended { ref tail, .. })
                if port.is_none() && tries < 5 && tail.contains("Address already in use") => {}
            Err(error) => {
                end(&mut child, Signal::SIGQUIT);
                return Err(error);
            }
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr().map(|a| a.port())
}

/// A cluster can only be opened by the major version that made it.
fn same_version(bin: &Path, data: &Path) -> Result<(), Error> {
    let file = data.join("PG_VERSION");
    let found = fs::read_to_string(&file).map_err(Error::io("read", &file))?.trim().to_owned();
    let have = version_of(&bin.join("postgres")).map_or(0, |v| v.0).to_string();
    if found == have {
        return Ok(());
    }
    let remedy = "put that version on PATH or in BELLWETHER_POSTGRES_BIN, or carry the data over with \
                  pg_upgrade; an empty database beside the log that is there is refused";
    Err(Error::OtherVersion { path: data.to_owned(), found, have, remedy })
}

/// Every folder above `path` must let `user` in.
fn reachable(path: &Path, user: &User) -> Result<(), Error> {
    for folder in path.ancestors().filter(|p| !p.as_os_str().is_empty()) {
        let meta = fs::metadata(folder).map_err(Error::io("look at", folder))?;
        let mode = meta.permissions().mode();
        let may = mode & 0o001 != 0
            || (meta.uid() == user.uid.as_raw() && mode & 0o100 != 0)
            || (meta.gid() == user.gid.as_raw() && mode & 0o010 != 0);
        if !may {
            let (path, user) = (folder.to_owned(), user.name.clone());
            return Err(Error::Unreachable { path, user });
        }
    }
    Ok(())
}
