//! WeCom's applications: what arrives, for whom, and what is said of the rest.

use tests::receivers::{Fault, wecom_app};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn r37_r38_errors_and_alerts_arrive_as_their_texts() {
    let server = wecom_app::Server::start().await;
    let mut office = Office::open(json!({ "app": wecom(&server.url) })).await;
    let providers = ["sentry", "alertmanager"];
    for provider in providers {
        office.fire(provider, 7, sample(provider, SendKind::Fire)).await;
        office.resolve(provider, 7, sample(provider, SendKind::Resolve)).await;
    }
    office.deliver_all().await;
    let shown = server.shown("ada");
    assert_eq!((shown.len(), &shown), (4, &server.shown("bob")));
    for provider in providers {
        let [fire, resolve] = ["fire", "resolve"].map(|kind| {
            let text = fixture(&format!("{provider}.wecom.{kind}.txt")).replace('<', "＜");
            let text = text.trim_end().to_owned();
            shown
                .iter()
                .position(|one| *one == text)
                .unwrap_or_else(|| panic!("{text} in {shown:#?}"))
        });
        assert!(fire < resolve, "{provider}");
    }
    assert!(office.jobs().await.values().all(|(state, _)| state == "done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_whom_wecom_does_not_know_is_said_and_a_channel_that_tells_nobody_is_parked() {
    let server = wecom_app::Server::start().await;
    server.inbox.may_refuse();
    let to = |users: &str| with(wecom(&server.url), "to_user", json!(users));
    let mut office = Office::open(json!({
        "some": to("ada|Eve"),
        "nobody": to("eve|mallory"),
        "agent": with(wecom(&server.url), "agent_id", json!(1_000_099)),
    }))
    .await;
    office.fire("shop", 7, sample("sentry", SendKind::Fire)).await;
    office.deliver_all().await;
    let jobs = office.jobs().await;
    let partly = "not delivered to all: invaliduser eve".to_owned();
    assert_eq!(jobs["some"], ("done".to_owned(), partly));
    for (target, named) in [
        ("nobody", ["errcode 81013: user & party & tag all invalid", "WEIXIN_TO_USER"]),
        ("agent", ["errcode 301002", "WEIXIN_AGENT_ID"]),
    ] {
        let (state, reason) = &jobs[target];
        assert_eq!(state, "parked", "{target}: {reason}");
        assert!(named.iter().all(|word| reason.contains(word)), "{target}: {reason}");
    }
    assert_eq!((server.shown("ada").len(), server.shown("bob").len()), (1, 0));
    // One application: three channels share its token.
    assert_eq!(server.tokens.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_a_long_text_is_cut_in_bytes_and_a_refused_one_is_told_shorter() {
    let server = wecom_app::Server::start().await;
    let mut office = Office::open(json!({ "app": wecom(&server.url) })).await;
    let facts = sample("alertmanager", SendKind::Fire);
    let title = format!("<a href=\"https://evil.example\">x</a>{}", "界".repeat(100));
    let long = Facts {
        alertname: Some(title.clone()),
        title,
        message: Some("界🦀".repeat(4_000)),
        labels: (0..100).map(|n| (format!("l{n}"), "界".repeat(200))).collect(),
        annotations: [("summary", "界".repeat(900)), ("description", "🦀".repeat(900))]
            .map(|(name, text)| (name.to_owned(), text))
            .into(),
        ..facts
    };
    office.fire("shop", 1, long).await;
    office.deliver_all().await;
    let shown = server.shown("ada").remove(0);
    assert!(shown.contains("＜a href") && shown.len() <= 2_048, "{} bytes", shown.len());

    let refusal = json!({ "errcode": 45002, "errmsg": "content size out of limit" });
    server.inbox.fail_next([Fault::Answer(200, refusal)]);
    office.fire("shop", 2, sample("alertmanager", SendKind::Fire)).await;
    office.deliver_all().await;
    assert_eq!(server.shown("ada").len(), 2);
    assert_eq!(server.inbox.arrivals().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_lost_answer_is_not_told_again_and_a_repeat_is_swallowed_where_that_is_asked_for() {
    let server = wecom_app::Server::start().await;
    let quick = with(wecom(&server.url), "timeout_ms", json!(1_000));
    let mut office = Office::open(json!({ "app": quick })).await;
    // The token's own answer is not what is lost.
    office.fire("shop", 1, sample("sentry", SendKind::Fire)).await;
    office.deliver_all().await;
    server.inbox.fail_next([Fault::Hang(PATIENCE)]);
    office.fire("shop", 2, sample("sentry", SendKind::Fire)).await;
    let job = office.claim().await.remove("app").unwrap();
    assert_eq!(office.perform(&job).await, SendResult::Unknown("timeout".into()));
    let again = office.perform(&job).await;
    assert_eq!(again, SendResult::Unknown("the worker was lost while sending".into()));
    assert_eq!(server.inbox.taken().len(), 2);

    // Two incidents that read alike are two messages, unless the check for repeats is on.
    let twins = wecom_app::Server::start().await;
    let checked = with(wecom(&twins.url), "duplicate_check_s", json!(600));
    let channels =
        json!({ "all": wecom(&twins.url), "once": with(checked, "to_user", json!("bob")) });
    let mut office = Office::open(channels).await;
    for n in 1..=2 {
        office.fire("shop", n, sample("alertmanager", SendKind::Fire)).await;
    }
    office.deliver_all().await;
    assert_eq!(twins.inbox.taken().len(), 4);
    // Bob is in both channels: two from the one, one from the other.
    assert_eq!((twins.shown("ada").len(), twins.shown("bob").len()), (2, 3));
}
