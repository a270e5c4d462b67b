//! The robots of DingTalk and WeCom against robots that keep their rules.

use tests::receivers::{Fault, dingtalk, wecom_robot};

use super::*;

pub(super) fn dingtalk(robot: &dingtalk::Robot, secret: &str) -> Value {
    json!({
        "kind": "dingtalk", "url": robot.url, "secret": secret, "allow_private": true,
        "timeout_ms": 2_000,
    })
}

pub(super) fn wecom(robot: &wecom_robot::Robot) -> Value {
    json!({
        "kind": "wecom-robot", "url": robot.url, "allow_private": true, "timeout_ms": 2_000,
    })
}

fn alert(kind: SendKind) -> Facts {
    sample("alertmanager", kind)
}

/// An alert that would ring people, open pages and fill screens.
fn evil() -> Facts {
    let evil = "<@all> @all <!channel> [x](http://a.example) <font color=\"info\">*b*</font> 界🦀 ";
    let evil = evil.repeat(200);
    let mut facts = Facts {
        title: evil.clone(),
        message: Some(evil.clone()),
        alertname: Some(evil.clone()),
        target: Some(evil.clone()),
        url: Some(format!("https://a.example/({})", "x".repeat(500))),
        ..alert(SendKind::Fire)
    };
    facts.annotations = ["summary", "description"].map(|name| (name.into(), evil.clone())).to_vec();
    facts.labels = ["instance", "job"].map(|name| (name.into(), evil.clone())).to_vec();
    facts
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_fire_and_resolve_arrive_at_the_robots_as_rendered() {
    let ding = dingtalk::Robot::start(Some(SECRET), None).await;
    let robot = wecom_robot::Robot::start().await;
    let ring = json!(["ada", "@all"]);
    let mut office = Office::open(json!({
        "ding": with(dingtalk(&ding, SECRET), "mention", ring.clone()),
        "robot": with(wecom(&robot), "mention", ring),
    }))
    .await;
    office.ask(SendKind::Fire, 7, alert(SendKind::Fire), |_| ()).await;
    office.ask(SendKind::Resolve, 7, alert(SendKind::Resolve), |_| ()).await;
    office.deliver_all().await;

    let texts: Vec<Value> =
        robot.inbox.taken().into_iter().map(|body| body["text"]["content"].clone()).collect();
    assert_eq!(
        texts,
        ["fire", "resolve"].map(|kind| fixture(&format!("alertmanager.wecom.{kind}.txt")))
    );
    let cards = ding.inbox.taken();
    assert_eq!(cards.len(), 2, "{:?}", office.jobs().await);
    for (card, word) in cards.iter().zip(["告警", "已恢復"]) {
        assert_eq!(card["msgtype"], "markdown");
        assert!(card["markdown"]["title"].as_str().unwrap().contains(word), "{card}");
        let text = card["markdown"]["text"].as_str().unwrap();
        assert!(text.starts_with("#### ") && text.contains("INC-20260102-007"), "{text}");
    }
    // What fires rings those the channel names, its end nobody.
    assert_eq!(dingtalk::rung(&cards[0]), ["ada", "@all"]);
    assert_eq!(dingtalk::rung(&cards[1]), [""; 0]);
    let rung: Vec<Vec<String>> = robot.inbox.taken().iter().map(wecom_robot::rung).collect();
    assert_eq!(rung, [vec!["ada".to_owned(), "@all".to_owned()], vec![]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_markup_and_size_keep_nothing_from_arriving_and_ring_nobody() {
    let ding = dingtalk::Robot::start(Some(SECRET), None).await;
    let robot = wecom_robot::Robot::start().await;
    let channels = json!({ "ding": dingtalk(&ding, SECRET), "robot": wecom(&robot) });
    let mut office = Office::open(channels).await;
    office.ask(SendKind::Fire, 1, evil(), |_| ()).await;
    office.deliver_all().await;
    let (cards, texts) = (ding.inbox.taken(), robot.inbox.taken());
    assert_eq!((cards.len(), texts.len()), (1, 1), "{:?}", office.jobs().await);
    assert_eq!(ding.inbox.refused().len() + robot.inbox.refused().len(), 0);
    assert_eq!(
        (&cards[0]["msgtype"], &texts[0]["msgtype"]),
        (&json!("markdown"), &json!("markdown"))
    );
    assert_eq!((dingtalk::rung(&cards[0]), wecom_robot::rung(&texts[0])), (vec![], vec![]));
    let said = cards[0]["markdown"]["text"].as_str().unwrap();
    // The only link is to the sender's page.
    assert_eq!(said.matches("](").count(), 1, "{said}");
    let said = texts[0]["markdown"]["content"].as_str().unwrap();
    assert!(!said.contains(['<', '[', '`']), "{said}");

    // What is refused as it is put is told again as a short text.
    let refused = |code: i64| Fault::Answer(200, json!({ "errcode": code, "errmsg": "no" }));
    ding.inbox.fail_next([refused(460101)]);
    robot.inbox.fail_next([refused(40058)]);
    office.ask(SendKind::Fire, 2, evil(), |_| ()).await;
    office.deliver_all().await;
    let last = |all: Vec<Value>| all.last().unwrap()["msgtype"].clone();
    assert_eq!(
        (last(ding.inbox.taken()), last(robot.inbox.taken())),
        (json!("text"), json!("text"))
    );
    let (card, text) = (ding.inbox.taken().pop().unwrap(), robot.inbox.taken().pop().unwrap());
    assert_eq!((dingtalk::rung(&card), wecom_robot::rung(&text)), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a_robot_that_was_asked_too_often_is_left_alone() {
    let ding = dingtalk::Robot::start(Some(SECRET), None).await;
    let mut office = Office::open(json!({ "ding": dingtalk(&ding, SECRET) })).await;
    let answer = json!({ "errcode": 130101, "errmsg": "send too fast" });
    ding.inbox.fail_next([Fault::Answer(200, answer)]);
    for n in 1..=3 {
        office.ask(SendKind::Fire, n, alert(SendKind::Fire), |_| ()).await;
    }
    let job = office.claim().await.remove("ding").unwrap();
    let told = office.attempt(&job).await;
    let Performed::Retry { after, reason, pause_target, .. } = told else { panic!("{told:?}") };
    assert!(pause_target && after >= Duration::from_secs(600), "{after:?}");
    assert_eq!(reason, "errcode 130101: send too fast");

    // WeCom's says nothing of how long: the delays grow, and nothing is lost.
    let robot = wecom_robot::Robot::start().await;
    let mut office = Office::open(json!({ "robot": wecom(&robot) })).await;
    let slow = || Fault::Answer(200, json!({ "errcode": 45009, "errmsg": "freq" }));
    robot.inbox.fail_next([slow(), slow()]);
    for n in 1..=2 {
        office.ask(SendKind::Fire, n, alert(SendKind::Fire), |_| ()).await;
    }
    office.deliver_all().await;
    assert_eq!(robot.inbox.taken().len(), 2, "{:?}", office.jobs().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a_robots_credential_problem_is_parked_with_its_remedy_and_without_the_credential() {
    let ding = dingtalk::Robot::start(Some(SECRET), None).await;
    let strict = dingtalk::Robot::start(None, Some("关键词")).await;
    let robot = wecom_robot::Robot::start().await;
    for inbox in [&ding.inbox, &strict.inbox, &robot.inbox] {
        inbox.may_refuse();
    }
    let token = ding.url.replace(dingtalk::TOKEN, "another-token-of-these-tests");
    let key = robot.url.replace(wecom_robot::KEY, "another-key-of-these-tests");
    let mut office = Office::open(json!({
        "sign": dingtalk(&ding, "another-secret"),
        "token": with(dingtalk(&ding, SECRET), "url", json!(token)),
        "word": with(dingtalk(&strict, SECRET), "secret", json!(SECRET)),
        "key": with(wecom(&robot), "url", json!(key)),
    }))
    .await;
    office.ask(SendKind::Fire, 7, alert(SendKind::Fire), |_| ()).await;
    office.deliver_all().await;
    let jobs = office.jobs().await;
    for (target, code, remedy) in [
        ("sign", "310000", "secret"),
        ("token", "300005", "url"),
        ("word", "310000", "keyword"),
        // The robot repeats the key it was asked with.
        ("key", "93000", "url"),
    ] {
        let (state, reason) = &jobs[target];
        assert_eq!(state, "parked", "{target}: {reason}");
        assert!(reason.contains(code) && reason.contains(remedy), "{target}: {reason}");
        assert!(!reason.contains("another"), "{target}: {reason}");
    }
}
