//! The processes that are measured: started from this very program, watched through `/proc`.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bellwether::{
    Hooks, Role,
    commands::{read_config, run::GRACE},
    config::Checked,
    roles::{self, Listeners},
};
use eventlog::{Appender, AppenderConfig, JetStream, Log};
use ingest::Discard;
use lanes::{LaneLoop, LaneLoopConfig};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use runtime::{Clock, Shutdown, Tasks, http_server};
use schemas::ProducerId;
use secrecy::ExposeSecret;
use store::Store;
use tokio::net::TcpListener;
use triage_worker::ObserveStage;

/// What a child of the bench program plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Roles of the product.
    Roles(&'static str),
    /// The ingest routes with nothing behind them.
    Edge,
    /// The observe loop of a triage worker, and nothing else.
    Observe,
}

/// First argument of a child.
pub const CHILD: &str = "child";
/// What an edge has for roles.
const EDGE: &str = "edge";
/// What a lone observe loop has for roles.
const OBSERVE: &str = "observe";
/// Every role of the product.
pub const ALL_ROLES: Part = Part::Roles("ingest,triage-worker,notifier-worker,projector,console");

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Where it receives webhooks; port 0 when it does not.
    pub address: SocketAddr,
}

impl Program {
    /// Starts this program as a child that plays `part`; returns when it is started. Its log lines go
    /// to `log`, or are written and thrown away.
    pub fn start(part: Part, config: &Path, log: Option<&Path>) -> Self {
        let roles = match part {
            Part::Roles(roles) => roles,
            Part::Edge => EDGE,
            Part::Observe => OBSERVE,
        };
        let lines = match log {
            Some(file) => File::options().create(true).append(true).open(file).unwrap().into(),
            None => Stdio::null(),
        };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, config.to_str().unwrap(), roles])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(lines)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap_or_else(|_| {
            panic!("{roles} ended while starting; run with --log FILE and read it")
        });
        Self { child, address }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Ends it in order, or after ten seconds anyhow.
    pub fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a child does: plays its part until told to stop.
pub async fn child(config: &Path, part: &str) {
    let checked = read_config(Some(config)).unwrap();
    let log = &checked.config.log;
    let _guard = runtime::telemetry::init(log.format, &log.filter, None).unwrap();
    if part == EDGE {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let config = &checked.config.ingest;
        let app = ingest::router(config, Arc::clone(&checked.sources), Discard, Clock::system());
        let (shutdown, _controller) = Shutdown::new();
        return http_server::serve(listener, app, config.limits(), shutdown).await;
    }
    if part == OBSERVE {
        return observe_alone(&checked).await;
    }
    let roles: BTreeSet<Role> = part.split(',').map(|r| r.parse().unwrap()).collect();
    let listeners = Listeners::open(&checked, &roles).await.unwrap();
    let address = listeners.ingest_address().unwrap_or(NOWHERE);
    let process = roles::start(&checked, &roles, listeners, Hooks::default()).await.unwrap();
    println!("{address}");
    process.run_until_stopped(GRACE).await.unwrap();
}

/// Stands for the address of a child that receives nothing.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The lane loop as `roles` starts it for a triage worker, without the loop that performs jobs.
async fn observe_alone(checked: &Checked) {
    let config = &checked.config;
    let (shutdown, controller) = Shutdown::new();
    let tasks = Tasks::new(controller.clone());
    let log: Arc<dyn Log> = Arc::new(JetStream::connect(&config.nats).await.unwrap());
    let postgres = &config.postgres;
    let url = postgres.url.expose_secret();
    let store = Store::connect(url, postgres.connections, postgres.connect_patience).await.unwrap();
    let generation = store.active_generation().await.unwrap().unwrap();
    let appender_config = AppenderConfig {
        producer: ProducerId(runtime::random_uuid()),
        lanes: config.nats.lanes,
        budget: Duration::from_millis(900),
        max_queued_bytes: config.ingest.max_inflight_bytes,
    };
    let (appender, driver) = Appender::start(Arc::clone(&log), appender_config);
    tasks.spawn_finite("appender", driver);
    let stage = ObserveStage::new(
        config.observe.clone(),
        config.nats.lanes,
        Some(appender),
        Clock::system(),
    );
    let lane_loop = LaneLoop::new(
        Arc::new(stage),
        log,
        store,
        generation,
        config.nats.lanes,
        runtime::random_uuid(),
        LaneLoopConfig::default(),
    );
    let stop = shutdown.clone();
    tasks.spawn("observe", async move { lane_loop.run(stop).await.unwrap() });
    println!("{NOWHERE}");
    runtime::lifecycle::run_until_stopped(&controller, &tasks, GRACE).await.unwrap();
}

/// Processor seconds used so far, by process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    pub roles: f64,
    pub nats: f64,
    /// The postmaster and all its children, those that ended included.
    pub postgres: f64,
    pub generator: f64,
}

impl Cpu {
    /// Reads `/proc`; what is not running counts 0. Backends in `without` are the bench's own.
    pub fn read(roles: u32, nats: u32, postgres: u32, without: &[u32]) -> Self {
        let children: f64 = children_of(postgres)
            .into_iter()
            .filter(|pid| !without.contains(pid))
            .map(|pid| seconds(pid, false))
            .sum();
        Self {
            roles: seconds(roles, false),
            nats: seconds(nats, false),
            postgres: seconds(postgres, true) + children,
            generator: seconds(std::process::id(), false),
        }
    }

    /// Cores used on average since `earlier`, `over` ago.
    pub fn cores_since(self, earlier: Self, over: Duration) -> Self {
        let cores = |now: f64, then: f64| (now - then).max(0.0) / over.as_secs_f64();
        Self {
            roles: cores(self.roles, earlier.roles),
            nats: cores(self.nats, earlier.nats),
            postgres: cores(self.postgres, earlier.postgres),
            generator: cores(self.generator, earlier.generator),
        }
    }

    /// Roles and both servers.
    pub fn product(self) -> f64 {
        self.roles + self.nats + self.postgres
    }
}

/// Linux reports times in hundredths of a second, whatever the kernel's own clock.
const TICKS: f64 = 100.0;

/// proc_pid_stat(5): fields 14 and 15 are utime and stime, 16 and 17 those of children that ended.
fn seconds(pid: u32, with_ended: bool) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // The first field behind the name is number 3.
    let sum: u64 = fields
        .iter()
        .skip(14 - 3)
        .take(if with_ended { 4 } else { 2 })
        .filter_map(|f| f.parse::<u64>().ok())
        .sum();
    sum as f64 / TICKS
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| {
            let rest = text.rsplit(')').next().unwrap_or_default();
            rest.split_whitespace().nth(1).and_then(|p| p.parse().ok()) == Some(parent)
        })
    })
    .collect()
}

/// Resident memory in MiB.
pub fn resident(pid: u32) -> f64 {
    memory(pid, "VmRSS:")
}

/// The most resident memory it ever had, in MiB.
pub fn peak(pid: u32) -> f64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// What the machine gives at this moment: seconds of each of many small synced writes into `dir`,
/// and the processes that want a core. Other programs' load shows here first.
pub fn machine(dir: &Path) -> (Vec<f64>, f64) {
    use std::io::Write;
    let path = dir.join("synced-writes");
    let mut file = File::create(&path).unwrap();
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < Duration::from_secs(1) {
        let one = Instant::now();
        file.write_all(&[0; 4096]).unwrap();
        file.sync_data().unwrap();
        times.push(one.elapsed().as_secs_f64());
    }
    let _ = fs::remove_file(&path);
    times.sort_by(f64::total_cmp);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    (times, load.split(' ').next().and_then(|l| l.parse().ok()).unwrap_or_default())
}
