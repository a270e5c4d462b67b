//! Given alerts and documents in the log, then a triage call carries the entries of the playbook that
//! were in force where it was asked.

use schemas::{
    Alert, Facts,
    record::{Body, Control, RulesDocument},
};

use super::{Folded, delivery, fold, record, second, with};
use crate::{effect::TriageAsk, observe::Prepared, rules::Rules};

/// An alert of this rule.
fn of_rule(alertname: &str) -> Alert {
    with(|alert| {
        alert.facts.alertname = Some(alertname.to_owned());
        alert.identity = vec![alertname.to_owned()];
    })
}

fn fires(n: u64, alertname: &str) -> Prepared {
    delivery(n, second(60 * n as i64), vec![of_rule(alertname)], None)
}

/// Puts a document with these tables in force.
fn rules(n: u64, tables: &str) -> Prepared {
    let text = format!("{tables}\n[[defaults.routes]]\nname = \"r\"\nreceivers = [\"x\"]\n");
    let hash = Rules::parse(&text).unwrap().hash().to_owned();
    let document = RulesDocument { hash, text, operator: "o".into() };
    record(n, second(60 * n as i64), None, Body::Control(Box::new(Control::Rules(document))))
}

/// Of every call: why it was asked, and what the playbook says first.
fn asked(folded: &Folded) -> Vec<String> {
    folded.triage.iter().map(said).collect()
}

fn said(ask: &TriageAsk) -> String {
    let entries = ask.job.runbook.iter().map(|entry| format!("{}: {}", entry.id, entry.fix));
    format!("{} {}", ask.job.reason, entries.collect::<Vec<_>>().join(", "))
}

#[test]
fn r29_a_call_carries_the_entries_in_force_at_its_position() {
    let of = |alertname: &str| {
        let with = format!(
            "[[defaults.playbook]]\nid = \"checkout\"\nwhen = [{{ alertname = [\"{alertname}\"] }}]\n\
             cause = \"c\"\nimpact = \"i\"\nchecks = []\nfix = \"fix {alertname}\"\n\
             prevention = \"p\"\n"
        );
        with
    };
    let log = || {
        vec![
            fires(1, "CheckoutSlow"),
            rules(2, &of("CheckoutSlow")),
            fires(3, "checkout_slow"),
            rules(4, &of("CheckoutDown")),
            fires(5, "checkout-slow"),
            fires(6, "CheckoutDown"),
            rules(7, "[[project.shop.playbook]]\nid = \"redis-down\"\ndisabled = true\n"),
            fires(8, "RedisDown"),
        ]
    };
    let folded = fold(log());
    let want = [
        "open ",
        "open checkout: fix CheckoutSlow",
        "open ",
        "open checkout: fix CheckoutDown",
        "open ",
    ];
    assert_eq!(asked(&folded), want);
    // The same log again: the same calls.
    assert_eq!(fold(log()).triage, folded.triage);
}

#[test]
fn a_raised_incident_is_asked_about_with_its_entries() {
    // Five occurrences within an hour raise it.
    let folded = fold((1..=6).map(|n| fires(n, "RedisDown")).collect());
    let asked: Vec<String> = folded.triage.iter().map(|ask| ask.job.reason.clone()).collect();
    assert_eq!(asked, ["open", "escalate"]);
    for ask in &folded.triage {
        assert_eq!(ask.job.runbook[0].id, "redis-down", "{}", ask.job.reason);
    }
}

#[test]
fn a_call_without_facts_gets_its_entries_with_them() {
    let folded = fold(vec![
        rules(1, "[[defaults.playbook]]\nid = \"redis-down\"\nfix = \"call the cache team\"\n"),
        fires(2, "RedisDown"),
    ]);
    let facts: Facts = folded.triage[0].job.facts.clone().unwrap();
    let mut ask = folded.triage[0].clone();
    (ask.job.facts, ask.job.runbook) = (None, Vec::new());
    ask.give(facts);
    assert_eq!(ask, folded.triage[0]);
    assert_eq!(said(&ask), "open redis-down: call the cache team");
}
