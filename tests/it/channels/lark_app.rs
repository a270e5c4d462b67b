//! Lark's applications: cards that change, buttons, answers, and repeats that are recognised.

use schemas::{
    SourceId,
    event::IncidentState,
    job::{Reply, ReplyTo, SendJob, Standing},
};
use tests::receivers::{Fault, lark_app};

use super::*;

/// The job of a later step of what `job` told.
fn later(job: &Job, change: impl FnOnce(&mut SendJob)) -> Job {
    let mut send: SendJob = schemas::codec::decode("send job", &job.payload).unwrap();
    change(&mut send);
    let trigger = InputPosition { sequence: job.trigger.input.sequence + 100, ..job.trigger.input };
    Job {
        id: schemas::JobId(schemas::id::derive(job.id.0, send.kind.word(), 1)),
        trigger: trigger.alert(0),
        payload: schemas::codec::encode(&send),
        ..job.clone()
    }
}

fn acknowledged(send: &mut SendJob) {
    send.kind = SendKind::Update;
    send.standing = Some(Standing {
        state: IncidentState::Acknowledged,
        verb: Some("ack".into()),
        actor: Some("<at id=all></at>ada".into()),
        at: told_at(),
        silenced_until: None,
        folded: 0,
        rose: None,
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_one_card_changes_in_place_and_a_new_one_is_sent_where_it_cannot() {
    let server = lark_app::Server::start().await;
    // Some cards are withdrawn, or too old.
    server.inbox.may_refuse();
    let mut office = Office::open(json!({ "chat": lark(&server.url, "a") })).await;
    office.fire("shop", 7, sample("sentry", SendKind::Fire)).await;
    let fire = office.claim().await.remove("chat").unwrap();
    let first = SendResult::Delivered(Some("om_0".into()));
    assert_eq!(office.perform(&fire).await, first);

    // The first card is R40's and can be changed; its buttons name the incident.
    let sent = server.messages().remove("om_0").unwrap();
    assert_eq!((sent.kind.as_str(), sent.changes), ("interactive", 0));
    let pressed: Vec<String> = sent.content["elements"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|element| element["actions"].as_array())
        .flatten()
        .filter_map(|button| button["value"]["button"].as_str().map(str::to_owned))
        .collect();
    assert!(!pressed.is_empty(), "{:#}", sent.content);
    for data in &pressed {
        let button: domain::button::Button = data.parse().unwrap();
        assert_eq!(button.opening, fire.trigger);
    }

    // An acknowledgement changes it, and rings nobody.
    let update = later(&fire, acknowledged);
    assert_eq!(office.perform(&update).await, first);
    let changed = server.messages().remove("om_0").unwrap();
    assert_eq!((server.messages().len(), changed.changes), (1, 1));
    let text = changed.content.to_string();
    assert!(text.contains("ada") && !text.contains("<at"), "{text}");

    // Withdrawn, or too old: it is told as a new one.
    for (code, id) in [(230_011, "om_1"), (230_031, "om_2")] {
        let known = format!("om_{}", server.messages().len() - 1);
        server.close(&known, code);
        let again = later(&fire, |send| {
            acknowledged(send);
            send.standing.as_mut().unwrap().actor = Some(format!("ada {code}"));
        });
        let again = Job { id: schemas::JobId(runtime::random_uuid()), ..again };
        let trigger = InputPosition {
            sequence: again.trigger.input.sequence + u64::try_from(code).unwrap(),
            ..again.trigger.input
        };
        let again = Job { trigger: trigger.alert(0), ..again };
        assert_eq!(office.perform(&again).await, SendResult::Delivered(Some(id.into())), "{code}");
    }
    assert_eq!(server.messages().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_repeat_is_known_by_its_key() {
    let server = lark_app::Server::start().await;
    let quick = with(lark(&server.url, "a"), "timeout_ms", json!(1_000));
    let mut office = Office::open(json!({ "chat": quick })).await;
    office.fire("shop", 1, sample("sentry", SendKind::Fire)).await;
    office.deliver_all().await;
    // The answer is lost, the message is not; told again under its key it stands there once.
    server.inbox.fail_next([Fault::Hang(PATIENCE)]);
    office.fire("shop", 2, sample("sentry", SendKind::Fire)).await;
    office.deliver_all().await;
    assert_eq!(server.messages().len(), 2);
    assert_eq!(server.inbox.taken().len(), 3);
    assert_eq!(office.jobs().await["chat"].0, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_limits_bots_and_cards_that_are_refused() {
    let server = lark_app::Server::start().await;
    server.inbox.may_refuse();
    let mut office = Office::open(json!({
        "chat": lark(&server.url, "a"),
        "left": with(lark(&server.url, "x"), "receive_id", json!(lark_app::LEFT)),
    }))
    .await;
    let limit = json!({ "code": 99_991_400, "msg": "request trigger frequency limit" });
    office.fire("shop", 1, sample("sentry", SendKind::Fire)).await;
    let mut jobs = office.claim().await;
    let left = jobs.remove("left").unwrap();
    let SendResult::Refused(reason) = office.perform(&left).await else { panic!("told") };
    assert!(reason.contains("code 230002") && reason.contains("let the application's bot"));
    server.inbox.fail_next([Fault::Answer(400, limit)]);
    let chat = jobs.remove("chat").unwrap();
    let limited = office.attempt(&chat).await;
    assert!(matches!(limited, Performed::Retry { pause_target: true, .. }), "{limited:?}");
    assert_eq!(office.perform(&chat).await, SendResult::Delivered(Some("om_0".into())));

    // A card that is refused is told as a text.
    let refusal = json!({ "code": 230_099, "msg": "Failed to create card content" });
    server.inbox.fail_next([Fault::Answer(400, refusal)]);
    let hostile = Facts {
        message: Some("<at user_id=\"all\"></at> **x**".into()),
        title: "<at id=all></at>".into(),
        ..sample("sentry", SendKind::Fire)
    };
    office.fire("shop", 2, hostile).await;
    let job = office.claim().await.remove("chat").unwrap();
    assert_eq!(office.perform(&job).await, SendResult::Delivered(Some("om_1".into())));
    assert_eq!(server.messages()["om_1"].kind, "text");
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_an_answer_is_a_reply_to_the_message_that_asks() {
    let server = lark_app::Server::start().await;
    let mut office = Office::open(json!({ "chat": lark(&server.url, "a") })).await;
    office.fire("shop", 1, sample("sentry", SendKind::Fire)).await;
    let fire = office.claim().await.remove("chat").unwrap();
    let asked = |chat: &str, message: Option<&str>| {
        let to = ReplyTo {
            provider: "lark".into(),
            source: SourceId::new("team").unwrap(),
            chat: Some(chat.into()),
            message: message.map(str::to_owned),
            at: fire.trigger,
            ours: false,
        };
        let reply = Reply {
            to,
            verb: "help".into(),
            arguments: "{}".into(),
            actor: "ada".into(),
            refused: None,
        };
        later(&fire, |send| {
            send.kind = SendKind::Reply;
            send.subject = format!("{chat}{message:?}");
            send.reply = Some(Box::new(reply));
        })
    };
    let chat = format!("{}a", lark_app::CHATS);
    for (at, (chat, message)) in
        [(chat.as_str(), Some("om_asks")), ("ou_ada", None)].into_iter().enumerate()
    {
        let id = format!("om_{at}");
        let job = Job { id: schemas::JobId(runtime::random_uuid()), ..asked(chat, message) };
        assert_eq!(office.perform(&job).await, SendResult::Delivered(Some(id)));
    }
    let messages = server.messages();
    assert_eq!(messages["om_0"].answers.as_deref(), Some("om_asks"));
    assert_eq!((messages["om_1"].chat.as_str(), &messages["om_1"].answers), ("ou_ada", &None));
    assert!(messages.values().all(|message| message.kind == "text"));
}
