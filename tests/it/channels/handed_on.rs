//! Incidents handed on: to a service that keeps PagerDuty's rules, and to a real Alertmanager.

use schemas::job::{Summary, SummaryReason};
use tests::receivers::{
    Fault,
    alertmanager::Alertmanager,
    pagerduty::{
        self,
        State::{Acknowledged, Resolved, Triggered},
    },
};

use super::*;

pub(super) fn pagerduty(service: &pagerduty::Service) -> Value {
    json!({
        "kind": "pagerduty", "routing_key": pagerduty::KEY, "url": service.url,
        "allow_private": true, "timeout_ms": 2_000,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_an_incident_is_triggered_acknowledged_and_resolved_once() {
    let service = pagerduty::Service::start().await;
    let mut office = Office::open(json!({ "pager": pagerduty(&service) })).await;
    let facts = || sample("sentry", SendKind::Fire);
    let ack = |send: &mut SendJob| send.standing = Some(standing(IncidentState::Acknowledged));
    office.ask(SendKind::Fire, 7, facts(), |_| ()).await;
    office.ask(SendKind::Fire, 8, facts(), |_| ()).await;
    office.deliver_all().await;
    office.ask(SendKind::Update, 7, facts(), ack).await;
    office.ask(SendKind::Remind, 8, facts(), |_| ()).await;
    office.deliver_all().await;
    office.ask(SendKind::Resolve, 7, sample("sentry", SendKind::Resolve), |_| ()).await;
    office.deliver_all().await;

    let incidents = service.incidents();
    let of = |n: u16| &incidents[&incident("shop", n).to_string()];
    assert_eq!(of(7), &[Triggered, Acknowledged, Resolved]);
    assert_eq!(of(8), &[Triggered]);
    let events = service.inbox.taken();
    assert_eq!(events.len(), 5, "each was told once: {:?}", office.jobs().await);
    let fire = events.iter().find(|event| event["event_action"] == "trigger").unwrap();
    assert!(fire["payload"]["summary"].as_str().unwrap().contains("INC-20260102-0"), "{fire}");
    assert_eq!(fire["payload"]["severity"], "error");

    // The receiver knows a repeat: a worker that dies after it asked is asked for again.
    office.ask(SendKind::Fire, 9, facts(), |_| ()).await;
    let job = office.claim().await.remove("pager").unwrap();
    for _ in 0..2 {
        assert!(matches!(office.perform(&job).await, SendResult::Delivered(Some(_))));
    }
    assert_eq!(service.incidents()[&incident("shop", 9).to_string()], [Triggered]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_what_a_summary_opens_at_pagerduty_ends_there() {
    let service = pagerduty::Service::start().await;
    let mut office = Office::open(json!({ "pager": pagerduty(&service) })).await;
    let summary = |reason: SummaryReason, incidents: u64| {
        move |send: &mut SendJob| {
            send.summary = Some(Box::new(Summary {
                reason,
                key: "k".into(),
                since: told_at(),
                until: told_at(),
                incidents,
                alerts: incidents,
                group: Vec::new(),
                items: Vec::new(),
            }));
        }
    };
    let facts = || sample("sentry", SendKind::Fire);
    // A storm begins, grows twice, and is over; one hour is summed up meanwhile.
    for (kind, n, change) in [
        (SendKind::Summary, 1, summary(SummaryReason::Storm, 31)),
        (SendKind::Summary, 2, summary(SummaryReason::Hourly, 7)),
        (SendKind::Update, 1, summary(SummaryReason::Storm, 400)),
        (SendKind::Update, 1, summary(SummaryReason::Storm, 9_970)),
        (SendKind::Resolve, 1, summary(SummaryReason::Storm, 9_970)),
    ] {
        office.ask(kind, n, facts(), change).await;
        office.deliver_all().await;
    }
    let incidents = service.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(incidents[&incident("shop", 1).to_string()], [Triggered, Resolved]);
    let told: Vec<Value> = service.inbox.taken();
    let grown = &told.iter().rfind(|event| event["event_action"] == "trigger").unwrap()["payload"];
    assert!(grown["summary"].as_str().unwrap().contains("9970"), "{grown}");
    let [change] = &service.changes()[..] else { panic!("{told:?}") };
    assert!(change.contains('7'), "{change}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_pagerduty_is_waited_for_and_what_it_refuses_is_told_with_less() {
    let service = pagerduty::Service::start().await;
    let other = "fedcba9876543210fedcba9876543210";
    service.inbox.may_refuse();
    let mut office = Office::open(json!({
        "pager": pagerduty(&service),
        "other": with(pagerduty(&service), "routing_key", json!(other)),
    }))
    .await;
    office.targets = vec!["pager".into()];
    let long = Facts { message: Some("界".repeat(300_000)), ..sample("sentry", SendKind::Fire) };
    let odd = json!({ "status": "invalid event", "message": "invalid", "errors": ["'links'"] });
    service.inbox.fail_next([
        Fault::Answer(429, Value::Null),
        Fault::Answer(503, Value::Null),
        Fault::Answer(400, odd),
    ]);
    office.ask(SendKind::Fire, 1, long, |_| ()).await;
    office.deliver_all().await;
    let events = service.inbox.taken();
    assert_eq!(events.len(), 1, "{:?}", office.jobs().await);
    assert_eq!(events[0]["payload"].as_object().unwrap().len(), 3, "{events:?}");

    office.targets = vec!["other".into()];
    office.ask(SendKind::Fire, 2, sample("sentry", SendKind::Fire), |_| ()).await;
    office.deliver_all().await;
    let (state, reason) = &office.jobs().await["other"];
    assert_eq!(state, "parked");
    assert!(reason.contains("Invalid routing key") && reason.contains("routing_key"), "{reason}");
    assert!(!reason.contains(other), "{reason}");
}

/// Groups at once and tells nobody.
const CONFIG: &str =
    "route:\n  receiver: nobody\n  group_wait: 100ms\nreceivers:\n- name: nobody\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_real_alertmanager_fires_and_resolves_what_is_handed_on() {
    if !Alertmanager::is_installed() {
        return;
    }
    let dir = tests::temp_dir();
    let real = Alertmanager::start(dir.path(), CONFIG).await;
    let mut office = Office::open(json!({ "am": {
        "kind": "alertmanager", "url": real.url, "labels": ["team=core"], "allow_private": true,
        "timeout_ms": 2_000,
    }}))
    .await;
    let of = |alerts: &[Value], n: u16| -> Vec<Value> {
        let id = incident("shop", n).to_string();
        let of = |alert: &&Value| alert["labels"]["bellwether_incident"] == id.as_str();
        alerts.iter().filter(of).cloned().collect()
    };

    // One that is named by its labels, and one whose labels are of no name.
    let labels = [("alertname", "RedisDown"), ("instance", "redis:6379"), ("severity", "page")];
    let facts = || {
        let mut facts = sample("alertmanager", SendKind::Fire);
        facts.issue_id = Some(domain::providers::label_fingerprint(labels.to_vec()));
        facts.labels = labels.map(|(name, value)| (name.into(), value.into())).to_vec();
        facts
    };
    let odd = || {
        let mut facts = sample("sentry", SendKind::Fire);
        facts.labels = vec![("server.name".into(), "web-1".into()), ("空".into(), "x".into())];
        facts.annotations = vec![("9 lives".into(), "界".repeat(9_000))];
        facts
    };
    office.ask(SendKind::Fire, 1, facts(), |_| ()).await;
    office.ask(SendKind::Fire, 2, odd(), |_| ()).await;
    office.ask(SendKind::Remind, 1, facts(), |_| ()).await;
    office.deliver_all().await;
    let alerts = real.alerts().await;
    assert_eq!(alerts.len(), 2, "{alerts:#?} {:?}", office.jobs().await);
    let one = &of(&alerts, 1)[0];
    assert_eq!(one["labels"]["alertname"], "RedisDown");
    assert_eq!(
        (&one["labels"]["severity"], &one["labels"]["team"]),
        (&json!("page"), &json!("core"))
    );
    assert_eq!(one["annotations"]["incident"], "INC-20260102-001");
    let other = &of(&alerts, 2)[0];
    assert_eq!(other["labels"]["alertname"], "sentry");
    assert_eq!(other["annotations"]["label_server_name"], "web-1");
    assert!(other["annotations"]["_9_lives"].is_string());

    // A change changes it, and no second alert stands beside it.
    let raise = |send: &mut SendJob| {
        send.risk = Risk::Critical;
        send.standing = Some(standing(IncidentState::Acknowledged));
    };
    office.ask(SendKind::Update, 2, odd(), raise).await;
    office.deliver_all().await;
    let alerts = real.alerts().await;
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    assert_eq!(of(&alerts, 2)[0]["annotations"]["risk"], "CRITICAL");

    // What an operator ends is over there too.
    let ended = |send: &mut SendJob| send.standing = Some(standing(IncidentState::Resolved));
    office.ask(SendKind::Update, 1, facts(), ended).await;
    office.deliver_all().await;
    let alerts = real.alerts().await;
    assert_eq!((of(&alerts, 1).len(), of(&alerts, 2).len()), (0, 1), "{alerts:#?}");

    // An end ends its own, also where its facts are others by then.
    let mut over = sample("sentry", SendKind::Resolve);
    (over.title, over.labels) = ("another title".into(), Vec::new());
    office.ask(SendKind::Resolve, 2, over, |_| ()).await;
    office.deliver_all().await;
    let alerts = real.alerts().await;
    assert!(alerts.is_empty(), "{alerts:#?}");
    let told: Vec<SendResult> = office.outcomes().await.into_iter().map(|o| o.result).collect();
    assert_eq!(told, vec![SendResult::Delivered(None); 6]);
}
