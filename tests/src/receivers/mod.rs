//! Receivers of chat channels, as strict as their providers' documentation says the providers are.
//! Each keeps what came in; each may be told to misbehave.

pub mod alertmanager;
pub mod dingtalk;
pub mod email;
pub mod feishu;
pub mod lark_app;
pub mod pagerduty;
pub mod slack;
pub mod telegram;
pub mod tokens;
pub mod wecom_app;
pub mod wecom_robot;

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{sync::Notify, time::timeout};

/// What a receiver does with a request instead of what its rules say.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Takes the message and answers only after this long.
    Hang(Duration),
    /// Answers this and does not take the message.
    Answer(u16, Value),
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// Since the receiver's start.
    pub at: Duration,
    /// Null where it is no JSON.
    pub body: Value,
    /// The answer, where the message was not taken.
    pub refused: Option<Value>,
    /// Nothing is wrong with it: it was met as a test said, or the receiver asks for patience.
    pub fair: bool,
}

/// Everything that came in.
#[derive(Debug)]
pub struct Inbox {
    started: Instant,
    arrivals: Mutex<Vec<Arrival>>,
    faults: Mutex<VecDeque<Fault>>,
    may_refuse: AtomicBool,
    changed: Notify,
}

impl Inbox {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            arrivals: Mutex::default(),
            faults: Mutex::default(),
            may_refuse: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Meets the next requests like this, one each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Some of what comes is meant to be against the rules. Otherwise a test fails in which anything
    /// was.
    pub fn may_refuse(&self) {
        self.may_refuse.store(true, Ordering::Relaxed);
    }

    /// Fails the test when something that was sent was against the rules, and not meant to be. Every
    /// receiver asks this at its end, so no test passes while one refuses what is sent.
    fn nothing_was_wrong(&self) {
        if std::thread::panicking() || self.may_refuse.load(Ordering::Relaxed) {
            return;
        }
        let arrivals = self.lock();
        let wrong = |a: &&Arrival| a.refused.is_some() && !a.fair;
        let wrong: Vec<&Arrival> = arrivals.iter().filter(wrong).collect();
        assert!(wrong.is_empty(), "against the receiver's rules: {wrong:?}");
    }

    /// Every request, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().clone()
    }

    /// The bodies of the messages that were taken, in order.
    pub fn taken(&self) -> Vec<Value> {
        self.lock().iter().filter(|a| a.refused.is_none()).map(|a| a.body.clone()).collect()
    }

    /// The answers to the requests that were not taken, in order.
    pub fn refused(&self) -> Vec<Value> {
        self.lock().iter().filter_map(|a| a.refused.clone()).collect()
    }

    /// Waits until `n` messages were taken; fails the test after `patience`.
    pub async fn wait_for_taken(&self, n: usize, patience: Duration) -> Vec<Value> {
        let reached = async {
            loop {
                // Listen first, then look: nothing that comes between is missed.
                let changed = self.changed.notified();
                let taken = self.taken();
                if taken.len() >= n {
                    return taken;
                }
                changed.await;
            }
        };
        match timeout(patience, reached).await {
            Ok(taken) => taken,
            Err(_) => panic!("waited {patience:?} for {n} messages; came: {:?}", self.arrivals()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap()
    }

    /// Notes a request and answers it. `rules` sees what was taken so far (when, and the body) and
    /// the time now, and says either what is answered to a taken message, or why not.
    async fn answer(
        &self,
        body: &[u8],
        rules: impl FnOnce(&[Arrival], Duration, &Value) -> Result<Value, (u16, Value)>,
    ) -> Response {
        let fault = self.faults.lock().unwrap().pop_front();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let at = self.started.elapsed();
        let verdict = {
            let mut arrivals = self.lock();
            let taken: Vec<Arrival> =
                arrivals.iter().filter(|a| a.refused.is_none()).cloned().collect();
            let verdict = match &fault {
                Some(Fault::Answer(status, answer)) => Err((*status, answer.clone())),
                Some(Fault::Hang(_)) | None => rules(&taken, at, &body),
            };
            let refused = verdict.as_ref().err().map(|(_, answer)| answer.clone());
            let busy = verdict.as_ref().is_err_and(|(status, _)| *status == 429);
            arrivals.push(Arrival { at, body, refused, fair: busy || fault.is_some() });
            verdict
        };
        self.changed.notify_waiters();
        if let Some(Fault::Hang(pause)) = fault {
            tokio::time::sleep(pause).await;
        }
        let (status, answer) = verdict.map_or_else(|refused| refused, |answer| (200, answer));
        let status = StatusCode::from_u16(status).unwrap();
        // A text stands for itself: not everybody answers in JSON.
        if let Value::String(text) = answer {
            return (status, text).into_response();
        }
        let json = [(header::CONTENT_TYPE, "application/json")];
        (status, json, answer.to_string()).into_response()
    }
}

/// How many of `taken` came within `window` before `now`, and how long until one of them did not.
fn recent(taken: &[Arrival], now: Duration, window: Duration) -> (usize, Duration) {
    let mut within = taken.iter().map(|a| a.at).filter(|at| *at + window > now);
    let first = within.next();
    let count = usize::from(first.is_some()) + within.count();
    (count, first.map_or(Duration::ZERO, |at| at + window - now))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
