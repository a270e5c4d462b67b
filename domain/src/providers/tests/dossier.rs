//! R50: which of the dossier's fourteen identity and state fields each kind of body fills, as a
//! checked-in table (`dossier.golden.json`).

use schemas::{
    Event,
    event::{Effect, Kind, Observed},
};

use super::{reserved::told, *};

/// What is said of the first alert of a sample.
fn row(name: &str) -> Value {
    let (provider, stem) = name.split_once('/').unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/providers");
    let raw = fs::read(folder.join(provider).join(format!("{stem}.json"))).unwrap();
    let expect = fs::read(folder.join(provider).join(format!("{stem}.expect.json"))).unwrap();
    let expect: Value = serde_json::from_slice(&expect).unwrap();
    let delivery = delivery(provider, &expect["headers"], &raw);
    // Sent again, it is known again.
    let (events, _) = told(&[delivery.clone(), delivery]);
    let observed: Vec<(&Event, &Observed)> = events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Observed(observed) => Some((event, observed.as_ref())),
            _ => None,
        })
        .collect();
    let (first, again) = (observed[0], observed[observed.len() / 2]);
    assert_eq!(first.1.effect == Effect::Opened, again.1.effect.is_duplicate(), "{name}");
    fields(first.0, first.1)
}

fn fields(event: &Event, observed: &Observed) -> Value {
    let Observed { alert, .. } = observed;
    let facts = &alert.facts;
    json!({
        "event_id": event.id.to_string(),
        "project_id": event.project,
        "channel_type": observed.channel_type,
        "provider": facts.provider,
        "stage": alert.stage.word(),
        "provider_event_id": alert.provider_event_id,
        "alertname": facts.alertname,
        "severity": facts.severity_raw,
        "namespace": facts.namespace,
        "target_resource": facts.target,
        "fingerprint": observed.fingerprint.to_string(),
        "is_duplicate": observed.effect.is_duplicate(),
        "provider_ts": alert.provider_ts,
        "received_at": observed.received_at,
    })
}

#[test]
fn r50_each_provider_fills_the_dossier_as_the_table_says() {
    let golden: Value = serde_json::from_str(include_str!("dossier.golden.json")).unwrap();
    let golden = golden.as_object().unwrap();
    let table: serde_json::Map<String, Value> =
        golden.keys().map(|name| (name.clone(), row(name))).collect();
    let written = serde_json::to_string_pretty(&table).unwrap();
    assert_eq!(&table, golden, "dossier.golden.json is not\n{written}");
    for provider in all().iter().filter(|provider| provider.channel_type() != "chat") {
        let of = format!("{}/", provider.name());
        assert!(golden.keys().any(|name| name.starts_with(&of)), "no row of {of}");
    }
}
