//! The area `main`: the line from a signed webhook to a message and a row, with everything that can
//! happen to it on the way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{Area, Verification};

/// The area.
pub const AREA: Area = Area { name: "main", run };

fn run(v: &mut Verification) -> anyhow::Result<()> {
    crash_suite(v)?;
    program(v)?;
    browser(v)?;
    bench(v)
}

/// Crashes, real senders, containers: tests, with a longer storm than CI has time for.
fn crash_suite(v: &mut Verification) -> anyhow::Result<()> {
    let seconds = if v.long { "300" } else { "40" };
    let mut build = v.cargo(&["build", "--workspace", "--bins"]);
    v.holds("everything builds", &mut build)?;
    for (what, module) in [
        ("crashes at named points, and a loop that must fail", "crash"),
        ("a storm of crashes; a paused owner", "storm"),
        ("a real Alertmanager", "alertmanager"),
        ("real input through HTTP", "doors"),
        ("a newcomer's first minutes", "newcomer"),
        ("containers", "compose"),
    ] {
        let mut test = v.tests(module)?;
        test.env("BELLWETHER_STORM_SECONDS", seconds);
        v.holds(what, &mut test)?;
    }
    Ok(())
}

/// The release program: built as the image builds it, its start and its memory.
fn program(v: &mut Verification) -> anyhow::Result<()> {
    let out = v.root.join("target/image");
    let mut build = Command::new(v.root.join("docker/build.sh"));
    build.arg(&out).stdout(Stdio::null());
    v.holds("the image's build steps", &mut build)?;
    let program = out.join("bellwether");
    let megabytes = fs::metadata(&program)?.len() as f64 / 1e6;
    v.at_most("size of the program", megabytes, "MB", 40.0);

    let home = tempfile::Builder::new().prefix("bellwether-").tempdir()?;
    make_enterable(home.path())?;
    // The first start makes the data, the second is measured.
    Up::start(v, &program, home.path())?.stop()?;
    let began = Instant::now();
    let up = Up::start(v, &program, home.path())?;
    v.at_most("ready on existing data", began.elapsed().as_secs_f64(), "s", 3.0);
    // Idle: what it holds after a few ticks, not while it starts.
    std::thread::sleep(Duration::from_secs(10));
    v.at_most("resident memory, idle, without its servers", up.resident_mb()?, "MB", 80.0);
    up.stop()
}

/// The page, in a real browser, while alerts come in.
fn browser(v: &mut Verification) -> anyhow::Result<()> {
    let script = v.root.join("tests/browser/run.sh");
    if !script.exists() {
        v.skipped("the page in a browser", "there is no page yet");
        return Ok(());
    }
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !there("node") || !there("npm") || !there("chromium") {
        v.skipped("the page in a browser", "needs node, npm and chromium");
        return Ok(());
    }
    let mut page = Command::new(script);
    page.env("BELLWETHER_NATS_SERVER", &v.programs.nats_server)
        .env("BELLWETHER_POSTGRES_BIN", &v.programs.postgres_bin);
    v.holds("the page in a browser", &mut page)
}

/// The release benches; their own table stands above, their figures are taken over.
fn bench(v: &mut Verification) -> anyhow::Result<()> {
    let seconds = if v.long { "400" } else { "160" };
    let mut bench = v.cargo(&["run", "--release", "--package", "tests", "--bin", "bench"]);
    bench.args(["--", "--seconds", seconds, "--only", "ingest,pipeline,visible"]);
    v.holds("the benches run", &mut bench)?;
    let file = v.root.join("target/bench.json");
    v.figures(&file)
}

/// A running `up` in a folder.
struct Up {
    child: Child,
}

impl Up {
    fn start(v: &Verification, program: &Path, home: &Path) -> anyhow::Result<Self> {
        let output = home.join("output");
        let child = Command::new(program)
            .args(["up", "--ingest", "127.0.0.1:0", "--console", "127.0.0.1:0", "--dir"])
            .arg(home.join("kept"))
            .env("BELLWETHER_NATS_SERVER", &v.programs.nats_server)
            .env("BELLWETHER_POSTGRES_BIN", &v.programs.postgres_bin)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&output)?)
            .stderr(Stdio::inherit())
            .spawn()
            .context("start the program")?;
        let mut up = Self { child };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(&output)?.contains("bellwether is up") {
            if up.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("bellwether up did not come up");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(up)
    }

    fn resident_mb(&self) -> anyhow::Result<f64> {
        let file = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let text = fs::read_to_string(&file).context("read the memory of the program")?;
        let line = text.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        let kb: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kb / 1024.0)
    }

    fn stop(mut self) -> anyhow::Result<()> {
        self.signal();
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { bail!("bellwether up ended with {status}") }
    }

    fn signal(&self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal();
            let _ = self.child.wait();
        }
    }
}

fn make_enterable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o711))?)
}
