//! Access tokens: asked for once by all notifiers together, renewed when they are refused, and
//! waited for (R39).

use tests::receivers::{Fault, lark_app, wecom_app};

use super::*;

/// Channels to six chats of one application.
fn six_chats(url: &str) -> Value {
    let chats = ["a", "b", "c", "d", "e", "f"];
    chats.iter().map(|chat| (format!("chat-{chat}"), lark(url, chat))).collect()
}

/// Another notifier of the same fleet.
fn notifier(office: &Office, channels: &Value) -> Arc<DeliverWork> {
    let configs: BTreeMap<_, _> = serde_json::from_value(channels.clone()).unwrap();
    let sender = Sender::new(
        Clients::new(&ClientConfig::default()).unwrap(),
        Clock::system(),
        Arc::new(|_| ()),
    );
    let channels = Arc::new(Channels::new(&configs).unwrap());
    let store = office.world.store.clone();
    Arc::new(DeliverWork::new(Config::default(), channels, store, sender, Clock::system()))
}

/// Delivers everything by three notifiers at once.
async fn deliver_by_three(office: &mut Office, channels: &Value) {
    let loops: Vec<_> = (0..2)
        .map(|_| {
            let (shutdown, controller) = Shutdown::new();
            let job_loop = JobLoop::new(
                notifier(office, channels),
                office.world.store.clone(),
                office.appender.clone(),
                Clock::system(),
                JobLoopConfig::default(),
            );
            (tokio::spawn(job_loop.run(shutdown)), controller)
        })
        .collect();
    office.deliver_all().await;
    for (task, controller) in loops {
        controller.stop();
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_all_notifiers_together_ask_for_a_token_once_and_once_more_when_it_is_withdrawn() {
    let server = lark_app::Server::start().await;
    // A token that is withdrawn is used until somebody notices.
    server.inbox.may_refuse();
    let channels = six_chats(&server.url);
    let mut office = Office::open(channels.clone()).await;
    for n in 1..=10 {
        office.fire("shop", n, sample("sentry", SendKind::Fire)).await;
    }

    // Given sixty sends and three notifiers, one token is enough.
    deliver_by_three(&mut office, &channels).await;
    assert_eq!(server.messages().len(), 60);
    assert_eq!(server.tokens.asked(), 1);

    // It stands in the tables, and cannot be read there.
    let rows: Vec<(Vec<u8>, i64)> =
        sqlx::query_as("select sealed, turn from access").fetch_all(&mut office.sql).await.unwrap();
    let token = server.tokens.granted().remove(0);
    let [(sealed, 1)] = &rows[..] else { panic!("{rows:?}") };
    assert!(!sealed.windows(token.len()).any(|part| part == token.as_bytes()));

    // Once withdrawn, whoever notices first asks, and nothing is lost or told twice.
    server.tokens.withdraw();
    for n in 11..=14 {
        office.fire("shop", n, sample("sentry", SendKind::Fire)).await;
    }
    deliver_by_three(&mut office, &channels).await;
    assert_eq!(server.messages().len(), 84);
    assert_eq!(server.tokens.asked(), 2);
    let done: i64 = sqlx::query_scalar("select count(*) from job where state = 'done'")
        .fetch_one(&mut office.sql)
        .await
        .unwrap();
    assert_eq!(done, 84, "{:?}", office.jobs().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_a_notifier_that_starts_uses_the_token_there_is_and_one_that_died_is_not_waited_for() {
    let server = wecom_app::Server::start().await;
    let channels = json!({ "app": wecom(&server.url) });
    let mut office = Office::open(channels.clone()).await;
    let mut told = 0;
    let mut tell = async |office: &mut Office, work: &DeliverWork| {
        told += 1;
        office.fire("shop", told, sample("sentry", SendKind::Fire)).await;
        let job = office.claim().await.remove("app").unwrap();
        let Performed::Finish { result, .. } = work.perform(&job).await.unwrap() else {
            panic!("not told")
        };
        let result: SendResult = schemas::codec::decode("send result", &result).unwrap();
        assert!(matches!(result, SendResult::Delivered(Some(_))), "{result:?}");
        // A settled job makes room for the next.
        sqlx::query("update job set state = 'done'").execute(&mut office.sql).await.unwrap();
    };
    let first = Arc::clone(&office.work);
    tell(&mut office, &first).await;
    let second = notifier(&office, &channels);
    tell(&mut office, &second).await;
    assert_eq!(server.tokens.asked(), 1);

    // The token is over, and whoever was to ask for the next died: its claim ends.
    server.tokens.withdraw();
    sqlx::query(
        "update access set claim = gen_random_uuid(), use_until = now(),
                           quiet_until = now() + interval '300 milliseconds'",
    )
    .execute(&mut office.sql)
    .await
    .unwrap();
    let third = notifier(&office, &channels);
    tell(&mut office, &third).await;
    assert_eq!(server.tokens.asked(), 2);
    assert_eq!(server.shown("ada").len(), 3);

    // What stands there under other credentials, or was changed, is read by nobody and replaced.
    sqlx::query("update access set sealed = sealed || '\\x00'")
        .execute(&mut office.sql)
        .await
        .unwrap();
    let fourth = notifier(&office, &channels);
    tell(&mut office, &fourth).await;
    assert_eq!(server.tokens.asked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_sends_wait_while_no_token_is_granted_and_the_endpoint_is_left_alone() {
    let server = wecom_app::Server::start().await;
    let mut office = Office::open(json!({ "app": wecom(&server.url) })).await;
    let busy = json!({ "errcode": -1, "errmsg": "system busy" });
    server.tokens.fail_next([Fault::Answer(200, busy), Fault::Answer(502, json!("bad gateway"))]);
    office.fire("shop", 1, sample("sentry", SendKind::Fire)).await;
    office.deliver_all().await;
    assert_eq!(office.jobs().await["app"], ("done".to_owned(), String::new()));
    assert_eq!((server.tokens.asked(), server.inbox.taken().len()), (3, 1));

    // Limited for a minute: nobody asks meanwhile, and nothing is noted as told.
    server.tokens.withdraw();
    sqlx::query("update access set use_until = now()").execute(&mut office.sql).await.unwrap();
    let limited = json!({ "errcode": 45009, "errmsg": "api freq out of limit" });
    server.tokens.fail_next([Fault::Answer(200, limited)]);
    office.fire("shop", 2, sample("sentry", SendKind::Fire)).await;
    let job = office.claim().await.remove("app").unwrap();
    let configs = json!({ "app": wecom(&server.url) });
    for (turn, said) in [(1, "errcode 45009: api freq out of limit"), (2, "no token is granted")] {
        let work = notifier(&office, &configs);
        let performed = work.perform(&job).await.unwrap();
        let Performed::Retry { after, reason, pause_target: false, .. } = performed else {
            panic!("{turn}: {performed:?}")
        };
        assert!(after > Duration::from_secs(50), "{turn}: {after:?}");
        assert!(reason.contains(said), "{turn}: {reason}");
    }
    assert_eq!(server.tokens.asked(), 4);
    let noted: i64 = sqlx::query_scalar("select count(*) from sent where delivered_at is null")
        .fetch_one(&mut office.sql)
        .await
        .unwrap();
    assert_eq!(noted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_wrong_credentials_are_parked_with_their_remedy() {
    let lark_server = lark_app::Server::start().await;
    let wecom_server = wecom_app::Server::start().await;
    let mut office = Office::open(json!({
        "lark": with(lark(&lark_server.url, "a"), "app_secret", json!("another")),
        "secret": with(wecom(&wecom_server.url), "corp_secret", json!("another")),
        "corp": with(wecom(&wecom_server.url), "corp_id", json!("ww-another")),
    }))
    .await;
    office.fire("shop", 1, sample("sentry", SendKind::Fire)).await;
    office.deliver_all().await;
    let jobs = office.jobs().await;
    for (target, named) in [
        ("lark", ["code 10014: app secret invalid", "app_secret"]),
        ("secret", ["errcode 40001: invalid credential", "WEIXIN_CORP_SECRET"]),
        ("corp", ["errcode 40013: invalid corpid", "WEIXIN_CORP_ID"]),
    ] {
        let (state, reason) = &jobs[target];
        assert_eq!(state, "parked", "{target}: {reason}");
        assert!(named.iter().all(|word| reason.contains(word)), "{target}: {reason}");
        assert!(!reason.contains("192.0.2.7"), "{reason}");
    }
    let asked = (lark_server.tokens.asked(), wecom_server.tokens.asked());
    assert_eq!(asked, (0, 0), "nothing was granted");
}
