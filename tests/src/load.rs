//! Bounded load over HTTP/1.1 on loopback: a closed loop for rates, an open loop for latencies.
//!
//! Requests are prepared byte for byte beforehand (each with an id and a signature of its own), so
//! that the generator costs as little as it can on a machine it shares with what it measures.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};

/// What a load run saw.
#[derive(Debug)]
pub struct Seen {
    /// Answers with status 2xx.
    pub accepted: u64,
    /// Other answers, and connections that broke.
    pub refused: u64,
    /// When the first request was due.
    pub begin: Instant,
    pub elapsed: Duration,
    /// Microseconds from the moment a request was due to its answer.
    pub latency: Histogram<u64>,
}

impl Seen {
    /// Accepted requests a second.
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile of the latency in milliseconds.
    pub fn millis(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// The bytes of a POST.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Holds a closed loop back while whoever watches it says so, and counts what was accepted.
#[derive(Clone, Debug)]
pub struct Valve {
    held: Arc<watch::Sender<bool>>,
    accepted: Arc<AtomicU64>,
}

impl Default for Valve {
    fn default() -> Self {
        Self { held: Arc::new(watch::Sender::new(false)), accepted: Arc::default() }
    }
}

impl Valve {
    /// While true no connection sends another request.
    pub fn hold(&self, held: bool) {
        self.held.send_if_modified(|was| std::mem::replace(was, held) != held);
    }

    /// Requests answered 2xx so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// Every connection sends its next request as soon as the last is answered and the valve lets it,
/// until the time is up or the requests are used up.
pub async fn closed_loop(
    address: SocketAddr,
    connections: usize,
    limit: Duration,
    requests: Arc<Vec<Vec<u8>>>,
    valve: Valve,
) -> Seen {
    let next = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (next, requests) = (Arc::clone(&next), Arc::clone(&requests));
        let (mut held, accepted) = (valve.held.subscribe(), Arc::clone(&valve.accepted));
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            while begin.elapsed() < limit {
                if *held.borrow() {
                    let left = limit.saturating_sub(begin.elapsed());
                    let _ = tokio::time::timeout(left, held.wait_for(|held| !held)).await;
                    continue;
                }
                let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                else {
                    break;
                };
                if client.ask(request, Instant::now()).await {
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            }
            client
        });
    }
    gather(clients, begin).await
}

/// Requests are due at a fixed rate whether or not earlier ones are answered; latency counts from
/// when a request was due, so that a stall is not hidden by the requests it keeps from being sent.
pub async fn open_loop(
    address: SocketAddr,
    connections: usize,
    per_second: f64,
    requests: Arc<Vec<Vec<u8>>>,
) -> Seen {
    let next = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (next, requests) = (Arc::clone(&next), Arc::clone(&requests));
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(n as usize) else { break };
                let due = begin + Duration::from_secs_f64(n as f64 / per_second);
                tokio::time::sleep_until(due.into()).await;
                client.ask(request, due).await;
            }
            client
        });
    }
    gather(clients, begin).await
}

async fn gather(mut clients: JoinSet<Client>, begin: Instant) -> Seen {
    let (accepted, refused, elapsed) = (0, 0, Duration::ZERO);
    let mut seen = Seen { accepted, refused, begin, elapsed, latency: histogram() };
    while let Some(client) = clients.join_next().await {
        let client = client.expect("a client panicked");
        seen.accepted += client.accepted;
        seen.refused += client.refused;
        seen.latency.add(client.latency).expect("same bounds");
    }
    seen.elapsed = begin.elapsed();
    seen
}

/// Microseconds, up to a minute, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("fixed bounds")
}

struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    accepted: u64,
    refused: u64,
    latency: Histogram<u64>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self {
            address,
            stream: dial(address).await,
            buffer: vec![0; 16 * 1024],
            accepted: 0,
            refused: 0,
            latency: histogram(),
        }
    }

    /// Sends one request; whether it was accepted.
    async fn ask(&mut self, request: &[u8], due: Instant) -> bool {
        let status = self.exchange(request).await;
        if matches!(status, Some(200..=299)) {
            self.accepted += 1;
            let micros = due.elapsed().as_micros().min(59_000_000) as u64;
            self.latency.record(micros.max(1)).expect("within bounds");
            return true;
        }
        self.refused += 1;
        if status.is_none() {
            self.stream = dial(self.address).await;
        }
        false
    }

    /// Sends one request and reads one answer; the status, or none when the connection broke.
    async fn exchange(&mut self, request: &[u8]) -> Option<u16> {
        let stream = self.stream.as_mut()?;
        stream.write_all(request).await.ok()?;
        let mut filled = 0;
        loop {
            let n = stream.read(&mut self.buffer[filled..]).await.ok()?;
            if n == 0 {
                return None;
            }
            filled += n;
            let text = &self.buffer[..filled];
            let Some(end) = text.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&text[..end]).ok()?;
            let length = head
                .lines()
                .find_map(|l| {
                    let (name, value) = l.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse().ok())?
                })
                .unwrap_or(0usize);
            if filled >= end + 4 + length {
                return head.split(' ').nth(1)?.parse().ok();
            }
        }
    }
}

async fn dial(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}
