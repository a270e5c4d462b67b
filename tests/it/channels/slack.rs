//! Slack's bot and webhook against a workspace that keeps Slack's rules.

use tests::receivers::{Fault, slack};

use super::*;

pub(super) fn bot(space: &slack::Workspace) -> Value {
    json!({
        "kind": "slack", "token": slack::TOKEN, "channel": slack::CHANNEL, "api_url": space.api,
        "allow_private": true, "timeout_ms": 2_000,
    })
}

pub(super) fn hook(space: &slack::Workspace) -> Value {
    json!({
        "kind": "slack", "url": space.hook, "allow_private": true, "timeout_ms": 2_000,
    })
}

fn sentry(kind: SendKind) -> Facts {
    sample("sentry", kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_one_message_is_changed_while_the_incident_goes_on_and_ends_in_its_thread() {
    let space = slack::Workspace::start().await;
    let mut office = Office::open(json!({ "team": bot(&space) })).await;
    let ack = |send: &mut SendJob| send.standing = Some(standing(IncidentState::Acknowledged));
    office.ask(SendKind::Fire, 7, sentry(SendKind::Fire), |_| ()).await;
    office.deliver_all().await;
    office.ask(SendKind::Update, 7, sentry(SendKind::Fire), ack).await;
    office.deliver_all().await;
    office.ask(SendKind::Resolve, 7, sentry(SendKind::Resolve), |_| ()).await;
    office.deliver_all().await;

    // Told once, changed where it stands, changed to what is over, and its end told below it.
    let taken = space.inbox.taken();
    let places: Vec<(Option<&str>, Option<&str>)> =
        taken.iter().map(|m| (m["ts"].as_str(), m["thread_ts"].as_str())).collect();
    let first = slack::ts(0);
    let (there, none) = (Some(first.as_str()), None);
    assert_eq!(places, [(none, none), (there, none), (there, none), (none, there)], "{taken:#?}");
    let text = |n: usize| taken[n]["text"].as_str().unwrap();
    assert!(!text(0).contains("ada") && text(1).contains("ada"), "{}", text(1));
    assert!(text(2).contains('✅') && text(3).contains('✅'), "{}", text(3));
    assert_eq!(taken[3]["reply_broadcast"], true);
    let fire = taken[0]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(fire.contains("SENTRY"), "{fire}");

    // What it is called stands in the log: whoever answers it names it so.
    let names: Vec<SendResult> = office.outcomes().await.into_iter().map(|o| o.result).collect();
    let name =
        |n: usize| SendResult::Delivered(Some(format!("{}/{}", slack::CHANNEL, slack::ts(n))));
    assert_eq!(names, [name(0), name(0), name(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_a_message_that_cannot_be_changed_is_told_as_a_new_one() {
    let space = slack::Workspace::start().await;
    let mut office = Office::open(json!({ "team": bot(&space) })).await;
    let ack = |send: &mut SendJob| send.standing = Some(standing(IncidentState::Acknowledged));
    office.ask(SendKind::Fire, 7, sentry(SendKind::Fire), |_| ()).await;
    office.deliver_all().await;
    let answer = json!({ "ok": false, "error": "edit_window_closed" });
    space.inbox.fail_next([Fault::Answer(200, answer)]);
    office.ask(SendKind::Update, 7, sentry(SendKind::Fire), ack).await;
    office.deliver_all().await;
    let taken = space.inbox.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[1]["ts"], Value::Null);
    assert!(taken[1]["text"].as_str().unwrap().contains("ada"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_markup_and_size_keep_nothing_from_arriving_in_either_form() {
    let space = slack::Workspace::start().await;
    let mut office = Office::open(json!({ "team": bot(&space), "hook": hook(&space) })).await;
    // The workspace refuses whatever would ring anybody and whatever is too long.
    let evil = "<!channel> <@U0123456789> &amp; *b* ".repeat(400);
    let facts = Facts {
        title: evil.clone(),
        message: Some(evil.clone()),
        culprit: Some(evil),
        url: Some(format!("https://example.com/<!here>|{}", "x".repeat(5_000))),
        ..sentry(SendKind::Fire)
    };
    office.ask(SendKind::Fire, 1, facts, |_| ()).await;
    office.deliver_all().await;
    let taken = space.inbox.taken();
    assert_eq!((taken.len(), space.inbox.refused()), (2, vec![]), "{:?}", office.jobs().await);
    assert!(taken.iter().all(|message| message["blocks"].is_array()));

    // Blocks that are refused all the same are told again as a text.
    let answer = || Fault::Answer(400, json!("invalid_payload"));
    office.targets = vec!["hook".into()];
    space.inbox.fail_next([answer()]);
    office.ask(SendKind::Fire, 2, sentry(SendKind::Fire), |_| ()).await;
    office.deliver_all().await;
    let last = space.inbox.taken().pop().unwrap();
    assert_eq!(last["blocks"], Value::Null);
    assert!(last["text"].as_str().unwrap().contains("SENTRY"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_patience_is_kept_and_nothing_is_lost() {
    let space = slack::Workspace::start().await;
    let mut office = Office::open(json!({ "team": bot(&space) })).await;
    let slow = || Fault::Answer(429, json!({ "ok": false, "error": "ratelimited" }));
    space.inbox.fail_next([slow(), slow()]);
    for n in 1..=4 {
        office.ask(SendKind::Fire, n, sentry(SendKind::Fire), |_| ()).await;
    }
    office.deliver_all().await;
    assert_eq!(space.inbox.taken().len(), 4, "{:?}", office.jobs().await);
    // It asked for a second.
    let at: Vec<Duration> = space.inbox.arrivals().iter().map(|a| a.at).collect();
    assert!(at.len() == 6 && at[5] - at[0] >= Duration::from_secs(1), "{at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a_credential_problem_is_parked_with_its_remedy_and_without_the_credential() {
    let space = slack::Workspace::start().await;
    space.inbox.may_refuse();
    let other = "xoxb-another-token-of-these-tests";
    let gone = space.hook.replace(slack::HOOK, "another-hook-of-these-tests");
    let mut office = Office::open(json!({
        "token": with(bot(&space), "token", json!(other)),
        "unknown": with(bot(&space), "channel", json!("C0000000009")),
        "foreign": with(bot(&space), "channel", json!(slack::FOREIGN)),
        "archived": with(bot(&space), "channel", json!(slack::ARCHIVED)),
        "hook": with(hook(&space), "url", json!(gone)),
    }))
    .await;
    office.ask(SendKind::Fire, 7, sentry(SendKind::Fire), |_| ()).await;
    office.deliver_all().await;
    let jobs = office.jobs().await;
    for (target, word, remedy) in [
        ("token", "invalid_auth", "token"),
        ("unknown", "channel_not_found", "channel"),
        ("foreign", "not_in_channel", "invite"),
        ("archived", "is_archived", "archived"),
        ("hook", "no_service", "url"),
    ] {
        let (state, reason) = &jobs[target];
        assert_eq!(state, "parked", "{target}: {reason}");
        assert!(reason.contains(word) && reason.contains(remedy), "{target}: {reason}");
        assert!(!reason.contains("another"), "{target}: {reason}");
    }
    assert_eq!(space.inbox.arrivals().len(), 5, "each was asked once");
}
