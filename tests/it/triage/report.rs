//! The report on analysts equals a recount of the log, whatever died meanwhile.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    time::Duration,
};

use schemas::{
    Event, JobId, Time,
    event::{Answered, Kind},
};
use serde_json::{Value, json};
use tests::{asks::error, model::Does, oracle::Compared};

use super::feedback::{ADA, BOB, Desk};
use crate::newcomer::bellwether;

type Key = (Option<String>, Option<String>, Option<String>);

/// What is counted of one analyst, model and version of the prompt.
#[derive(Debug, Default)]
struct Line {
    ends: BTreeMap<String, i64>,
    latencies: Vec<u64>,
    calls: i64,
    tokens: (i64, i64),
    cost: i64,
    diagnoses: i64,
    confirmed: i64,
    rejected: i64,
    inconclusive: i64,
    useful: i64,
    not_useful: i64,
    noise: i64,
}

/// A diagnosis and its last verdict.
struct Diagnosis {
    key: Key,
    at: Time,
    verdict: Option<bool>,
}

/// What the events of `shop` say, counted the plainest way.
fn recount(lanes: &[Compared], from: Option<Time>, to: Option<Time>) -> Value {
    let within = |at: Time| from.is_none_or(|from| at >= from) && to.is_none_or(|to| at < to);
    let mut lines: BTreeMap<Key, Line> = BTreeMap::new();
    let mut diagnoses: BTreeMap<JobId, Diagnosis> = BTreeMap::new();
    let mut opinions = BTreeMap::new();
    let events = lanes.iter().flat_map(|lane| &lane.folded.events);
    let of_shop = |e: &&Event| e.project.as_ref().is_some_and(|p| p.as_str() == "shop");
    for event in events.filter(of_shop) {
        match &event.kind {
            Kind::Answered(answered) => {
                let line = asked(answered, within(event.lane_time), &mut lines);
                if let Some(key) = line {
                    let diagnosis = Diagnosis { key, at: event.lane_time, verdict: None };
                    diagnoses.insert(answered.job, diagnosis);
                }
            }
            Kind::Applied(applied) if applied.changed => {
                let reason = applied.diagnosis.as_deref();
                let run = reason.map(|reason| JobId::triage(applied.opening, reason));
                match applied.verb.as_str() {
                    verb @ ("confirm" | "reject") => {
                        let diagnosis = diagnoses.get_mut(&run.unwrap()).unwrap();
                        diagnosis.verdict = Some(verb == "confirm");
                    }
                    verb @ ("useful" | "not_useful" | "noise") => {
                        let said = (verb.to_owned(), run, event.lane_time);
                        opinions.insert((applied.incident, applied.actor.clone()), said);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    for Diagnosis { key, at, verdict } in diagnoses.values() {
        let line = lines.entry(key.clone()).or_default();
        line.confirmed += i64::from(within(*at) && *verdict == Some(true));
        line.rejected += i64::from(within(*at) && *verdict == Some(false));
    }
    for (verb, run, at) in opinions.into_values() {
        let key = run.map(|run| diagnoses[&run].key.clone()).unwrap_or_default();
        let line = lines.entry(key).or_default();
        let count = match verb.as_str() {
            "useful" => &mut line.useful,
            "noise" => &mut line.noise,
            _ => &mut line.not_useful,
        };
        *count += i64::from(within(at));
    }
    let lines = lines.into_iter().map(shown);
    Value::Array(lines.filter(|line| line["asked"] != 0 || line["noise"] != 0).collect())
}

/// Counts who was asked; whose diagnosis it is, where there is one.
fn asked(answered: &Answered, counts: bool, lines: &mut BTreeMap<Key, Line>) -> Option<Key> {
    let result = &answered.result;
    let mut diagnosed = None;
    for (who, how) in &result.attempts {
        let usage = result.usage.iter().find(|usage| usage.analyst == *who);
        let model = usage.and_then(|usage| usage.model.clone());
        let prompt = model.is_some().then(|| answered.prompt.clone());
        let key = (Some(who.clone()), model, prompt);
        let line = lines.entry(key.clone()).or_default();
        let end = how.split(':').next().unwrap().to_owned();
        if counts {
            *line.ends.entry(end).or_default() += 1;
            if let Some(usage) = usage {
                line.latencies.push(usage.latency_ms);
                line.calls += i64::from(usage.calls);
                line.tokens.0 += usage.tokens_in as i64;
                line.tokens.1 += usage.tokens_out as i64;
                line.cost += usage.cost_micros as i64;
            } else if result.attempts.len() == 1 {
                line.latencies.push(result.latency_ms);
            }
        }
        if let Some(analysis) = result.analysis.as_ref().filter(|_| how == "answered") {
            line.diagnoses += i64::from(counts);
            line.inconclusive += i64::from(counts && analysis.inconclusive);
            diagnosed = Some(key);
        }
    }
    diagnosed
}

fn shown(((analyst, model, prompt), mut line): (Key, Line)) -> Value {
    line.latencies.sort_unstable();
    let percentile = |percent: usize| {
        let rank = (line.latencies.len() * percent).div_ceil(100);
        rank.checked_sub(1).map(|index| line.latencies[index])
    };
    let answered = line.ends.get("answered").copied().unwrap_or(0);
    let failures: BTreeMap<_, _> =
        line.ends.iter().filter(|(name, _)| *name != "answered").collect();
    json!({
        "analyst": analyst, "model": model, "prompt": prompt,
        "asked": line.ends.values().sum::<i64>(), "answered": answered, "failures": failures,
        "calls": line.calls, "tokens_in": line.tokens.0, "tokens_out": line.tokens.1,
        "cost_micros": line.cost,
        "latency_p50_ms": percentile(50), "latency_p95_ms": percentile(95),
        "diagnoses": line.diagnoses, "confirmed": line.confirmed, "rejected": line.rejected,
        "inconclusive": line.inconclusive, "useful": line.useful,
        "not_useful": line.not_useful, "noise": line.noise,
    })
}

/// In one order, so that two reports can be compared.
fn sorted(items: &Value) -> Vec<String> {
    let mut lines: Vec<String> =
        items.as_array().unwrap().iter().map(ToString::to_string).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a13_a15_the_report_is_what_the_log_says_through_deaths_of_the_projector() {
    let prices = "timeout_s = 2\nretries = 0\nbreaker = { failures = 1000, pause_s = 1 }\n\
                  price = { input = 3.0, output = 15.0 }";
    let roles = "ingest,console,triage-worker,notifier-worker";
    let mut desk = Desk::start(roles, "playbook = true", prices).await;
    let unsure = json!({
        "root_cause": "無法判斷", "impact": "?", "fix_suggestion": "?", "prevention": "?",
        "confidence": 0.1, "evidence": [], "inconclusive": true,
    });
    desk.model.does(
        [
            Does::Says("連線池耗盡".into()),
            Does::Slow(Duration::from_millis(300)),
            Does::Status(500),
            Does::Hangs,
            Does::Prose,
            Does::Writes(vec![("Boom".into(), unsure.to_string())]),
        ],
        Does::Says("磁碟空間不足".into()),
    );
    // The projector dies before and after commits, and once before it publishes nothing.
    let mut doomed = desk.fleet.start_doomed("projector", "before_commit", 3);
    let mut incidents = Vec::new();
    for n in 0..8 {
        desk.fleet.sender(desk.number).sentry("error", &error(n)).await;
        let done = "select count(*) from job where queue = 'triage' and state = 'done' and $1 = 0";
        desk.fleet.until(done, 0, i64::from(n) + 1).await;
        if n == 2 {
            desk.fleet.wait_until_dead(doomed);
            doomed = desk.fleet.start_doomed("projector", "after_commit", 2);
        }
        if n == 5 {
            desk.fleet.wait_until_dead(doomed);
            desk.fleet.start("projector");
        }
    }
    desk.fleet.settled().await;
    let list = desk.get("incidents?project_id=shop&limit=50").await;
    for n in 0..8 {
        let title = format!("Boom {n} in checkout");
        let items = list["items"].as_array().unwrap();
        incidents.push(items.iter().find(|item| item["title"] == title.as_str()).unwrap().clone());
    }
    // Nobody has a diagnosis of what the model failed at, unless the playbook knows it.
    for (n, key, verb) in [
        (0, ADA, "confirm"),
        (0, ADA, "useful"),
        (0, BOB, "useful"),
        (1, BOB, "confirm"),
        (1, ADA, "reject"),
        (1, ADA, "not_useful"),
        (2, ADA, "noise"),
        (3, BOB, "noise"),
        (5, BOB, "reject"),
        (6, ADA, "noise"),
        (6, ADA, "useful"),
        (6, ADA, "useful"),
        (7, BOB, "confirm"),
        (7, BOB, "confirm"),
    ] {
        desk.say(key, &incidents[n], verb, json!({})).await;
    }
    desk.fleet.settled().await;

    let report = desk.get("triage/report?project_id=shop").await;
    let middle = incidents[4]["opened_at"].as_str().unwrap();
    let middle_time = Time::from(middle.parse::<jiff::Timestamp>().unwrap());
    let since = desk.get(&format!("triage/report?project_id=shop&from={middle}")).await;
    let until = desk.get(&format!("triage/report?project_id=shop&to={middle}")).await;
    let elsewhere = desk.get("triage/report?project_id=infra").await;
    assert_eq!(elsewhere["items"], json!([]), "nothing of another project");
    let run = |words: &[&str]| {
        let mut command = Command::new(bellwether());
        command.arg("triage-report").args(words).arg("--config").arg(desk.fleet.config());
        let Output { status, stdout, stderr } =
            command.current_dir(desk.fleet.world.dir.path()).output().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        (status.success(), said)
    };
    let (done, as_json) = run(&["--project", "shop", "--json"]);
    assert!(done, "{as_json}");
    let as_json: Value = serde_json::from_str(&as_json).unwrap();
    assert_eq!(as_json, report);
    let (done, table) = run(&[]);
    assert!(done && table.contains("openclaw") && table.contains("confirmed"), "{table}");
    println!("{table}");
    let (done, refused) = run(&["--from", "yesterday"]);
    assert!(!done && refused.contains("is no time"), "{refused}");

    desk.fleet.stop_all();
    let lanes = tests::oracle::check(&desk.fleet.world).await;
    assert_eq!(sorted(&report["items"]), sorted(&recount(&lanes, None, None)));
    let later = recount(&lanes, Some(middle_time), None);
    assert_eq!(sorted(&since["items"]), sorted(&later));
    assert_eq!(sorted(&until["items"]), sorted(&recount(&lanes, None, Some(middle_time))));

    // And it says something.
    let items = report["items"].as_array().unwrap();
    let model =
        items.iter().find(|i| i["analyst"] == "openclaw" && !i["prompt"].is_null()).unwrap();
    assert_eq!(model["asked"].as_i64().unwrap(), 10, "{model}");
    assert_eq!((&model["confirmed"], &model["rejected"]), (&json!(2), &json!(2)), "{model}");
    assert_eq!(model["inconclusive"], 1, "{model}");
    assert_eq!((&model["useful"], &model["not_useful"]), (&json!(3), &json!(1)), "{model}");
    let failures: Vec<&String> = model["failures"].as_object().unwrap().keys().collect();
    assert_eq!(failures, ["no_object", "server_error", "timeout"]);
    assert!(model["cost_micros"].as_i64().unwrap() > 0, "{model}");
    assert!(model["latency_p95_ms"].as_i64() > model["latency_p50_ms"].as_i64(), "{model}");
}
