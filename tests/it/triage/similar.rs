//! Past incidents like a new one: of the same project, with a diagnosis that an operator confirmed.

use domain::triage::{LIKE_ENOUGH, likeness};
use schemas::{
    Event, EventId, Facts, Fingerprint, IncidentId, InputPosition, JobId, Position, ProjectId,
    SourceId, Status, Time,
    alert::Risk,
    event::{Answered, Applied, Cause, EVENT_VERSION, IncidentState, Kind, Opened},
    id,
    job::{Analysis, AnswerResult, Similar},
};
use serde_json::json;
use store::similar::Sought;
use tests::model::Does;
use uuid::Uuid;

use super::feedback::{ADA, ALL, BOB, Desk};
use crate::query::desk;

/// An incident of the past, or one that is looked at now.
#[derive(Clone, Debug)]
struct Past {
    n: u64,
    project: &'static str,
    facts: Facts,
    problem: u128,
    inconclusive: bool,
}

impl Past {
    fn new(n: u64, title: &str) -> Self {
        let source = SourceId::new("main").unwrap();
        let facts = Facts::new("sentry", source, title, Status::Firing);
        Self { n, project: "shop", facts, problem: u128::from(n), inconclusive: false }
    }

    fn project(&self) -> ProjectId {
        ProjectId::new(self.project).unwrap()
    }

    fn incident(&self) -> IncidentId {
        IncidentId(Uuid::from_u128(u128::from(self.n) + 1))
    }

    fn opening(&self) -> Position {
        InputPosition { incarnation: 7, sequence: self.n + 1, record: 0 }.alert(0)
    }

    fn at(&self) -> Time {
        Time::from_micros(desk::NOW).plus_seconds(i64::try_from(self.n).unwrap() * 60)
    }

    fn event(&self, kind: Kind) -> Event {
        let id = EventId(id::hash(&[&self.n.to_be_bytes(), kind.word().as_bytes()]));
        Event {
            version: EVENT_VERSION,
            id,
            at: self.opening(),
            lane_time: self.at(),
            project: Some(self.project()),
            rules: "0123456789abcdef".into(),
            kind,
        }
    }

    fn opened(&self) -> Event {
        self.event(Kind::Opened(Box::new(Opened {
            incident: self.incident(),
            fingerprint: Fingerprint(Uuid::from_u128(self.problem)),
            cause: Cause::New,
            episode: 1,
            risk: Risk::High,
            facts: self.facts.clone(),
            rule: None,
            frequency: None,
            raised_by: None,
            flapping: None,
            channel: None,
        })))
    }

    fn answered(&self) -> Event {
        let analysis = Analysis {
            root_cause: format!("cause {}", self.n),
            analyzed_by: "openclaw".into(),
            inconclusive: self.inconclusive,
            ..Analysis::default()
        };
        self.event(Kind::Answered(Box::new(Answered {
            incident: self.incident(),
            opening: self.opening(),
            job: JobId::triage(self.opening(), "open"),
            reason: "open".into(),
            prompt: "0011223344556677".into(),
            result: AnswerResult {
                analysis: Some(analysis),
                attempts: vec![("openclaw".into(), "answered".into())],
                latency_ms: 7,
                ..AnswerResult::default()
            },
            fingerprint: None,
        })))
    }

    fn says(&self, verb: &str) -> Event {
        self.event(Kind::Applied(Box::new(Applied {
            incident: self.incident(),
            fingerprint: Fingerprint(Uuid::from_u128(self.problem)),
            opening: self.opening(),
            verb: verb.into(),
            actor: "ada".into(),
            auth_method: "bearer".into(),
            before: IncidentState::Open,
            after: IncidentState::Open,
            changed: true,
            arguments: "{}".into(),
            triage: None,
            reply: None,
            diagnosis: Some("open".into()),
        })))
    }
}

/// A database with these incidents in it, each with a confirmed diagnosis; all in one batch of the
/// project stage.
async fn confirmed(past: &[Past]) -> desk::Desk {
    let desk = desk::Desk::start().await;
    let mut sql = desk.sql().await;
    for one in past {
        sqlx::query("insert into incident_number values ($1, '20251121', $2, $3, '')")
            .bind(one.project)
            .bind(i32::try_from(one.n).unwrap() + 1)
            .bind(one.incident().0)
            .execute(&mut sql)
            .await
            .unwrap();
    }
    let events: Vec<Event> =
        past.iter().flat_map(|one| [one.opened(), one.answered(), one.says("confirm")]).collect();
    desk.apply(&events, true).await;
    desk
}

/// Given that incident now, then these of the past are like it, in this order.
async fn like(desk: &desk::Desk, now: &Past) -> Vec<Similar> {
    let problem = Fingerprint(Uuid::from_u128(now.problem));
    let words: Vec<(String, u32)> = likeness(&now.facts, Some(problem))
        .into_iter()
        .map(|word| (word.text, word.weight))
        .collect();
    let project = now.project();
    let sought = Sought {
        project: &project,
        incident: now.incident(),
        fingerprint: Some(problem),
        words: &words,
        enough: LIKE_ENOUGH,
    };
    desk.store.similar(sought).await.unwrap()
}

fn causes(found: &[Similar]) -> Vec<&str> {
    found.iter().map(|one| one.diagnosis.root_cause.as_str()).collect()
}

#[tokio::test]
async fn r29_the_most_like_it_come_first_and_none_of_another_project() {
    let title = "KeyError: 'user' in calculate_score";
    let past = [
        Past::new(0, "TimeoutError: redis did not answer"),
        Past::new(1, "KeyError: 'item' in rank"),
        Past::new(2, title),
        // Of the very same problem, though it reads otherwise.
        Past { problem: 99, ..Past::new(3, "somebody wrote another title") },
        Past { project: "other", ..Past::new(4, title) },
        Past { inconclusive: true, ..Past::new(5, title) },
        Past::new(6, title),
    ];
    let desk = confirmed(&past).await;
    desk.apply(&[past[6].says("reject")], true).await;

    let now = Past { problem: 99, ..Past::new(100, title) };
    let found = like(&desk, &now).await;
    assert_eq!(causes(&found), ["cause 3", "cause 2", "cause 1"]);
    let same: Vec<bool> = found.iter().map(|one| one.same_problem).collect();
    assert_eq!(same, [true, false, false]);
    assert_eq!((found[1].number.as_str(), found[1].title.as_str()), ("INC-20251121-003", title));
    assert_eq!((found[1].opened, found[1].ended), (past[2].at(), None));

    // Never itself; and the other project has its own.
    assert_eq!(causes(&like(&desk, &past[2]).await), ["cause 1"]);
    let there = Past { project: "other", ..now.clone() };
    assert_eq!(causes(&like(&desk, &there).await), ["cause 4"]);
    let nowhere = Past { project: "third", ..now.clone() };
    assert_eq!(causes(&like(&desk, &nowhere).await), [""; 0]);
    assert_eq!(causes(&like(&desk, &Past::new(101, "nothing of the sort")).await), [""; 0]);

    // Rejected and confirmed again it counts again; what is left without trace leaves none.
    desk.apply(&[past[6].says("confirm")], false).await;
    assert!(!causes(&like(&desk, &now).await).contains(&"cause 6"));
    desk.apply(&[past[6].says("confirm"), past[5].says("reject")], true).await;
    assert!(causes(&like(&desk, &now).await).contains(&"cause 6"));
    desk.stop().await;
}

#[tokio::test]
async fn r29_what_is_read_and_told_stays_small_however_much_there_is() {
    const MANY: u64 = 3_000;
    let mut past: Vec<Past> = (0..MANY)
        .map(|n| Past::new(n, &format!("KeyError: 'user' in worker{}", "x".repeat(n as usize % 7))))
        .collect();
    past[3].facts.title = "KeyError: 'zebra' in stripes".into();
    let desk = confirmed(&past).await;
    let begun = std::time::Instant::now();
    let found = like(&desk, &Past::new(MANY + 1, "KeyError: 'user' in workerx")).await;
    println!("similar of {MANY} took {:?}", begun.elapsed());
    assert_eq!(found.len(), 5);
    // Of what very many share, the newest are looked at; of what few share, all.
    let newest = past[MANY as usize - 400].at();
    assert!(found.iter().all(|one| one.opened > newest), "{:?}", causes(&found));
    let rare = like(&desk, &Past::new(MANY + 2, "KeyError: 'zebra' in stripes")).await;
    assert_eq!(causes(&rare)[0], "cause 3");
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_a_model_is_told_of_past_incidents_that_were_understood() {
    let mut desk = Desk::start(ALL, "playbook = false", "").await;
    let first = desk.fire(1).await;
    let number = first["number"].as_str().unwrap().to_owned();
    assert!(!desk.told_last().contains("INC-"), "there is nothing of before");

    // What nobody confirmed is a guess, and is not told.
    desk.model.does([], Does::Says("資料庫鎖死".into()));
    desk.fire(2).await;
    assert!(!desk.told_last().contains(&number), "{}", desk.told_last());

    desk.say(ADA, &first, "confirm", json!({})).await;
    desk.fleet.settled().await;
    desk.fire(3).await;
    let told = desk.told_last();
    assert!(told.contains(&number) && told.contains("連線池耗盡"), "{told}");
    assert!(told.contains("Boom 1 in checkout") && !told.contains("Boom 2 in checkout"), "{told}");
    // It stands in the record of the answer: a replay needs no tables for it.
    let mut sql = desk.fleet.world.sql().await;
    let inputs: i64 = sqlx::query_scalar(
        "select count(*) from diagnosis d join incident i using (generation, project, incident) \
         where i.facts->>'title' = 'Boom 3 in checkout'",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(inputs, 1);
    let log = desk.fleet.world.log().await;
    let stream = schemas::subject::deliveries_stream(&desk.fleet.world.namespace);
    let recorded = tests::oracle::everything(log.as_ref(), &stream).await;
    let held = recorded.iter().filter(|message| {
        let text = String::from_utf8_lossy(&message.payload);
        text.contains("Boom 3 in checkout") && text.contains(&number)
    });
    assert_eq!(held.count(), 1, "one record of an answer has what was told");

    // It is not told of itself, nor of what turned out to be wrong.
    desk.say(ADA, &first, "request_triage", json!({})).await;
    desk.fleet.settled().await;
    assert!(!desk.told_last().contains(&number), "{}", desk.told_last());
    let again = desk.get(&format!("incidents/{number}?project_id=shop")).await;
    desk.say(BOB, &again, "confirm", json!({})).await;
    desk.say(BOB, &again, "reject", json!({})).await;
    desk.fleet.settled().await;
    desk.fire(4).await;
    let told = desk.told_last();
    assert!(told.contains("連線池耗盡"), "the diagnosis that stays confirmed is told: {told}");
    assert!(!told.contains("資料庫鎖死"), "the one that was rejected is not: {told}");
    assert_eq!(desk.model.wrong(), [""; 0]);
    desk.fleet.stop_all();
    tests::oracle::check(&desk.fleet.world).await;
}

/// What cannot be read of the past is left out, however often it would be tried: the job is answered.
#[tokio::test(flavor = "multi_thread")]
async fn r30_an_unreadable_past_incident_keeps_no_job_from_its_answer() {
    let mut desk = Desk::start(ALL, "playbook = false", "").await;
    let first = desk.fire(1).await;
    let number = first["number"].as_str().unwrap().to_owned();
    desk.say(ADA, &first, "confirm", json!({})).await;
    desk.fleet.settled().await;
    let broken = sqlx::query("update diagnosis set analysis = '\"broken\"'")
        .execute(&mut desk.fleet.world.sql().await)
        .await
        .unwrap();
    assert_eq!(broken.rows_affected(), 1);
    desk.fire(2).await;
    let told = desk.told_last();
    assert!(told.contains("Boom 2 in checkout") && !told.contains(&number), "{told}");
    desk.fleet.stop_all();
}
