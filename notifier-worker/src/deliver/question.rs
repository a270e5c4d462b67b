//! What a question brings for its own answer (I8): read from the record that asks, when the answer is
//! sent, and kept nowhere.

use std::{fmt, sync::Arc};

use domain::providers;
use eventlog::Log;
use schemas::{
    Record, RecordFrame, Time,
    job::{Reply, ReplyTo},
    record::Body,
    subject::deliveries_stream,
};
use secrecy::SecretString;

use super::{
    Errand,
    judge::{Attempt, Class},
};
use crate::config::Target;

/// A credential is not used in its last seconds: a request with it would come too late.
const MARGIN_SECONDS: i64 = 20;

/// The log, where questions stand.
#[derive(Clone, Default)]
pub(super) struct Questions(pub Option<Arc<dyn Log>>);

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Questions")
    }
}

/// How a question can be answered.
pub(super) enum Answerable {
    /// So: the target, with what the question brings where that is still good and not yet tried in vain.
    By(Box<Target>),
    /// As by any message of this target.
    AsEver,
    /// Not by this target, and not later either.
    Never(&'static str),
    /// Not just now.
    Later(Attempt),
}

/// Why there is no credential.
enum Missing {
    /// The question brings none, or it cannot be found any more.
    None,
    Late,
    /// The log could not be asked.
    Unread(String),
}

impl Questions {
    /// How `target` can answer what a send answers, at `now`.
    pub(super) async fn answerable(
        &self,
        errand: Errand<'_>,
        target: &Target,
        now: Time,
    ) -> Answerable {
        let Some(Reply { to, .. }) = errand.send.reply.as_deref() else {
            return Answerable::AsEver;
        };
        let chat = Some(to.provider.as_str());
        let (ever, brought) =
            (target.channel.answers(target) == chat, target.channel.answers_by_credential(target));
        if brought != chat {
            return Answerable::AsEver;
        }
        // An answer given twice rings nobody; one that is lost looks as if nothing had been done.
        let with = |answer_at| {
            Answerable::By(Box::new(Target { answer_at, repeats: true, ..target.clone() }))
        };
        // What it brings may be what does not work.
        if ever && errand.job.attempts > 1 {
            return with(None);
        }
        let found = self.credential(to, errand.job.attempts, now).await;
        let counted = |found: &'static str| {
            let provider = to.provider.clone();
            metrics::counter!(
                "bellwether_reply_credentials_total", "provider" => provider, "found" => found
            )
            .increment(1);
        };
        match found {
            Ok(credential) => {
                counted("good");
                with(Some(credential))
            }
            Err(missing) => {
                counted(missing.word());
                if ever {
                    return Answerable::AsEver;
                }
                match missing {
                    Missing::None => Answerable::Never(NONE),
                    Missing::Late => Answerable::Never(LATE),
                    Missing::Unread(reason) => Answerable::Later(Attempt::later(
                        Class::QuestionUnread,
                        format!("the question cannot be read: {reason}"),
                    )),
                }
            }
        }
    }

    async fn credential(
        &self,
        to: &ReplyTo,
        attempt: u32,
        now: Time,
    ) -> Result<SecretString, Missing> {
        let record = self.record(to).await?;
        let Body::Delivery(delivery) = record.body else { return Err(Missing::None) };
        if delivery.provider != to.provider || delivery.source != to.source {
            return Err(Missing::None);
        }
        let provider = providers::by_name(&delivery.provider).ok_or(Missing::None)?;
        let credential = provider.reply_credential(&delivery).ok_or(Missing::None)?;
        let until = record.received_at.plus_seconds(credential.seconds - MARGIN_SECONDS);
        // Each attempt uses it once.
        if now >= until || attempt > credential.uses {
            return Err(Missing::Late);
        }
        Ok(SecretString::from(credential.expose()))
    }

    /// The record that asks.
    async fn record(&self, to: &ReplyTo) -> Result<Record, Missing> {
        let unread = |error: eventlog::Error| Missing::Unread(error.to_string());
        let log = self.0.as_ref().ok_or(Missing::None)?;
        let (stream, at) = (deliveries_stream(log.namespace()), to.at.input);
        if log.info(&stream).await.map_err(unread)?.incarnation != at.incarnation {
            return Err(Missing::None);
        }
        let message = log.get(&stream, at.sequence).await.map_err(unread)?;
        let message = message.ok_or(Missing::None)?;
        let frame = RecordFrame::parse(&message.payload).map_err(|_| Missing::None)?;
        let bytes = frame.records.get(at.record as usize).ok_or(Missing::None)?;
        Record::decode(bytes).map_err(|_| Missing::None)
    }
}

/// Why a question is not answered; shown to operators.
const NONE: &str =
    "it brings nothing to answer it by, and the channel cannot write there by itself";
const LATE: &str = "what it brings to answer it by is no longer good, and the channel cannot write there \
                    by itself";

impl Missing {
    /// The label of metrics.
    const fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Late => "late",
            Self::Unread(_) => "unread",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use eventlog::{MemoryLog, Publish};
    use schemas::{
        Facts, IncidentId, InputPosition, JobId, Lane, LaneKey, Namespace, ProducerId, ProjectId,
        RecordId, SourceId, Status,
        alert::Risk,
        frame::{self, FRAME_VERSION, FrameHeader},
        job::{SendJob, SendKind},
        record::{Auth, Delivery},
        subject::{Class, deliveries},
    };
    use secrecy::ExposeSecret;
    use serde_json::json;
    use store::job::{Job, Queue};
    use uuid::Uuid;

    use super::*;
    use crate::config::tests::target_of;

    const THERE: &str = "https://hooks.slack.com/commands/T0/1/hunter2";

    fn received() -> Time {
        Time::from_micros(1_763_617_422_000_000)
    }

    /// A log with a slash command in it that brings an address, and where it stands.
    async fn asked(source: &str) -> (Questions, ReplyTo) {
        let log = MemoryLog::new(Namespace::default(), NonZeroU16::MIN);
        let raw = format!("command=%2Fack&user_id=U1&response_url={THERE}").into_bytes();
        let delivery = Delivery {
            provider: "slack".into(),
            source: SourceId::new(source).unwrap(),
            route: "/slack/command".into(),
            headers: Vec::new(),
            remote: None,
            auth: Auth { method: "slack_v0".into(), credential: None },
            sha256: [0; 32],
            raw,
            content_type: None,
            channel: None,
            recorded: None,
        };
        let project = ProjectId::new("shop").unwrap();
        let body = Body::Delivery(Box::new(delivery));
        let record = Record::new(RecordId(Uuid::from_u128(1)), received(), Some(project), body);
        let mut bytes = Vec::new();
        record.encode_into(&mut bytes);
        let producer = ProducerId(Uuid::from_u128(2));
        let header =
            FrameHeader { version: FRAME_VERSION, producer, number: 1, total: 1, count: 1 };
        let stream = deliveries_stream(log.namespace());
        let publish = Publish {
            stream: stream.clone(),
            subject: deliveries(log.namespace(), LaneKey::All, Class::Data),
            message_id: None,
            headers: Vec::new(),
            payload: frame::encode(&header, &bytes).into(),
            fence: None,
            keep_forever: false,
        };
        let sequence = log.publish(publish).await.unwrap().sequence;
        let incarnation = log.info(&stream).await.unwrap().incarnation;
        let to = ReplyTo {
            provider: "slack".into(),
            source: SourceId::new("team").unwrap(),
            chat: Some("C0123456789".into()),
            message: None,
            at: InputPosition { incarnation, sequence, record: 0 }.whole(),
            ours: false,
        };
        (Questions(Some(Arc::new(log))), to)
    }

    fn answer(to: ReplyTo, attempts: u32) -> (Job, SendJob) {
        let (project, opening) = (ProjectId::new("shop").unwrap(), to.at);
        let facts = Facts::new("slack", to.source.clone(), "", Status::Firing);
        let reply = Reply {
            to,
            verb: "ack".into(),
            arguments: "{}".into(),
            actor: "ada".into(),
            refused: None,
        };
        let send = SendJob {
            project: project.clone(),
            incident: IncidentId(Uuid::from_u128(3)),
            subject: opening.to_string(),
            opening,
            kind: SendKind::Reply,
            target: "out".into(),
            facts,
            risk: Risk::Low,
            rule: "asked".into(),
            rules: "0".into(),
            planned_at: received(),
            frequency: None,
            cause: None,
            standing: None,
            summary: None,
            reply: Some(Box::new(reply)),
            tags: Vec::new(),
        };
        let job = Job {
            generation: schemas::Generation(1),
            id: JobId(Uuid::from_u128(4)),
            queue: Queue::Send,
            lane: Lane(0),
            project,
            incident: send.incident,
            target: "out".into(),
            attempts,
            trigger: opening,
            payload: schemas::codec::encode(&send),
            result: None,
            result_end: None,
            claim: Uuid::from_u128(5),
            health: store::job::Health::default(),
        };
        (job, send)
    }

    /// How an answer is given, in a word, so many seconds after the question at this attempt.
    async fn given(
        questions: &Questions,
        to: &ReplyTo,
        target: &Target,
        (seconds, attempts): (i64, u32),
    ) -> String {
        let (job, send) = answer(to.clone(), attempts);
        let errand = Errand { job: &job, send: &send, target };
        let now = received().plus_seconds(seconds);
        match questions.answerable(errand, target, now).await {
            Answerable::By(target) => {
                assert!(target.repeats, "an answer is not lost with the first timeout");
                let brought = target.answer_at.as_ref();
                brought.map_or("by itself", |brought| brought.expose_secret()).to_owned()
            }
            Answerable::AsEver => "as ever".to_owned(),
            Answerable::Never(why) => why.to_owned(),
            Answerable::Later(attempt) => format!("{:?}", attempt.verdict),
        }
    }

    fn hook() -> Target {
        target_of(json!({"kind": "slack", "url": "https://hooks.slack.com/services/T/B/x"}))
            .unwrap()
    }

    fn bot() -> Target {
        let token = "xoxb-0123456789";
        target_of(json!({"kind": "slack", "token": token, "channel": "C0123456789"})).unwrap()
    }

    #[tokio::test]
    async fn i8_what_a_question_brings_is_read_where_it_stands_while_it_is_good() {
        let (questions, to) = asked("team").await;
        for target in [hook(), bot()] {
            assert_eq!(given(&questions, &to, &target, (0, 1)).await, THERE);
            assert_eq!(given(&questions, &to, &target, (1_700, 1)).await, THERE);
        }
        // Who can write there by itself tries that next.
        for again in [(0, 2), (1_700, 5), (3_600, 6)] {
            assert_eq!(given(&questions, &to, &bot(), again).await, "by itself");
        }
        assert_eq!(given(&questions, &to, &hook(), (1_700, 5)).await, THERE);
        // Half an hour later, or used as often as it may be, it is nothing any more.
        for late in [(1_790, 1), (3_600, 1), (0, 6)] {
            assert_eq!(given(&questions, &to, &hook(), late).await, LATE);
        }
        for late in [(1_790, 1), (3_600, 1)] {
            assert_eq!(given(&questions, &to, &bot(), late).await, "as ever");
        }
    }

    #[tokio::test]
    async fn a_question_that_brings_nothing_is_answered_by_who_can_write_there() {
        let (questions, to) = asked("team").await;
        let at = |incarnation, sequence, record| ReplyTo {
            at: InputPosition { incarnation, sequence, record }.whole(),
            ..to.clone()
        };
        let InputPosition { incarnation, sequence, .. } = to.at.input;
        let gone = [
            at(incarnation, sequence + 1, 0),
            at(incarnation, sequence, 1),
            at(incarnation + 1, sequence, 0),
            ReplyTo { source: SourceId::new("other").unwrap(), ..to.clone() },
        ];
        for to in &gone {
            assert_eq!(given(&questions, to, &hook(), (0, 1)).await, NONE);
            assert_eq!(given(&questions, to, &bot(), (0, 1)).await, "as ever");
        }
        let without = Questions::default();
        assert_eq!(given(&without, &to, &hook(), (0, 1)).await, NONE);
        // It is of another provider, or the channel knows of no such thing.
        let of_another = ReplyTo { provider: "lark".into(), ..to.clone() };
        assert_eq!(given(&questions, &of_another, &bot(), (0, 1)).await, "as ever");
        let log = target_of(json!({"kind": "log"})).unwrap();
        assert_eq!(given(&questions, &to, &log, (0, 1)).await, "as ever");
    }
}
