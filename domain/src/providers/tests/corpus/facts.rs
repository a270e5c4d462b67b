//! What a payload says, compared with what its index says it says.

use super::*;

/// The field mapping of a source whose bodies are not self-explaining.
fn fields(file: &str) -> Option<FieldMap> {
    let text = match file {
        "custom/minimal-riemann.alerta.json" => "severity = \"state\"",
        _ => return None,
    };
    Some(toml::from_str(text).unwrap())
}

/// Compares every fact there is a place for; how many those were.
pub(super) fn check(entry: &Entry<'_>) -> usize {
    let file = entry.file;
    // Whoever seals bodies is read after they are opened.
    let raw = signatures::stored(entry);
    let delivery = entry.delivery(&raw);
    let told = read(&delivery, fields(file).as_ref());
    match (entry.disposition(), told) {
        ("alert" | "lifecycle", Normalised::Alerts { alerts, key }) => {
            said::alerts_of(file, entry.expect(), &alerts, key.as_ref().map(|key| key.key.as_str()))
        }
        ("lifecycle" | "control", Normalised::Recorded { reason }) => {
            assert!(!reason.is_empty(), "{file}");
            1 + usize::from(replied(entry, &raw))
        }
        ("interaction", Normalised::Interaction { interaction, key }) => {
            let expect = entry.expect();
            let operator = ["operator_open_id", "operator_id"].map(|name| expect[name].as_str());
            let operator = operator.into_iter().flatten().next().unwrap();
            assert_eq!(interaction.user, format!("{}:{operator}", entry.name()), "{file}");
            // Without an id of its own a press is known by its parts.
            let key = key.unwrap_or_else(|| panic!("{file}: no key"));
            for name in ["event_id", "update_id"] {
                if let Some(id) = expect["ids"][name].as_str() {
                    assert!(key.key.ends_with(id), "{file} {name}: {}", key.key);
                }
            }
            2
        }
        // Said in a chat, and not to us.
        ("interaction", Normalised::Recorded { reason }) => {
            assert!(expects_no_answer(entry), "{file}: {reason}");
            1
        }
        ("log", Normalised::Recorded { reason }) => {
            assert!(reason.starts_with("log_records: "), "{file}: {reason}");
            log(entry)
        }
        (disposition, told) => panic!("{file} is {disposition}: {told:?}"),
    }
}

/// A message that holds no command, or a button of another application.
fn expects_no_answer(entry: &Entry<'_>) -> bool {
    let expect = entry.expect();
    let ours = |value: &Value| value.to_string().contains("bw:");
    ["text", "text_raw", "action_value", "action"]
        .iter()
        .any(|name| !expect[name].is_null() && !ours(&expect[name]))
}

/// Whether the answer is stated, which it then is.
fn replied(entry: &Entry<'_>, stored: &[u8]) -> bool {
    let expected = &entry.expect()["reply"];
    if expected.is_null() {
        return false;
    }
    let headers = entry.headers();
    let request = Request { headers: &headers, body: stored, ..Request::default() };
    match entry.provider.reply(&request) {
        Reply::Handshake { status: 200, body } => {
            assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), *expected, "{}", entry.file);
        }
        other => panic!("{}: {other:?}", entry.file),
    }
    true
}

/// A record below an error is no alert; raised to one, it says what the index states.
fn log(entry: &Entry<'_>) -> usize {
    let expect = entry.expect();
    let raw = String::from_utf8(entry.raw.clone()).unwrap();
    let number = format!("\"severityNumber\": {}", expect["severity_number"]);
    assert!(raw.contains(&number), "{}", entry.file);
    let raised = raw.replace(&number, "\"severityNumber\": 17");
    let alert = only(read(&entry.delivery(raised.as_bytes()), None));
    assert_eq!(alert.correlation.trace_id.as_deref(), expect["ids"]["trace_id"].as_str());
    assert_eq!(alert.correlation.span_id.as_deref(), expect["ids"]["span_id"].as_str());
    let mut expect = expect.clone();
    expect.as_object_mut().unwrap().remove("status");
    2 + said::compare(entry.file, &alert, &expect)
}
