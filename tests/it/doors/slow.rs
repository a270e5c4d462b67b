//! Thousands who never end what they began, beside those who do (F12).

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tests::fleet::{SENTRY_SECRET, sign};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

use super::{Doors, headers};

/// Connections that are kept open; each costs a file descriptor here and one there.
const SLOW: usize = 2_000;
/// What each of them sends of its body: 24 MB in all, of 16 MiB that there are for everybody.
const BEGUN: usize = 12 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn f12_slow_clients_cost_other_senders_nothing() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    assert!(most as usize > 2 * SLOW + 1_000, "only {most} files may be open");
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
            let mut stream = TcpStream::connect(address).await.unwrap();
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
    let slow: Vec<TcpStream> = stream::iter(0..SLOW).map(open).buffer_unordered(64).collect().await;

    let body = json!({"action": "created", "data": {}}).to_string();
    let signed = headers(&[("sentry-hook-signature", &sign(SENTRY_SECRET, body.as_bytes()))]);
    let mut took = Vec::new();
    let started = Instant::now();
    while took.len() < 300 {
        let answer = doors.post("/webhook/sentry", &signed, body.clone().into()).await;
        assert_eq!(answer.status, 202, "{}: {}", took.len(), answer.text);
        took.push(answer.took);
        sleep(Duration::from_millis(5)).await;
    }
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    println!("{SLOW} slow clients: 300 of 300 accepted in {:?}, p99 {p99:?}", started.elapsed());
    let metrics = doors.get("/metrics").await.text;
    assert!(metrics.contains(r#"outcome="too_slow""#), "nobody had to give way: {metrics}");
    drop(slow);
    assert_eq!(doors.in_log().await.len(), 300);
}
