use axum::{http::StatusCode, routing::get};
use tokio::time::{Instant, timeout};

use super::*;

const LONG: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    controller: crate::Controller,
    task: tokio::task::JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "a test owns its task")]
async fn server(app: Router, limits: Limits) -> Server {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, controller) = Shutdown::new();
    let task = tokio::spawn(serve(listener, app, limits, shutdown));
    Server { address, controller, task }
}

async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut text)).await.expect("the server closes");
    String::from_utf8_lossy(&text).into_owned()
}

fn quick() -> Limits {
    Limits { header_timeout: Duration::from_millis(200), ..Limits::default() }
}

#[tokio::test]
async fn silent_and_half_spoken_clients_are_closed_in_time() {
    let server = server(Router::new(), quick()).await;
    let start = Instant::now();
    for opening in ["", "POST /webhook", "POST / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let mut stream = send(server.address, opening.as_bytes()).await;
        rest(&mut stream).await;
    }
    let idle = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = rest(&mut send(server.address, idle.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let spent = start.elapsed();
    assert!(spent >= Duration::from_millis(600) && spent < Duration::from_secs(5), "{spent:?}");
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let server = server(Router::new(), Limits { max_headers: 3, ..quick() }).await;
    let many = "GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n\r\n";
    let answer = rest(&mut send(server.address, many.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(20 << 10));
    let answer = rest(&mut send(server.address, long.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_refused_body_does_not_cost_the_client_its_answer() {
    let app = Router::new().fallback(|| async { StatusCode::PAYLOAD_TOO_LARGE });
    let server = server(app, quick()).await;
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 512 << 10);
    // A small send buffer, so that the body cannot hide in the kernel.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 << 10).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // The whole body goes out before the answer is read, as simple clients do.
    stream.write_all(&vec![b'x'; 512 << 10]).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn at_the_cap_connections_wait_for_their_turn() {
    let app = Router::new().route("/", get(|| async { "hello" }));
    let server = server(app, Limits { max_connections: 1, ..quick() }).await;
    let _holds_the_only_place = TcpStream::connect(server.address).await.unwrap();
    let ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = rest(&mut send(server.address, ask.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// An app whose handler says when it has begun and waits to be let go.
fn held() -> (Router, Arc<Semaphore>, Arc<Semaphore>) {
    let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (b, g) = (Arc::clone(&begun), Arc::clone(&go));
    let app = Router::new().route(
        "/",
        get(move || async move {
            b.add_permits(1);
            let _ = g.acquire().await;
            "done"
        }),
    );
    (app, begun, go)
}

#[tokio::test]
async fn a_soft_stop_finishes_what_is_in_hand_and_takes_nothing_new() {
    let (app, begun, go) = held();
    let server = server(app, Limits::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut busy = send(server.address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    begun.acquire().await.unwrap().forget();
    server.controller.stop();
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is closed");
    go.add_permits(1);
    let answer = rest(&mut busy).await;
    assert!(answer.ends_with("done"), "{answer}");
    drop((idle, busy));
    timeout(LONG, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_hard_stop_drops_what_is_in_hand() {
    let (app, begun, _go) = held();
    let server = server(app, Limits::default()).await;
    let mut busy = send(server.address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    begun.acquire().await.unwrap().forget();
    server.controller.abort();
    assert_eq!(rest(&mut busy).await, "");
    timeout(LONG, server.task).await.unwrap().unwrap();
}
