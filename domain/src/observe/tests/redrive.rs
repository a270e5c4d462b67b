//! A delivery that was given up, applied after all.

use schemas::{
    Record, RecordId, SourceId,
    event::{Refused, Settled},
    record::{Auth, Delivery},
};

use super::{
    story::{Step, check, other, story},
    *,
};

/// An Alertmanager body that fires for `problem`, and one that nobody can read.
fn body(problem: u8) -> String {
    format!(
        r#"{{"version":"4","groupKey":"{{}}","status":"firing","receiver":"r","alerts":[{{
        "status":"firing","labels":{{"alertname":"Down"}},"annotations":{{}},
        "startsAt":"2026-01-01T00:00:00Z","fingerprint":"{problem:016x}"}}]}}"#
    )
}

fn original(received: i64, provider: &str, raw: &str) -> Record {
    let delivery = Delivery {
        provider: provider.into(),
        source: SourceId::new("main").unwrap(),
        route: "/webhook".into(),
        headers: Vec::new(),
        remote: None,
        auth: Auth { method: "basic".into(), credential: None },
        raw: raw.into(),
        sha256: [4; 32],
        content_type: None,
        channel: None,
        recorded: None,
    };
    let id = RecordId(uuid::Uuid::from_u128(1 << 100));
    Record::new(id, second(received), Some(project()), Body::Delivery(Box::new(delivery)))
}

fn delivered(at: i64, original: Record) -> Step {
    other(at, move |n| record(n, second(at), original.project.clone(), original.body.clone()))
}

/// A redrive of record `place` that carries these bytes.
fn redrive(at_second: i64, place: u64, bytes: Option<Vec<u8>>) -> Step {
    other(at_second, move |n| {
        let original = at(place).whole();
        let redrive = Redrive { original, operator: "ada".into(), record: bytes.clone() };
        record(n, second(at_second), Some(project()), Body::Redrive(redrive))
    })
}

fn bytes(record: &Record) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    record.encode_into(&mut bytes);
    Some(bytes)
}

fn settled_of(folded: &Folded) -> Vec<(u64, &str, Option<u64>)> {
    let of = |event: &'_ Event| -> Option<(u64, &'static str, Option<u64>)> {
        let Kind::Settled(settled) = &event.kind else { return None };
        let Settled { outcome, original, .. } = &**settled;
        Some((event.at.input.sequence, outcome.word(), original.map(|p| p.input.sequence)))
    };
    folded.events.iter().filter_map(of).collect()
}

/// What a fixed body makes of one that was refused: the record at 1 is no alert to anybody, the one
/// the redrive carries is.
fn fixed() -> Option<Vec<u8>> {
    bytes(&original(10, "alertmanager", &body(1)))
}

#[test]
fn b3_a_rejected_delivery_is_applied_at_the_redrives_own_position() {
    let folded = check(
        vec![delivered(10, original(10, "alertmanager", "{")), redrive(500, 1, fixed())],
        &["2 new"],
    );
    assert_eq!(settled_of(&folded), [(1, "rejected", None), (2, "observed", Some(1))]);
    assert_eq!(ledger(&folded), [(Outcome::Rejected, 1), (Outcome::Redrive, 1)]);
    assert_eq!(folded.openings[0].opening, at(2).alert(0));
    assert_eq!(folded.triage[0].trigger, at(2).alert(0));
    let Kind::Observed(observed) = &folded.events[2].kind else { panic!("{:?}", words(&folded)) };
    // Times are those of the original.
    assert_eq!(observed.received_at, second(10));
    assert_eq!(observed.raw_sha256, [4; 32]);
    assert!(folded.rejected.is_empty());
}

#[test]
fn b3_a_redrive_of_what_was_observed_is_refused_and_so_is_the_second() {
    let folded = check(
        vec![
            delivered(10, original(10, "alertmanager", &body(1))),
            redrive(11, 1, fixed()),
            delivered(12, original(12, "nobody", "{}")),
            redrive(13, 3, fixed()),
            redrive(14, 3, fixed()),
            redrive(15, 99, fixed()),
        ],
        &[
            "1 new",
            "2 redrive ! original_not_given_up",
            "4 repeats 1",
            "5 redrive ! original_not_given_up",
            "6 redrive ! original_not_given_up",
        ],
    );
    assert_eq!(folded.ledger[&Outcome::Redrive], 4);
    assert!(folded.parked.is_empty(), "the parked one is not any more");
    let Some(Kind::Refused(refused)) =
        folded.events.iter().map(|e| &e.kind).find(|k| k.word() == "refused")
    else {
        panic!()
    };
    let Refused { actor, incident, .. } = &**refused;
    assert_eq!((actor.as_str(), *incident), ("ada", None));
}

#[test]
fn a_redrive_that_cannot_be_applied_leaves_the_original_as_it_was() {
    let bad = || bytes(&original(10, "alertmanager", "["));
    let folded = check(
        vec![
            delivered(10, original(10, "alertmanager", "{")),
            redrive(11, 1, bad()),
            redrive(12, 1, bytes(&original(10, "nobody", "{}"))),
            redrive(13, 1, None),
            redrive(14, 1, Some(vec![0xff])),
            redrive(15, 1, bytes(&record_of_a_tick())),
            redrive(16, 1, fixed()),
        ],
        &[
            "4 redrive ! no_original",
            "5 redrive ! original_unreadable",
            "6 redrive ! original_is_no_delivery",
            "7 new",
        ],
    );
    assert_eq!(settled_of(&folded)[1..3], [(2, "rejected", Some(1)), (3, "parked", Some(1))]);
    assert_eq!(folded.parked.keys().collect::<Vec<_>>(), [&at(3)]);
}

fn record_of_a_tick() -> Record {
    let id = RecordId(uuid::Uuid::from_u128(7));
    Record::new(id, second(1), Some(project()), Body::Tick(Tick { now: second(1) }))
}

#[test]
fn a_redrive_undoes_nothing_that_happened_since() {
    let ended = body(1).replace(r#""status":"firing","labels""#, r#""status":"resolved","labels""#);
    let ended =
        ended.replace(r#""fingerprint""#, r#""endsAt":"2026-01-01T00:05:00Z","fingerprint""#);
    let folded = check(
        vec![
            delivered(10, original(10, "alertmanager", "{")),
            delivered(20, original(20, "alertmanager", &body(1))),
            delivered(310, original(310, "alertmanager", &ended)),
            redrive(320, 1, fixed()),
        ],
        &["2 new", "3 resolves 2", "4 stale"],
    );
    assert_eq!(folded.ledger[&Outcome::Redrive], 1);
}

#[test]
fn a_redrive_in_the_batch_of_its_original_is_as_one_behind_it() {
    let log = || {
        vec![
            delivered(10, original(10, "alertmanager", "{")),
            delivered(11, original(11, "nobody", "{}")),
            redrive(12, 1, fixed()),
            redrive(13, 2, fixed()),
            redrive(14, 1, fixed()),
            redrive(15, 2, fixed()),
        ]
    };
    let oracle = super::story::fold(log());
    assert!(oracle.rejected.is_empty() && oracle.parked.is_empty(), "{:?}", story(&oracle));
    for cut in 0..6 {
        let mut tables = Tables::new(LANE, ONE);
        let mut records = super::story::records(log());
        let rest = records.split_off(cut);
        tables.fold(records).unwrap();
        tables.fold(rest).unwrap();
        assert_eq!(tables.folded().unwrap(), oracle, "cut behind {cut}");
    }
}

#[test]
fn a_redriven_delivery_id_is_known_from_then_on() {
    let sentry = |received: i64, raw: &str| {
        let mut record = original(received, "sentry", raw);
        let Body::Delivery(delivery) = &mut record.body else { panic!() };
        delivery.headers = vec![
            ("sentry-hook-resource".into(), "issue".into()),
            ("request-id".into(), "same".into()),
        ];
        record
    };
    let good = r#"{"action":"created","data":{"issue":{"id":"77","title":"Boom","culprit":"a.b",
        "level":"error","project":{"id":"1","slug":"shop"}}}}"#;
    let folded = super::story::fold(vec![
        delivered(10, sentry(10, "{")),
        redrive(500, 1, bytes(&sentry(10, good))),
        delivered(501, sentry(501, good)),
    ]);
    let outcomes: Vec<_> = settled_of(&folded).into_iter().map(|(_, word, _)| word).collect();
    assert_eq!(outcomes, ["rejected", "observed", "redelivered"]);
}
