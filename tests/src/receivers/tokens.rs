//! Tokens that a provider grants to an app: the same one until it ends or is withdrawn.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Fault;

/// What was granted and asked for.
#[derive(Debug)]
pub struct Tokens {
    lasts: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The tokens in order, with when each was granted and whether it was withdrawn.
    granted: Vec<(String, Instant, bool)>,
    asked: usize,
    faults: VecDeque<Fault>,
}

/// What a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    Valid,
    /// It was granted, and is over.
    Over,
    Unknown,
}

impl Tokens {
    pub(super) fn new(lasts: Duration) -> Self {
        Self { lasts, state: Mutex::default() }
    }

    /// How often one was asked for, in vain or not.
    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    /// Every token that was granted.
    pub fn granted(&self) -> Vec<String> {
        self.state.lock().unwrap().granted.iter().map(|(token, ..)| token.clone()).collect()
    }

    /// Meets the next requests for one like this, one each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// No token that was granted is valid any more.
    pub fn withdraw(&self) {
        for (.., withdrawn) in &mut self.state.lock().unwrap().granted {
            *withdrawn = true;
        }
    }

    /// What the token is worth now.
    pub fn worth(&self, token: &str) -> Worth {
        let state = self.state.lock().unwrap();
        match state.granted.iter().find(|(known, ..)| known == token) {
            Some((_, at, false)) if at.elapsed() < self.lasts => Worth::Valid,
            Some(_) => Worth::Over,
            None => Worth::Unknown,
        }
    }

    /// Answers a request whose credentials are right: the token and the seconds it still lasts, or
    /// what it is answered instead.
    pub(super) async fn grant(&self) -> Result<(String, u64), (u16, Value)> {
        let (fault, grant) = {
            let mut state = self.state.lock().unwrap();
            state.asked += 1;
            let fault = state.faults.pop_front();
            let last = state.granted.last().cloned();
            let standing = last.filter(|(_, at, over)| !over && at.elapsed() < self.lasts);
            let grant = match (&fault, standing) {
                (Some(Fault::Answer(status, answer)), _) => Err((*status, answer.clone())),
                (Some(Fault::Hang(_)) | None, Some((token, at, _))) => {
                    Ok((token, (self.lasts - at.elapsed()).as_secs()))
                }
                (Some(Fault::Hang(_)) | None, None) => {
                    let token = format!("granted-token-{:04}-of-these-tests", state.granted.len());
                    state.granted.push((token.clone(), Instant::now(), false));
                    Ok((token, self.lasts.as_secs()))
                }
            };
            (fault, grant)
        };
        if let Some(Fault::Hang(pause)) = fault {
            tokio::time::sleep(pause).await;
        }
        grant
    }
}
