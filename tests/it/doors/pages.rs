//! What operators ask of much: silences of nearly everything, silences said twice, and deliveries of many
//! alerts.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::fleet::ALERTMANAGER_PASSWORD;

use super::{Doors, EVERYTHING, basic, headers};

/// Key of an operator who may silence.
const BOSS: &str = "bwk_of_the_boss";

/// Alerts of one delivery, each of a problem of its own.
const ALERTS: usize = 120;

fn boss() -> String {
    let key = const_hex::encode(Sha256::digest(BOSS));
    format!(
        "\n[console.operators.boss]\nkey_sha256 = \"{key}\"\nrole = \"operator\"\nprojects = [\"*\"]\n"
    )
}

/// One delivery of many alerts, that is folded and shown.
async fn delivered(doors: &Doors) -> uuid::Uuid {
    let alerts: Vec<Value> = (0..ALERTS)
        .map(|n| {
            let team = if n < 100 { "storage" } else { "network" };
            json!({"status": "firing", "startsAt": "2026-11-20T10:00:00Z", "fingerprint": n.to_string(),
                "labels": {"alertname": format!("Alert{n}"), "team": team}, "annotations": {}})
        })
        .collect();
    let body = json!({"version": "4", "status": "firing", "alerts": alerts}).to_string();
    let proof = basic("alertmanager", ALERTMANAGER_PASSWORD);
    let headers = headers(&[("authorization", &proof)]);
    let id = doors.accepted("/webhook/alertmanager", &headers, body.as_bytes()).await;
    assert_eq!(doors.delivery(id).await["outcome"], "observed");
    doors.fleet.settled().await;
    id
}

/// Says it to the API as the boss.
async fn post(doors: &Doors, key: Option<&str>, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{}/api/v1/{path}", doors.console);
    let mut request = doors.fleet.client.post(url).bearer_auth(BOSS).body(body.to_string());
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_silence_said_twice_is_one_and_a_wide_one_has_to_be_forced() {
    let doors = Doors::open(EVERYTHING, &boss()).await;
    delivered(&doors).await;
    let ends_at = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2)).to_string();
    let of = |matchers: &str| json!({"project_id": "infra", "matchers": matchers, "ends_at": ends_at, "reason": "x"});
    let silence =
        async |key: Option<&str>, body: &Value| post(&doors, key, "silences?wait=10", body).await;
    let count = async || {
        let all =
            doors.fleet.get(doors.console, "/api/v1/silences?project_id=infra&state=all").await;
        all["total"].as_u64().unwrap()
    };

    // 100 of 120 problems, or what chooses nothing.
    for (matchers, says) in [
        ("team=storage", "they match 100 of the 120 problems"),
        ("provider=~\".+\"", "they choose nothing"),
        ("project=infra", "they choose nothing"),
    ] {
        let (status, problem) = silence(None, &of(matchers)).await;
        assert_eq!(status, 422, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says) && detail.contains("force: true"), "{detail}");
        let asked = json!({"project_id": "infra", "matchers": matchers});
        let (_, preview) = post(&doors, None, "silences/preview", &asked).await;
        assert_eq!((&preview["wide"], &preview["problems"]), (&json!(true), &json!(120)));
    }
    assert_eq!(count().await, 0);
    let mut forced = of("team=storage");
    forced["force"] = true.into();
    let (status, made) = silence(None, &forced).await;
    assert_eq!((status, made["position"].is_string()), (200, true), "{made}");

    // The same words are the same silence, and nothing is written for them.
    let (status, again) = silence(None, &forced).await;
    assert_eq!((status, &again["position"]), (200, &Value::Null), "{again}");
    assert_eq!(again["silence_id"], made["silence_id"]);
    let (_, other) = silence(None, &of("team=network")).await;
    assert_ne!(other["silence_id"], made["silence_id"]);
    assert_eq!(count().await, 2);

    // The same key is the same silence, and no other.
    let (_, first) = silence(Some("deploy-17"), &of("team=network")).await;
    assert_ne!(first["silence_id"], other["silence_id"]);
    let (status, again) = silence(Some("deploy-17"), &of("team=network")).await;
    assert_eq!((status, &again["silence_id"]), (200, &first["silence_id"]));
    let (status, problem) = silence(Some("deploy-17"), &of("alertname=Alert1")).await;
    assert_eq!(status, 422, "{problem}");
    let (status, _) = silence(Some("two words"), &of("team=network")).await;
    assert_eq!(status, 422);
    assert_eq!(count().await, 3);

    // Ended, it holds again when it is said again; by its key it stays as it is.
    for made in [&other, &first] {
        let id = made["silence_id"].as_str().unwrap();
        let (status, _) =
            post(&doors, None, &format!("silences/{id}/end?wait=10"), &json!({})).await;
        assert_eq!(status, 200);
    }
    let (_, said) = silence(None, &of("team=network")).await;
    assert_eq!(
        (&said["silence_id"], &said["silence"]["state"]),
        (&other["silence_id"], &json!("active"))
    );
    let (_, said) = silence(Some("deploy-17"), &of("team=network")).await;
    assert_eq!(
        (&said["silence_id"], &said["silence"]["state"]),
        (&first["silence_id"], &json!("over"))
    );
    assert_eq!(count().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn r71_a_delivery_of_many_alerts_is_read_in_pages() {
    let doors = Doors::open(EVERYTHING, "").await;
    let id = delivered(&doors).await;
    for (path, limit) in
        [(format!("/api/v1/deliveries/{id}"), 70), (format!("/api/v1/why/{id}"), 50)]
    {
        let (mut titles, mut incidents) = (BTreeSet::new(), BTreeSet::new());
        let (mut after, mut pages) = (String::new(), 0);
        loop {
            let page =
                doors.fleet.get(doors.console, &format!("{path}?limit={limit}{after}")).await;
            let alerts = page["alerts"].as_array().unwrap();
            assert!(alerts.len() <= limit, "{}", alerts.len());
            titles.extend(alerts.iter().map(|alert| alert["title"].to_string()));
            // Of each alert of the page its incident, and what was decided about it.
            let of = |alert: &Value| alert["incident_id"].to_string();
            let here: BTreeSet<_> = alerts.iter().map(of).collect();
            let about = page.get("steps").unwrap_or(&page["incidents"]).as_array().unwrap();
            assert_eq!(about.iter().map(of).collect::<BTreeSet<_>>(), here);
            for step in page["steps"].as_array().into_iter().flatten() {
                assert!(!step["decisions"].as_array().unwrap().is_empty(), "{step}");
            }
            incidents.extend(here);
            pages += 1;
            let Some(next) = page["next"].as_u64() else { break };
            after = format!("&after={next}");
        }
        assert_eq!((titles.len(), incidents.len()), (ALERTS, ALERTS), "{path}");
        assert_eq!(pages, ALERTS.div_ceil(limit), "{path}");
        let refused = doors.fleet.client.get(format!("http://{}{path}?after=-1", doors.console));
        let refused = refused.bearer_auth(tests::fleet::OPERATOR_KEY).send().await.unwrap();
        assert_eq!(refused.status(), 422);
    }
}
