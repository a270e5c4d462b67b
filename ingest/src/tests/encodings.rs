//! Bodies that are sent compressed.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A body in an encoding, signed over these bytes.
fn encoded(encoding: &str, sent: &[u8], signed: &[u8]) -> Request<Body> {
    post("/webhook/sentry")
        .header("content-encoding", encoding)
        .header("sentry-hook-signature", sign(SECRET, signed))
        .body(Bytes::copy_from_slice(sent).into())
        .unwrap()
}

#[tokio::test]
async fn an_encoded_body_is_stored_as_what_it_says_signed_before_or_after() {
    let world = world("production");
    let body = br#"{"action":"created","data":{}}"#;
    let (zipped, squeezed) = (gzip(body), zstd::encode_all(&body[..], 3).unwrap());
    for (encoding, sent) in
        [("gzip", &zipped), ("identity, zstd", &squeezed), ("Identity", &body.to_vec())]
    {
        for signed in [&sent[..], body] {
            let (status, _, text) = answer(&world.app, encoded(encoding, sent, signed)).await;
            assert_eq!(status, StatusCode::ACCEPTED, "{encoding}: {text}");
        }
        let forged = answer(&world.app, encoded(encoding, sent, b"else")).await;
        assert_eq!(forged.0, StatusCode::UNAUTHORIZED, "{encoding}");
    }
    let deliveries = world.deliveries().await;
    assert_eq!(deliveries.len(), 6);
    for delivery in deliveries {
        assert_eq!(delivery.raw, body);
        assert_eq!(delivery.sha256, <[u8; 32]>::from(Sha256::digest(body)));
    }
}

#[tokio::test]
async fn an_encoding_that_is_not_read_is_415_and_a_broken_body_400() {
    let world = world("production");
    let expect = r#"{"code":"encoding","detail":"content-encoding is not accepted: send gzip, zstd, or the body as it is"}"#;
    for encoding in ["br", "gzip, zstd", "deflate"] {
        let request = encoded(encoding, b"{}", b"{}");
        world.check_refused(request, StatusCode::UNSUPPORTED_MEDIA_TYPE, expect).await;
    }
    let expect =
        r#"{"code":"encoding","detail":"the body is not encoded as content-encoding says"}"#;
    let cut = &gzip(b"{\"action\":\"created\"}")[..20];
    for sent in [&b"{}"[..], b"", cut] {
        let request = encoded("gzip", sent, sent);
        world.check_refused(request, StatusCode::BAD_REQUEST, expect).await;
    }
    assert!(counted("sentry", Outcome::Encoding) >= 6);
}

#[tokio::test]
async fn threat_a_decompression_bomb_is_413_and_never_unpacked() {
    let world = world("production");
    let cap = Config::default().max_body_bytes;
    let expect =
        format!(r#"{{"code":"too_large","detail":"the body is larger than {cap} bytes"}}"#);
    let huge = vec![b' '; 64 << 20];
    for (encoding, bomb) in
        [("gzip", gzip(&huge)), ("zstd", zstd::encode_all(&huge[..], 3).unwrap())]
    {
        assert!(bomb.len() < 100 << 10, "{encoding}: {}", bomb.len());
        let request = encoded(encoding, &bomb, &bomb);
        world.check_refused(request, StatusCode::PAYLOAD_TOO_LARGE, &expect).await;
    }
    // Both forms count against what may be held.
    let tight = Config { max_inflight_bytes: 5000, ..Config::default() };
    let app = router(&tight, world.sources.clone(), world.appender.clone(), Clock::fixed(NOW));
    let body = vec![b' '; 5000];
    let (status, _, text) = answer(&app, encoded("gzip", &gzip(&body), &body)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
}
