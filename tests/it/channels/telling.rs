//! What arrives, also when the receiver asks for patience or refuses the form.

use schemas::{
    SourceId,
    job::{Reply, ReplyTo},
};
use tests::receivers::{Fault, feishu, slack, telegram};

use super::*;

/// A card without what differs from attempt to attempt.
fn unsigned(mut body: Value) -> Value {
    let fields = body.as_object_mut().unwrap();
    assert!(fields.remove("sign").is_some() && fields.remove("timestamp").is_some());
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn r66_fire_and_resolve_of_each_provider_arrive_in_each_channel_as_rendered() {
    let bot = feishu::Bot::start(Some(SECRET), None).await;
    let api = telegram::Api::start().await;
    let mut office = Office::open(json!({
        "team": super::feishu(&bot.url, SECRET),
        "chat": with(super::telegram(&api.url), "thread_id", json!(telegram::THREAD)),
    }))
    .await;

    // Given one incident of each provider, each with number 7 of its project.
    let providers = ["sentry", "alertmanager"];
    for provider in providers {
        office.fire(provider, 7, sample(provider, SendKind::Fire)).await;
        office.resolve(provider, 7, sample(provider, SendKind::Resolve)).await;
    }
    office.deliver_all().await;

    // Then each arrived once, as the fixture says, fire before resolve; in the chat the fire was
    // changed to what is over before its end was told below it.
    let cards: Vec<Value> = bot.inbox.taken().into_iter().map(unsigned).collect();
    let taken = api.inbox.taken();
    let (edits, messages): (Vec<&Value>, Vec<&Value>) =
        taken.iter().partition(|message| !message["message_id"].is_null());
    assert_eq!((cards.len(), messages.len(), edits.len()), (4, 4, 2));
    assert!(edits.iter().all(|edit| edit["text"].as_str().unwrap().contains('✅')), "{edits:#?}");
    let has_keys = |edit: &&Value| edit.to_string().contains("callback_data");
    assert!(!edits.iter().any(has_keys), "{edits:#?}");
    for provider in providers {
        let [fire, resolve] = ["fire", "resolve"].map(|kind| {
            let card: Value =
                serde_json::from_str(&fixture(&format!("{provider}.feishu.{kind}.json"))).unwrap();
            let text = fixture(&format!("{provider}.telegram.{kind}.txt"));
            let card = cards
                .iter()
                .position(|other| *other == card)
                .unwrap_or_else(|| panic!("{card:#} is not in {cards:#?}"));
            let message = messages
                .iter()
                .position(|message| message["text"] == text)
                .unwrap_or_else(|| panic!("{text} is not in {messages:#?}"));
            (card, message)
        });
        assert!(fire.0 < resolve.0 && fire.1 < resolve.1, "{provider}: {fire:?} {resolve:?}");
        let (fire, resolve) = (messages[fire.1], messages[resolve.1]);
        for message in [fire, resolve] {
            assert_eq!(message["chat_id"], telegram::CHAT);
            assert_eq!(message["message_thread_id"], telegram::THREAD);
            assert_eq!(message["link_preview_options"], json!({"is_disabled": true}));
        }
        // R36: six keys, each of which the chat hands back as a button of ours.
        let rows = fire["reply_markup"]["inline_keyboard"].as_array().unwrap();
        let keys: Vec<&str> = rows
            .iter()
            .flat_map(|row| row.as_array().unwrap())
            .filter_map(|key| key["callback_data"].as_str())
            .collect();
        assert_eq!(keys.len(), 6, "{rows:#?}");
        assert!(keys.iter().all(|key| key.parse::<domain::button::Button>().is_ok()), "{keys:?}");
        let below = resolve["reply_parameters"]["message_id"].as_u64().unwrap() as usize - 100;
        assert_eq!(taken[below], *fire, "{provider}");
    }

    // And the log says so, with Telegram's message ids, which are unique within their chat.
    let mut told: Vec<(String, SendResult)> =
        office.outcomes().await.into_iter().map(|o| (o.channel, o.result)).collect();
    told.sort_by_key(|(channel, result)| (channel.clone(), format!("{result:?}")));
    let delivered = |channel: &str, id: Option<&str>| {
        (channel.to_owned(), SendResult::Delivered(id.map(str::to_owned)))
    };
    let ids = taken.iter().zip(100..).filter(|(message, _)| message["message_id"].is_null());
    let expect: Vec<_> = std::iter::repeat_n(delivered("feishu", None), 4)
        .chain(ids.map(|(_, id)| delivered("telegram", Some(&format!("{}/{id}", telegram::CHAT)))))
        .collect();
    assert_eq!(told, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_limits_of_the_rate_are_honoured_and_nothing_is_lost() {
    let bot = feishu::Bot::start(Some(SECRET), None).await;
    let api = telegram::Api::start().await;
    // Who reads budgets a little late asks in vain now and then.
    bot.inbox.may_refuse();
    api.inbox.may_refuse();
    let mut office = Office::open(json!({
        "team": super::feishu(&bot.url, SECRET),
        "chat": with(super::telegram(&api.url), "receivers", json!(["default"])),
    }))
    .await;

    // Given more incidents at once than five or one a second, and a chat that asks for patience.
    let slow = json!({
        "ok": false, "error_code": 429, "description": "Too Many Requests: retry after 1",
        "parameters": {"retry_after": 1},
    });
    api.inbox.fail_next([Fault::Answer(429, slow)]);
    for n in 1..=12 {
        office.fire("shop", n, sample("sentry", SendKind::Fire)).await;
        if n == 4 {
            // The rest is for the bot alone: Telegram's chat would take twelve seconds.
            office.deliver_all().await;
            let configs = json!({ "team": super::feishu(&bot.url, SECRET) });
            let configs: BTreeMap<_, _> = serde_json::from_value(configs).unwrap();
            office.stage = NotifyStage::new(Arc::new(Channels::new(&configs).unwrap()), None);
        }
    }
    office.deliver_all().await;

    // Then every message arrived once, and next to none was offered in vain: what is left of the
    // budget is known, and a target that asks for quiet is left alone.
    let limited = |all: Vec<Value>, is: &dyn Fn(&Value) -> bool| {
        assert!(all.iter().all(is), "{all:?}");
        all.len()
    };
    let bots = limited(bot.inbox.refused(), &|answer| answer["code"] == 11232);
    let chats = limited(api.inbox.refused(), &|answer| answer["error_code"] == 429);
    assert_eq!((bot.inbox.taken().len(), api.inbox.taken().len()), (12, 4));
    assert!(bots <= 4 && (1..=2).contains(&chats), "{bots} and {chats} in vain");
    let mut texts: Vec<String> =
        api.inbox.taken().iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 4, "each incident once");
    let states: Vec<i64> = sqlx::query_scalar("select count(*) from job group by state")
        .fetch_all(&mut office.sql)
        .await
        .unwrap();
    assert_eq!(states, [16], "all done: {:?}", office.jobs().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_what_is_too_long_or_refused_as_it_is_put_is_told_plainly() {
    let bot = feishu::Bot::start(Some(SECRET), None).await;
    let mut office = Office::open(json!({ "team": super::feishu(&bot.url, SECRET) })).await;
    let long = Facts { message: Some("*".repeat(8_000)), ..sample("sentry", SendKind::Fire) };
    let vast =
        Facts { url: Some(format!("https://example.com/{}", "x".repeat(30_000))), ..long.clone() };
    let kinds = || -> Vec<Value> {
        bot.inbox.taken().iter().map(|body| body["msg_type"].clone()).collect()
    };
    // A long text is cut; what is too long even so goes without a card.
    office.fire("shop", 1, long).await;
    office.deliver_all().await;
    office.fire("shop", 2, vast).await;
    office.deliver_all().await;
    assert_eq!(kinds(), ["interactive", "text"]);

    // A card the bot refuses is told at once without one; nothing else rings anybody.
    for code in [11246, 11310] {
        let answer = json!({ "code": code, "msg": "Failed to create card content" });
        bot.inbox.fail_next([Fault::Answer(200, answer)]);
        office.fire("shop", code - 11_240, sample("sentry", SendKind::Fire)).await;
        office.deliver_all().await;
    }
    assert_eq!(kinds(), ["interactive", "text", "text", "text"]);
    let last = bot.inbox.taken().pop().unwrap();
    let expect = fixture("sentry.telegram.fire.txt").replace("-007", "-070").replace('<', "＜");
    assert_eq!(last["content"]["text"], expect);
    assert_eq!(office.jobs().await["team"].0, "done");
    assert_eq!(bot.inbox.arrivals().len(), 6, "each refusal was followed by one plain message");

    // Both forms refused: given up, with both reasons.
    let refusal = |code| Fault::Answer(200, json!({ "code": code, "msg": "no" }));
    bot.inbox.fail_next([refusal(11246), refusal(31415)]);
    office.fire("shop", 100, sample("sentry", SendKind::Fire)).await;
    let job = office.claim().await.remove("team").unwrap();
    let expect = "code 11246: no; told plainly: code 31415: no";
    assert_eq!(office.perform(&job).await, SendResult::Refused(expect.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_a_chats_message_is_changed_with_who_has_it_and_told_anew_where_it_is_gone() {
    let api = telegram::Api::start().await;
    let mut office = Office::open(json!({ "chat": super::telegram(&api.url) })).await;
    let fire = || sample("sentry", SendKind::Fire);
    let in_state =
        |state: IncidentState| move |send: &mut SendJob| send.standing = Some(standing(state));
    office.ask(SendKind::Fire, 7, fire(), |_| ()).await;
    office.deliver_all().await;
    office.ask(SendKind::Update, 7, fire(), in_state(IncidentState::Acknowledged)).await;
    office.deliver_all().await;
    let taken = api.inbox.taken();
    assert_eq!(taken.len(), 2, "{:?}", office.jobs().await);
    assert_eq!(taken[1]["message_id"], 100);
    assert!(taken[1]["text"].as_str().unwrap().contains("ada"), "{}", taken[1]);
    assert_ne!(taken[0]["reply_markup"], taken[1]["reply_markup"], "the keys undo it now");

    // That it stands there as it should is no failure.
    let same = json!({
        "ok": false, "error_code": 400, "description": "Bad Request: message is not modified: x",
    });
    api.inbox.fail_next([Fault::Answer(400, same)]);
    office.ask(SendKind::Update, 7, fire(), in_state(IncidentState::Confirmed)).await;
    office.deliver_all().await;
    assert_eq!(api.inbox.taken().len(), 2);
    let last = office.outcomes().await.pop().unwrap().result;
    assert!(matches!(last, SendResult::Delivered(_)), "{last:?}");

    // What is gone is told as a message of its own, which is changed from then on.
    let gone = json!({
        "ok": false, "error_code": 400, "description": "Bad Request: message to edit not found",
    });
    api.inbox.fail_next([Fault::Answer(400, gone)]);
    office.ask(SendKind::Update, 7, fire(), in_state(IncidentState::HandedOff)).await;
    office.deliver_all().await;
    office.ask(SendKind::Update, 7, fire(), in_state(IncidentState::Reopened)).await;
    office.deliver_all().await;
    let taken = api.inbox.taken();
    assert_eq!(taken.len(), 4, "{:?}", office.jobs().await);
    assert_eq!((&taken[2]["message_id"], &taken[3]["message_id"]), (&Value::Null, &json!(102)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_somebody_is_answered_where_they_asked_and_nowhere_else() {
    let api = telegram::Api::start().await;
    let space = slack::Workspace::start().await;
    let mut office = Office::open(json!({
        "bot": super::slack::bot(&space),
        "chat": super::telegram(&api.url),
        "hook": super::slack::hook(&space),
    }))
    .await;
    office.targets = vec!["bot".into(), "chat".into()];
    let fire = || sample("sentry", SendKind::Fire);
    office.ask(SendKind::Fire, 7, fire(), |_| ()).await;
    office.deliver_all().await;

    let reply = |provider: &'static str, chat: String, message: String| {
        move |send: &mut SendJob| {
            let to = ReplyTo {
                provider: provider.into(),
                source: SourceId::new("team").unwrap(),
                chat: Some(chat.clone()),
                message: Some(message.clone()),
                at: send.opening,
                ours: false,
            };
            send.reply = Some(Box::new(Reply {
                to,
                verb: "ack".into(),
                arguments: "{}".into(),
                actor: "ada".into(),
                refused: None,
            }));
        }
    };
    office.targets = vec!["bot".into(), "hook".into()];
    let asked = reply("slack", slack::CHANNEL.into(), slack::ts(0));
    office.ask(SendKind::Reply, 7, fire(), asked).await;
    office.targets = vec!["chat".into()];
    let asked = reply("telegram", telegram::CHAT.to_string(), "100".into());
    office.ask(SendKind::Reply, 7, fire(), asked).await;
    office.deliver_all().await;

    let told = space.inbox.taken();
    assert_eq!(told.len(), 2, "{:?}", office.jobs().await);
    assert_eq!(told[1]["thread_ts"], json!(slack::ts(0)));
    let told = api.inbox.taken();
    assert_eq!(told.len(), 2, "{:?}", office.jobs().await);
    assert_eq!(told[1]["reply_parameters"]["message_id"], 100);
    assert!(told[1]["text"].as_str().unwrap().contains("ada"), "{}", told[1]);
    // The question brings nothing that a webhook could answer it by.
    assert_eq!(office.jobs().await["hook"].0, "done");
    let results = office.outcomes().await.into_iter().filter(|outcome| outcome.target == "hook");
    let results: Vec<SendResult> = results.map(|outcome| outcome.result).collect();
    let [SendResult::NotNeeded(why)] = results.as_slice() else { panic!("{results:?}") };
    assert!(why.contains("brings nothing to answer it by"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_telegram_is_told_again_where_it_refuses_markup() {
    let api = telegram::Api::start().await;
    let mut office = Office::open(json!({ "chat": super::telegram(&api.url) })).await;
    let said = "Bad Request: can't parse entities: unmatched tag";
    let answer = json!({ "ok": false, "error_code": 400, "description": said });
    api.inbox.fail_next([Fault::Answer(400, answer)]);
    office.fire("shop", 7, sample("sentry", SendKind::Fire)).await;
    let job = office.claim().await.remove("chat").unwrap();
    let id = format!("{}/100", telegram::CHAT);
    assert_eq!(office.perform(&job).await, SendResult::Delivered(Some(id)));
    assert_eq!(api.inbox.taken()[0]["text"], fixture("sentry.telegram.fire.txt"));
}
