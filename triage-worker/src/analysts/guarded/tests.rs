use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;

use super::*;
use crate::analysts::tests::{analysis, question};

/// What a scripted model does with a call; the last for all that follow.
#[derive(Clone, Debug)]
enum Does {
    Answers,
    Fails(Failure),
    Hangs,
    /// Answers after so many seconds.
    Takes(u64),
    /// Refuses whatever is not plain.
    WantsPlain,
    /// Refuses a limit of what it may write, by its name.
    WantsNoLimit,
}

#[derive(Default)]
struct Seen {
    calls: AtomicU32,
    plain: AtomicU32,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

struct Script {
    does: Mutex<VecDeque<Does>>,
    seen: Arc<Seen>,
}

impl Script {
    fn next(&self) -> Does {
        let mut does = self.does.lock().unwrap();
        if does.len() > 1 { does.pop_front().unwrap() } else { does[0].clone() }
    }
}

impl Model for Script {
    fn name(&self) -> &str {
        "scripted"
    }

    fn model(&self) -> &str {
        "m1"
    }

    fn size(&self, _: &Question) -> Tokens {
        Tokens { input: 100, output: 50 }
    }

    fn call<'a>(&'a self, _: &'a Question, form: Form) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            self.seen.calls.fetch_add(1, Ordering::SeqCst);
            self.seen.plain.fetch_add(u32::from(form != Form::Whole), Ordering::SeqCst);
            let at_once = self.seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.seen.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            let spent = Spent::Tokens(Tokens { input: 90, output: 10 });
            let reply = match self.next() {
                Does::Answers => answers(spent),
                Does::Fails(failure @ Failure::NotReached) => Reply::failed(failure, Spent::NoCall),
                Does::Fails(failure) => Reply::failed(failure, spent),
                Does::Hangs => std::future::pending().await,
                Does::Takes(seconds) => {
                    sleep(Duration::from_secs(seconds)).await;
                    answers(spent)
                }
                Does::WantsPlain if form == Form::Plain => answers(spent),
                Does::WantsPlain => Reply::failed(form_refused(false), spent),
                Does::WantsNoLimit if form == Form::Bare => answers(spent),
                Does::WantsNoLimit => Reply::failed(form_refused(true), spent),
            };
            self.seen.at_once.fetch_sub(1, Ordering::SeqCst);
            reply
        })
    }
}

fn form_refused(limit: bool) -> Failure {
    Failure::FormRefused { status: 400, limit }
}

fn answers(spent: Spent) -> Reply {
    Reply { answer: Ok(analysis("a")), spent, told: None }
}

fn guarded(does: &[Does], bounds: Bounds) -> (Guarded<Script>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let model = Script { does: Mutex::new(does.iter().cloned().collect()), seen: seen.clone() };
    (Guarded::new(model, false, bounds, None, Health::default()), seen)
}

/// Asks once; the answer's word, the calls it took and how long.
async fn check(does: &[Does], word: &str, calls: u32, seconds: std::ops::RangeInclusive<u64>) {
    let (guarded, seen) = guarded(does, Bounds::default());
    let began = Instant::now();
    let asked = guarded.ask(&question("x")).await.unwrap();
    let said = asked.answer.as_ref().map_or_else(Failure::word, |_| "answered");
    assert_eq!(said, word, "{does:?}");
    assert_eq!(seen.calls.load(Ordering::SeqCst), calls, "{does:?}");
    let took = began.elapsed().as_secs();
    assert!(seconds.contains(&took), "{does:?} took {took} s");
}

fn patience(seconds: u64) -> Does {
    let retry_after = Some(Duration::from_secs(seconds));
    Does::Fails(Failure::RateLimited { retry_after })
}

#[tokio::test(start_paused = true)]
async fn r30_what_may_help_is_tried_again_and_nothing_else() {
    use Does::{Answers, Fails, Hangs, Takes};
    check(&[Answers], "answered", 1, 0..=0).await;
    for failure in [Failure::ServerError(503), Failure::BrokenOff, Failure::NotReached] {
        check(&[Fails(failure.clone())], failure.word(), 3, 0..=2).await;
        check(&[Fails(failure), Answers], "answered", 2, 0..=1).await;
    }
    for failure in [
        Failure::Unauthorised(401),
        Failure::Refused(404),
        Failure::Redirected(302),
        Failure::NotJson,
        Failure::AnswerBrokenOff,
        Failure::TooLong { limit: 1 },
        Failure::Unusable(domain::triage::Unusable::Empty),
        Failure::Filtered,
    ] {
        check(&[Fails(failure.clone()), Answers], failure.word(), 1, 0..=0).await;
    }
    // The time limit is over all of it.
    check(&[Hangs], "timeout", 1, 60..=60).await;
    check(&[Takes(59)], "answered", 1, 59..=59).await;
    check(&[Fails(Failure::ServerError(500)), Hangs], "timeout", 2, 60..=60).await;
}

#[tokio::test(start_paused = true)]
async fn r30_an_endpoint_says_when_to_come_again() {
    let no_word = Does::Fails(Failure::RateLimited { retry_after: None });
    check(&[no_word, Does::Answers], "answered", 2, 0..=1).await;
    check(&[patience(7), Does::Answers], "answered", 2, 7..=7).await;
    // What is longer than the question may wait is not waited for, by the next question neither.
    let (one, seen) = guarded(&[patience(90), Does::Answers], Bounds::default());
    let began = Instant::now();
    for word in ["rate_limited", "paused"] {
        let asked = one.ask(&question("x")).await.unwrap();
        assert_eq!(asked.answer.unwrap_err().word(), word);
    }
    assert_eq!(began.elapsed().as_secs(), 0);
    // When it is over soon enough, a question waits for it.
    sleep(Duration::from_secs(40)).await;
    assert!(one.ask(&question("x")).await.unwrap().answer.is_ok());
    assert_eq!(began.elapsed().as_secs(), 90);
    assert_eq!(seen.calls.load(Ordering::SeqCst), 2);
    // Others wait as well, and what was the last try is told.
    let bounds = Bounds { retries: 0, ..Bounds::default() };
    let (two, _) = guarded(&[patience(5), Does::Answers], bounds);
    let began = Instant::now();
    assert!(two.ask(&question("x")).await.unwrap().answer.is_err());
    assert_eq!(began.elapsed().as_secs(), 0);
    assert!(two.ask(&question("y")).await.unwrap().answer.is_ok());
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn r29_what_is_refused_for_its_form_is_asked_once_more_plainly() {
    let (guarded, seen) = guarded(&[Does::WantsPlain], Bounds::default());
    for (calls, plain) in [(2, 1), (3, 2), (4, 3)] {
        assert!(guarded.ask(&question("x")).await.unwrap().answer.is_ok());
        // It is found out once.
        assert_eq!(seen.calls.load(Ordering::SeqCst), calls);
        assert_eq!(seen.plain.load(Ordering::SeqCst), plain);
    }
    // It may have been one question's fault, or be mended: it is found out again.
    sleep(PLAIN_FOR).await;
    for (calls, plain) in [(6, 4), (7, 5)] {
        assert!(guarded.ask(&question("x")).await.unwrap().answer.is_ok());
        assert_eq!(seen.calls.load(Ordering::SeqCst), calls);
        assert_eq!(seen.plain.load(Ordering::SeqCst), plain);
    }
    check(&[Does::Fails(form_refused(false))], "form_refused", 2, 0..=0).await;
    // The limit goes only where it is named, then or later.
    check(&[Does::WantsNoLimit], "answered", 2, 0..=0).await;
    check(&[Does::Fails(form_refused(false)), Does::WantsNoLimit], "answered", 3, 0..=0).await;
}

#[tokio::test(start_paused = true)]
async fn a13_what_calls_took_is_counted_over_all_tries() {
    let fails = Does::Fails(Failure::ServerError(500));
    let price = PriceConfig { input: 1.0, output: 10.0 };
    let bounds = Bounds { price, ..Bounds::default() };
    let (one, _) = guarded(&[fails, Does::Answers], bounds);
    let usage = one.ask(&question("x")).await.unwrap().usage.unwrap();
    assert_eq!((usage.analyst.as_str(), usage.model.as_deref()), ("scripted", Some("m1")));
    assert_eq!((usage.calls, usage.tokens_in, usage.tokens_out), (2, 180, 20));
    assert_eq!(usage.cost_micros, 380);
    assert!((250..=500).contains(&usage.latency_ms), "{} ms", usage.latency_ms);
    // Nobody knows what a call that hung took: what it may cost at most counts.
    let (hung, _) = guarded(&[Does::Hangs], bounds);
    let usage = hung.ask(&question("x")).await.unwrap().usage.unwrap();
    assert_eq!((usage.calls, usage.cost_micros), (1, 600));
    let (away, _) = guarded(&[Does::Fails(Failure::NotReached)], bounds);
    assert_eq!(away.ask(&question("x")).await.unwrap().usage, None);
}

#[tokio::test(start_paused = true)]
async fn r30_a_failing_analyst_is_left_alone_and_comes_back() {
    let breaker = BreakerConfig { failures: 2, pause_s: 10 };
    let bounds = Bounds { retries: 0, breaker, ..Bounds::default() };
    let fails = Does::Fails(Failure::ServerError(500));
    let (guarded, seen) = guarded(&[fails.clone(), fails, Does::Answers], bounds);
    let mut words = Vec::new();
    for _ in 0..4 {
        let asked = guarded.ask(&question("x")).await.unwrap();
        words.push(asked.answer.map_or_else(|f| f.word(), |_| "answered"));
    }
    assert_eq!(words, ["server_error", "server_error", "breaker_open", "breaker_open"]);
    assert_eq!(seen.calls.load(Ordering::SeqCst), 2);
    sleep(Duration::from_secs(10)).await;
    assert!(guarded.ask(&question("x")).await.unwrap().answer.is_ok());
}

#[tokio::test(start_paused = true)]
async fn questions_wait_for_their_turn_without_losing_their_time() {
    let bounds = Bounds { concurrency: 2, ..Bounds::default() };
    let (guarded, seen) = guarded(&[Does::Takes(50)], bounds);
    let question = question("x");
    let began = Instant::now();
    let asked = join_all((0..6).map(|_| guarded.ask(&question))).await;
    assert!(asked.into_iter().all(|asked| asked.unwrap().answer.is_ok()));
    assert_eq!(began.elapsed().as_secs(), 150);
    assert_eq!(seen.most_at_once.load(Ordering::SeqCst), 2);
    assert!(guarded.longest(6) >= Duration::from_secs(180));
}

#[test]
fn waits_grow_and_differ() {
    let job = |n: u8| JobId(id::hash(&[&[n]]));
    for (tries, from, to) in
        [(0, 250, 500), (1, 500, 1_000), (9, 7_500, 15_000), (90, 7_500, 15_000)]
    {
        let waits: Vec<u128> = (0..20).map(|n| backoff(job(n), tries).as_millis()).collect();
        assert!(waits.iter().all(|ms| (from..=to).contains(ms)), "{waits:?}");
        assert!(waits.iter().collect::<std::collections::BTreeSet<_>>().len() > 10, "{waits:?}");
    }
}

#[test]
fn bounds_that_let_nobody_ask_are_refused() {
    let check = |change: fn(&mut Bounds)| {
        let mut bounds = Bounds::default();
        change(&mut bounds);
        bounds.check().unwrap_err()
    };
    assert!(Bounds::default().check().is_ok());
    assert!(check(|b| b.timeout_s = 0).starts_with("timeout_s is 0"));
    assert!(check(|b| b.timeout_s = 3_601).ends_with("give at most 3600"));
    assert!(check(|b| b.breaker.pause_s = u64::MAX).ends_with("give at most 86400"));
    assert!(check(|b| b.concurrency = 0).starts_with("concurrency is 0"));
    assert!(check(|b| b.breaker.failures = 0).starts_with("breaker.failures is 0"));
    assert!(check(|b| b.budget.cost = Some(1.0)).starts_with("budget.cost limits nothing"));
    assert!(check(|b| b.project_budget.calls = Some(0)).starts_with("project_budget is 0"));
}
