//! What chats send, and what they are told at once.

use super::{
    doors::{open, to},
    *,
};

#[tokio::test]
async fn r13_a_challenge_is_answered_at_once_and_not_stored() {
    let (app, world) = open(&["lark"]);
    let body = r#"{"challenge":"ajls384k","token":"t","type":"url_verification"}"#;
    let before = counted("lark", Outcome::Handshake);
    for path in ["/lark/event", "/webhook/lark", "/webhook/lark/lark"] {
        let (status, headers, text) = answer(&app, to(path, body)).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, r#"{"challenge":"ajls384k"}"#));
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    }
    assert!(world.records().await.is_empty());
    assert_eq!(counted("lark", Outcome::Handshake), before + 3);
}

#[tokio::test]
async fn r13_a_message_is_answered_200_and_goes_where_every_lane_reads_it() {
    let (app, world) = open(&["lark"]);
    let body =
        r#"{"type":"event_callback","event":{"message":{"content":"{\"text\":\"/help\"}"}}}"#;
    let (status, _, text) = answer(&app, to("/lark/event", body)).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "{}"));
    let stored = world.deliveries().await.remove(0);
    assert_eq!((stored.provider.as_str(), stored.route.as_str()), ("lark", "/lark/event"));
    let record = world.records().await.remove(0);
    assert_eq!(record.project.unwrap().as_str(), "default");
    let stream = deliveries_stream(world.log.namespace());
    let message = world.log.get(&stream, 1).await.unwrap().unwrap();
    assert!(message.subject.ends_with(".all.d"), "{}", message.subject);
}
