//! What `sign` adds is what `authenticate` wants, whoever the sender.

use schemas::Time;
use serde_json::json;

use super::super::{Credential, Outgoing, Provider, Request, Secret, all};

const NOW: Time = Time::from_micros(1_763_617_422_000_000);

/// One secret of each kind, and another that is nobody's.
fn secrets() -> [(Secret, Secret); 4] {
    let basic = |password: &str| Secret::Basic { user: "u".into(), password: password.into() };
    [
        (Secret::Signing(b"a-signing-secret".to_vec()), Secret::Signing(b"another".to_vec())),
        (basic("pass:word"), basic("password")),
        (Secret::Bearer("bws_1".into()), Secret::Bearer("bws_2".into())),
        (Secret::Token("a-token_1".into()), Secret::Token("a-token_2".into())),
    ]
}

/// Whether a body that was signed with `secret` is let in by what accepts `accepted`.
fn is_let_in(provider: &dyn Provider, secret: &Secret, accepted: &Secret, change: bool) -> bool {
    let body = json!({"message": "x", "sender_id": "y"}).to_string().into_bytes();
    let outgoing = Outgoing { sent_at: NOW, id: "msg_0123456789", body: &body };
    let name = provider.name();
    let proof = provider.sign(&outgoing, secret);
    let proof = proof.unwrap_or_else(|| panic!("{name} accepts {secret:?} and cannot show it"));
    let mut body = proof.body.unwrap_or(body);
    if change {
        body.push(b' ');
    }
    let request = Request {
        received_at: NOW,
        headers: &proof.headers,
        token: proof.token.as_deref(),
        body: &body,
        ..Request::default()
    };
    let credentials = [accepted.credential("ours")];
    match provider.authenticate(&request, &credentials) {
        Ok(auth) => {
            assert_eq!(auth.credential.as_deref(), Some("ours"), "{name} {secret:?}");
            true
        }
        Err(_) => false,
    }
}

#[test]
fn every_sender_shows_every_secret_it_may_have_and_no_other_is_let_in() {
    let mut shown = 0;
    // Where requests are signed with a key that is the sender's alone, nobody else signs.
    for provider in all().iter().copied().filter(|provider| provider.needs_credential()) {
        for (secret, other) in secrets() {
            if !provider.accepts(&secret.credential("ours")) {
                continue;
            }
            let name = provider.name();
            assert!(is_let_in(provider, &secret, &secret, false), "{name} {secret:?}");
            assert!(!is_let_in(provider, &other, &secret, false), "{name} {secret:?}");
            if matches!(secret.credential("ours"), Credential::Hmac { .. }) {
                assert!(!is_let_in(provider, &secret, &secret, true), "{name}: another body");
            }
            shown += 1;
        }
    }
    assert!(shown > 3 * all().len() / 2, "{shown} of {} providers", all().len());
}

#[test]
fn no_secret_is_told() {
    for (secret, _) in secrets() {
        let text = format!("{secret:?}");
        let told = ["a-signing", "pass", "bws_", "a-token", "97"];
        assert!(told.iter().all(|word| !text.contains(word)), "{text}");
    }
}
