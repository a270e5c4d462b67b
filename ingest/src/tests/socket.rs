//! Slow and stopping: what needs a real connection.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

struct Listening {
    world: World,
    address: SocketAddr,
    controller: runtime::Controller,
    task: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "a test owns its tasks")]
async fn listening(body_deadline: Duration) -> Listening {
    let world = world("production");
    let listener = http_server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config { body_deadline, header_timeout: SHORT, ..Config::default() };
    let (sources, sink) = (world.sources.clone(), world.appender.clone());
    let deps = Deps {
        routes: router(&config, sources.clone(), sink, Clock::fixed(NOW)),
        sources,
        health: Health::default(),
        metrics: runtime::telemetry::metrics(),
        listener,
    };
    let (shutdown, controller) = Shutdown::new();
    let task = tokio::spawn(run(config, deps, shutdown));
    Listening { world, address, controller, task }
}

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn head(body: &str) -> String {
    format!(
        "POST /webhook/sentry HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         sentry-hook-signature: {}\r\ncontent-length: {}\r\n\r\n",
        sign(SECRET, body.as_bytes()),
        body.len()
    )
}

#[tokio::test]
async fn a_slow_body_is_408_at_the_deadline() {
    let server = listening(SHORT).await;
    let start = Instant::now();
    let mut stream = send(server.address, &format!("{}{{", head("{}"))).await;
    let text = rest(&mut stream).await;
    let spent = start.elapsed();
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    let expect = r#"{"code":"too_slow","detail":"the body did not arrive in time"}"#;
    assert!(text.ends_with(expect), "{text}");
    assert!(spent >= SHORT && spent < Duration::from_secs(5), "{spent:?}");
    assert!(server.world.records().await.is_empty());
}

#[tokio::test]
async fn a_slow_header_is_closed_at_its_deadline() {
    let server = listening(LONG).await;
    let start = Instant::now();
    let mut stream = send(server.address, "POST /webhook/sentry HTTP/1.1\r\nhost:").await;
    rest(&mut stream).await;
    let spent = start.elapsed();
    assert!(spent >= SHORT && spent < Duration::from_secs(5), "{spent:?}");
}

#[tokio::test]
async fn a_soft_stop_still_accepts_the_request_in_hand() {
    let server = listening(LONG).await;
    // The answer "100 Continue" shows that the handler has begun to read.
    let expecting = head("{}").replacen("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n", 1);
    let mut stream = send(server.address, &expecting).await;
    let mut begun = [0; 25];
    timeout(LONG, stream.read_exact(&mut begun)).await.unwrap().unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.controller.stop();
    stream.write_all(b"{}").await.unwrap();
    let text = rest(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 202"), "{text}");
    assert_eq!(server.world.records().await.len(), 1);
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is closed");
    drop(stream);
    timeout(LONG, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn r18_probes_and_unknown_paths_are_answered_beside_the_webhooks() {
    let server = listening(LONG).await;
    for (path, status) in
        [("/health", "200"), ("/ready", "200"), ("/metrics", "200"), ("/nowhere", "404")]
    {
        let ask = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let text = rest(&mut send(server.address, &ask).await).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {text}");
    }
}
