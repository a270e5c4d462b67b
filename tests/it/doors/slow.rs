//! Thousands who never end what they began, beside those who do (F12).

use std::{
    cell::Cell,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tests::fleet::{SENTRY_SECRET, sign};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::sleep,
};

use super::{Doors, LONG, headers, rest, send};

/// Connections that are kept open, unless `BELLWETHER_SLOW_CLIENTS` says how many; each costs a file
/// descriptor here and one in the process of ingest.
const SLOW: usize = 2_000;
/// What each of them sends of its body: 24 MB in all, of 16 MiB that there are for everybody.
const BEGUN: usize = 12 << 10;
/// The addresses of this machine that they come from.
const ADDRESSES: usize = 50;
/// What others' answers take at most, in 99 of 100 cases, where the number was asked for.
const P99: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn f12_slow_clients_cost_other_senders_nothing() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let asked = std::env::var("BELLWETHER_SLOW_CLIENTS").ok().map(|text| text.parse().unwrap());
    let slow: usize = asked.unwrap_or(SLOW);
    assert!(most as usize > slow + 1_000, "only {most} files may be open");
    // Nobody is let go because time is up.
    let doors = Doors::changed("ingest,console", "", |text| {
        text.replace("ingest.listen", "ingest.body_deadline = \"60s\"\ningest.listen")
    })
    .await;
    let begun = format!(
        "POST /webhook/sentry HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\n{}",
        " ".repeat(BEGUN)
    );
    let open = |n: usize| {
        let (address, begun) = (doors.ingest, begun.as_bytes());
        async move {
            let socket = TcpSocket::new_v4().unwrap();
            let from = Ipv4Addr::new(127, 0, 1, (1 + n % ADDRESSES) as u8);
            socket.bind((from, 0).into()).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            // Some say nothing, some half a header, most of them begin a body.
            let part = match n % 10 {
                0 => &begun[..0],
                1 => &begun[..40],
                _ => begun,
            };
            // Whoever had to give way is told so and closed, perhaps before all is written.
            let _ = stream.write_all(part).await;
            stream
        }
    };
    let (before, begun_at) = (doors.fleet.open_files(0), Instant::now());
    let connected = Cell::new(None);
    let connect = async {
        let held = stream::iter(0..slow).map(open).buffer_unordered(64);
        let held: Vec<TcpStream> = held.collect().await;
        connected.set(Some(begun_at.elapsed()));
        held
    };

    let body = json!({"action": "created", "data": {}}).to_string();
    let signed = headers(&[("sentry-hook-signature", &sign(SENTRY_SECRET, body.as_bytes()))]);
    // While they come, and 200 times once all are there.
    let others = async {
        let (mut took, mut after) = (Vec::new(), 0);
        while took.len() < 300 || after < 200 {
            let answer = doors.post("/webhook/sentry", &signed, body.clone().into()).await;
            assert_eq!(answer.status, 202, "{}: {}", took.len(), answer.text);
            took.push(answer.took);
            after += usize::from(connected.get().is_some());
            sleep(Duration::from_millis(5)).await;
        }
        took
    };
    let (held, mut took) = tokio::join!(connect, others);
    took.sort_unstable();
    let (all, p99) = (took.len(), took[took.len() * 99 / 100]);
    println!(
        "{slow} slow clients in {:?}: {all} of {all} others accepted, p99 {p99:?}, slowest {:?}",
        connected.get().unwrap(),
        took[all - 1],
    );
    assert!(asked.is_none() || p99 < P99, "p99 {p99:?} is over {P99:?}");
    let metrics = doors.get("/metrics").await.text;
    assert!(metrics.contains(r#"outcome="too_slow""#), "nobody had to give way: {metrics}");
    let at_most = doors.fleet.open_files(0);
    // As many bodies as fit into the source's share of the room; the others had to give way.
    assert!(at_most > before + 500, "{at_most} files are open: nobody is held");
    drop(held);
    let gone = async {
        while doors.fleet.open_files(0) > before + 50 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the files are closed again");
    assert_eq!(doors.in_log().await.len(), all);
}

/// A process that is ingest and console answers on two ports, out of one budget: what arrives at one
/// of them makes what has been arriving at the other for longer give way.
#[tokio::test(flavor = "multi_thread")]
async fn f12_both_ports_of_a_process_share_one_budget() {
    let bounds = "ingest.body_deadline = \"60s\"\ningest.max_body_bytes = 500000\n\
                  ingest.max_inflight_bytes = 1000000\ningest.listen";
    let doors =
        Doors::changed("ingest,console", "", |text| text.replace("ingest.listen", bounds)).await;
    let head = "POST /webhook/sentry HTTP/1.1\r\nhost: a\r\ncontent-length: 490000\r\n\r\n";
    let begun = [head.as_bytes(), &[b' '; 480_000]].concat();
    let mut one = send(doors.ingest, &begun).await;
    let mut other = send(doors.ingest, &begun).await;
    // Room that is taken is shown by nothing but its lack: a body of this size fits beside the two
    // in a budget of its own alone.
    let body = vec![b' '; 450_000];
    let signature = sign(SENTRY_SECRET, &body);
    let post = || {
        let request = doors.fleet.client.post(format!("http://{}/webhook/sentry", doors.console));
        request.header("sentry-hook-signature", &signature).body(body.clone()).send()
    };
    let let_go = async {
        loop {
            assert_eq!(post().await.unwrap().status(), 202);
            let metrics = doors.get("/metrics").await.text;
            if metrics.lines().any(|l| l.contains("outcome=\"too_slow\"") && !l.ends_with(" 0")) {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, let_go).await.expect("one of the other port gives way");
    // Whichever of them began first.
    let answer = tokio::select! {
        answer = rest(&mut one) => answer,
        answer = rest(&mut other) => answer,
    };
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}
