//! What is fuzzed: bytes in, and what must hold whatever they are. Nothing here may panic but an
//! assertion.
#![allow(dead_code, reason = "each target uses one of these")]

use domain::{
    providers::{self, Credential, Normalised, Provider, Reading, Request, Secret, Senders},
    redact::Redactor,
};
use schemas::{
    ProjectId, Record, RecordFrame, SourceId, Time, codec,
    record::{Auth, Delivery},
};
use sha2::{Digest, Sha256};

/// What divides an input into its parts.
pub const END: &[u8] = b"\n\n";

/// When every request is received, in microseconds.
pub const NOW: i64 = 1_763_617_422_000_000;

/// The secret of every kind that sources have here.
pub const SECRET: &str = "a-secret-of-the-fuzzer";

/// What chooses a provider: it stays the same whatever is added to the registry.
pub fn number(provider: &str) -> u16 {
    let hash = Sha256::digest(provider.as_bytes());
    u16::from_be_bytes([hash[0], hash[1]])
}

/// A request: two bytes choose the provider, then lines of headers up to an empty one, then the
/// body. The header `:token` stands for the last segment of the path, `:query` for the query.
pub struct Input<'a> {
    pub provider: &'static dyn Provider,
    headers: Vec<(String, String)>,
    body: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let (first, rest) = data.split_first_chunk::<2>()?;
        let first = u16::from_be_bytes(*first);
        let far = |provider: &&&'static dyn Provider| number(provider.name()).wrapping_sub(first);
        let provider = *providers::all().iter().min_by_key(far)?;
        let end = rest.windows(END.len()).position(|window| window == END)?;
        let text = String::from_utf8_lossy(&rest[..end]);
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        };
        let headers = text.lines().filter_map(header).collect();
        Some(Self { provider, headers, body: &rest[end + END.len()..] })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn request<'r>(&'r self, body: &'r [u8]) -> Request<'r> {
        Request {
            received_at: Time::from_micros(NOW),
            path: "/webhook",
            headers: &self.headers,
            query: self.header(":query").unwrap_or_default(),
            token: self.header(":token"),
            body,
            fetched: Some(include_bytes!(
                "../../schemas/fixtures/providers/aws-sns/certificate.pem"
            )),
        }
    }

    /// What would be stored of it.
    fn delivery(&self, raw: &[u8]) -> Delivery {
        let kept = self.provider.kept_headers();
        let is_kept = |(name, _): &&(String, String)| kept.contains(&name.as_str());
        Delivery {
            provider: self.provider.name().to_owned(),
            source: SourceId::new("fuzz").unwrap(),
            route: "/webhook".to_owned(),
            headers: self.headers.iter().filter(is_kept).cloned().collect(),
            remote: None,
            auth: Auth { method: "fuzz".to_owned(), credential: None },
            raw: raw.to_vec(),
            sha256: Sha256::digest(raw).into(),
            content_type: self.header("content-type").map(str::to_owned),
            channel: None,
            recorded: None,
        }
    }
}

/// Reads a body as its provider does: bounded, redacted and the same each time.
pub fn normalise(data: &[u8]) {
    let Some(input) = Input::read(data) else { return };
    let project = ProjectId::new("fuzz").unwrap();
    let reading = Reading { project: &project, redactor: Redactor::builtin(), fields: None };
    let delivery = input.delivery(input.body);
    let told = providers::normalise(input.provider, &delivery, &reading);
    assert_eq!(told, providers::normalise(input.provider, &delivery, &reading));
    if let Normalised::Alerts { alerts, key } = &told {
        assert!(!alerts.is_empty(), "alerts without an alert");
        assert!(key.as_ref().is_none_or(|key| key.key.len() <= 512), "a key is short");
        for alert in alerts {
            assert!(!alert.identity.is_empty() && !alert.facts.title.is_empty());
            assert!(alert.identity.iter().all(|part| part.len() <= 1024));
            assert!(alert.content.text.len() <= 64 * 1024);
            let url = alert.facts.url.as_deref().unwrap_or("http");
            assert!(url.to_ascii_lowercase().starts_with("http"), "{url}");
            // Beside it stands what the fold adds, which is small.
            assert!(codec::encode(alert).len() < 250 * 1024);
        }
    }
    if let Normalised::Recorded { reason } | Normalised::Rejected { reason } = &told {
        assert!(!reason.is_empty() && reason.len() <= 1024, "{reason}");
    }
}

/// Checks a request as ingest does: who is let in by a signature is not let in with another body.
pub fn authenticate(data: &[u8]) {
    let Some(input) = Input::read(data) else { return };
    let provider = input.provider;
    let request = input.request(input.body);
    let all = [
        Secret::Signing(SECRET.into()),
        Secret::Basic { user: SECRET.into(), password: SECRET.into() },
        Secret::Bearer(SECRET.into()),
        Secret::Token(SECRET.into()),
    ];
    let all = all.map(|secret| secret.credential("fuzz"));
    let usable: Vec<Credential> = all.into_iter().filter(|c| provider.accepts(c)).collect();
    let empty = [Credential::Hmac { id: "empty".into(), secret: vec![] }];
    assert!(!provider.needs_credential() || provider.authenticate(&request, &[]).is_err());
    assert!(!provider.accepts(&empty[0]) || provider.authenticate(&request, &empty).is_err());
    let needed = provider.needs(&request, &usable);
    assert!(needed.is_none_or(|url| url.starts_with("https://")));
    if let Ok(auth) = provider.authenticate(&request, &usable) {
        let shown = ["basic", "bearer", "token"].contains(&auth.method.as_str());
        // The certificate's and the subscription's addresses are not signed.
        let whole = provider.needs_credential() && !shown;
        if let (true, Some(last)) = (whole, input.body.len().checked_sub(1)) {
            let mut altered = input.body.to_vec();
            altered[usize::from(data[0]) % (last + 1)] ^= 1;
            let altered = input.request(&altered);
            assert!(provider.authenticate(&altered, &usable).is_err(), "another body is let in");
        }
    }
    let opened = provider.unseal(&request, &usable).ok().flatten();
    let stored = opened.as_deref().unwrap_or(input.body);
    let request = input.request(stored);
    let _ = (provider.reply(&request), provider.channel(&request));
    let listed = Senders::Listed(vec![SECRET.to_owned()]);
    for senders in [&Senders::Anybody, &Senders::Named, &listed] {
        let _ = provider.admit(&request, senders);
    }
    let followed = provider.follow_up(&request);
    assert!(followed.is_none_or(|url| url.starts_with("https://")));
}

/// Takes a frame apart: what is read is written again as the same bytes or is refused.
pub fn frame(data: &[u8]) {
    let Ok(frame) = RecordFrame::parse(data) else { return };
    assert_eq!(frame.records.len(), frame.header.count as usize);
    for bytes in frame.records {
        let Ok(record) = Record::decode(bytes) else { continue };
        let mut written = vec![];
        record.encode_into(&mut written);
        // Not the bytes: there are several ways to write a number, and unknown fields are left out.
        assert_eq!(Record::decode(&written).ok(), Some(record));
    }
}
