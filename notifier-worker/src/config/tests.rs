use super::*;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";

pub(crate) fn target(kind: &str, url: Option<&str>) -> Target {
    let mut config = serde_json::json!({"kind": kind});
    if let Some(url) = url {
        config["url"] = url.into();
    }
    if kind == "webhook" {
        config["secret"] = SECRET.into();
        config["previous_secret"] = SECRET.into();
    }
    target_of(config).unwrap()
}

pub(crate) fn target_of(json: serde_json::Value) -> Result<Target, String> {
    let config = serde_json::from_value(json).map_err(|e| e.to_string())?;
    super::target("out", &config).map_err(|e| e.to_string())
}

pub(crate) fn feishu(secret: Option<&str>) -> Target {
    let url = "https://open.feishu.cn/open-apis/bot/v2/hook/0f1e2d3c-hunter2";
    let mut config = serde_json::json!({"kind": "feishu", "url": url});
    if let Some(secret) = secret {
        config["secret"] = secret.into();
    }
    target_of(config).unwrap()
}

fn check(json: serde_json::Value, expect: Result<(), &str>) {
    match (target_of(json.clone()), expect) {
        (Ok(target), Ok(())) => assert_eq!(target.id, "out"),
        (Err(got), Err(want)) => {
            assert!(got.contains(want), "{json}: {got:?} lacks {want:?}");
            assert!(!got.contains("hunter2"), "{json}: {got:?} shows a secret");
        }
        (got, want) => panic!("{json} gave {got:?}, not {want:?}"),
    }
}

#[test]
fn errors_name_key_problem_and_remedy_and_show_no_secret() {
    use serde_json::json;
    let hook = "https://hooks.example.com/hunter2";
    check(json!({"kind": "log"}), Ok(()));
    check(json!({"kind": "webhook", "url": hook, "secret": SECRET}), Ok(()));
    check(json!({"kind": "pigeon"}), Err("channels.out.kind: there is no such kind"));
    check(json!({"kind": "log", "colour": "red"}), Err("channels.out.colour: kind log takes none"));
    check(json!({"kind": "log", "url": hook}), Err("channels.out.url: kind log takes none"));
    check(json!({"kind": "webhook", "secret": SECRET}), Err("out.url: kind webhook needs"));
    check(json!({"kind": "webhook", "url": hook}), Err("openssl rand -base64 32"));
    for secret in ["hunter2", "whsec_hunter2!", "whsec_aHVudGVyMg=="] {
        let channel = json!({"kind": "webhook", "url": hook, "secret": secret});
        check(channel, Err("channels.out.secret: it "));
    }
    for url in ["hunter2", "ftp://example.com/hunter2", "data:hunter2"] {
        let channel = json!({"kind": "webhook", "url": url, "secret": SECRET});
        check(channel, Err("channels.out.url: this is no"));
    }
    let private = "http://2130706433/hunter2";
    let channel = json!({"kind": "webhook", "url": private, "secret": SECRET});
    check(channel, Err("set allow_private = true"));
    let channel =
        json!({"kind": "webhook", "url": private, "secret": SECRET, "allow_private": true});
    check(channel, Ok(()));
    check(json!({"kind": "log", "receivers": []}), Err("serves nobody"));
    check(json!({"kind": "log", "timeout_ms": 0}), Err("out of range"));
    check(json!({"kind": "log", "per_minute": 0}), Err("channels.out.per_minute: out of range"));
}

#[test]
fn feishu_and_telegram_name_what_they_need() {
    use serde_json::json;
    let hook = "https://open.feishu.cn/open-apis/bot/v2/hook/hunter2";
    let token = "123456789:hunter2-hunter2-hunter2_x";
    check(json!({"kind": "feishu", "url": hook}), Ok(()));
    check(json!({"kind": "feishu", "url": hook, "secret": "hunter2"}), Ok(()));
    check(json!({"kind": "feishu"}), Err("channels.out.url: kind feishu needs one; set it"));
    let empty = json!({"kind": "feishu", "url": hook, "secret": " "});
    check(empty, Err("channels.out.secret: it is empty; use the secret as"));
    let two = json!({"kind": "feishu", "url": hook, "secret": "a", "previous_secret": "b"});
    check(two, Err("channels.out.previous_secret: kind feishu takes none; remove"));
    let chat = json!({"kind": "feishu", "url": hook, "chat_id": 1});
    check(chat, Err("channels.out.chat_id: kind feishu takes none; remove"));

    let telegram = |key: &str, value: serde_json::Value| {
        let mut config = json!({"kind": "telegram", "token": token, "chat_id": -100_123});
        config[key] = value;
        config
    };
    for (key, value) in [
        ("chat_id", json!("-100123")),
        ("chat_id", json!(100_123)),
        ("chat_id", json!("@ops_alerts")),
        ("thread_id", json!(7)),
        ("thread_id", json!("7")),
        ("url", json!("https://telegram.example.com/api")),
    ] {
        check(telegram(key, value), Ok(()));
    }
    for (key, value, expect) in [
        ("token", json!(null), "channels.out.token: this is no text; use"),
        ("token", json!("hunter2"), "channels.out.token: this is no bot's token; use"),
        ("token", json!(format!("{token}/../x")), "channels.out.token: this is no bot's"),
        ("chat_id", json!("ops"), "channels.out.chat_id: this is no chat; use"),
        ("chat_id", json!("@o"), "channels.out.chat_id: this is no chat; use"),
        ("chat_id", json!(0), "channels.out.chat_id: this is no chat; use"),
        ("chat_id", json!(1.5), "channels.out.chat_id: this is neither a whole number nor a text"),
        ("thread_id", json!(0), "channels.out.thread_id: this is no topic; use"),
        ("secret", json!("x"), "channels.out.secret: kind telegram takes none; remove"),
    ] {
        check(telegram(key, value), Err(expect));
    }
    let alone = json!({"kind": "telegram", "token": token});
    check(alone, Err("channels.out.chat_id: kind telegram needs one; use"));
}

#[test]
fn credentials_are_hidden_where_a_receiver_repeats_them() {
    let shown =
        feishu(None).hide_credentials("no hook 0f1e2d3c-hunter2 for /hook/0f1e2d3c-hunter2");
    assert_eq!(shown, "no hook … for /hook/…");
    let token = "123456789:hunter2-hunter2-hunter2_x";
    let config = serde_json::json!({"kind": "telegram", "token": token, "chat_id": 1});
    let target = target_of(config).unwrap();
    assert_eq!(target.hide_credentials(&format!("/bot{token}/sendMessage")), "/bot…/sendMessage");
    assert!(!format!("{target:?}").contains("hunter2"));
}

#[test]
fn a_lease_outlives_two_timeouts() {
    let config = serde_json::from_str(r#"{"kind": "log", "timeout_ms": 30000}"#).unwrap();
    let channels = Channels::new(&BTreeMap::from([("slow".to_owned(), config)])).unwrap();
    assert_eq!(Config::default().check(&Channels::default()), Ok(()));
    assert_eq!(Config::default().check(&channels).unwrap_err().key, "deliver.lease_ms");
    let config = Config { lease_ms: 60_001, ..Config::default() };
    assert_eq!(config.check(&channels), Ok(()));
}

#[test]
fn receivers_are_served_by_the_channels_that_name_them() {
    let config = |json| serde_json::from_str::<ChannelConfig>(json).unwrap();
    let channels = Channels::new(&BTreeMap::from([
        ("a".to_owned(), config(r#"{"kind": "log"}"#)),
        ("b".to_owned(), config(r#"{"kind": "log", "receivers": ["ops", "default"]}"#)),
    ]))
    .unwrap();
    let ids = |receiver| channels.serving(receiver).map(|t| t.id.as_str()).collect::<Vec<_>>();
    assert_eq!(ids("default"), ["a", "b"]);
    assert_eq!(ids("ops"), ["b"]);
    assert!(ids("nobody").is_empty());
}
