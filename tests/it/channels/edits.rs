//! One incident is one message (A8): changed while it lasts, and told once more when it is over.

use schemas::event::IncidentState;
use tests::receivers::{Fault, telegram};

use super::*;

/// The texts of what was taken, and of which message each is a change.
fn told(api: &telegram::Api) -> Vec<(Option<u64>, String)> {
    let text = |body: &Value| {
        (body["message_id"].as_u64(), body["text"].as_str().unwrap_or_default().to_owned())
    };
    api.inbox.taken().iter().map(text).collect()
}

/// How the jobs of each kind ended, in order, by the log.
async fn ends(office: &Office) -> Vec<(String, String)> {
    let outcomes = office.outcomes().await;
    outcomes.into_iter().map(|o| (o.kind, o.result.word().to_owned())).collect()
}

fn words(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(kind, result)| ((*kind).to_owned(), (*result).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_r36_an_incident_is_one_message_that_is_changed_and_its_end_is_told() {
    let api = telegram::Api::start().await;
    let mut office = Office::open(json!({ "chat": super::telegram(&api.url) })).await;
    let facts = sample("sentry", SendKind::Fire);
    let stands = |state| move |send: &mut SendJob| send.standing = Some(standing(state));

    // given a message
    office.ask(SendKind::Fire, 1, facts.clone(), |_| ()).await;
    office.deliver_all().await;
    // when nothing changed, then nothing is asked; when it did three times, then it is changed once
    office.ask(SendKind::Update, 1, facts.clone(), |_| ()).await;
    office.deliver_all().await;
    let acked = stands(IncidentState::Acknowledged);
    for state in [IncidentState::Confirmed, IncidentState::HandedOff] {
        office.ask(SendKind::Update, 1, facts.clone(), stands(state)).await;
    }
    office.ask(SendKind::Update, 1, facts.clone(), acked).await;
    office.deliver_all().await;
    let all = told(&api);
    let [(None, fire), (Some(message), acked)] = all.as_slice() else { panic!("{all:?}") };
    assert!(fire != acked && acked.contains("ada"), "{acked}");

    // when it is over, then the message shows it, and it is told below
    office.ask(SendKind::Resolve, 1, sample("sentry", SendKind::Resolve), |_| ()).await;
    office.deliver_all().await;
    let all = told(&api);
    let [.., (Some(changed), shows), (None, end)] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((all.len(), changed), (4, message));
    assert!(shows.contains('✅') && end.contains('✅'), "{shows}\n{end}");
    let expect = words(&[
        ("fire", "delivered"),
        ("update", "not_needed"),
        ("update", "not_needed"),
        ("update", "not_needed"),
        ("update", "delivered"),
        ("resolve", "delivered"),
    ]);
    assert_eq!(ends(&office).await, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_what_was_never_sent_is_sent_by_its_change_and_has_no_end_without_a_beginning() {
    let api = telegram::Api::start().await;
    let mut office = Office::open(json!({ "chat": super::telegram(&api.url) })).await;
    let facts = sample("sentry", SendKind::Fire);
    let no = || Fault::Answer(403, json!({ "ok": false, "error_code": 403, "description": "no" }));

    // given a message that is refused for good: its end is not told
    api.inbox.fail_next([no()]);
    office.ask(SendKind::Fire, 1, facts.clone(), |_| ()).await;
    office.deliver_all().await;
    office.ask(SendKind::Resolve, 1, sample("sentry", SendKind::Resolve), |_| ()).await;
    office.deliver_all().await;
    assert_eq!(told(&api), []);

    // given another: its change sends it, and its end is told
    api.inbox.fail_next([no()]);
    office.ask(SendKind::Fire, 2, facts.clone(), |_| ()).await;
    office.deliver_all().await;
    office.ask(SendKind::Update, 2, facts.clone(), |_| ()).await;
    office.deliver_all().await;
    // A message that somebody deleted is told as a new one.
    let gone = json!({
        "ok": false, "error_code": 400, "description": "Bad Request: message to edit not found",
    });
    api.inbox.fail_next([Fault::Answer(400, gone)]);
    let acked = |send: &mut SendJob| send.standing = Some(standing(IncidentState::Acknowledged));
    office.ask(SendKind::Update, 2, facts, acked).await;
    office.deliver_all().await;
    let changes: Vec<bool> = told(&api).iter().map(|(message, _)| message.is_some()).collect();
    assert_eq!(changes, [false, false]);
    let expect = words(&[
        ("fire", "refused"),
        ("resolve", "not_needed"),
        ("fire", "refused"),
        ("update", "delivered"),
        ("update", "delivered"),
    ]);
    assert_eq!(ends(&office).await, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_what_was_told_in_a_group_is_told_anew_where_the_group_went() {
    let api = telegram::Api::start().await;
    api.inbox.may_refuse();
    let old = json!(telegram::MOVED);
    let channel = with(super::telegram(&api.url), "chat_id", old);
    let mut office = Office::open(json!({ "chat": channel })).await;
    let facts = sample("sentry", SendKind::Fire);
    office.ask(SendKind::Fire, 1, facts.clone(), |_| ()).await;
    office.deliver_all().await;
    // given that it was told before the group was moved
    let name = format!("{}/55", telegram::MOVED);
    let told_there = "update sent set message = $1 where message is not null";
    let changed = sqlx::query(told_there).bind(&name).execute(&mut office.sql).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    // when it changes, then it is told as a new message, which is changed from then on
    let stands = |state| move |send: &mut SendJob| send.standing = Some(standing(state));
    for state in [IncidentState::Acknowledged, IncidentState::HandedOff] {
        office.ask(SendKind::Update, 1, facts.clone(), stands(state)).await;
        office.deliver_all().await;
    }
    let changes: Vec<Option<u64>> = told(&api).iter().map(|(message, _)| *message).collect();
    assert_eq!(changes, [None, None, Some(101)]);
    assert!(api.inbox.taken().iter().all(|body| body["chat_id"] == telegram::CHAT));
    // Twice it was said where the group went: to the first message, and to the change.
    assert_eq!(api.inbox.refused().len(), 2, "{:?}", api.inbox.arrivals());
    let kept: Vec<(String, String, String)> =
        sqlx::query_as("select target, chat, moved_to from moved_chat")
            .fetch_all(&mut office.sql)
            .await
            .unwrap();
    let (chat, moved_to) = (telegram::MOVED.to_string(), telegram::CHAT.to_string());
    assert_eq!(kept, [("chat".to_owned(), chat, moved_to)]);
}
