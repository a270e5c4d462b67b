//! A model that fails in every way there is: nobody waits for it, nothing is asked for in vain, and
//! what happened has a name.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Row;
use tests::{
    asks::error,
    fleet::Fleet,
    model::{Does, ModelServer, TOKENS},
};

use super::{Over, PATIENCE, WORKER, over, until_done};

/// How soon a page has to be out, whatever the model does.
const PAGE: Duration = Duration::from_secs(5);

/// Posts alert `n` and waits for its page; fails where that takes longer than it may.
async fn page(fleet: &Fleet, ingest: usize, n: u32) -> Duration {
    let began = Instant::now();
    fleet.sender(ingest).sentry("error", &error(n)).await;
    let title = format!("Boom {n} in checkout");
    let has = |body: &Value| body["type"] == "incident.fire" && body.to_string().contains(&title);
    let what = format!("the page of {title}");
    fleet
        .receiver
        .wait_for(&what, PATIENCE, |seen| seen.accepted.iter().any(|(_, body)| has(body)))
        .await;
    let took = began.elapsed();
    assert!(took < PAGE, "{what} took {took:?}");
    took
}

async fn answer(fleet: &Fleet, n: u32) -> Over {
    let title = format!("Boom {n} in checkout");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let jobs = over(&fleet.world.database_url).await;
        if let Some(job) = jobs.into_values().find(|job| job.title == title) {
            return job;
        }
        assert!(Instant::now() < deadline, "{title} is not answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_r30_a_model_that_fails_delays_no_page_and_is_not_asked_in_vain() {
    let elsewhere = ModelServer::start(Does::Says("從別處".into())).await;
    let model = ModelServer::start(Does::Says("知道".into())).await;
    // A breaker that never opens, so that every failure is seen.
    let bounds = "timeout_s = 2\nretries = 1\nbreaker = { failures = 1000, pause_s = 1 }";
    let more = format!("[triage]\nplaybook = false\n{}", model.analyst("openclaw", bounds));
    let mut fleet = Fleet::new(WORKER, &more).await;
    let ingest = fleet.start("ingest,console,triage-worker,notifier-worker,projector");

    let to = format!("{}/chat/completions", elsewhere.url);
    let cases: Vec<(Does, &str, usize)> = vec![
        (Does::Says("知道".into()), "answered", 1),
        (Does::Slow(Duration::from_secs(1)), "answered", 1),
        (Does::NoUsage, "answered", 1),
        // Once with the format, once without; from then on without.
        (Does::KnowsNoFormat, "answered", 2),
        (Does::KnowsNoFormat, "answered", 1),
        (Does::Hangs, "timeout", 1),
        (Does::Slow(Duration::from_secs(20)), "timeout", 1),
        (Does::Status(500), "server_error", 2),
        (Does::Status(404), "refused", 1),
        // It breaks before anything of the answer is on its way.
        (Does::Cut, "broken_off", 2),
        (Does::Garbage, "not_json", 1),
        (Does::Prose, "no_object", 1),
        (Does::WrongSchema, "bad_confidence", 1),
        (Does::Large(10 << 20), "too_long", 1),
        (Does::Redirect(to), "redirected", 1),
        (Does::Page, "not_json", 1),
        (Does::TooMany { retry_after: 1 }, "rate_limited", 2),
        (Does::TooMany { retry_after: 600 }, "rate_limited", 1),
        // It asked for patience.
        (Does::Says("知道".into()), "paused", 0),
    ];
    let mut slowest = Duration::ZERO;
    for (n, (does, word, calls)) in (0..).zip(cases.clone()) {
        let before = model.calls().len();
        model.does([], does.clone());
        slowest = slowest.max(page(&fleet, ingest, n).await);
        let job = answer(&fleet, n).await;
        assert_eq!(job.words(), [format!("openclaw {word}")], "{does:?}");
        assert_eq!(model.calls().len() - before, calls, "{does:?}");
        let made: u32 = job.result.usage.iter().map(|usage| usage.calls).sum();
        assert_eq!(made as usize, calls, "{does:?} says how often it was asked");
        assert_eq!(job.result.analysis.is_some(), word == "answered", "{does:?}");
    }
    assert_eq!(elsewhere.calls().len(), 0, "no redirect is followed");
    assert_eq!(model.wrong(), [""; 0]);
    println!("slowest page {slowest:?}");

    // What nobody answered is shown as such, with the name of what happened.
    let words: Vec<&str> = cases.iter().map(|(_, word, _)| *word).collect();
    shown(&fleet, ingest, &words).await;

    // Each way to end has its name in the metrics, and the model is known to be unwell.
    let at = fleet.member(ingest).ingest.unwrap();
    let get = async |path: &str| {
        let response = fleet.client.get(format!("http://{at}{path}")).send().await.unwrap();
        response.text().await.unwrap()
    };
    let metrics = get("/metrics").await;
    for word in ["answered", "timeout", "server_error", "redirected", "rate_limited", "paused"] {
        let line =
            format!("bellwether_analyst_asked_total{{analyst=\"openclaw\",result=\"{word}\"}}");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    for name in [
        "bellwether_analyst_calls_total",
        "bellwether_analyst_call_seconds",
        "bellwether_analyst_tokens_total",
        "bellwether_analyst_cost_micros_total",
        "bellwether_analyst_breaker{analyst=\"openclaw\"} 2",
        "bellwether_analyst_waiting{analyst=\"openclaw\"} 0",
        "bellwether_triage_queue_age_seconds",
    ] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
    let ready = get("/ready").await;
    assert!(ready.contains(r#""part":"analyst openclaw""#), "{ready}");
    fleet.stop_all();
}

/// What a channel that cannot edit holds back for the analysis is out in time with the defaults.
#[tokio::test(flavor = "multi_thread")]
async fn f6_a_page_that_waits_for_a_slow_model_is_out_in_time() {
    let model = ModelServer::start(Does::Hangs).await;
    let analyst = model.analyst("openclaw", "timeout_s = 12\nretries = 0");
    let more = format!("[deliver]\nlease_ms = 4000\n[triage]\nplaybook = false\n{analyst}");
    let mut fleet = Fleet::new(WORKER, &more).await;
    let ingest = fleet.start("ingest,triage-worker,notifier-worker,projector");
    for (n, does) in (0..).zip([Does::Hangs, Does::Slow(Duration::from_secs(20))]) {
        model.does([], does.clone());
        let took = page(&fleet, ingest, n).await;
        println!("{does:?}: {took:?}");
        assert!(took > Duration::from_secs(2), "it waited for the analysis: {took:?}");
    }
    fleet.stop_all();
}

/// Asks the API until every incident has been analysed, and looks at what it says of each.
async fn shown(fleet: &Fleet, console: usize, words: &[&str]) {
    let console = fleet.member(console).console.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let incidents = loop {
        let answer = fleet.get(console, "/api/v1/incidents?project_id=shop&limit=200").await;
        let items = answer["items"].as_array().unwrap().clone();
        let ended =
            |i: &Value| matches!(i["runs"][0]["state"].as_str(), Some("completed" | "failed"));
        if items.len() == words.len() && items.iter().all(ended) {
            break items;
        }
        assert!(Instant::now() < deadline, "not all are analysed: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for (n, word) in words.iter().enumerate() {
        let title = format!("Boom {n} in checkout");
        let incident = incidents.iter().find(|i| i["title"] == title.as_str()).unwrap();
        let description = incident["description"].as_str().unwrap();
        let pending = description.contains("待分析") && description.contains("待 AI 分析");
        let by = if *word == "answered" { "openclaw" } else { "pending" };
        assert_eq!(incident["llm_provider"], by, "{title}: {incident}");
        assert_eq!(pending, by == "pending", "{title}: {description}");
        let end = incident["runs"][0]["attempts"][0]["end"].as_str().unwrap();
        assert_eq!(end.split(':').next(), Some(*word), "{title}");
    }
}

/// A13: what an hour may cost is one sum for all processes, and the next analyst is asked when it is
/// spent.
#[tokio::test(flavor = "multi_thread")]
async fn a13_all_workers_spend_one_budget() {
    const BUDGET: usize = 7;
    const INCIDENTS: u32 = 20;
    let dear = ModelServer::start(Does::Says("貴".into())).await;
    let cheap = ModelServer::start(Does::Says("便宜".into())).await;
    let bounds =
        format!("price = {{ input = 2.0, output = 10.0 }}\nbudget = {{ calls = {BUDGET} }}");
    let more = format!(
        "[triage]\nplaybook = false\nconcurrency = 2\n{}\n{}",
        dear.analyst("dear", &bounds),
        cheap.analyst("cheap", "local = false")
    );
    let mut fleet = Fleet::new(WORKER, &more).await;
    let ingest = fleet.start("ingest");
    for _ in 0..3 {
        fleet.start("triage-worker");
    }
    let sender = fleet.sender(ingest);
    for n in 0..INCIDENTS {
        sender.sentry("error", &error(n)).await;
    }
    let jobs = until_done(&fleet, INCIDENTS as usize).await;
    let rows = sqlx::query(
        "select project, calls, tokens, cost_micros, hour from spending where analyst = 'dear'
         order by hour, project",
    )
    .fetch_all(&mut fleet.world.sql().await)
    .await
    .unwrap();
    // The hour may have changed meanwhile; each has its own budget.
    let mut spent = 0;
    for row in &rows {
        let (project, calls): (String, i64) = (row.get(0), row.get(1));
        let (tokens, cost): (i64, i64) = (row.get(2), row.get(3));
        assert!(project.is_empty() || project == "shop");
        assert!(calls as usize <= BUDGET, "{calls} calls in one hour");
        let (input, output) = TOKENS;
        assert_eq!(tokens, calls * (input + output) as i64);
        assert_eq!(cost, calls * (input * 2 + output * 10) as i64);
        spent += if project.is_empty() { calls as usize } else { 0 };
    }
    assert_eq!(dear.calls().len(), spent);
    assert!(spent >= BUDGET, "{spent} of {BUDGET} calls were made");
    let rest = INCIDENTS as usize - spent;
    assert_eq!(cheap.calls().len(), rest, "the next one is asked");
    let told = jobs.values().filter(|job| job.words() == ["dear out_of_calls", "cheap answered"]);
    assert_eq!(told.count(), rest);
    fleet.stop_all();
}

/// R30: a model that is down is asked a few times and then only now and then; the next one answers.
#[tokio::test(flavor = "multi_thread")]
async fn r30_a_model_that_is_down_is_left_alone() {
    const FAILURES: usize = 3;
    const INCIDENTS: u32 = 30;
    let down = ModelServer::start(Does::Status(503)).await;
    let second = ModelServer::start(Does::Says("第二個".into())).await;
    let bounds =
        format!("retries = 0\nlocal = true\nbreaker = {{ failures = {FAILURES}, pause_s = 600 }}");
    // The one that is down is preferred although it stands behind the other.
    let more = format!(
        "[triage]\nplaybook = false\nconcurrency = 2\n{}\n{}",
        second.analyst("second", ""),
        down.analyst("down", &bounds)
    );
    let mut fleet = Fleet::new(WORKER, &more).await;
    let ingest = fleet.start("ingest,triage-worker");
    let sender = fleet.sender(ingest);
    for n in 0..INCIDENTS {
        sender.sentry("error", &error(n)).await;
    }
    let jobs = until_done(&fleet, INCIDENTS as usize).await;
    let calls = down.calls().len();
    // Two may be on their way when the third failure is seen.
    assert!((FAILURES..=FAILURES + 1).contains(&calls), "{calls} calls");
    let count = |word: &str| {
        let words = [format!("down {word}"), "second answered".to_owned()];
        jobs.values().filter(|job| job.words() == words).count()
    };
    assert_eq!(count("server_error"), calls);
    assert_eq!(count("breaker_open"), INCIDENTS as usize - calls);
    fleet.stop_all();
}
