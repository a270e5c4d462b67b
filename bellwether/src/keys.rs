//! Keys and switches in the log: what there is, and how one is made, revoked or switched.
//!
//! Like a rules document, each is a control record in the lane `all`. Ingest follows them
//! ([`ingest::keys`]); nothing else does anything with them.

use std::{fmt, time::Duration};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use eventlog::{Log, PublishError};
use ingest::keys::{By, Held, Known, Scope, read};
use runtime::Clock;
use schemas::{
    InputPosition, Record, SourceId, Time,
    record::{Body, Control, KeyChange, KeyEvent, SourceSwitch},
};
use sha2::{Digest, Sha256};

use crate::controls::{frame_of, publication};

/// How long the log may take to show its control records.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often an append is tried whose outcome is unknown, or that another control record of the
/// lane `all` was faster than.
const TRIES: u32 = 10;

/// Pause before an append is tried again whose outcome is unknown.
const PAUSE: Duration = Duration::from_millis(200);

/// What every key begins with, so that one is known for what it is wherever it turns up.
const PREFIX: &str = "bws_";

/// A key that was made.
#[derive(Debug)]
pub struct Made {
    /// The key itself, which is nowhere else.
    pub key: String,
    pub id: String,
    /// The one before it, and until when it holds.
    pub before: Option<(String, Time)>,
    /// Where it stands in the log, where the log said so.
    pub position: Option<InputPosition>,
}

/// What became of something that was asked for.
#[derive(Debug)]
pub enum Verdict {
    /// It was so already.
    Already(Option<By>),
    /// It is so from here on, where the log said where.
    Done(Option<InputPosition>),
}

/// What was understood and is not done; nothing was appended.
#[derive(Debug)]
pub enum Refused {
    /// A third key would end one that a sender may still show.
    TwoHold { scope: Scope, older: String, until: Option<Time>, newer: String },
    /// There is no key of that id.
    NoSuchKey(String),
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoHold { scope, older, until, newer } => {
                write!(f, "refused: {scope} has two keys already: {older}")?;
                if let Some(until) = until {
                    write!(f, " (until {until})")?;
                }
                write!(
                    f,
                    " and {newer}. End the one its sender shows no more with `bellwether keys \
                     revoke ID`, then make the new one"
                )
            }
            Self::NoSuchKey(id) => {
                write!(f, "refused: there is no key {id}; see `bellwether keys list`")
            }
        }
    }
}

/// What the log says of keys and switches.
///
/// # Errors
/// When it cannot be read.
pub async fn known(log: &dyn Log, clock: &Clock) -> anyhow::Result<Known> {
    let read = tokio::time::timeout(PATIENCE, read(log, clock.now())).await;
    let read =
        read.map_err(|_| anyhow::anyhow!("the log did not show them within {PATIENCE:?}"))?;
    read.context("read the keys in the log")
}

/// Makes a key of `scope`. The one before it, if there is one, holds for `previous` longer.
///
/// # Errors
/// [`Refused`], when two hold already; any other when the log did not take it, or did not say.
pub async fn create(
    log: &dyn Log,
    clock: &Clock,
    scope: &Scope,
    previous: Duration,
    operator: &str,
) -> anyhow::Result<Made> {
    let key = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(runtime::random_bytes::<32>()));
    let sha256: [u8; 32] = Sha256::digest(&key).into();
    // Whoever has a key finds its id by hashing it.
    let id = const_hex::encode(&sha256[..4]);
    let now = clock.now();
    let previous = i64::try_from(previous.as_millis()).unwrap_or(i64::MAX);
    let previous_until = now.plus_millis(previous);
    let decide = |held: &Held| {
        if held.find(&id).is_some_and(|known| known.sha256 == sha256) {
            return Ok(None);
        }
        let holding = held.keys().iter().filter(|key| key.scope == *scope && key.holds(now));
        if let [older, .., newer] = holding.collect::<Vec<_>>()[..] {
            let (older, until, newer) = (older.id.clone(), older.until, newer.id.clone());
            return Err(Refused::TwoHold { scope: scope.clone(), older, until, newer });
        }
        let event = KeyEvent::Created { sha256, previous_until };
        Ok(Some(change(&id, scope, event, operator)))
    };
    let (held, position) = append(log, clock, decide).await?;
    let mut before = held.keys().iter().filter(|key| key.scope == *scope && key.id != id);
    let before = before.rfind(|key| key.holds(now)).map(|key| {
        (key.id.clone(), key.until.map_or(previous_until, |until| until.min(previous_until)))
    });
    Ok(Made { key, before, position, id })
}

/// Ends a key for good.
///
/// # Errors
/// [`Refused`], when there is none of that id; any other when the log did not take it, or did not
/// say.
pub async fn revoke(
    log: &dyn Log,
    clock: &Clock,
    id: &str,
    operator: &str,
) -> anyhow::Result<Verdict> {
    let find =
        |held: &Held| held.find(id).cloned().ok_or_else(|| Refused::NoSuchKey(id.to_owned()));
    let before = find(&known(log, clock).await?.held)?;
    if before.revoked.is_some() {
        return Ok(Verdict::Already(before.revoked));
    }
    let decide = |held: &Held| {
        let key = find(held)?;
        let revoke = || change(id, &key.scope, KeyEvent::Revoked, operator);
        Ok(key.revoked.is_none().then(revoke))
    };
    Ok(Verdict::Done(append(log, clock, decide).await?.1))
}

/// Switches a source on or off.
///
/// # Errors
/// When the log did not take it, or did not say.
pub async fn switch(
    log: &dyn Log,
    clock: &Clock,
    source: &SourceId,
    on: bool,
    operator: &str,
) -> anyhow::Result<Verdict> {
    let held = known(log, clock).await?.held;
    if held.off(source).is_none() == on {
        return Ok(Verdict::Already(held.off(source).cloned()));
    }
    let decide = |held: &Held| {
        let (source, operator) = (source.clone(), operator.to_owned());
        let is_so = held.off(&source).is_none() == on;
        let switch = SourceSwitch { source, on, operator };
        Ok((!is_so).then_some(Control::SourceSwitch(switch)))
    };
    Ok(Verdict::Done(append(log, clock, decide).await?.1))
}

fn change(id: &str, scope: &Scope, event: KeyEvent, operator: &str) -> Control {
    let (id, operator) = (id.to_owned(), operator.to_owned());
    Control::Key(KeyChange { id, scope: scope.into(), event, operator })
}

/// Appends what is decided by what holds, unless somebody was faster: then it is decided again.
/// None is appended, and has no position, where it is so already. Returns what it was decided by.
async fn append(
    log: &dyn Log,
    clock: &Clock,
    decide: impl Fn(&Held) -> Result<Option<Control>, Refused>,
) -> anyhow::Result<(Held, Option<InputPosition>)> {
    let id = runtime::record_id(clock);
    for _ in 0..TRIES {
        let known = known(log, clock).await?;
        let Some(control) = decide(&known.held)? else { return Ok((known.held, None)) };
        let record = Record::new(id, clock.now(), None, Body::Control(Box::new(control)));
        let message = publication(log, &record, frame_of(&record), known.sequence);
        match log.publish(message).await {
            Ok(ack) => {
                let (incarnation, sequence) = (known.incarnation, ack.sequence);
                let position = InputPosition { incarnation, sequence, record: 0 };
                return Ok((known.held, Some(position)));
            }
            // Somebody else's, or ours after all.
            Err(PublishError::WrongSequence { .. }) => {}
            Err(PublishError::Unknown { .. }) => tokio::time::sleep(PAUSE).await,
            Err(error @ PublishError::NotStored { .. }) => return Err(error.into()),
        }
    }
    anyhow::bail!("the log did not say whether it took it; look with `bellwether keys list`")
}

#[cfg(test)]
mod tests;
