//! What a press or a reaction did is shown by its card: one of ours is changed like any message, and one
//! that another program of the same application made by the token that the press brings.

use serde_json::{Value, json};
use tests::receivers::Fault;

use super::{
    answers::{ADA, Desk, EVE, one},
    leaks::stands_nowhere_else,
};

#[tokio::test(flavor = "multi_thread")]
async fn r17_the_result_of_a_press_is_shown_on_a_card_made_elsewhere() {
    let mut desk = Desk::start().await;
    desk.run(&["operators", "map", "lark:ou_ada", "ada", "--project", "infra"], 0);
    desk.fire("DiskFull").await;
    desk.news().await;
    let number = desk.incident().await["number"].as_str().unwrap().to_owned();
    let of_before = json!({"header": {"title": {"tag": "plain_text", "content": "a diagnosis"}},
        "elements": [{"tag": "div"}]});
    let card = desk.lark.made_elsewhere(of_before.clone());
    desk.news().await;
    let value = |action: &str| json!({"action": action, "incident_id": number});

    // Somebody else's press changes nothing that others see.
    let refused = desk.press(EVE, &card, value("ack")).await;
    one(&refused, &[&format!("{card}: "), "Sorry"]);
    assert_eq!(desk.lark.messages()[&card].content, of_before);

    // What an operator's press did is on the card, and so that it was done before. The message that
    // tells of the incident says who has it.
    let done = desk.press(ADA, &card, value("ack")).await;
    assert!(done.contains(&format!("changed {card}")) && done.len() == 2, "{done:#?}");
    let shown = || desk.lark.messages()[&card].content.to_string();
    assert!(shown().contains("ada") && shown().contains(&number), "{}", shown());
    one(&desk.press(ADA, &card, value("ack")).await, &[&format!("changed {card}")]);

    // A token that is refused, and a press that brings none, are answered by a message.
    let invalid = json!({"code": 300_000, "msg": "invalid token"});
    desk.lark.inbox.fail_next([Fault::Answer(400, invalid)]);
    one(&desk.press(ADA, &card, value("ack")).await, &[&format!("{card}: "), "ada"]);
    let plain = desk.press_without_token(ADA, &card, value("ack")).await;
    one(&plain, &[&format!("{card}: "), "ada"]);
    let tokens = desk.lark.inbox.taken();
    let tokens = tokens.iter().filter(|call| call["call"] == "change pressed");
    assert!(tokens.clone().count() == 2, "{:#?}", tokens.collect::<Vec<&Value>>());
    stands_nowhere_else(&desk.fleet, "c-295ee57216a5dc9de90fefd0aadb4b1d").await;
    desk.fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_what_a_reaction_did_is_shown_by_the_card_and_a_stranger_is_told_so() {
    let mut desk = Desk::start().await;
    desk.run(&["operators", "map", "lark:ou_ada", "ada", "--source", "lark"], 0);
    desk.fire("DiskFull").await;
    desk.news().await;
    let card = desk.lark.messages().into_keys().next().unwrap();
    let number = desk.incident().await["number"].as_str().unwrap().to_owned();

    let refused = desk.react(EVE, &card).await;
    let said = one(&refused, &[&format!("{card}: "), "Sorry", "--source lark"]);
    assert!(!said.contains(&number) && !said.contains("DiskFull"), "{said}");
    assert_eq!(desk.incident().await["status"], "open");

    one(&desk.react(ADA, &card).await, &[&format!("changed {card}")]);
    let shown = desk.lark.messages()[&card].content.to_string();
    assert!(shown.contains("ada"), "{shown}");
    assert_eq!(desk.incident().await["status"], "acknowledged");
    // What is not ours says nothing to us, whoever likes it.
    assert_eq!(desk.react(EVE, "om_of_somebody").await, Vec::<String>::new());
    desk.fleet.stop_all();
}
