use std::{sync::Mutex, time::Duration};

use reqwest::Method;
use runtime::http_client::ClientConfig;
use schemas::Time;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::config::tests::target;

fn check(addresses: &[&str], public: bool) {
    for address in addresses {
        assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
    }
}

#[test]
fn inner_addresses_are_not_public() {
    check(
        &[
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "100.100.100.200",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ],
        false,
    );
    check(
        &[
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
        ],
        false,
    );
}

#[test]
fn outer_addresses_are_public() {
    check(&["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.1.0.1"], true);
    check(&["2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"], true);
}

#[test]
fn urls_cannot_hide_an_address() {
    for url in ["http://2130706433/", "http://0x7f.1/", "http://[::ffff:7f00:1]/"] {
        let ip = literal_address(&Url::parse(url).unwrap()).unwrap();
        assert!(!is_public(ip), "{url} is {ip}");
    }
    assert_eq!(literal_address(&Url::parse("http://example.com/").unwrap()), None);
}

#[tokio::test]
async fn names_of_inner_addresses_are_blocked_unless_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (scheme, host) in [("http", "localhost"), ("https", "localhost"), ("https", "127.0.0.1")] {
        let url = Url::parse(&format!("{scheme}://{host}:{port}/")).unwrap();
        let request = Request::Http { method: Method::POST, url, headers: vec![], body: vec![] };
        let target = target("webhook", Some("https://hooks.example.com/"));
        let ended = sender(print_to_log()).send(request, &target).await;
        assert_eq!(ended, Exchange::Blocked(NOT_PUBLIC.into()), "{scheme}://{host}");
    }
    let visit = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(visit.is_err(), "somebody dialled");
}

/// What the other end does with one connection.
enum Peer {
    Answers(String),
    Hangs,
    Closes,
}

/// Sends one POST to a peer on loopback; returns how it ended and what the peer read.
async fn exchange(peer: Peer, allow_private: bool) -> (Exchange, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/secret-path", listener.local_addr().unwrap().port());
    let mut target =
        target("webhook", Some("https://hooks.example.com/")).within(Duration::from_millis(300));
    target.allow_private = allow_private;
    let request = Request::Http {
        method: Method::POST,
        url: Url::parse(&url).unwrap(),
        headers: vec![("webhook-id", "1".into())],
        body: b"hello".to_vec(),
    };
    let sender = sender(print_to_log());
    let serve = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"hello") {
            assert_ne!(connection.read_buf(&mut read).await.unwrap(), 0);
        }
        match peer {
            Peer::Answers(answer) => {
                // The sender may stop reading before the end.
                let _ = connection.write_all(answer.as_bytes()).await;
            }
            Peer::Hangs => std::future::pending().await,
            Peer::Closes => {}
        }
        String::from_utf8(read).unwrap()
    };
    let mut heard = String::new();
    let ended = {
        let send = sender.send(request, &target);
        tokio::pin!(send, serve);
        tokio::select! {
            biased;
            text = &mut serve => {
                heard = text;
                send.await
            }
            ended = &mut send => ended,
        }
    };
    (ended, heard)
}

fn sender(print: Printer) -> Sender {
    let clients = Clients::new(&ClientConfig::default()).unwrap();
    Sender::new(clients, Clock::fixed(Time::from_micros(7)), print)
}

fn answered(ended: Exchange) -> Response {
    match ended {
        Exchange::Answered(response) => response,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_is_read_with_its_retry_after() {
    let answer = "HTTP/1.1 429 No\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno";
    let (ended, heard) = exchange(Peer::Answers(answer.into()), true).await;
    let response = answered(ended);
    assert_eq!((response.status, response.retry_after.as_deref()), (429, Some("7")));
    assert_eq!((&response.body[..], response.at), (&b"no"[..], Time::from_micros(7)));
    assert!(heard.starts_with("POST /secret-path HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains("webhook-id: 1\r\n"), "{heard}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let answer = "HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (ended, _) = exchange(Peer::Answers(answer.into()), true).await;
    assert_eq!(answered(ended).status, 307);
}

#[tokio::test]
async fn no_more_of_an_answer_is_read_than_the_cap() {
    let body = "x".repeat(2 * MAX_RESPONSE_BYTES);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (ended, _) = exchange(Peer::Answers(answer), true).await;
    assert_eq!(answered(ended).body.len(), MAX_RESPONSE_BYTES);
}

#[tokio::test]
async fn a_body_that_stops_does_not_take_the_status_back() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal";
    let (ended, _) = exchange(Peer::Answers(answer.into()), true).await;
    assert_eq!(answered(ended).status, 200);
}

#[tokio::test]
async fn silence_after_the_request_is_a_lost_answer() {
    let (ended, _) = exchange(Peer::Hangs, true).await;
    assert_eq!(ended, Exchange::Lost("timeout".into()));
    let (ended, _) = exchange(Peer::Closes, true).await;
    assert!(matches!(&ended, Exchange::Lost(why) if why.starts_with("no answer")), "{ended:?}");
}

#[tokio::test]
async fn nobody_there_is_not_sent_and_no_reason_shows_an_address() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/secret-path")).unwrap();
    let mut target = target("webhook", Some("https://example.com/"));
    target.allow_private = true;
    let request = Request::Http { method: Method::POST, url, headers: vec![], body: vec![] };
    let ended = sender(print_to_log()).send(request, &target).await;
    assert_eq!(ended, Exchange::NotSent("connect: connection refused".into()));
}

#[tokio::test]
async fn inner_addresses_get_nothing_unless_allowed() {
    let (ended, heard) = exchange(Peer::Hangs, false).await;
    assert!(matches!(ended, Exchange::Blocked(_)), "{ended:?}");
    assert!(heard.is_empty());
}

#[tokio::test]
async fn a_text_is_printed() {
    let printed = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&printed);
    let print: Printer = Arc::new(move |text| sink.lock().unwrap().push(text.to_owned()));
    let request = Request::Print { text: "boom".into() };
    let ended = sender(print).send(request, &target("log", None)).await;
    assert_eq!(answered(ended).status, 200);
    assert_eq!(*printed.lock().unwrap(), ["boom"]);
}
