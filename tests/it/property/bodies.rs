//! What senders of a random log say.

use schemas::Time;
use serde_json::{Value, json};

use super::log::Dice;

/// Problems of each provider in a project.
const PROBLEMS: u64 = 25;

/// One delivery.
pub struct Told {
    pub provider: &'static str,
    pub source: &'static str,
    pub headers: Vec<(String, String)>,
    pub raw: Vec<u8>,
    /// Number of each alert's problem, and whether it says that it fires.
    pub problems: Vec<(u64, bool)>,
    /// It will be rejected or parked.
    pub given_up: bool,
}

/// A delivery of any provider; of `broken` logs a few are of a provider that nobody knows.
pub fn any(dice: &mut Dice, now: Time, n: u64, broken: bool) -> Told {
    let mut told = match dice.below(10) {
        0..=3 => alertmanager(dice, now),
        4..=6 => sentry(dice, now, n),
        7 => custom(dice),
        8 => signoz(dice, now),
        _ => grafana(dice),
    };
    match dice.below(100) {
        0 => told.source = "test",
        1..=2 => {
            told.raw = b"{\"not\": ".to_vec();
            told.given_up = true;
            told.problems.clear();
        }
        3 if broken && dice.one_in(4) => {
            told.provider = "nobody";
            told.given_up = true;
            told.problems.clear();
        }
        _ => {}
    }
    told
}

/// The text of our own shape.
pub fn message(problem: &str, fires: bool) -> String {
    let word = if fires { "告警" } else { "恢复" };
    let text = format!("[{word}] Queue of {problem} is full\n服务: {problem}\n命名空间: shop");
    json!({"message": text, "sender_id": "bot", "chat_id": "c"}).to_string()
}

fn told(provider: &'static str, body: &Value, problems: Vec<(u64, bool)>) -> Told {
    Told {
        provider,
        source: provider,
        headers: Vec::new(),
        raw: body.to_string().into_bytes(),
        problems,
        given_up: false,
    }
}

/// A moment within the last few minutes, at times one long ago.
fn moment(dice: &mut Dice, now: Time) -> String {
    let ago = if dice.one_in(8) { dice.below(40_000) } else { dice.below(200) };
    now.plus_seconds(-(ago as i64)).to_string()
}

fn group(dice: &mut Dice, now: Time) -> (Vec<Value>, Vec<(u64, bool)>) {
    let (mut alerts, mut problems) = (Vec::new(), Vec::new());
    let over = String::from("0001-01-01T00:00:00Z");
    for _ in 0..=dice.below(4) {
        let (problem, fires) = (dice.below(PROBLEMS), !dice.one_in(3));
        let at = moment(dice, now);
        let levels = ["critical", "warning", "info", "sev-1"];
        alerts.push(json!({
            "status": if fires { "firing" } else { "resolved" },
            "labels": {
                "alertname": format!("Down{}", problem % 5), "instance": format!("i{problem}"),
                "severity": levels[(problem % 4) as usize], "namespace": "shop",
            },
            "annotations": {"summary": "down"},
            "startsAt": at, "endsAt": if fires { over.clone() } else { at.clone() },
        }));
        problems.push((problem, fires));
    }
    (alerts, problems)
}

fn alertmanager(dice: &mut Dice, now: Time) -> Told {
    let (alerts, problems) = group(dice, now);
    let body = json!({
        "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "truncatedAlerts": 0, "alerts": alerts,
    });
    told("alertmanager", &body, problems)
}

fn signoz(dice: &mut Dice, now: Time) -> Told {
    let (mut alerts, mut problems) = group(dice, now);
    for alert in &mut alerts {
        alert["labels"]["ruleId"] = json!("0193a1f0");
    }
    for (problem, _) in &mut problems {
        *problem += 1_000;
    }
    let body = json!({"version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
        "alerts": alerts});
    told("signoz", &body, problems)
}

fn grafana(dice: &mut Dice) -> Told {
    let (problem, fires) = (dice.below(PROBLEMS), !dice.one_in(3));
    let body = json!({
        "title": format!("Restarts {problem}"), "ruleId": problem, "ruleName": format!("R{problem}"),
        "state": if fires { "alerting" } else { "ok" }, "message": "restarts", "orgId": 1,
        "ruleUrl": "https://grafana.example.org/d/x", "evalMatches": [], "tags": {},
    });
    told("grafana", &body, vec![(2_000 + problem, fires)])
}

fn custom(dice: &mut Dice) -> Told {
    let (problem, fires) = (dice.below(PROBLEMS), !dice.one_in(4));
    let mut told = told("custom", &Value::Null, vec![(3_000 + problem, fires)]);
    told.raw = if dice.one_in(12) {
        told.problems.clear();
        json!({"message": "lunch?", "sender_id": "ada"}).to_string()
    } else {
        message(&format!("q{problem}"), fires)
    }
    .into_bytes();
    told
}

/// The same event arrives as error, issue and event alert, in any order.
fn sentry(dice: &mut Dice, now: Time, n: u64) -> Told {
    let issue = dice.below(PROBLEMS);
    // A few reports of one occurrence each.
    let event_id = format!("{:032x}", n / 400 * 1_000 + issue * 3 + dice.below(3));
    let environment = ["production", "staging"][dice.below(2) as usize];
    let of_issue = json!({
        "id": issue.to_string(), "title": format!("Error {issue}"), "culprit": "shop.cart",
        "level": "error", "project": {"id": "1", "slug": "shop"}, "firstSeen": moment(dice, now),
    });
    let event = json!({
        "event_id": event_id, "issue_id": issue.to_string(), "title": format!("Error {issue}"),
        "culprit": "shop.cart", "level": "error", "project": 1, "environment": environment,
        "datetime": moment(dice, now),
        "issue_url": format!("https://sentry.example.org/api/0/organizations/acme/issues/{issue}/"),
    });
    let (resource, action, data, fires) = match dice.below(10) {
        0..=3 => ("error", "created", json!({"error": event}), true),
        4..=5 => (
            "event_alert",
            "triggered",
            json!({"event": event, "triggered_rule": "every new one"}),
            true,
        ),
        6 => ("issue", "created", json!({"issue": of_issue}), true),
        7..=8 => ("issue", "resolved", json!({"issue": of_issue}), false),
        _ => ("issue", "archived", json!({"issue": of_issue}), false),
    };
    let body = json!({"action": action, "data": data});
    let mut told = told("sentry", &body, vec![(4_000 + issue, fires)]);
    told.headers.push(("sentry-hook-resource".into(), resource.into()));
    if dice.one_in(2) {
        told.headers.push(("idempotency-key".into(), format!("delivery-{n}")));
    }
    told
}
