//! What people ask for in chats: each lane sees it at the same position, and one of them does it.

use schemas::{
    JobId, LaneKey, ProjectId, Record, RecordId, SourceId,
    event::{Applied, Asked, IncidentState, Refused, Settled},
    job::ReplyTo,
    record::{Auth, ChatOperator, Delivery},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    button::Button,
    observe::{Input, prepare},
};

mod places;

const LANES: NonZeroU16 = NonZeroU16::new(4).unwrap();
/// Telegram's id of the user that is somebody.
const ADA: u64 = 4711;

/// Some projects, each in another lane; chats stand in the source `chat` of the first.
fn projects() -> [ProjectId; 3] {
    let named = |n: u32| ProjectId::new(format!("project-{n}")).unwrap();
    let in_lane = |lane| (0..).map(named).find(|p| Lane::of(p, LANES) == Lane(lane)).unwrap();
    [in_lane(1), in_lane(2), in_lane(3)]
}

/// A record of the log, and whose it is: one lane's, or all's.
#[derive(Clone)]
struct Entry {
    key: LaneKey,
    record: Record,
}

#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
}

impl Log {
    /// Appends a record; returns where it stands.
    fn append(&mut self, key: LaneKey, project: Option<&ProjectId>, body: Body) -> u64 {
        let n = self.entries.len() as u64 + 1;
        let id = RecordId(Uuid::from_u128(u128::from(n)));
        let record = Record::new(id, second(n as i64), project.cloned(), body);
        self.entries.push(Entry { key, record });
        n
    }

    fn of_project(&mut self, project: &ProjectId, body: Body) -> u64 {
        self.append(LaneKey::Lane(Lane::of(project, LANES)), Some(project), body)
    }

    /// Opens an incident, and gives it number 1 of the day; returns its opening.
    fn incident(&mut self, project: &ProjectId) -> Position {
        const FIRING: &str = r#"{"version":"4","groupKey":"{}","status":"firing","receiver":"r",
            "alerts":[{"status":"firing","labels":{"alertname":"Down"},"annotations":{},
            "startsAt":"2026-01-01T00:00:00Z","fingerprint":"00000000000000aa"}]}"#;
        let fires = delivered("alertmanager", "main", FIRING.to_owned());
        let opening = at(self.of_project(project, fires)).alert(0);
        let number = IncidentNumber {
            incident: incident_id(project, opening),
            opening,
            day: "20260101".into(),
            number: 1,
        };
        self.of_project(project, Body::Control(Box::new(Control::IncidentNumber(number))));
        opening
    }

    /// Says who a user of the chat is.
    fn operator(&mut self, user: u64, projects: Option<&[ProjectId]>, removed: bool) {
        let projects = projects.map(<[ProjectId]>::to_vec);
        self.say(ChatOperator { projects, removed, ..somebody(user, "ada", None) });
    }

    fn say(&mut self, said: ChatOperator) {
        self.append(LaneKey::All, None, Body::Control(Box::new(Control::ChatOperator(said))));
    }

    /// An update of the chat of the first project.
    fn update(&mut self, id: u64, mut update: Value) -> u64 {
        update["update_id"] = json!(id);
        let body = delivered("telegram", "chat", update.to_string());
        self.append(LaneKey::All, Some(&projects()[0]), body)
    }

    /// A press on a message that is too old to be in its chat.
    fn press(&mut self, id: u64, user: u64, data: &str) -> u64 {
        let query = json!({"id": "1", "from": {"id": user, "is_bot": false}, "data": data});
        self.update(id, json!({ "callback_query": query }))
    }

    fn write(&mut self, id: u64, user: u64, text: &str) -> u64 {
        let from = json!({"id": user, "is_bot": false});
        self.update(id, json!({"message": {"chat": {"id": -100}, "from": from, "text": text}}))
    }

    /// Folds every lane, each as its owner reads it, and checks the ledger of each.
    fn fold(&self) -> Vec<Folded> {
        let lanes = Lane::all(LANES).map(|lane| self.fold_lane(lane, &[]));
        let folded: Vec<_> = lanes.collect();
        for (lane, folded) in Lane::all(LANES).zip(&folded) {
            // One batch, and batches of two, come to the same.
            assert_eq!(folded, &self.fold_lane(lane, &[usize::MAX]));
            assert_eq!(folded, &self.fold_lane(lane, &[2, 1, 3]));
        }
        folded
    }

    /// Folds what a lane reads, in batches of these sizes, again and again.
    fn fold_lane(&self, lane: Lane, sizes: &[usize]) -> Folded {
        let mut tables = Tables::new(lane, LANES);
        let read: Vec<_> = (1u64..)
            .zip(&self.entries)
            .filter(|(_, entry)| [LaneKey::All, LaneKey::Lane(lane)].contains(&entry.key))
            .map(|(n, entry)| {
                let mut bytes = Vec::new();
                entry.record.encode_into(&mut bytes);
                let of_all = entry.key == LaneKey::All;
                let stored_at = entry.record.received_at;
                let input = Input { at: at(n), bytes: &bytes, stored_at, of_all };
                prepare(input, tables.rules()).unwrap()
            })
            .collect();
        let count = read.len() as u64;
        let mut read = read.into_iter().peekable();
        let mut sizes = sizes.iter().copied().cycle();
        while read.peek().is_some() {
            let size = sizes.next().unwrap_or(1);
            tables.fold(read.by_ref().take(size).collect()).unwrap();
        }
        let folded = tables.folded().unwrap();
        invariant::ledger_balances(count, &folded.ledger).unwrap();
        invariant::episodes_are_in_order(&folded.events).unwrap();
        folded
    }

    /// What operators' requests came to over all lanes, in the order of the log: the record, the
    /// project and what was said of it.
    fn story(&self) -> Vec<String> {
        let mut told: Vec<(u64, String)> = Vec::new();
        for event in self.fold().iter().flat_map(|folded| &folded.events) {
            let n = event.at.input.sequence;
            let project = event.project.as_ref().map_or("-", |p| p.as_str());
            let place = projects().iter().position(|p| p.as_str() == project);
            let place = place.map_or("?".to_owned(), |place| place.to_string());
            let said = match &event.kind {
                Kind::Applied(applied) => said(applied),
                Kind::Refused(refused) => {
                    let Refused { verb, actor, auth_method, reason, reply, .. } = &**refused;
                    let answered = answered(reply.as_ref());
                    format!("{verb} ! {reason} by {actor} ({auth_method}){answered}")
                }
                Kind::Asked(asked) => {
                    let Asked { verb, actor, incident, to, .. } = &**asked;
                    let one = if incident.is_some() { " of one" } else { "" };
                    format!("{verb}{one} asked by {actor}{}", answered(Some(to)))
                }
                Kind::Settled(settled) if settled.source.as_str() == "chat" => {
                    let Settled { outcome, reason, .. } = &**settled;
                    let why = reason.as_deref().unwrap_or_default();
                    format!("settled {}: {why}", outcome.word())
                }
                _ => continue,
            };
            told.push((n, format!("{n} of {place}: {said}")));
        }
        told.sort();
        told.into_iter().map(|(_, said)| said).collect()
    }
}

/// That a user of Telegram, of one source or of every one, is an operator in all projects.
fn somebody(user: u64, operator: &str, source: Option<&str>) -> ChatOperator {
    ChatOperator {
        user: format!("telegram:{user}"),
        operator: operator.into(),
        projects: None,
        removed: false,
        by: "root".into(),
        source: source.map(|source| SourceId::new(source).unwrap()),
    }
}

/// Whether somebody is answered, and in which chat.
fn answered(to: Option<&ReplyTo>) -> String {
    to.map(|to| format!(" <- {}", to.chat.as_deref().unwrap_or("chat"))).unwrap_or_default()
}

fn said(applied: &Applied) -> String {
    let Applied { verb, actor, auth_method, before, after, changed, reply, .. } = applied;
    let same = if *changed { "" } else { "=" };
    let (before, after) = (before.word(), after.word());
    format!("{verb} {same}{before}-{after} by {actor} ({auth_method}){}", answered(reply.as_ref()))
}

fn delivered(provider: &str, source: &str, raw: String) -> Body {
    Body::Delivery(Box::new(Delivery {
        provider: provider.into(),
        source: SourceId::new(source).unwrap(),
        route: format!("/webhook/{provider}"),
        headers: Vec::new(),
        remote: None,
        auth: Auth { method: "token".into(), credential: None },
        sha256: [0; 32],
        raw: raw.into_bytes(),
        content_type: None,
        channel: None,
        recorded: None,
    }))
}

fn button(verb: &str, project: &ProjectId, opening: Position) -> String {
    Button::new(verb, Lane::of(project, LANES), opening).unwrap().to_string()
}

#[test]
fn r36_a_press_is_done_by_the_lane_that_has_the_incident() {
    let [source, other, _] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    let opening = log.incident(&other);
    let ack = button("ack", &other, opening);
    let first = log.press(1, ADA, &ack);
    let second = log.press(2, ADA, &ack);
    let unknown = log.press(3, 9, &ack);
    assert_eq!(
        log.story(),
        [
            format!("{first} of 0: settled command: ack"),
            format!("{first} of 1: ack open-acknowledged by ada (chat:telegram:4711)"),
            format!("{second} of 0: settled command: ack"),
            format!("{second} of 1: ack =acknowledged-acknowledged by ada (chat:telegram:4711)"),
            format!("{unknown} of 0: settled command: ack"),
            format!("{unknown} of 1: ack ! unknown_actor by telegram:9 (chat)"),
        ]
    );
    // The source's lane counts them, to the others they are elsewhere.
    for (lane, folded) in Lane::all(LANES).zip(log.fold()) {
        let own = lane == Lane::of(&source, LANES);
        let of = |outcome| folded.ledger.get(&outcome).copied().unwrap_or_default();
        assert_eq!(
            (of(Outcome::Command), of(Outcome::Elsewhere)),
            if own { (3, 0) } else { (0, 3) }
        );
        assert!(folded.parked.is_empty());
    }
    let incident = log.fold()[2].incidents[&(other.clone(), incident_id(&other, opening))].clone();
    assert_eq!(incident.state(None), IncidentState::Acknowledged);
}

#[test]
fn r13_a_press_that_is_sent_again_is_one_press() {
    let [_, other, _] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    let opening = log.incident(&other);
    let first = log.press(1, ADA, &button("ack", &other, opening));
    let unack = log.press(2, ADA, &button("unack", &other, opening));
    let again = log.press(1, ADA, &button("ack", &other, opening));
    let by = "by ada (chat:telegram:4711)";
    assert_eq!(
        log.story(),
        [
            format!("{first} of 0: settled command: ack"),
            format!("{first} of 1: ack open-acknowledged {by}"),
            format!("{unack} of 0: settled command: unack"),
            format!("{unack} of 1: unack acknowledged-open {by}"),
            format!("{again} of 0: settled redelivered: delivery_id_seen"),
        ]
    );
}

#[test]
fn who_may_act_is_what_the_last_record_says() {
    let [source, other, third] = projects();
    let mut log = Log::default();
    let opening = log.incident(&other);
    let ack = button("ack", &other, opening);
    let mut story = Vec::new();
    let mut step = |log: &mut Log, id, expect: &str| {
        let n = log.press(id, ADA, &ack);
        story.push(format!("{n} of 0: settled command: ack"));
        story.push(format!("{n} of 1: {expect}"));
    };
    step(&mut log, 1, "ack ! unknown_actor by telegram:4711 (chat)");
    log.operator(ADA, Some(&[source.clone(), third.clone()]), false);
    step(&mut log, 2, "ack ! not_your_project by ada (chat:telegram:4711)");
    log.operator(ADA, Some(&[source, other.clone()]), false);
    step(&mut log, 3, "ack open-acknowledged by ada (chat:telegram:4711)");
    log.operator(ADA, None, true);
    step(&mut log, 4, "ack ! unknown_actor by telegram:4711 (chat)");
    assert_eq!(log.story(), story);
}

#[test]
fn r15_commands_name_incidents_by_number() {
    let [source, other, third] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    let _ = (log.incident(&source), log.incident(&other));
    let number = "INC-20260101-001";
    let mut at = Vec::new();
    for (id, text) in (1u64..).zip([
        format!("/ack {number}"),
        format!("/ack {other}/{number}"),
        format!("/note {other}/{number} it is DNS"),
        format!("/ack {third}/{number}"),
        "/ack INC-20260101-002".to_owned(),
        format!("/silence {number} 1h"),
        format!("/silence {number} 30m"),
        format!("/unsilence {number}"),
        format!("/silence {number} soon"),
        "/ack".to_owned(),
        "good morning".to_owned(),
    ]) {
        at.push(log.write(id, ADA, &text));
    }
    let by = "by ada (chat:telegram:4711) <- -100";
    assert_eq!(
        log.story(),
        [
            format!("{} of 0: ack open-acknowledged {by}", at[0]),
            format!("{} of 0: settled command: ack", at[0]),
            format!("{} of 0: settled command: ack", at[1]),
            format!("{} of 1: ack open-acknowledged {by}", at[1]),
            format!("{} of 0: settled command: note", at[2]),
            format!("{} of 1: note acknowledged-acknowledged {by}", at[2]),
            format!("{} of 0: settled command: ack", at[3]),
            format!("{} of 2: ack ! unknown_incident {by}", at[3]),
            format!("{} of 0: ack ! unknown_incident {by}", at[4]),
            format!("{} of 0: settled command: ack", at[4]),
            format!("{} of 0: settled command: silence", at[5]),
            format!("{} of 0: silence acknowledged-acknowledged {by}", at[5]),
            format!("{} of 0: settled command: silence", at[6]),
            format!("{} of 0: silence =acknowledged-acknowledged {by}", at[6]),
            format!("{} of 0: settled command: unsilence", at[7]),
            format!("{} of 0: unsilence acknowledged-acknowledged {by}", at[7]),
            format!("{} of 0: settled recorded: no_duration: silence", at[8]),
            format!("{} of 0: silence ! bad_duration {by}", at[8]),
            format!("{} of 0: ack ! unknown_incident {by}", at[9]),
            format!("{} of 0: settled recorded: no_incident_named: ack", at[9]),
            format!("{} of 0: settled recorded: no_command", at[10]),
        ]
    );
    let told = log.fold().into_iter().flat_map(|folded| folded.events);
    let told: Vec<_> = told
        .filter_map(|event| match event.kind {
            Kind::Applied(a) if a.verb == "silence" => Some(a.arguments),
            _ => None,
        })
        .collect();
    assert_eq!(told, [r#"{"minutes":60}"#, r#"{"minutes":30}"#]);
}

#[test]
fn r15_who_asks_how_things_are_is_answered_by_one_lane() {
    let [source, other, third] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    log.operator(5, Some(&[third]), false);
    log.incident(&source);
    log.incident(&other);
    let why = "/why INC-20260101-001";
    let foreign = format!("/why {other}/INC-20260101-001");
    let ask = |log: &mut Log, user, text: &str| {
        let id = log.entries.len() as u64;
        log.write(id, user, text)
    };
    let mut at = Vec::new();
    for (user, text) in [
        (ADA, "/help"),
        (9, "/help"),
        (9, "/dance"),
        (ADA, "/status"),
        (9, "/top"),
        (ADA, why),
        (5, why),
        (9, why),
        (ADA, foreign.as_str()),
        (ADA, "/why INC-20260101-009"),
        (ADA, "/why"),
        (9, "/ack"),
    ] {
        at.push(ask(&mut log, user, text));
    }
    let chat = "(chat:telegram:4711) <- -100";
    let stranger = "unknown_actor by telegram:9 (chat) <- -100";
    assert_eq!(
        log.story(),
        [
            format!("{} of 0: help asked by telegram:4711 <- -100", at[0]),
            format!("{} of 0: settled recorded: help", at[0]),
            format!("{} of 0: help asked by telegram:9 <- -100", at[1]),
            format!("{} of 0: settled recorded: help", at[1]),
            format!("{} of 0: help asked by telegram:9 <- -100", at[2]),
            format!("{} of 0: settled recorded: unknown_command", at[2]),
            format!("{} of 0: settled recorded: status", at[3]),
            format!("{} of 0: status asked by ada <- -100", at[3]),
            format!("{} of 0: settled recorded: top", at[4]),
            format!("{} of 0: top ! {stranger}", at[4]),
            format!("{} of 0: settled recorded: why", at[5]),
            format!("{} of 0: why of one asked by ada <- -100", at[5]),
            format!("{} of 0: settled recorded: why", at[6]),
            format!("{} of 0: why ! not_your_project by ada (chat:telegram:5) <- -100", at[6]),
            format!("{} of 0: settled recorded: why", at[7]),
            format!("{} of 0: why ! {stranger}", at[7]),
            format!("{} of 0: settled recorded: why", at[8]),
            format!("{} of 1: why ! other_chat by ada {chat}", at[8]),
            format!("{} of 0: settled recorded: why", at[9]),
            format!("{} of 0: why ! unknown_incident by ada {chat}", at[9]),
            format!("{} of 0: settled recorded: why", at[10]),
            format!("{} of 0: why ! unknown_incident by ada {chat}", at[10]),
            format!("{} of 0: ack ! {stranger}", at[11]),
            format!("{} of 0: settled recorded: no_incident_named: ack", at[11]),
        ]
    );
}

#[test]
fn what_only_one_lane_reads_is_done_there_or_parked() {
    let [source, other, _] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    let (here, there) = (log.incident(&source), log.incident(&other));
    let update = |id: u64, data: String| {
        let query = json!({"id": "1", "from": {"id": ADA}, "data": data});
        delivered("telegram", "chat", json!({"update_id": id, "callback_query": query}).to_string())
    };
    let done = log.of_project(&source, update(1, button("ack", &source, here)));
    let again = log.of_project(&source, update(1, button("ack", &source, here)));
    let parked = log.of_project(&source, update(2, button("ack", &other, there)));
    let reason = "not_in_all: it is asked of a lane that does not read it";
    assert_eq!(
        log.story(),
        [
            format!("{done} of 0: ack open-acknowledged by ada (chat:telegram:4711)"),
            format!("{done} of 0: settled command: ack"),
            format!("{again} of 0: settled redelivered: delivery_id_seen"),
            format!("{parked} of 0: settled parked: {reason}"),
        ]
    );
}

#[test]
fn r51_what_people_write_is_redacted() {
    let [source, ..] = projects();
    let mut log = Log::default();
    log.operator(ADA, None, false);
    log.incident(&source);
    log.write(1, ADA, "/note INC-20260101-001 password=hunter2-hunter2 is it");
    let events = format!("{:?}", log.fold()[1].events);
    assert!(events.contains("is it") && !events.contains("hunter2"), "{events}");
}

#[test]
fn a_users_record_is_bounded_and_so_are_users() {
    let mut state = Tables::new(LANE, ONE).load().unwrap();
    let mut tables = Tables::new(LANE, ONE);
    let say = |n: u64, user: String| {
        let said = ChatOperator { user, ..somebody(0, &"x".repeat(1000), None) };
        record(n, second(0), None, Body::Control(Box::new(Control::ChatOperator(said))))
    };
    let all = (1..=10_001).map(|n| say(n, format!("telegram:{n}"))).collect();
    tables.apply(&mut state, all).unwrap();
    let folded = tables.folded().unwrap();
    assert_eq!(ledger(&folded), [(Outcome::Parked, 1), (Outcome::Control, 10_000)]);
    assert_eq!(folded.parked.values().next().unwrap(), "too_many_chat_operators");
    let known = tables.load().unwrap();
    assert_eq!(known.operators(), state.operators());
    assert_eq!(known.operators().get("telegram:1", None).unwrap().operator.len(), 128);
    assert_eq!(known.operators().get("telegram:10001", None), None);
    // One who is known may still become somebody else.
    tables.apply(&mut state, vec![say(20_000, "telegram:1".into())]).unwrap();
    assert_eq!(tables.folded().unwrap().parked.len(), 1);
}
