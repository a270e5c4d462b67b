//! `bellwether run` with a point of a loop at which the process ends as `kill -9` ends it.

#![expect(clippy::unwrap_used, reason = "a test program that cannot start has to fail")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bellwether::{
    Hooks, Role,
    commands::{read_config, run::GRACE},
    reports,
    roles::{self, Listeners},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// worker CONFIG ROLES [POINT NTH]
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let checked = read_config(Some(Path::new(&args[1]))).unwrap();
    let roles: BTreeSet<Role> = args[2].split(',').map(|r| r.parse().unwrap()).collect();
    let _reports = reports::start(&checked, &roles).unwrap();
    let mut hooks = Hooks::default();
    if let [_, _, _, point, nth] = args.as_slice() {
        let fault = fault(point, nth.parse().unwrap());
        let of_lanes = Arc::clone(&fault);
        hooks.lane_loop.faults = lanes::Faults::hook(move |at| of_lanes(at));
        hooks.job_loop.faults = fault;
    }
    let listeners = Listeners::open(&checked, &roles).await.unwrap();
    let (ingest, console) = (listeners.ingest_address(), listeners.console_address());
    let process = roles::start(&checked, &roles, listeners, hooks).await.unwrap();
    // One line each for whoever started this: where it listens, or that it does not.
    for address in [ingest, console] {
        println!("{}", address.map_or_else(|| "-".to_owned(), |a| a.to_string()));
    }
    process.run_until_stopped(GRACE).await.unwrap();
}

/// Ends this process when `point` is passed for the `nth` time.
fn fault(point: &str, nth: u32) -> Arc<dyn Fn(&'static str) + Send + Sync> {
    let (point, passed) = (point.to_owned(), AtomicU32::new(0));
    Arc::new(move |at| {
        if at == point && passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
    })
}
