//! What does not arrive, or perhaps did, and what is said of it.

use tests::receivers::{Fault, feishu, telegram};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a7_a_credential_problem_is_parked_with_its_remedy() {
    let bot = feishu::Bot::start(Some(SECRET), None).await;
    let strict = feishu::Bot::start(None, Some("告警群")).await;
    let api = telegram::Api::start().await;
    for inbox in [&bot.inbox, &strict.inbox, &api.inbox] {
        inbox.may_refuse();
    }
    let hook = bot.url.replace(feishu::TOKEN, "00000000-0000-4000-8000-000000000000");
    let chat = |key: &str, value: Value| with(super::telegram(&api.url), key, value);
    let mut office = Office::open(json!({
        "sign": super::feishu(&bot.url, "another-secret"),
        "hook": super::feishu(&hook, SECRET),
        "word": super::feishu(&strict.url, SECRET),
        "token": chat("token", json!("987654321:another_token_of_these_tests_only")),
        "left": chat("chat_id", json!(telegram::LEFT)),
        "unknown": chat("chat_id", json!(12345)),
        "topic": chat("thread_id", json!(8)),
    }))
    .await;
    office.fire("shop", 7, sample("sentry", SendKind::Fire)).await;
    office.deliver_all().await;

    let jobs = office.jobs().await;
    for (target, named) in [
        ("sign", ["19021", "secret"]),
        ("hook", ["19001", "url"]),
        ("word", ["19024", "keyword"]),
        ("token", ["401: Unauthorized", "token"]),
        ("left", ["403: Forbidden", "kicked"]),
        ("unknown", ["chat not found", "chat_id"]),
        ("topic", ["thread not found", "thread_id"]),
    ] {
        let (state, reason) = &jobs[target];
        assert_eq!(state, "parked", "{target}: {reason}");
        assert!(named.iter().all(|word| reason.contains(word)), "{target}: {reason}");
    }
    // Each was asked once, nobody was told, and the log has the same reasons.
    assert_eq!(bot.inbox.arrivals().len() + strict.inbox.arrivals().len(), 3);
    assert_eq!(api.inbox.arrivals().len(), 4);
    let told = "select count(*) from sent where refused_at is null or delivered_at is not null";
    let told: i64 = sqlx::query_scalar(told).fetch_one(&mut office.sql).await.unwrap();
    assert_eq!(told, 0);
    let outcomes = office.outcomes().await;
    assert_eq!(outcomes.len(), 7);
    for outcome in outcomes {
        assert_eq!(outcome.result, SendResult::Refused(jobs[&outcome.target].1.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_what_may_have_arrived_is_unknown_and_not_told_again() {
    let bots = [feishu::Bot::start(Some(SECRET), None).await, feishu::Bot::start(None, None).await];
    let apis = [telegram::Api::start().await, telegram::Api::start().await];
    let quick = |channel: Value| with(channel, "timeout_ms", json!(300));
    let mut office = Office::open(json!({
        "bot": super::feishu(&bots[0].url, SECRET),
        "slow-bot": quick(super::feishu(&bots[1].url, SECRET)),
        "chat": super::telegram(&apis[0].url),
        "slow-chat": quick(super::telegram(&apis[1].url)),
    }))
    .await;
    office.fire("shop", 1, sample("sentry", SendKind::Fire)).await;
    let jobs = office.claim().await;
    assert_eq!(jobs.len(), 4);
    let unknown = |why: &str| SendResult::Unknown(why.into());

    // The worker dies once it noted that the message was taken, or before that.
    for (target, inbox) in [("bot", &bots[0].inbox), ("chat", &apis[0].inbox)] {
        let told = office.perform(&jobs[target]).await;
        assert!(matches!(told, SendResult::Delivered(_)), "{target}: {told:?}");
        assert_eq!(office.perform(&jobs[target]).await, told, "{target}");
        sqlx::query("update sent set delivered_at = null where target = $1")
            .bind(target)
            .execute(&mut office.sql)
            .await
            .unwrap();
        let again = office.perform(&jobs[target]).await;
        assert_eq!(again, unknown("the worker was lost while sending"), "{target}");
        assert_eq!(inbox.arrivals().len(), 1, "{target}");
    }

    // The message was taken, and the answer did not come in time.
    for (target, inbox) in [("slow-bot", &bots[1].inbox), ("slow-chat", &apis[1].inbox)] {
        inbox.fail_next([Fault::Hang(PATIENCE)]);
        assert_eq!(office.perform(&jobs[target]).await, unknown("timeout"), "{target}");
        assert_eq!(inbox.taken().len(), 1, "{target}");
    }
}
