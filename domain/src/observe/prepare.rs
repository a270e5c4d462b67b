//! What can be done with a record before its turn: decode, normalise, redact, fingerprint.

use minicbor::Decode;
use schemas::{
    Alert, CodecError, InputPosition, ProjectId, Record, RecordId, SourceId, Time, id,
    record::{Answer, Body, Control, Delivery, RECORD_VERSION, RulesDocument, SendOutcome},
};
use uuid::Uuid;

use super::{Identity, Input, identify};
use crate::{
    providers::{self, DeliveryKey, Normalised},
    redact::Redactor,
    rules::Rules,
};

/// A sender's delivery id counts as the same for this long, where it is stable over its retries ...
const STABLE_SECONDS: i64 = 72 * 3600;

/// ... and where it is put together from what the body says.
const FALLBACK_SECONDS: i64 = 20 * 60;

/// A record, ready to be folded.
#[derive(Debug)]
pub struct Prepared {
    pub(super) at: InputPosition,
    pub(super) stored_at: Time,
    pub(super) of_all: bool,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Bytes that are no record.
    Unreadable {
        reason: String,
    },
    Record(Box<Readable>),
}

/// A record that could be read.
#[derive(Debug)]
pub(super) struct Readable {
    pub id: RecordId,
    pub received_at: Time,
    pub project: Option<ProjectId>,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Delivery(Box<PreparedDelivery>),
    Command,
    Answer(Box<Answer>),
    Outcome(Box<SendOutcome>),
    Tick {
        now: Time,
    },
    Redrive,
    /// A rules document, or why it is none.
    Rules(Result<Box<NewRules>, String>),
    /// A control record that this fold does not look at.
    Control,
}

/// A rules document that is in force from its record on.
#[derive(Debug)]
pub(super) struct NewRules {
    pub rules: Rules,
    pub operator: String,
}

#[derive(Debug)]
pub(super) struct PreparedDelivery {
    pub provider: String,
    pub source: SourceId,
    pub raw_sha256: [u8; 32],
    pub raw_length: u64,
    pub content: Told,
}

/// What a delivery says.
#[derive(Debug)]
pub(super) enum Told {
    Alerts {
        alerts: Vec<PreparedAlert>,
        key: Option<SeenKey>,
    },
    Recorded {
        reason: String,
    },
    Rejected {
        reason: String,
    },
    /// Nobody here can say: it waits, parked, for a binary that can.
    Unknown {
        reason: String,
    },
}

#[derive(Debug)]
pub(super) struct PreparedAlert {
    pub alert: Alert,
    pub identity: Identity,
}

/// Names a delivery over its sender's retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenKey {
    pub key: Uuid,
    /// How long it means the same delivery, in seconds of lane time.
    pub seconds: i64,
}

/// Reads a record and works out all that does not depend on its turn, by the rules in force at it.
/// Bytes that are no record are no error here: the fold parks them.
///
/// # Errors
/// [`CodecError::Newer`] when a newer binary wrote it; the lane may not go on in this process.
pub fn prepare(input: Input<'_>, rules: &Rules) -> Result<Prepared, CodecError> {
    let content = match Record::decode(input.bytes) {
        Ok(record) => Content::Record(Box::new(readable(record, rules))),
        Err(error) => {
            if let Some(found) = version(input.bytes).filter(|found| *found > RECORD_VERSION) {
                return Err(CodecError::Newer { what: "record", found, known: RECORD_VERSION });
            }
            Content::Unreadable { reason: error.to_string() }
        }
    };
    let Input { at, stored_at, of_all, .. } = input;
    Ok(Prepared { at, stored_at, of_all, content })
}

/// The version alone: a newer record may hold what this binary cannot decode.
fn version(bytes: &[u8]) -> Option<u32> {
    #[derive(Decode)]
    #[cbor(map)]
    struct Version {
        #[n(0)]
        version: u32,
    }
    minicbor::decode::<Version>(bytes).ok().map(|v| v.version)
}

fn readable(record: Record, rules: &Rules) -> Readable {
    let Record { id, received_at, project, body, .. } = record;
    let kind = match body {
        Body::Delivery(delivery) => {
            Kind::Delivery(Box::new(prepare_delivery(project.as_ref(), *delivery, rules)))
        }
        Body::Command(_) => Kind::Command,
        Body::Answer(answer) => Kind::Answer(answer),
        Body::Outcome(outcome) => Kind::Outcome(outcome),
        Body::Tick(tick) => Kind::Tick { now: tick.now },
        Body::Redrive(_) => Kind::Redrive,
        Body::Control(control) => match *control {
            Control::Rules(document) => Kind::Rules(read_rules(document)),
            Control::IncidentNumber(_) | Control::Promote(_) => Kind::Control,
        },
    };
    Readable { id, received_at, project, kind }
}

fn read_rules(document: RulesDocument) -> Result<Box<NewRules>, String> {
    let RulesDocument { hash, text, operator } = document;
    let rules = Rules::named(&hash, &text).map_err(|e| e.to_string())?;
    Ok(Box::new(NewRules { rules, operator }))
}

fn prepare_delivery(
    project: Option<&ProjectId>,
    delivery: Delivery,
    rules: &Rules,
) -> PreparedDelivery {
    let content = match (project, providers::by_name(&delivery.provider)) {
        (None, _) => Told::Unknown { reason: "no_project".into() },
        (_, None) => Told::Unknown { reason: format!("unknown_provider {:?}", delivery.provider) },
        (Some(project), Some(provider)) => {
            match provider.normalise(&delivery, Redactor::builtin()) {
                Normalised::Alerts { alerts, key } => Told::Alerts {
                    alerts: alerts.into_iter().map(|a| prepare_alert(project, a, rules)).collect(),
                    key: key.map(|key| seen_key(project, &delivery, &key)),
                },
                Normalised::Recorded { reason } => Told::Recorded { reason },
                Normalised::Rejected { reason } => Told::Rejected { reason },
            }
        }
    };
    PreparedDelivery {
        provider: delivery.provider,
        source: delivery.source,
        raw_sha256: delivery.sha256,
        raw_length: delivery.raw.len() as u64,
        content,
    }
}

pub(super) fn prepare_alert(project: &ProjectId, mut alert: Alert, rules: &Rules) -> PreparedAlert {
    let severity = rules.severity(project);
    let word = alert.facts.severity_raw.as_deref().unwrap_or_default();
    if let Some(level) = severity.level(word) {
        alert.notes.push(format!("severity {word:?} is {level} by rule {}", severity.id));
        alert.facts.level = Some(level);
    }
    let identity = identify(project, &alert, rules);
    PreparedAlert { alert, identity }
}

fn seen_key(project: &ProjectId, delivery: &Delivery, key: &DeliveryKey) -> SeenKey {
    SeenKey {
        key: id::hash(&[
            b"seen-v1",
            project.as_str().as_bytes(),
            delivery.source.as_str().as_bytes(),
            delivery.provider.as_bytes(),
            key.key.as_bytes(),
        ]),
        seconds: if key.stable { STABLE_SECONDS } else { FALLBACK_SECONDS },
    }
}

impl Prepared {
    /// Where the record stands.
    pub fn at(&self) -> InputPosition {
        self.at
    }

    /// How many alerts it holds.
    pub fn alerts(&self) -> usize {
        self.told().map_or(0, |(alerts, _)| alerts.len())
    }

    /// True for a record after which another rules document may be in force.
    pub fn changes_rules(&self) -> bool {
        self.kind().is_some_and(|kind| matches!(kind, Kind::Rules(_)))
    }

    /// The alerts of a delivery and its sender's id, if it is one.
    pub(super) fn told(&self) -> Option<(&[PreparedAlert], Option<SeenKey>)> {
        if let Some(Kind::Delivery(delivery)) = self.kind()
            && let Told::Alerts { alerts, key } = &delivery.content
        {
            return Some((alerts, *key));
        }
        None
    }

    fn kind(&self) -> Option<&Kind> {
        match &self.content {
            Content::Record(record) => Some(&record.kind),
            Content::Unreadable { .. } => None,
        }
    }
}
