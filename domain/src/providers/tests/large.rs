//! Whatever a body holds, its alerts fit into an event: every sample again, with long texts.

use super::*;

/// Longer than anything that is kept whole, in characters of three bytes.
const LONG: usize = 12_000;

/// Puts a long text wherever a text is more than a word of the protocol, a time or an address.
fn lengthen(value: &mut Value, count: &mut usize) {
    match value {
        Value::String(text) => {
            let word = text.len() <= 16 && !text.contains(' ');
            let kept = word || times::time(&json!(text)).is_some() || text.starts_with("https://");
            if !kept {
                *text = format!("{text} {}", "界".repeat(LONG));
                *count += 1;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| lengthen(item, count)),
        Value::Object(map) => map.values_mut().for_each(|value| lengthen(value, count)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn alerts_of_any_size_fit_into_an_event() {
    let mut checked = 0;
    for name in all().iter().map(|provider| provider.name()) {
        for (sample, raw, expect) in fixtures(name) {
            let Ok(mut body) = serde_json::from_slice::<Value>(&raw) else { continue };
            let mut count = 0;
            lengthen(&mut body, &mut count);
            let told = normalise(name, &expect["headers"], body.to_string().as_bytes());
            let Normalised::Alerts { alerts, .. } = told else { continue };
            for alert in &alerts {
                let size = schemas::codec::encode(alert).len();
                // Beside it stands what the fold adds, which is small.
                assert!(size < 250 * 1024, "{sample}: {size} bytes");
                checked += usize::from(count > 0);
            }
        }
    }
    assert!(checked > 60, "only {checked} alerts could be made long");
}
