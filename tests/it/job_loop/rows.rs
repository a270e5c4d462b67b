//! What deliver asks the tables: was it told, which number, which analysis.

use schemas::{
    codec,
    job::{Analysis, AnswerResult},
};
use store::job::{Telling, Told};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_one_thing_is_told_once() {
    let rig = Rig::start().await;
    let store = &rig.world.store;
    let project = ProjectId::new("payments").unwrap();
    let telling = Telling {
        project: &project,
        target: "ops",
        kind: "fire",
        subject: "1-1-0-0",
        trigger: trigger(0),
        job: id(0),
    };
    let another = Telling { job: id(1), ..telling };
    assert_eq!(store.tell(telling).await.unwrap(), Told::First);
    assert_eq!(store.tell(telling).await.unwrap(), Told::Again);
    assert_eq!(store.tell(another).await.unwrap(), Told::ByAnother);
    for different in [
        Telling { target: "dev", ..another },
        Telling { kind: "resolve", ..another },
        Telling { subject: "1-2-0-0", ..another },
        Telling { trigger: trigger(1), ..another },
    ] {
        assert_eq!(store.tell(different).await.unwrap(), Told::First);
    }

    // another's retraction takes nothing back; one's own does
    store.retract(another).await.unwrap();
    assert_eq!(store.tell(telling).await.unwrap(), Told::Again);
    store.retract(telling).await.unwrap();
    assert_eq!(store.tell(another).await.unwrap(), Told::First);

    // of many at once, one is the first
    let racing = (0..16).map(|n| {
        let telling = Telling { subject: "race", job: id(n), ..telling };
        store.tell(telling)
    });
    let told = futures_util::future::join_all(racing).await;
    let first = told.iter().filter(|t| matches!(t, Ok(Told::First))).count();
    let by_another = told.iter().filter(|t| matches!(t, Ok(Told::ByAnother))).count();
    assert_eq!((first, by_another), (1, 15));
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
    };
    let answers = [None, Some(analysis("first")), Some(analysis("second")), None];
    for (n, (answer, want)) in
        answers.into_iter().zip([None, Some("first"), Some("second"), Some("second")]).enumerate()
    {
        let asked = NewJob { queue: Queue::Triage, ..job(n as u32, 3, "") };
        rig.insert(GENERATION, &[asked]).await;
        let claimed = store.claim(Queue::Triage, 1, PATIENCE, &[], &[]).await.unwrap().remove(0);
        let result = AnswerResult { analysis: answer, attempts: vec![], latency_ms: 1 };
        store.store_result(&claimed, &codec::encode(&result), End::Done, None).await.unwrap();
        store.settle(&claimed, End::Done, None).await.unwrap();
        let latest = store.latest_answer(incident).await.unwrap().unwrap();
        assert_eq!(latest.analysis.map(|a| a.root_cause).as_deref(), want);
    }
    let other = IncidentId(Uuid::from_u128(4));
    assert_eq!(store.latest_answer(other).await.unwrap(), None);
}
