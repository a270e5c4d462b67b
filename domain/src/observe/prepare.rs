//! What can be done with a record before its turn: decode, normalise, redact, fingerprint.

use minicbor::Decode;
use schemas::{
    Alert, CodecError, InputPosition, Position, ProjectId, Record, RecordId, SourceId, Time, id,
    record::{
        Answer, Body, ChatOperator, Command, Control, Delivery, RECORD_VERSION, Redrive,
        RulesDocument, SendOutcome, Silence, SilenceChange,
    },
};
use uuid::Uuid;

use super::{
    Identity, Input,
    handle::{self, Named},
    identify,
};
use crate::{
    matcher::Matchers,
    providers::{self, Ask, DeliveryKey, Interaction, Normalised, Reading},
    redact::Redactor,
    rules::Rules,
};

/// A sender's delivery id counts as the same for this long, where it is stable over its retries ...
const STABLE_SECONDS: i64 = 72 * 3600;

/// ... and where it is put together from what the body says.
const FALLBACK_SECONDS: i64 = 20 * 60;

/// What is kept of a command's arguments and of its words, in characters.
const MAX_ARGUMENTS: usize = 4096;
const MAX_WORD: usize = 128;

/// One tick in so many ends its batch: what a batch's ticks look at is in memory at once, and in a
/// quiet log there is nothing but ticks.
const TICKS: u64 = 8;

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
    /// What incidents are named by from here on.
    pub names: Vec<(Uuid, Named)>,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Delivery(Box<PreparedDelivery>),
    Command(Box<PreparedCommand>),
    Answer(Box<Answer>),
    Outcome(Box<SendOutcome>),
    Tick {
        now: Time,
    },
    Redrive(Box<PreparedRedrive>),
    /// A rules document, or why it is none.
    Rules(Result<Box<NewRules>, String>),
    /// Who a user of a chat is from here on.
    ChatOperator(Box<ChatOperator>),
    /// A silence, or why it is none.
    Silence(Result<Box<SilenceChange>, String>),
    /// A control record that this fold does not look at.
    Control,
}

/// A rules document that is in force from its record on.
#[derive(Debug)]
pub(super) struct NewRules {
    pub rules: Rules,
    pub operator: String,
}

/// What an operator asks for, redacted.
#[derive(Debug)]
pub(super) struct PreparedCommand {
    pub operator: String,
    pub auth_method: String,
    pub verb: String,
    pub opening: Option<Position>,
    /// As JSON text.
    pub arguments: String,
}

/// A delivery that is to be applied here although its turn is long over.
#[derive(Debug)]
pub(super) struct PreparedRedrive {
    pub original: Position,
    pub operator: String,
    /// The original, or why it is none that could be applied.
    pub content: Result<Original, &'static str>,
}

#[derive(Debug)]
pub(super) struct Original {
    /// When it was received.
    pub received_at: Time,
    pub delivery: PreparedDelivery,
}

#[derive(Debug)]
pub(super) struct PreparedDelivery {
    pub provider: String,
    /// Version of the provider that read it; none where there is none of that name.
    pub provider_version: Option<u32>,
    pub source: SourceId,
    pub raw_sha256: [u8; 32],
    pub raw_length: u64,
    /// The channel its sender asked for, by id (R5).
    pub channel: Option<String>,
    pub content: Told,
}

/// What a delivery says.
#[derive(Debug)]
pub(super) enum Told {
    Alerts {
        alerts: Vec<PreparedAlert>,
        key: Option<SeenKey>,
    },
    Interaction {
        interaction: Box<Interaction>,
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
    /// What it means to hear nothing more of it.
    pub silence: providers::Silence,
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
    let mut names = Vec::new();
    let kind = match body {
        Body::Delivery(delivery) => {
            Kind::Delivery(Box::new(prepare_delivery(project.as_ref(), *delivery, rules)))
        }
        Body::Command(command) => Kind::Command(Box::new(prepare_command(*command))),
        Body::Answer(answer) => Kind::Answer(answer),
        Body::Outcome(outcome) => {
            names.extend(project.as_ref().and_then(|p| handle::of_outcome(p, &outcome)));
            Kind::Outcome(outcome)
        }
        Body::Tick(tick) => Kind::Tick { now: tick.now },
        Body::Redrive(redrive) => {
            Kind::Redrive(Box::new(prepare_redrive(project.as_ref(), redrive, rules)))
        }
        Body::Control(control) => match *control {
            Control::Rules(document) => Kind::Rules(read_rules(document)),
            Control::ChatOperator(said) => Kind::ChatOperator(Box::new(bounded(said))),
            Control::IncidentNumber(given) => {
                names.extend(project.iter().flat_map(|p| handle::of_number(p, &given)));
                Kind::Control
            }
            Control::Silence(change) => Kind::Silence(read_silence(change)),
            Control::Promote(_) | Control::Key(_) | Control::SourceSwitch(_) => Kind::Control,
        },
    };
    Readable { id, received_at, project, names, kind }
}

fn read_rules(document: RulesDocument) -> Result<Box<NewRules>, String> {
    let RulesDocument { hash, text, operator } = document;
    let rules = Rules::named(&hash, &text).map_err(|e| e.to_string())?;
    Ok(Box::new(NewRules { rules, operator }))
}

/// A silence that can be asked: one that asks for nothing would hold for nearly everything.
fn read_silence(change: SilenceChange) -> Result<Box<SilenceChange>, String> {
    let SilenceChange { id, silence, operator } = change;
    let silence = silence.map(|silence| {
        let matchers = Matchers::new(silence.matchers.iter().cloned());
        match matchers {
            Ok(matchers) if matchers.ask_for_something() => Ok(Silence {
                owner: head(&silence.owner, MAX_WORD),
                reason: head(&silence.reason, MAX_ARGUMENTS),
                ..silence
            }),
            Ok(_) => Err("silence_of_everything".to_owned()),
            Err(error) => Err(format!("bad_silence: {error}")),
        }
    });
    let (id, operator) = (head(&id, MAX_WORD), head(&operator, MAX_WORD));
    Ok(Box::new(SilenceChange { id, silence: silence.transpose()?, operator }))
}

fn bounded(said: ChatOperator) -> ChatOperator {
    let (user, operator) = (head(&said.user, MAX_WORD), head(&said.operator, MAX_WORD));
    ChatOperator { user, operator, ..said }
}

fn prepare_command(command: Command) -> PreparedCommand {
    let Command { operator, auth_method, verb, opening, arguments } = command;
    PreparedCommand {
        operator: head(&operator, MAX_WORD),
        auth_method: head(&auth_method, MAX_WORD),
        verb: head(&verb, MAX_WORD),
        opening,
        arguments: redacted(&arguments),
    }
}

/// JSON text without its secrets, and not longer than is kept. What is no JSON becomes a JSON text.
fn redacted(arguments: &str) -> String {
    let mut value = serde_json::from_str(arguments)
        .unwrap_or_else(|_| serde_json::Value::String(arguments.to_owned()));
    Redactor::builtin().value(&mut value);
    let text = value.to_string();
    if text.chars().nth(MAX_ARGUMENTS).is_none() {
        return text;
    }
    serde_json::Value::String(head(&text, MAX_ARGUMENTS)).to_string()
}

fn head(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

fn prepare_redrive(
    project: Option<&ProjectId>,
    redrive: Redrive,
    rules: &Rules,
) -> PreparedRedrive {
    let Redrive { original, operator, record } = redrive;
    let content = match record.as_deref().map(Record::decode) {
        None => Err("no_original"),
        Some(Err(_)) => Err("original_unreadable"),
        Some(Ok(record)) if record.project.as_ref() != project => {
            Err("original_of_another_project")
        }
        Some(Ok(Record { received_at, body: Body::Delivery(delivery), .. })) => {
            Ok(Original { received_at, delivery: prepare_delivery(project, *delivery, rules) })
        }
        Some(Ok(_)) => Err("original_is_no_delivery"),
    };
    PreparedRedrive { original, operator: head(&operator, MAX_WORD), content }
}

fn prepare_delivery(
    project: Option<&ProjectId>,
    delivery: Delivery,
    rules: &Rules,
) -> PreparedDelivery {
    let provider = providers::by_name(&delivery.provider);
    let content = match (project, provider) {
        (None, _) => Told::Unknown { reason: "no_project".into() },
        (_, None) => Told::Unknown { reason: format!("unknown_provider {:?}", delivery.provider) },
        (Some(project), Some(provider)) => {
            let fields = rules.fields(project, &delivery.source);
            let reading = Reading { project, redactor: Redactor::builtin(), fields };
            match providers::normalise(provider, &delivery, &reading) {
                Normalised::Alerts { alerts, key } => Told::Alerts {
                    alerts: alerts.into_iter().map(|a| prepare_alert(project, a, rules)).collect(),
                    key: key.map(|key| seen_key(project, &delivery, &key)),
                },
                Normalised::Interaction { interaction, key } => Told::Interaction {
                    interaction: Box::new(prepare_interaction(*interaction)),
                    key: key.map(|key| seen_key(project, &delivery, &key)),
                },
                Normalised::Recorded { reason } => Told::Recorded { reason },
                Normalised::Rejected { reason } => Told::Rejected { reason },
            }
        }
    };
    PreparedDelivery {
        provider_version: provider.map(|provider| provider.version()),
        provider: delivery.provider,
        source: delivery.source,
        raw_sha256: delivery.sha256,
        raw_length: delivery.raw.len() as u64,
        channel: delivery.channel,
        content,
    }
}

/// What somebody asks for, redacted.
fn prepare_interaction(interaction: Interaction) -> Interaction {
    let Interaction { user, by, place, on, ask } = interaction;
    let ask = match ask {
        Ask::Do { verb, target, arguments } => {
            Ask::Do { verb, target, arguments: redacted(&arguments) }
        }
        Ask::Say { about } => Ask::Say { about },
    };
    Interaction { user: head(&user, MAX_WORD), by, place, on, ask }
}

pub(super) fn prepare_alert(project: &ProjectId, mut alert: Alert, rules: &Rules) -> PreparedAlert {
    let severity = rules.severity(project);
    let word = alert.facts.severity_raw.as_deref().unwrap_or_default();
    if let Some(level) = severity.level(word) {
        alert.notes.push(format!("severity {word:?} is {level} by rule {}", severity.id));
        alert.facts.level = Some(level);
    }
    let identity = identify(project, &alert, rules);
    let provider = providers::by_name(&alert.facts.provider);
    let silence = provider.map_or(providers::Silence::Nothing, |provider| provider.silence(&alert));
    PreparedAlert { alert, silence, identity }
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

    /// True for a record that must be the last of its batch. Where else a batch ends changes
    /// nothing but how much is in memory.
    pub fn ends_batch(&self) -> bool {
        match self.kind() {
            Some(Kind::Rules(_)) => true,
            Some(Kind::Tick { now }) => spread(now.micros().cast_unsigned()).is_multiple_of(TICKS),
            Some(
                Kind::Delivery(_)
                | Kind::Command(_)
                | Kind::Answer(_)
                | Kind::Outcome(_)
                | Kind::Redrive(_)
                | Kind::ChatOperator(_)
                | Kind::Silence(_)
                | Kind::Control,
            )
            | None => false,
        }
    }

    /// The alerts of a delivery and its sender's id, if it is one.
    pub(super) fn told(&self) -> Option<(&[PreparedAlert], Option<SeenKey>)> {
        match self.content()? {
            Told::Alerts { alerts, key } => Some((alerts, *key)),
            Told::Interaction { key, .. } => Some((&[], *key)),
            Told::Recorded { .. } | Told::Rejected { .. } | Told::Unknown { .. } => None,
        }
    }

    /// What somebody asks for in a chat, if it is that.
    pub(super) fn interaction(&self) -> Option<&Interaction> {
        match self.content()? {
            Told::Interaction { interaction, .. } => Some(interaction),
            Told::Alerts { .. }
            | Told::Recorded { .. }
            | Told::Rejected { .. }
            | Told::Unknown { .. } => None,
        }
    }

    fn content(&self) -> Option<&Told> {
        let delivery = match self.kind()? {
            Kind::Delivery(delivery) => delivery,
            Kind::Redrive(redrive) => &redrive.content.as_ref().ok()?.delivery,
            Kind::Command(_)
            | Kind::Answer(_)
            | Kind::Outcome(_)
            | Kind::Tick { .. }
            | Kind::Rules(_)
            | Kind::ChatOperator(_)
            | Kind::Silence(_)
            | Kind::Control => return None,
        };
        Some(&delivery.content)
    }

    fn kind(&self) -> Option<&Kind> {
        match &self.content {
            Content::Record(record) => Some(&record.kind),
            Content::Unreadable { .. } => None,
        }
    }
}

/// Numbers that look alike become numbers that do not: the finaliser of SplitMix64 (Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators", 2014).
const fn spread(number: u64) -> u64 {
    let mut n = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
