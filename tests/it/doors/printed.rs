//! The commands that people have printed on their pages, run as they stand there: only where the
//! program listens is put in.

use std::{path::Path, process::Command};

use serde_json::Value;
use tests::temp_dir;

use crate::newcomer::Up;

/// What a shell says of a command, with the answer's status behind it.
fn run(up: &Up, command: &str) -> (String, u16) {
    let at = |url: &str| url.trim_start_matches("http://").to_owned();
    let command = command
        .replace("localhost:9000", &at(&up.ingest))
        .replace("localhost:8080", &at(&up.console))
        .replacen("curl", "curl -s -w '\\n%{http_code}'", 1);
    let output = Command::new("sh").arg("-c").arg(&command).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap_or(("", said.as_str()));
    (body.to_owned(), status.parse().unwrap_or_else(|_| panic!("{command}: {said:?}")))
}

/// R8, R9, R15, R18, R65.
#[tokio::test(flavor = "multi_thread")]
async fn r65_the_sources_own_commands_are_answered() {
    if !["/usr/bin/curl", "/bin/curl", "/usr/local/bin/curl"].iter().any(|p| Path::new(p).exists())
    {
        println!("skipped: there is no curl on this machine");
        return;
    }
    let home = temp_dir();
    let up = Up::start(home.path(), "commands");
    let (said, status) = run(&up, "curl http://localhost:9000/health");
    assert!((200..300).contains(&status), "{status} {said}");

    let mut outcomes = Vec::new();
    for command in [
        "curl -X POST http://localhost:9000/test",
        r#"curl -X POST http://localhost:8080/api/alert \
  -H "Content-Type: application/json" \
  -d '{
    "message": "[告警] 测试告警\n服务: test-service",
    "sender_id": "test_bot"
  }'"#,
        r#"curl -X POST http://localhost:8080/api/alert \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer YOUR_API_KEY" \
  -d '{
    "message": "Test alert",
    "sender_id": "custom_bot"
  }'"#,
    ] {
        let (said, status) = run(&up, command);
        assert_eq!(status, 202, "{command}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        let url = said["status_url"].as_str().unwrap();
        outcomes.push(up.get(&format!("{url}?wait=10")).await);
    }
    let (said, status) = run(
        &up,
        r#"curl -X POST http://localhost:8080/lark/event \
  -H "Content-Type: application/json" \
  -H "X-Lark-Signature: test_signature" \
  -d '{
    "type": "event_callback",
    "event": {
      "message": {
        "content": "{\"text\":\"@ai_fixer /help\"}",
        "sender": {"sender_id": {"open_id": "ou_xxxxxxxx"}}
      }
    }
  }'"#,
    );
    assert_eq!(status, 200, "{said}");
    assert!(serde_json::from_str::<Value>(&said).unwrap().is_object(), "{said}");
    let [test, alert, text] = outcomes.as_slice() else { unreachable!() };
    assert_eq!(
        (&test["outcome"], &test["alerts"][0]["stage"]),
        (&"observed".into(), &"test".into())
    );
    assert_eq!(test["incidents"], Value::Array(Vec::new()), "a test is never an incident: {test}");
    let alert = &alert["alerts"][0];
    assert_eq!(alert["alertname"], "测试告警", "{alert}");
    assert_eq!(alert["target_resource"], "test-service", "{alert}");
    assert_eq!(alert["effect"], "opened", "{alert}");
    assert_eq!(text["outcome"], "recorded", "no alert in the text: {text}");
}
