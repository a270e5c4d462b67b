//! The senders' own paths, end to end: what each body becomes, and that whoever may not send is
//! heard at none of them.

use serde_json::{Value, json};
use tests::fleet::SENTRY_SECRET;

use super::{Doors, EVERYTHING, basic, headers, source};

const KEY: &str = "a-key-of-the-scripts";

/// Sources that answer at the shared path, one each.
fn shared() -> String {
    let key = format!("bearer = [{{ key = \"{KEY}\" }}]");
    ["grafana", "signoz", "custom"].map(|name| source(name, name, &key)).concat()
}

/// R6, R7, R8, R9, R20.
#[tokio::test(flavor = "multi_thread")]
async fn r6_r7_r8_r20_one_path_takes_every_shape_and_says_what_became_of_it() {
    let doors = Doors::open(EVERYTHING, &shared()).await;
    let bearer = headers(&[("authorization", &format!("Bearer {KEY}"))]);
    let am = tests::fleet::ALERTMANAGER_PASSWORD;
    let am = headers(&[("authorization", &basic("alertmanager", am))]);
    let group = |labels: Value| {
        let alert = json!({
            "status": "firing", "labels": labels, "annotations": {"summary": "s"},
            "startsAt": "2026-01-01T00:00:00Z", "fingerprint": "00aa00aa00aa00aa",
        });
        json!({"version": "4", "groupKey": "g", "status": "firing", "receiver": "r", "alerts": [alert]})
    };
    let mut unified = group(json!({"alertname": "CPU"}));
    unified["orgId"] = json!(1);
    unified["state"] = json!("alerting");
    let legacy = |state: &str| {
        json!({
            "title": "[Alerting] Disk", "state": state, "message": "m", "ruleId": 7,
            "ruleName": "Disk", "ruleUrl": "http://g/d/7", "orgId": 1, "dashboardId": 2,
            "panelId": 3, "tags": {},
            "evalMatches": [{"value": 91.5, "metric": "used", "tags": {"host": "a"}}],
        })
    };
    let text = "[告警] 连接池耗尽\n服务: pay\n命名空间: prod";
    for (provider, with, body, name, effect) in [
        ("alertmanager", &am, group(json!({"alertname": "Down"})), "Down", "opened"),
        ("grafana", &bearer, unified, "CPU", "opened"),
        ("grafana", &bearer, legacy("alerting"), "Disk", "opened"),
        ("grafana", &bearer, legacy("ok"), "Disk", "resolved"),
        ("signoz", &bearer, group(json!({"alertname": "Slow", "ruleId": "7"})), "Slow", "opened"),
        ("custom", &bearer, json!({"message": text, "sender_id": "b"}), "连接池耗尽", "opened"),
    ] {
        let id = doors.accepted("/api/alert", with, body.to_string().as_bytes()).await;
        let became = doors.delivery(id).await;
        assert_eq!(became["outcome"], "observed", "{provider}: {became}");
        let alert = &became["alerts"][0];
        assert_eq!((&alert["alertname"], &alert["effect"]), (&json!(name), &json!(effect)));
        assert_eq!(doors.in_log().await[&id].provider, provider);
    }
    // Somebody's shape, and bad: stored, and rejected where everybody can see it.
    for (with, body) in [(&am, r#"{"alerts":7}"#), (&bearer, r#"{"evalMatches":7}"#)] {
        let id = doors.accepted("/api/alert", with, body.as_bytes()).await;
        assert_eq!(doors.delivery(id).await["outcome"], "rejected", "{body}");
    }
    // Nobody's shape, from a person who can mend it.
    for (body, status) in [("{}", 422), (r#"{"message":"x"}"#, 422), ("x", 400)] {
        let answer = doors.post("/api/alert", &bearer, body.into()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
}

/// R5: the plugin's path, which the console's port answers too.
#[tokio::test(flavor = "multi_thread")]
async fn r5_the_plugins_path_takes_flat_bodies_and_names_of_channels() {
    // There are sources of several projects, so this one says whose bots it may name.
    let plugin = "basic = { user = \"sentry\", password = \"p\" }\nchannels = [\"bot\", \"hook\"]";
    let address = "http://127.0.0.1:9/open-apis/bot/v2/hook/4c0e1a52";
    let bot = |id: &str, url: &str| {
        format!(
            "\n[channels.{id}]\nkind = \"feishu\"\nurl = \"{url}\"\ntimeout_ms = 1000\nallow_private = true\n\
             receivers = [\"bots\"]\n"
        )
    };
    let bots = [bot("bot", address), bot("other", "http://127.0.0.1:9/hook/other")].concat();
    let doors = Doors::changed(EVERYTHING, &bots, |text| {
        let secret = format!("secret = \"{SENTRY_SECRET}\"");
        assert!(text.contains(&secret));
        text.replace(&secret, plugin)
    })
    .await;
    let with = headers(&[("authorization", &basic("sentry", "p"))]);
    let body = json!({
        "id": "77", "project": "shop", "level": "error", "culprit": "cart.sum", "message": "",
        "url": "https://sentry.example/issues/77/", "event": {"title": "KeyError", "event_id": "e"},
    });
    let body = body.to_string();
    let answer = doors.post("/hook?feishu=bot", &with, body.clone().into()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let said: Value = serde_json::from_str(&answer.text).unwrap();
    let id = said["event_id"].as_str().unwrap().parse().unwrap();
    let became = doors.delivery(id).await;
    assert_eq!(became["outcome"], "observed", "{became}");
    assert_eq!(became["alerts"][0]["title"], "KeyError", "{became}");
    assert_eq!(doors.in_log().await[&id].channel.as_deref(), Some("bot"));
    // By its address as well, which stands nowhere afterwards.
    let answer = doors.post(&format!("/hook?feishu={address}"), &with, body.clone().into()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert!(!doors.said().contains(address), "an address is a credential");
    let receiver = doors.fleet.receiver.url.clone();
    for nobody in [
        "nobody",
        "http://127.0.0.1:1/",
        "https://open.feishu.cn/open-apis/bot/v2/hook/x",
        // A bot of others, and a channel that is none.
        "other",
        "hook",
        &receiver,
    ] {
        let path = format!("/hook?feishu={nobody}");
        let answer = doors.post(&path, &with, body.clone().into()).await;
        assert_eq!(answer.status, 422, "{nobody}: {}", answer.text);
    }
    let console = format!("http://{}/hook", doors.console);
    let answer = doors.fleet.client.post(console).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(doors.in_log().await.len(), 2);
}

/// R12, R74: the list of the environment, and what it does not concern.
#[tokio::test(flavor = "multi_thread")]
async fn r12_r74_addresses_that_are_not_listed_reach_the_probes_alone() {
    let doors = Doors::changed(EVERYTHING, "", |text| {
        text.replace(
            "ingest.listen",
            "ingest.allowed_ips = \"10.0.0.0/8, 172.16.0.0/12\"\ningest.listen",
        )
    })
    .await;
    for path in ["/webhook/sentry", "/api/alert", "/hook", "/test"] {
        for address in [doors.ingest, doors.console] {
            let url = format!("http://{address}{path}");
            let answer = doors.fleet.client.post(url).body("{}").send().await.unwrap();
            assert_eq!(answer.status(), 403, "{path}");
            assert_eq!(answer.text().await.unwrap(), r#"{"error":"IP not allowed"}"#);
        }
    }
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(doors.get(path).await.status, 200, "{path}");
    }
    // Nobody believes what a stranger says of its own address.
    let forged = headers(&[("x-forwarded-for", "10.0.0.1")]);
    assert_eq!(doors.post("/webhook/sentry", &forged, b"{}".to_vec()).await.status, 403);
    assert!(doors.in_log().await.is_empty());
    let metrics = doors.get("/metrics").await.text;
    assert!(metrics.contains(r#"outcome="forbidden_ip""#), "{metrics}");
}
