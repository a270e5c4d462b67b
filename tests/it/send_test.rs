//! R18 and R72: a test on a real `up`, from POST /test to what the receivers said.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    receivers::telegram::{Api, CHAT, LEFT, TOKEN},
    temp_dir,
};

use crate::newcomer::{Up, bellwether};

/// What a test may take (R18).
const IN_TIME: Duration = Duration::from_secs(10);

/// Two channels: `ops` is told what the routes say, `gone` only what it is asked for, and refuses.
fn channels(api: &Api) -> Vec<(&'static str, String)> {
    let mut env = Vec::new();
    for (name, value) in [
        ("BELLWETHER__CHANNELS__OPS__KIND", "telegram".to_owned()),
        ("BELLWETHER__CHANNELS__OPS__TOKEN", TOKEN.to_owned()),
        ("BELLWETHER__CHANNELS__OPS__CHAT_ID", CHAT.to_string()),
        ("BELLWETHER__CHANNELS__OPS__URL", api.url.clone()),
        ("BELLWETHER__CHANNELS__OPS__ALLOW_PRIVATE", "true".to_owned()),
        ("BELLWETHER__CHANNELS__GONE__KIND", "telegram".to_owned()),
        ("BELLWETHER__CHANNELS__GONE__TOKEN", TOKEN.to_owned()),
        ("BELLWETHER__CHANNELS__GONE__CHAT_ID", LEFT.to_string()),
        ("BELLWETHER__CHANNELS__GONE__URL", api.url.clone()),
        ("BELLWETHER__CHANNELS__GONE__ALLOW_PRIVATE", "true".to_owned()),
        ("BELLWETHER__CHANNELS__GONE__RECEIVERS", "[\"nobody\"]".to_owned()),
        ("BELLWETHER__CHANNELS__GONE__LANGUAGE", "en".to_owned()),
    ] {
        env.push((name, value));
    }
    env
}

fn send_test(up: &Up, env: &[(&str, String)], words: &[&str]) -> (Output, String) {
    let output = Command::new(bellwether())
        .arg("send-test")
        .args(words)
        .arg("--dir")
        .arg(up.dir())
        .envs(env.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    (output, String::from_utf8(said).unwrap())
}

/// The path at which the API says what became of it.
fn status_path(said: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix("status ")).unwrap();
    let at = line.find("/api/").unwrap_or_else(|| panic!("{line}"));
    line[at..].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn r18_a_test_is_one_marked_message_in_time_and_its_verdict_stands_at_its_status_url() {
    let api = Api::start().await;
    // One of the channels leads to a chat that is gone.
    api.inbox.may_refuse();
    let env = channels(&api);
    let home = temp_dir();
    let up = Up::start_with(home.path(), "up", &env);

    let begun = Instant::now();
    let (output, said) = send_test(&up, &env, &[]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    assert!(said.contains("delivered ops (telegram)"), "{said}");
    let taken = api.inbox.taken();
    assert_eq!(taken.len(), 1, "{taken:?}");
    let text = taken[0]["text"].as_str().unwrap();
    assert!(text.contains("🧪 測試訊息") && text.contains("🔖 bellwether send-test"), "{text}");
    assert!(taken[0]["reply_markup"].is_null(), "nothing to press below a test");

    let status = up.get(&status_path(&said)).await;
    let told = |target: &str| -> Value {
        let sends = status["sends"].as_array().unwrap();
        sends.iter().find(|send| send["target"] == target).unwrap().clone()
    };
    let ops = told("ops");
    assert_eq!((&ops["kind"], &ops["result"]), (&json!("test"), &json!("delivered")));
    assert_eq!(ops["detail"], format!("{CHAT}/100"));
    assert_eq!(status["alerts"][0]["stage"], "test");
    assert_eq!((&status["incidents"], &status["waiting"]), (&json!([]), &json!([])));

    // A channel that refuses: its own words, at the same place.
    let (output, said) = send_test(&up, &env, &["--channel", "gone"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refused   gone (telegram): 403: Forbidden"), "{said}");
    let status = up.get(&status_path(&said)).await;
    let [refused] = status["sends"].as_array().unwrap().as_slice() else { panic!("{status}") };
    assert_eq!((&refused["target"], &refused["result"]), (&json!("gone"), &json!("refused")));
    assert!(refused["detail"].as_str().unwrap().contains("bot was kicked"), "{refused}");
    assert!(!said.contains(TOKEN) && !status.to_string().contains(TOKEN));

    let (output, said) = send_test(&up, &env, &["--channel", "nowhere"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("422") && said.contains("none of those configured"), "{said}");

    // R72: what a deployment's smoke run found, as it is.
    let (output, said) = send_test(&up, &env, &["--channel", "ops", "--smoke", "pass", "5/5"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(api.inbox.taken().last().unwrap()["text"], "🎭 Smoke: PASS 5/5");
    let (output, said) = send_test(&up, &env, &["--channel", "ops", "--smoke", "fail", "/login"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(api.inbox.taken().last().unwrap()["text"], "🎭 Smoke: FAIL /login");
    assert_eq!(api.inbox.taken().len(), 3);
}

#[test]
fn render_shows_what_a_channel_would_send_and_sends_nothing() {
    let folder = temp_dir();
    let file = folder.path().join("bellwether.toml");
    std::fs::create_dir_all(folder.path().join("templates/any")).unwrap();
    let configured = format!(
        "[deliver]\ntemplates = \"templates\"\n\n[channels.ops]\nkind = \"telegram\"\n\
         token = \"{TOKEN}\"\nchat_id = 7\nlanguage = \"en\"\n"
    );
    std::fs::write(&file, configured).unwrap();
    let run = |verb: &str, words: &[&str]| {
        let output = Command::new(bellwether())
            .arg(verb)
            .args(words)
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = [output.stdout.clone(), output.stderr.clone()].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };

    let (code, said) = run("render", &["--channel", "ops", "--kind", "fire"]);
    assert_eq!(code, Some(0), "{said}");
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert!(shown["text"].as_str().unwrap().contains("❌ SENTRY ERROR ALERT"), "{said}");
    assert!(said.contains("✋ Ack") && !said.contains(TOKEN), "{said}");

    for (words, expect) in [
        (vec!["--channel", "wecom-robot", "--sample", "alert"], "🔥 [FIRING] Redis"),
        (vec!["--channel", "feishu", "--kind", "resolve"], "已恢复"),
        (vec!["--channel", "log", "--kind", "summary", "--language", "en"], "Hourly summary"),
        (vec!["--channel", "log", "--kind", "update", "--language", "zh-CN"], "已认领"),
        (vec!["--channel", "log", "--kind", "reply", "--language", "en"], "/ack number"),
    ] {
        let (code, said) = run("render", &words);
        assert_eq!(code, Some(0), "{words:?}: {said}");
        assert!(said.contains(expect), "{words:?}: {said}");
    }

    // A payload of one's own, and a template of one's own.
    let payload = folder.path().join("payload.json");
    let alert = json!({"status": "firing", "labels": {"alertname": "Mine"}});
    std::fs::write(&payload, json!({"version": "4", "alerts": [alert]}).to_string()).unwrap();
    let template = folder.path().join("mine.txt");
    std::fs::write(&template, "ours: {{ title }}").unwrap();
    let (payload, template) = (payload.to_str().unwrap(), template.to_str().unwrap());
    let words = ["--channel", "log", "--sample", payload, "--template", template];
    let (code, said) = run("render", &words);
    assert_eq!((code, said.as_str()), (Some(0), "ours: Mine\n"));
    std::fs::write(template, "a\n{{ titel }}").unwrap();
    let (code, said) = run("render", &words);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("mine.txt, line 2"), "{said}");
    let (code, said) = run("render", &["--channel", "pigeon"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("configured are: ops") && said.contains("telegram"), "{said}");

    // check-config reads the folder, and says where a template is wrong.
    let (code, said) = run("check-config", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("templates     0 in "), "{said}");
    std::fs::write(folder.path().join("templates/any/fire.txt"), "x\n{% if %}").unwrap();
    let (code, said) = run("check-config", &[]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("deliver.templates") && said.contains("any/fire.txt, line 2"), "{said}");
}
