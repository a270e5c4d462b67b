//! What deliver asks the tables: was it told, which number, which analysis.

use schemas::{
    codec,
    job::{Analysis, AnswerResult},
};
use store::job::{Health, History, Message, Resent, Telling, Told};

use super::*;

/// A claim of send `n`, as far as telling needs it.
fn claimed(n: u32, claim: u128) -> Job {
    Job {
        generation: GENERATION,
        id: id(n),
        queue: Queue::Send,
        lane: LANE,
        project: ProjectId::new("payments").unwrap(),
        incident: IncidentId(Uuid::nil()),
        target: "ops".into(),
        attempts: 1,
        trigger: trigger(0),
        payload: Vec::new(),
        result: None,
        result_end: None,
        claim: Uuid::from_u128(claim),
        health: Health::Answers,
    }
}

/// What a claim of [`claimed`] is about to tell.
fn about(job: &Job) -> Telling<'_> {
    Telling {
        project: &job.project,
        target: &job.target,
        kind: "fire",
        subject: "1-1-0-0",
        trigger: job.trigger,
        job: Telling::teller(job.generation, job.id),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_one_thing_is_told_once() {
    let rig = Rig::start().await;
    let store = &rig.world.store;
    let (one, other) = (claimed(0, 1), claimed(1, 2));
    let (telling, another) = (about(&one), about(&other));
    let again = Job { claim: Uuid::from_u128(3), ..one.clone() };
    assert_eq!(store.tell(telling, one.claim).await.unwrap(), Told::First);
    let told = store.tell(telling, again.claim).await.unwrap();
    assert!(matches!(told, Told::Again { since } if since < PATIENCE), "{told:?}");
    assert_eq!(store.tell(another, other.claim).await.unwrap(), Told::ByAnother);
    for different in [
        Telling { target: "dev", ..another },
        Telling { kind: "resolve", ..another },
        Telling { subject: "1-2-0-0", ..another },
        Telling { trigger: trigger(1), ..another },
    ] {
        assert_eq!(store.tell(different, other.claim).await.unwrap(), Told::First);
    }

    // another's retraction takes nothing back; one's own does
    store.retract(&other, &another.into()).await.unwrap();
    assert!(matches!(store.tell(telling, again.claim).await.unwrap(), Told::Again { .. }));
    store.retract(&one, &telling.into()).await.unwrap();
    assert_eq!(store.tell(another, other.claim).await.unwrap(), Told::First);

    // of many at once, one is the first
    let racing = (0..16).map(|n| {
        let telling = Telling { subject: "race", job: id(n), ..telling };
        store.tell(telling, Uuid::from_u128(100 + u128::from(n)))
    });
    let told = futures_util::future::join_all(racing).await;
    let first = told.iter().filter(|t| matches!(t, Ok(Told::First))).count();
    let by_another = told.iter().filter(|t| matches!(t, Ok(Told::ByAnother))).count();
    assert_eq!((first, by_another), (1, 15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_a_claim_takes_back_what_it_noted_itself_and_nothing_else() {
    let rig = Rig::start().await;
    let store = &rig.world.store;
    let (first, second) = (claimed(0, 1), claimed(0, 2));
    let telling = about(&first);

    // Whoever did not hear the answer asks again, and is told the same.
    for _ in 0..2 {
        assert_eq!(store.tell(telling, first.claim).await.unwrap(), Told::First);
    }
    // What the first claim may have told, no refusal of the second one takes back.
    assert!(matches!(store.tell(telling, second.claim).await.unwrap(), Told::Again { .. }));
    store.retract(&second, &telling.into()).await.unwrap();
    assert!(matches!(store.tell(telling, second.claim).await.unwrap(), Told::Again { .. }));
    // Its own does, and it may be told again that it was taken back.
    for _ in 0..2 {
        store.retract(&first, &telling.into()).await.unwrap();
    }
    assert_eq!(store.tell(telling, second.claim).await.unwrap(), Told::First);

    // How long ago counts from the attempt that may have told it, not from one that did not.
    let age = "update sent set told_at = told_at - interval '90 minutes'";
    sqlx::query(age).execute(&mut rig.world.sql().await).await.unwrap();
    let third = Uuid::from_u128(3);
    let Told::Again { since } = store.tell(telling, third).await.unwrap() else { panic!("new") };
    assert!((5_400..5_500).contains(&since.as_secs()), "{since:?}");
    store.retract(&second, &telling.into()).await.unwrap();
    assert_eq!(store.tell(telling, third).await.unwrap(), Told::First);
    let told = store.tell(telling, Uuid::from_u128(4)).await.unwrap();
    assert!(matches!(told, Told::Again { since } if since < PATIENCE), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_what_was_delivered_is_known_by_its_name() {
    let rig = Rig::start().await;
    let store = &rig.world.store;
    let job = claimed(0, 1);
    let fire = about(&job);
    let update = Telling { kind: "update", trigger: trigger(1), job: id(1), ..fire };
    let told = async || store.history(update).await.unwrap();
    assert_eq!(told().await, History::default());
    // It may have arrived, then it was refused, then it is taken.
    store.tell(fire, job.claim).await.unwrap();
    assert_eq!(told().await, History { doubtful: true, ..History::default() });
    store.retract(&job, &fire.into()).await.unwrap();
    assert_eq!(told().await, History { refused: true, ..History::default() });
    assert_eq!(store.tell(fire, job.claim).await.unwrap(), Told::First);
    let message = Message { name: Some("m1".into()), shown: Uuid::from_u128(7), analysed: false };
    store.delivered(fire, &message).await.unwrap();
    assert_eq!(store.tell(fire, job.claim).await.unwrap(), Told::Delivered(message.clone()));
    let first = Some("m1".to_owned());
    let expect = History { message: Some(message.clone()), first, ..History::default() };
    assert_eq!(told().await, expect);
    // Once taken it is not taken back, and nobody else is meant.
    store.retract(&job, &fire.into()).await.unwrap();
    assert_eq!(told().await, expect);
    for other in [
        Telling { target: "dev", ..update },
        Telling { subject: "1-2-0-0", ..update },
        Telling { job: fire.job, ..update },
    ] {
        assert_eq!(store.history(other).await.unwrap(), History::default());
    }
    let analysed = Message { shown: Uuid::from_u128(8), analysed: true, ..message };
    store.tell(update, Uuid::from_u128(9)).await.unwrap();
    store.delivered(update, &analysed).await.unwrap();
    let next = Telling { job: id(2), ..update };
    let history = store.history(next).await.unwrap();
    assert_eq!((history.message, history.analysed), (Some(analysed), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_what_was_given_up_is_sent_again_by_an_operator_and_never_what_was_told() {
    // given three sends: nobody knows, refused, and told by another after all
    let rig = Rig::start().await;
    let store = &rig.world.store;
    rig.insert(GENERATION, &[job(0, 0, "a"), job(1, 1, "b"), job(2, 2, "c")]).await;
    let project = ProjectId::new("payments").unwrap();
    let jobs = store.claim(Queue::Send, 10, PATIENCE, &Room::default(), &[]).await.unwrap();
    fn telling<'a>(project: &'a ProjectId, job: &'a Job) -> Telling<'a> {
        Telling {
            project,
            target: &job.target,
            kind: "fire",
            subject: "s",
            trigger: job.trigger,
            job: Telling::teller(job.generation, job.id),
        }
    }
    for job in &jobs {
        let (telling, end) = (telling(&project, job), [End::Unknown, End::Parked, End::Unknown]);
        let end = end[job.payload[3] as usize];
        assert_eq!(store.tell(telling, job.claim).await.unwrap(), Told::First);
        if end == End::Parked {
            store.retract(job, &telling.into()).await.unwrap();
        }
        assert!(store.settle(job, end, Some("its words")).await.unwrap());
    }
    let message = Message { name: None, shown: Uuid::nil(), analysed: false };
    let of = |target: &str| jobs.iter().find(|job| job.target == target).unwrap();
    store.delivered(telling(&project, of("c")), &message).await.unwrap();

    // when an operator looks, then all three are there, with the words
    let unsent = store.unsent(10).await.unwrap();
    assert_eq!(unsent.len(), 3);
    assert!(unsent.iter().all(|unsent| unsent.reason == "its words"), "{unsent:?}");

    // when they are sent again, then once, by a new job, and never what was told
    for (target, told) in [("a", false), ("b", false), ("c", true)] {
        let job = of(target);
        let unsent = store.unsent_at(job.id).await.unwrap().unwrap();
        let again = store.resend(&unsent, telling(&project, job), "ada").await.unwrap();
        assert_eq!(matches!(again, Resent::As(_)), !told, "{target}: {again:?}");
        let twice = store.resend(&unsent, telling(&project, job), "ada").await.unwrap();
        assert_eq!(twice, if told { Resent::Told } else { Resent::NotGivenUp });
    }
    assert_eq!(store.unsent(10).await.unwrap().len(), 1, "what was told stays for the record");
    let again = store.claim(Queue::Send, 10, PATIENCE, &Room::default(), &[]).await.unwrap();
    assert_eq!(again.len(), 2);
    for job in &again {
        assert_eq!(store.tell(telling(&project, job), job.claim).await.unwrap(), Told::First);
        assert_eq!(job.payload, of(&job.target).payload);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_incident_numbers_widen_past_999() {
    let rig = Rig::start().await;
    let mut sql = rig.world.sql().await;
    for (number, want) in
        [(7, "INC-20251031-007"), (999, "INC-20251031-999"), (12_345, "INC-20251031-12345")]
    {
        let incident = IncidentId(Uuid::from_u128(number));
        assert_eq!(rig.world.store.incident_number(incident).await.unwrap(), None);
        sqlx::query("insert into incident_number values ('payments', '20251031', $1, $2, '1-1-0')")
            .bind(i32::try_from(number).unwrap())
            .bind(incident.0)
            .execute(&mut sql)
            .await
            .unwrap();
        let got = rig.world.store.incident_number(incident).await.unwrap();
        assert_eq!(got.as_deref(), Some(want));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_analysis_outlives_a_later_failure() {
    let rig = Rig::start().await;
    let store = &rig.world.store;
    let incident = IncidentId(Uuid::from_u128(3));
    assert_eq!(store.latest_answer(incident).await.unwrap(), None);
    let analysis = |cause: &str| Analysis {
        root_cause: cause.into(),
        impact: String::new(),
        fix_suggestion: String::new(),
        prevention: String::new(),
        confidence: 0.5,
        analyzed_by: "openclaw".into(),
        model: None,
        ..Analysis::default()
    };
    let answers = [None, Some(analysis("first")), Some(analysis("second")), None];
    for (n, (answer, want)) in
        answers.into_iter().zip([None, Some("first"), Some("second"), Some("second")]).enumerate()
    {
        let asked = NewJob { queue: Queue::Triage, ..job(n as u32, 3, "") };
        rig.insert(GENERATION, &[asked]).await;
        let claimed =
            store.claim(Queue::Triage, 1, PATIENCE, &Room::default(), &[]).await.unwrap().remove(0);
        let result = AnswerResult {
            analysis: answer,
            attempts: vec![],
            latency_ms: 1,
            ..AnswerResult::default()
        };
        store.store_result(&claimed, &codec::encode(&result), End::Done, None).await.unwrap();
        store.settle(&claimed, End::Done, None).await.unwrap();
        let latest = store.latest_answer(incident).await.unwrap().unwrap();
        assert_eq!(latest.analysis.map(|a| a.root_cause).as_deref(), want);
    }
    let other = IncidentId(Uuid::from_u128(4));
    assert_eq!(store.latest_answer(other).await.unwrap(), None);
}
