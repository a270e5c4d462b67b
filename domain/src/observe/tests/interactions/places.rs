//! Where somebody asks: on a message of ours or of somebody else, at one source or another.

use super::*;

/// The outcome of a send through a channel of this kind, which took it as a message of this id.
fn outcome(channel: &str, opening: Position, subject: String, id: &str) -> Body {
    Body::Outcome(Box::new(SendOutcome {
        job: JobId(Uuid::nil()),
        incident: None,
        target: "ops".into(),
        channel: channel.into(),
        kind: SendKind::Fire.word().into(),
        subject,
        trigger: opening,
        attempts: 1,
        result: SendResult::Delivered(Some(id.into())),
    }))
}

fn sent(opening: Position, id: &str) -> Body {
    outcome("telegram", opening, opening.to_string(), id)
}

/// A user reacts with a thumb to a message of the chat.
fn react(log: &mut Log, id: u64, user: u64, message: i64) -> u64 {
    let user = json!({"id": user, "is_bot": false});
    log.update(
        id,
        json!({"message_reaction": {"chat": {"id": -100}, "message_id": message, "user": user,
            "new_reaction": [{"type": "emoji", "emoji": "👍"}]}}),
    )
}

/// A user presses what stands below a message of the chat.
fn press_on(log: &mut Log, id: u64, user: u64, message: i64, data: &str) -> u64 {
    let query = json!({"id": "1", "from": {"id": user, "is_bot": false}, "data": data,
        "message": {"chat": {"id": -100}, "message_id": message}});
    log.update(id, json!({ "callback_query": query }))
}

#[test]
fn r16_a_reaction_acknowledges_the_incident_that_its_message_tells_of() {
    let [_, other, _] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    let opening = log.incident(&other);
    let early = react(&mut log, 1, ADA, 37);
    log.of_project(&other, sent(opening, "-100/37"));
    log.of_project(&other, outcome("telegram", opening, "digest".into(), "-100/38"));
    log.of_project(&other, outcome("webhook", opening, opening.to_string(), "-100/39"));
    let ours = react(&mut log, 2, ADA, 37);
    let (digest, hook) = (react(&mut log, 3, ADA, 38), react(&mut log, 4, ADA, 39));
    let recorded = |n| format!("{n} of 0: settled recorded: message_not_of_this_lane: ack");
    // The message shows it, so nobody is answered.
    let by = "by ada (chat:telegram:4711)";
    assert_eq!(
        log.story(),
        [
            recorded(early),
            recorded(ours),
            format!("{ours} of 1: ack open-acknowledged {by}"),
            recorded(digest),
            recorded(hook),
        ]
    );
}

#[test]
fn r16_a_stranger_who_reacts_is_told_so_and_an_operator_is_left_in_peace() {
    let [source, other, _] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    log.operator(5, Some(&[source]), false);
    let opening = log.incident(&other);
    log.of_project(&other, sent(opening, "-100/37"));
    let stranger = react(&mut log, 1, 9, 37);
    let foreign = react(&mut log, 2, 5, 37);
    // What is not ours says nothing to us, whoever likes it.
    let elsewhere = react(&mut log, 3, 9, 99);
    let ended = press_on(&mut log, 4, ADA, 37, &button("resolve", &other, opening));
    let glad = react(&mut log, 5, ADA, 37);
    let recorded = |n| format!("{n} of 0: settled recorded: message_not_of_this_lane: ack");
    let by = "by ada (chat:telegram:4711)";
    assert_eq!(
        log.story(),
        [
            recorded(stranger),
            format!("{stranger} of 1: ack ! unknown_actor by telegram:9 (chat) <- -100"),
            recorded(foreign),
            format!("{foreign} of 1: ack ! not_your_project by ada (chat:telegram:5) <- -100"),
            recorded(elsewhere),
            format!("{ended} of 0: settled command: resolve"),
            format!("{ended} of 1: resolve open-resolved {by}"),
            recorded(glad),
            format!("{glad} of 1: ack ! not_open {by}"),
        ]
    );
}

#[test]
fn r17_a_press_on_a_message_that_shows_nothing_is_answered() {
    let [_, other, _] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    let opening = log.incident(&other);
    log.of_project(&other, sent(opening, "-100/37"));
    let ack = button("ack", &other, opening);
    // Ours is changed; one that somebody else made shows nothing of it.
    let ours = press_on(&mut log, 1, ADA, 37, &ack);
    let made_elsewhere = press_on(&mut log, 2, ADA, 38, &ack);
    let stranger = press_on(&mut log, 3, 9, 37, &ack);
    let by = "by ada (chat:telegram:4711)";
    let settled = |n| format!("{n} of 0: settled command: ack");
    assert_eq!(
        log.story(),
        [
            settled(ours),
            format!("{ours} of 1: ack open-acknowledged {by}"),
            settled(made_elsewhere),
            format!("{made_elsewhere} of 1: ack =acknowledged-acknowledged {by} <- -100"),
            settled(stranger),
            format!("{stranger} of 1: ack ! unknown_actor by telegram:9 (chat) <- -100"),
        ]
    );
}

#[test]
fn r47_a_user_of_one_source_is_not_the_same_user_of_another() {
    let [source, ..] = projects();
    let mut log = Log::default();
    let opening = log.incident(&source);
    let ack = button("ack", &source, opening);
    // The same id in two workspaces: bob's is another one's than the chat's.
    log.say(somebody(ADA, "bob", Some("other-chat")));
    let nobody = log.press(1, ADA, &ack);
    log.say(somebody(ADA, "ada", Some("chat")));
    let ada = log.press(2, ADA, &ack);
    // Whoever is meant at every source does not take the place of the one of this source.
    log.say(somebody(ADA, "eve", None));
    let still_ada = log.press(3, ADA, &ack);
    log.say(ChatOperator { removed: true, ..somebody(ADA, "ada", Some("chat")) });
    let eve = log.press(4, ADA, &ack);
    log.say(ChatOperator { removed: true, ..somebody(ADA, "eve", None) });
    let gone = log.press(5, ADA, &ack);
    let by = |name: &str| format!("by {name} (chat:telegram:4711)");
    let settled = |n| format!("{n} of 0: settled command: ack");
    let refused = |n| format!("{n} of 0: ack ! unknown_actor by telegram:4711 (chat)");
    assert_eq!(
        log.story(),
        [
            refused(nobody),
            settled(nobody),
            format!("{ada} of 0: ack open-acknowledged {}", by("ada")),
            settled(ada),
            format!("{still_ada} of 0: ack =acknowledged-acknowledged {}", by("ada")),
            settled(still_ada),
            format!("{eve} of 0: ack =acknowledged-acknowledged {}", by("eve")),
            settled(eve),
            refused(gone),
            settled(gone),
        ]
    );
}

#[test]
fn a_press_about_nothing_is_refused_by_the_lane_it_names_or_the_sources_own() {
    let [source, other, _] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    let opening = log.incident(&source);
    // Opened nowhere; and a lane there is none of.
    let nowhere = log.press(1, ADA, &button("ack", &other, at(99).alert(0)));
    let beyond = Button::new("ack", Lane(77), opening).unwrap();
    let beyond = log.press(2, ADA, &beyond.to_string());
    let strange = log.press(3, ADA, "{}");
    let by = "by ada (chat:telegram:4711)";
    assert_eq!(
        log.story(),
        [
            format!("{nowhere} of 0: ack ! unknown_incident {by}"),
            format!("{nowhere} of 0: settled command: ack"),
            // The source's own lane happens to have it.
            format!("{beyond} of 0: ack open-acknowledged {by}"),
            format!("{beyond} of 0: settled command: ack"),
            format!("{strange} of 0: settled recorded: unknown_button"),
        ]
    );
}
