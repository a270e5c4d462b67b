//! Bodies that hold one alert: what the normalisation of their providers begins and ends with.

use schemas::{
    Alert, Facts, SourceId, Status, Time,
    alert::{LogCorrelation, SourceRefs, Stage},
    record::Delivery,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    DeliveryKey, Normalised, Reading,
    build::{self, MAX_LINE, MAX_TEXT},
    json,
};
use crate::redact::Redactor;

/// A body, at first as received: who an alert is, and which delivery it came in, must not change
/// with redaction, so both are read before [`Single::redact`].
pub(super) struct Single<'a> {
    pub body: Value,
    note: Option<String>,
    replaced: u32,
    redactor: &'a Redactor,
    source: &'a SourceId,
}

impl<'a> Single<'a> {
    /// The delivery's body, which has to be a JSON object.
    pub fn read(delivery: &'a Delivery, reading: &Reading<'a>) -> Result<Self, Normalised> {
        Self::parse(&delivery.raw, delivery, reading)
    }

    /// `raw`, which is the delivery's body or was inside it.
    pub fn parse(
        raw: &[u8],
        delivery: &'a Delivery,
        reading: &Reading<'a>,
    ) -> Result<Self, Normalised> {
        let (body, note) = json::body(raw).map_err(|reason| Normalised::Rejected { reason })?;
        if !body.is_object() {
            return Err(rejected("not_an_object"));
        }
        let (redactor, source) = (reading.redactor, &delivery.source);
        Ok(Self { body, note, replaced: 0, redactor, source })
    }

    /// Takes the credentials out.
    pub fn redact(&mut self) {
        self.replaced += self.redactor.value(&mut self.body);
    }

    /// Takes out what only this provider knows to be a credential.
    pub fn redact_field(&mut self, name: &str) {
        if let Some(value) = self.body.get_mut(name)
            && !value.is_null()
        {
            *value = format!("{}{name}]", crate::redact::MARK).into();
            self.replaced += 1;
        }
    }

    /// One line of text at `path`.
    pub fn line(&self, path: &[&str]) -> Option<String> {
        line(&self.body, path)
    }

    /// Facts of which only this is known.
    pub fn facts(&self, provider: &str, title: Option<String>, status: Status) -> Facts {
        let title = title.unwrap_or_else(|| "unnamed alert".to_owned());
        Facts::new(provider, self.source.clone(), title, status)
    }

    /// The only alert of this body.
    pub fn told(self, mut alert: Alert, key: Option<DeliveryKey>) -> Normalised {
        let facts = &alert.facts;
        let headline = [Some(facts.title.as_str()), facts.message.as_deref()];
        alert.content = build::content(&self.body, &headline, self.redactor, self.replaced);
        alert.notes.extend(self.note);
        Normalised::Alerts { alerts: vec![alert], key }
    }

    /// Understood, and no alert; `word` is the sender's.
    pub fn recorded(&self, reason: &str, word: &str) -> Normalised {
        let word = self.redactor.text(&plain(word)).0.into_owned();
        Normalised::Recorded { reason: format!("{reason}: {word}") }
    }
}

/// Not the provider's payload.
pub(super) fn rejected(reason: &str) -> Normalised {
    Normalised::Rejected { reason: reason.to_owned() }
}

/// A sender's word, reduced to what words of protocols are made of.
fn plain(word: &str) -> String {
    let known = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
    word.chars().filter(known).take(64).collect::<String>().to_ascii_lowercase()
}

/// One line of text at `path`.
pub(super) fn line(value: &Value, path: &[&str]) -> Option<String> {
    json::text(value, path).map(|text| build::cut(text.trim(), MAX_LINE))
}

/// Longer text at `path`.
pub(super) fn long(value: &Value, path: &[&str]) -> Option<String> {
    json::text(value, path).map(|text| build::cut(text.trim(), MAX_TEXT))
}

/// A text, number or truth value at `path`, in one line.
pub(super) fn scalar(value: &Value, path: &[&str]) -> Option<String> {
    let word = json::at(value, path).and_then(json::scalar)?;
    Some(build::cut(word.trim(), MAX_LINE))
}

/// What leads to the sender's own side, `name:id`, of those that are known.
pub(super) fn references<const N: usize>(known: [(&str, Option<String>); N]) -> SourceRefs {
    let known = known.into_iter().filter_map(|(name, id)| Some((name, id?)));
    let alert = known.map(|(name, id)| build::bounded_id(&format!("{name}:{id}"))).collect();
    SourceRefs { alert, ..SourceRefs::default() }
}

/// Annotations or labels of those that are known.
pub(super) fn known<const N: usize>(
    pairs: [(&str, Option<String>); N],
) -> impl Iterator<Item = (String, String)> {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
}

/// A delivery key of parts of a body: hashed, for nobody redacted them.
pub(super) fn key(provider: &str, parts: &[&str], stable: bool) -> DeliveryKey {
    let hash = const_hex::encode(Sha256::digest(parts.join("\0").as_bytes()));
    DeliveryKey { key: format!("{provider}:{hash}"), stable }
}

/// A delivery key out of a header of that name, where it looks like one.
pub(super) fn key_header(delivery: &Delivery, name: &str) -> Option<DeliveryKey> {
    let sent = delivery.header(name)?.trim();
    let usable = (8..=128).contains(&sent.len()) && sent.bytes().all(|b| b.is_ascii_graphic());
    usable.then(|| DeliveryKey { key: format!("{name}:{sent}"), stable: true })
}

/// An alert with these facts, and nothing beside them.
pub(super) fn alert(facts: Facts, identity: Vec<String>, event_id: &str) -> Alert {
    let at: Option<Time> = match facts.status {
        Status::Resolved => facts.ended_at,
        Status::Firing | Status::Suppressed => facts.started_at,
    };
    Alert {
        stage: match facts.status {
            Status::Resolved => Stage::Resolved,
            Status::Firing | Status::Suppressed => Stage::Received,
        },
        provider_event_id: build::bounded_id(event_id),
        provider_ts: at,
        status_at: at,
        identity,
        occurrence: None,
        refs: SourceRefs::default(),
        correlation: LogCorrelation::default(),
        content: build::no_content(),
        notes: vec![],
        facts,
    }
}
