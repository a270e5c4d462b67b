//! Access tokens: one for all notifiers, asked for once, and once more when it is refused (R39).
//!
//! Within a process one send asks and the others wait for it; between processes the claim in the
//! table decides who asks. There the token is sealed under a key derived from what asks for it, so
//! from the app's own secret: whoever reads the table reads no credential.

mod seal;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use store::{Store, access::Access as Turn};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;

use self::seal::App;
use crate::{
    channels::{Grant, Request, Verdict},
    config::Target,
    sender::{Exchange, Sender},
};

/// A token is not used up to its end, lest it end on the way: it is given up so long before, or a
/// tenth of its life.
const LONGEST_MARGIN: Duration = Duration::from_secs(300);

/// How much longer than its request a claim to ask lasts, for what the tables need meanwhile.
const CLAIM_SLACK: Duration = Duration::from_secs(5);

/// How often a process looks whether another one's request was answered.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_millis(200);

/// Longest time in which nobody asks, after requests in vain, that no receiver wanted.
const LONGEST_QUIET: Duration = Duration::from_secs(60);

/// The tokens of this process.
pub struct Access {
    store: Store,
    sender: Sender,
    held: Mutex<HashMap<Uuid, Slot>>,
}

/// One app's token. Who holds the lock asks; the others wait for it.
type Slot = Arc<AsyncMutex<Option<Held>>>;

/// A token and until when it may be used.
struct Held {
    token: SecretString,
    /// Its name in the table; absent where it does not stand there.
    turn: Option<i64>,
    until: Instant,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

impl Access {
    /// Asks through `sender`, and shares in `store`.
    pub fn new(store: Store, sender: Sender) -> Self {
        Self { store, sender, held: Mutex::default() }
    }

    /// The target as it may be sent to: with a token, where its receiver wants one. Takes no longer
    /// than the target's time limit. The verdict says why there is none: then nothing was sent.
    pub async fn admit<'a>(
        &self,
        target: &'a Target,
    ) -> Result<Result<Cow<'a, Target>, Verdict>, store::Error> {
        let Some(request) = target.channel.access(target) else {
            return Ok(Ok(Cow::Borrowed(target)));
        };
        Ok(self.token(target, request).await?.map(|token| Cow::Owned(with(target, token))))
    }

    /// The same target with another token than the one it has, which was refused for `reason`.
    pub async fn renew(
        &self,
        target: &Target,
        reason: &str,
    ) -> Result<Result<Target, Verdict>, store::Error> {
        let Some(request) = target.channel.access(target) else {
            return Ok(Err(Verdict::Refused(reason.to_owned())));
        };
        tracing::info!(
            target = target.id,
            channel = target.channel.kind(),
            reason,
            "the access token of {} is not taken any more: {reason}",
            target.id,
        );
        Ok(self.token(target, request).await?.map(|token| with(target, token)))
    }

    async fn token(
        &self,
        target: &Target,
        request: Result<Request, String>,
    ) -> Result<Result<SecretString, Verdict>, store::Error> {
        let request = match request {
            Ok(request) => request,
            Err(reason) => return Ok(Err(Verdict::Refused(reason))),
        };
        let Some(app) = App::of(&request) else {
            return Ok(Err(Verdict::Refused("a token is asked for by HTTP alone".into())));
        };
        let deadline = Instant::now() + target.timeout;
        let slot = self.slot(app.id);
        let Ok(mut held) = timeout_at(deadline, slot.lock()).await else {
            return Ok(Err(wait(None, "another send still asks for a token")));
        };
        let mut refused = None;
        if let Some(held) = &*held {
            if is(&held.token, target.access.as_ref()) {
                refused = held.turn;
            } else if Instant::now() < held.until {
                return Ok(Ok(held.token.clone()));
            }
        }
        let lease = target.timeout + CLAIM_SLACK;
        let mut look = SHORTEST_LOOK;
        loop {
            let now = Instant::now();
            match self.store.access(app.id, &target.id, refused, lease).await? {
                Turn::Granted { sealed, turn, left } => match app.open(&sealed) {
                    Some(token) if !is(&token, target.access.as_ref()) => {
                        *held = Some(Held {
                            token: token.clone(),
                            turn: Some(turn),
                            until: now + left,
                        });
                        return Ok(Ok(token));
                    }
                    // The refused one, or nothing this process can read.
                    Some(_) | None => refused = Some(turn),
                },
                Turn::Ask { claim, failures } => {
                    let left = deadline.saturating_duration_since(now);
                    let asked = Asked { app: &app, claim, failures };
                    let granted = self.ask(request, &target.within(left), asked).await?;
                    return Ok(granted.map(|granted| {
                        let token = granted.token.clone();
                        *held = Some(granted);
                        token
                    }));
                }
                Turn::Quiet { left } => {
                    return Ok(Err(wait(Some(left), "no token is granted just now")));
                }
                Turn::Asked { .. } if now + look >= deadline => {
                    return Ok(Err(wait(None, "another notifier still asks for a token")));
                }
                Turn::Asked { .. } => {
                    sleep(look).await;
                    look = (look * 2).min(LONGEST_LOOK);
                }
            }
        }
    }

    /// Asks, and shares what comes of it.
    async fn ask(
        &self,
        request: Request,
        target: &Target,
        asked: Asked<'_>,
    ) -> Result<Result<Held, Verdict>, store::Error> {
        let Asked { app, claim, failures } = asked;
        let channel = target.channel.kind();
        let count = |result: &'static str| {
            metrics::counter!("bellwether_access_tokens_total", "channel" => channel, "result" => result)
                .increment(1);
        };
        let now = Instant::now();
        let again = |reason| Verdict::Retry { after: None, pause_target: false, reason };
        let granted = match self.sender.send(request, target).await {
            // Only an answer without a token is told of.
            Exchange::Answered(response) => target
                .channel
                .grant(&response)
                .or_else(|_| target.channel.grant(&target.hide_in(response))),
            // A token that was granted and not heard of harms nobody.
            Exchange::NotSent(reason) | Exchange::Lost(reason) => Err(again(reason)),
            Exchange::Blocked(reason) => Err(Verdict::Refused(reason)),
        };
        let sealed = granted.and_then(|grant| {
            let sealed = app.seal(&grant.token);
            sealed.map(|sealed| (grant, sealed)).ok_or_else(|| again("it cannot be sealed".into()))
        });
        match sealed {
            Ok((Grant { token, lasts }, sealed)) => {
                count("granted");
                let use_for = lasts.saturating_sub(LONGEST_MARGIN.min(lasts / 10));
                let turn = self.store.grant_access(app.id, claim, &sealed, use_for).await?;
                tracing::info!(
                    target = target.id,
                    channel,
                    use_for_s = use_for.as_secs(),
                    "an access token is granted to {} for {} s",
                    target.id,
                    use_for.as_secs(),
                );
                Ok(Ok(Held { token, turn, until: now + use_for }))
            }
            Err(verdict) => {
                let (verdict, quiet) = denied(verdict, failures, target);
                count(if quiet.is_zero() { "refused" } else { "put_off" });
                self.store.deny_access(app.id, claim, quiet).await?;
                Ok(Err(verdict))
            }
        }
    }

    fn slot(&self, app: Uuid) -> Slot {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.entry(app).or_default())
    }
}

/// Somebody's turn to ask.
#[derive(Clone, Copy)]
struct Asked<'a> {
    app: &'a App,
    claim: Uuid,
    failures: u32,
}

/// What a request in vain means for the send that needs the token, and how long nobody asks again.
fn denied(verdict: Verdict, failures: u32, target: &Target) -> (Verdict, Duration) {
    let said = |reason: String| format!("no access token: {}", target.hide_credentials(&reason));
    match verdict {
        Verdict::Retry { after, reason, .. } => {
            let grown = Duration::from_secs(1 << failures.min(10)).min(LONGEST_QUIET);
            let quiet = after.unwrap_or_default().max(grown);
            (wait(Some(quiet), &said(reason)), quiet)
        }
        Verdict::Ambiguous(reason) => {
            let grown = Duration::from_secs(1 << failures.min(10)).min(LONGEST_QUIET);
            (wait(Some(grown), &said(reason)), grown)
        }
        Verdict::Refused(reason)
        | Verdict::TryPlain(reason)
        | Verdict::Renew(reason)
        | Verdict::CannotEdit(reason)
        | Verdict::Moved { reason, .. } => (Verdict::Refused(said(reason)), Duration::ZERO),
        Verdict::Delivered(_) | Verdict::DeliveredInPart { .. } => {
            (Verdict::Refused(said("it grants none".into())), Duration::ZERO)
        }
    }
}

/// Nothing was sent; later there may be a token. Other targets of the receiver are no worse off.
fn wait(after: Option<Duration>, reason: &str) -> Verdict {
    Verdict::Retry { after, pause_target: false, reason: reason.to_owned() }
}

fn with(target: &Target, token: SecretString) -> Target {
    Target { access: Some(token), ..target.clone() }
}

fn is(token: &SecretString, other: Option<&SecretString>) -> bool {
    other.is_some_and(|other| other.expose_secret() == token.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::feishu;

    #[test]
    fn a7_what_a_request_in_vain_means_for_the_send() {
        let target = feishu(Some("hunter2-secret"));
        let seconds = Duration::from_secs;
        let again = |after: Option<u64>| Verdict::Retry {
            after: after.map(seconds),
            pause_target: true,
            reason: "why hunter2-secret".into(),
        };
        for (verdict, failures, quiet) in [
            (again(None), 0, 1),
            (again(None), 3, 8),
            (again(None), u32::MAX, 60),
            (again(Some(7)), 0, 7),
            (again(Some(7)), 5, 32),
            (Verdict::Ambiguous("why hunter2-secret".into()), 1, 2),
        ] {
            let reason = "no access token: why …".to_owned();
            let expect =
                Verdict::Retry { after: Some(seconds(quiet)), pause_target: false, reason };
            assert_eq!(denied(verdict, failures, &target), (expect, seconds(quiet)));
        }
        // A wrong secret does not get better, and the next send says so as well.
        let refused = Verdict::Refused("why hunter2-secret".into());
        let expect = Verdict::Refused("no access token: why …".into());
        assert_eq!(denied(refused, 3, &target), (expect, Duration::ZERO));
    }
}
