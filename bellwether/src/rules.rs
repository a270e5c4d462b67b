//! The rules document in the log: what is in force, and how another is put there.
//!
//! A document is a control record in the lane `all`, which every lane reads at the same position
//! and which is kept for ever. Whoever appends one says behind which control record it belongs; the
//! log refuses it when somebody else was faster.

use std::{fmt, time::Duration};

use domain::rules::{Change, Rules, diff};
use eventlog::{Log, PublishError};
use runtime::Clock;
use schemas::{
    InputPosition, Record, RecordId, Time,
    record::{Body, Control, RulesDocument},
};

use crate::controls::{Controls, frame_of, publication};

/// How often an append is tried whose outcome is unknown, or that another control record of the
/// lane `all` was faster than.
const TRIES: u32 = 10;

/// Pause before an append is tried again whose outcome is unknown.
const PAUSE: Duration = Duration::from_millis(200);

/// What stands in the log about rules.
#[derive(Debug)]
pub struct History {
    /// Every document that was put in force, oldest first.
    pub applied: Vec<Applied>,
    /// Last sequence over the control records of the lane `all`; 0: there is none.
    last: u64,
    incarnation: i64,
    /// Nothing but control records was ever appended.
    untouched: bool,
}

/// A document and how it came to be in force.
#[derive(Clone, Debug)]
pub struct Applied {
    pub rules: Rules,
    /// In force from here on.
    pub position: InputPosition,
    pub at: Time,
    pub operator: String,
    record: RecordId,
}

/// What became of a document that was to be put in force.
#[derive(Debug)]
pub enum Verdict {
    /// It is in force already; nothing was appended. None: it is the built-in one.
    Already(Option<InputPosition>),
    Applied {
        position: InputPosition,
        /// What it changes; nothing when only its text is another.
        changes: Vec<Change>,
    },
}

/// Why a document is not put in force; nothing was appended.
#[derive(Debug)]
pub enum Refused {
    /// It changes what problems are known by.
    Fingerprint(Vec<Change>),
    /// Somebody else put another in force meanwhile.
    Overtaken { hash: String, operator: String, position: InputPosition },
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(changes) => {
                f.write_str("refused: fingerprints would change\n")?;
                for change in changes {
                    writeln!(f, "  {change}")?;
                }
                f.write_str(
                    "every firing alert it concerns would be a new problem and page again. Let a \
                     shadow generation fold the log with it, and switch when it tells what you \
                     want:\n  bellwether replay --rules FILE\n  bellwether promote",
                )
            }
            Self::Overtaken { hash, operator, position } => write!(
                f,
                "refused: {operator} put {hash} in force meanwhile, from position {position}; see \
                 what it says with `bellwether rules show`, then apply again"
            ),
        }
    }
}

impl History {
    /// Reads it.
    ///
    /// # Errors
    /// When the log cannot be asked, or holds frames of a newer binary.
    pub async fn read(log: &dyn Log) -> anyhow::Result<Self> {
        let Controls { records, last, incarnation, untouched } = Controls::read(log).await?;
        let applied = records.into_iter().filter_map(|(position, record)| {
            let Record { id, received_at, body, .. } = record;
            let Body::Control(control) = body else { return None };
            let Control::Rules(RulesDocument { hash, text, operator }) = *control else {
                return None;
            };
            // One that is none changes nothing: the folds park it.
            let rules = Rules::named(&hash, &text).ok()?;
            Some(Applied { rules, position, at: received_at, operator, record: id })
        });
        Ok(Self { applied: applied.collect(), last, incarnation, untouched })
    }

    /// The document in force.
    pub fn in_force(&self) -> &Rules {
        self.applied.last().map_or_else(|| Rules::builtin(), |applied| &applied.rules)
    }
}

/// Puts `rules` in force from the position that is returned.
///
/// # Errors
/// [`Refused`], when it must not be; any other when the log did not take it, or did not say.
pub async fn apply(
    log: &dyn Log,
    clock: &Clock,
    rules: &Rules,
    operator: &str,
) -> anyhow::Result<Verdict> {
    let mut history = History::read(log).await?;
    let before = history.in_force().clone();
    if before.hash() == rules.hash() {
        return Ok(Verdict::Already(history.applied.last().map(|applied| applied.position)));
    }
    let changes = diff(&before, rules);
    let prints: Vec<Change> = changes.iter().filter(|change| change.fingerprint).cloned().collect();
    // Before the first alert there is no problem that could be told apart.
    if !prints.is_empty() && !history.untouched {
        return Err(Refused::Fingerprint(prints).into());
    }
    let document = RulesDocument {
        hash: rules.hash().to_owned(),
        text: rules.text().to_owned(),
        operator: operator.to_owned(),
    };
    let body = Body::Control(Box::new(Control::Rules(document)));
    let record = Record::new(runtime::record_id(clock), clock.now(), None, body);
    let payload = frame_of(&record);
    for _ in 0..TRIES {
        let message = publication(log, &record, payload.clone(), history.last);
        match log.publish(message).await {
            Ok(ack) => {
                let (incarnation, sequence) = (history.incarnation, ack.sequence);
                let position = InputPosition { incarnation, sequence, record: 0 };
                return Ok(Verdict::Applied { position, changes });
            }
            Err(PublishError::WrongSequence { .. }) => {}
            Err(PublishError::Unknown { .. }) => tokio::time::sleep(PAUSE).await,
            Err(error @ PublishError::NotStored { .. }) => return Err(error.into()),
        }
        // Ours may be there after all, even with others behind it.
        history = History::read(log).await?;
        if let Some(ours) = history.applied.iter().find(|applied| applied.record == record.id) {
            return Ok(Verdict::Applied { position: ours.position, changes });
        }
        if let Some(Applied { rules: theirs, position, operator, .. }) = history.applied.last()
            && theirs.hash() != before.hash()
        {
            let (hash, operator) = (theirs.hash().to_owned(), operator.clone());
            return Err(Refused::Overtaken { hash, operator, position: *position }.into());
        }
    }
    anyhow::bail!(
        "the log did not say whether it took the rules; look with `bellwether rules show`"
    )
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU16, sync::Mutex};

    use eventlog::{
        Ack, Error, MemoryLog, Message, Messages, Publish, Read, StreamInfo, topology::StreamSpec,
    };
    use futures_util::future::BoxFuture;
    use schemas::{
        Lane, LaneKey, Namespace,
        record::Tick,
        subject::{Class, deliveries},
    };

    use super::*;

    const ROUTE: &str = "[[defaults.routes]]\nname = \"all\"\nreceivers = [\"default\"]\n";
    const PRINTS: &str =
        "[defaults.fingerprint.sentry]\nid = \"by-title\"\ninclude = [\"title\"]\n";

    fn log() -> MemoryLog {
        MemoryLog::new(Namespace::default(), NonZeroU16::MIN)
    }

    fn document(text: &str) -> Rules {
        Rules::parse(&format!("{text}\n{ROUTE}")).unwrap()
    }

    async fn put(log: &dyn Log, text: &str, operator: &str) -> anyhow::Result<Verdict> {
        apply(log, &Clock::system(), &document(text), operator).await
    }

    /// Something that is no control record.
    async fn tick(log: &dyn Log) {
        let body = Body::Tick(Tick { now: Time::default() });
        let record = Record::new(RecordId(runtime::random_uuid()), Time::default(), None, body);
        let subject = deliveries(log.namespace(), LaneKey::Lane(Lane(0)), Class::Data);
        let message = Publish {
            subject,
            fence: None,
            keep_forever: false,
            ..publication(log, &record, frame_of(&record), 0)
        };
        log.publish(message).await.unwrap();
    }

    #[tokio::test]
    async fn the_last_document_is_in_force_and_none_is_the_builtin_one() {
        let log = log();
        assert_eq!(History::read(&log).await.unwrap().in_force(), Rules::builtin());
        tick(&log).await;
        for (n, text) in [(2, "# one"), (3, "# two"), (4, "# one")] {
            let Verdict::Applied { position, changes } = put(&log, text, "ada").await.unwrap()
            else {
                panic!("{text} was in force")
            };
            assert_eq!((position.sequence, position.record), (n, 0));
            assert_eq!(changes.len(), usize::from(n == 2), "the first names another route");
            let history = History::read(&log).await.unwrap();
            assert_eq!(history.in_force(), &document(text));
            let last = history.applied.last().unwrap();
            assert_eq!((last.position, last.operator.as_str()), (position, "ada"));
        }
        let Verdict::Already(Some(position)) = put(&log, "# one", "bob").await.unwrap() else {
            panic!("applied twice")
        };
        assert_eq!(position.sequence, 4);
        let builtin = apply(&self::log(), &Clock::system(), Rules::builtin(), "ada").await;
        assert!(matches!(builtin.unwrap(), Verdict::Already(None)));
    }

    #[tokio::test]
    async fn r26_a_change_of_fingerprints_is_refused_once_anything_was_received() {
        let fresh = log();
        assert!(matches!(put(&fresh, PRINTS, "ada").await.unwrap(), Verdict::Applied { .. }));
        for (before, after) in [("", PRINTS), (PRINTS, "")] {
            let log = log();
            put(&log, before, "ada").await.unwrap();
            tick(&log).await;
            let error = put(&log, after, "ada").await.unwrap_err();
            let said = error.to_string();
            assert!(matches!(error.downcast_ref(), Some(Refused::Fingerprint(_))), "{said}");
            assert!(said.contains("replay --rules") && said.contains("promote"), "{said}");
            assert!(said.contains("defaults.fingerprint.sentry: "), "{said}");
            assert_eq!(History::read(&log).await.unwrap().applied.len(), 1);
        }
    }

    #[tokio::test]
    async fn what_is_no_document_is_not_in_force() {
        let log = log();
        put(&log, "# good", "ada").await.unwrap();
        for (hash, text) in [("0123456789abcdef", "# good"), ("0", "nonsense")] {
            let document = RulesDocument {
                hash: hash.to_owned(),
                text: text.to_owned(),
                operator: "eve".to_owned(),
            };
            let body = Body::Control(Box::new(Control::Rules(document)));
            let record = Record::new(RecordId(runtime::random_uuid()), Time::default(), None, body);
            let last = History::read(&log).await.unwrap().last;
            log.publish(publication(&log, &record, frame_of(&record), last)).await.unwrap();
        }
        let history = History::read(&log).await.unwrap();
        assert_eq!((history.applied.len(), history.last), (1, 3));
    }

    /// What happens to the first publish.
    #[derive(Clone, Copy)]
    enum Fault {
        /// Somebody else's document comes first.
        Overtaken,
        /// Somebody else's record comes first that changes no rules.
        Jostled,
        /// It is stored, and the answer is lost.
        AnswerLost,
        /// It is lost, and nobody says so.
        Lost,
    }

    struct Faulty {
        inner: MemoryLog,
        fault: Mutex<Option<Fault>>,
    }

    impl Log for Faulty {
        fn namespace(&self) -> &Namespace {
            self.inner.namespace()
        }

        fn publish(&self, message: Publish) -> BoxFuture<'_, Result<Ack, PublishError>> {
            let fault = self.fault.lock().unwrap().take();
            Box::pin(async move {
                let subject = message.subject.clone();
                let unknown = || PublishError::Unknown { subject, waited_ms: 3 };
                match fault {
                    None => self.inner.publish(message).await,
                    Some(Fault::Overtaken) => {
                        put(&self.inner, "# theirs", "bob").await.unwrap();
                        self.inner.publish(message).await
                    }
                    Some(Fault::Jostled) => {
                        let body = Body::Tick(Tick { now: Time::default() });
                        let id = RecordId(runtime::random_uuid());
                        let record = Record::new(id, Time::default(), None, body);
                        let other = publication(&self.inner, &record, frame_of(&record), 0);
                        self.inner.publish(other).await.unwrap();
                        self.inner.publish(message).await
                    }
                    Some(Fault::AnswerLost) => {
                        self.inner.publish(message).await.unwrap();
                        Err(unknown())
                    }
                    Some(Fault::Lost) => Err(unknown()),
                }
            })
        }

        fn read(&self, read: Read) -> BoxFuture<'_, Result<Messages, Error>> {
            self.inner.read(read)
        }

        fn last<'a>(
            &'a self,
            stream: &'a str,
            filter: &'a str,
        ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
            self.inner.last(stream, filter)
        }

        fn get<'a>(
            &'a self,
            stream: &'a str,
            sequence: u64,
        ) -> BoxFuture<'a, Result<Option<Message>, Error>> {
            self.inner.get(stream, sequence)
        }

        fn info<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamInfo, Error>> {
            self.inner.info(stream)
        }

        fn purge<'a>(
            &'a self,
            stream: &'a str,
            filter: &'a str,
            below: u64,
        ) -> BoxFuture<'a, Result<u64, Error>> {
            self.inner.purge(stream, filter, below)
        }

        fn ensure<'a>(&'a self, topology: &'a [StreamSpec]) -> BoxFuture<'a, Result<(), Error>> {
            self.inner.ensure(topology)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_who_apply_at_once_do_not_overwrite_each_other() {
        for fault in [Fault::Overtaken, Fault::Jostled, Fault::AnswerLost, Fault::Lost] {
            let log = Faulty { inner: log(), fault: Mutex::new(Some(fault)) };
            let ours = put(&log, "# ours", "ada").await;
            let history = History::read(&log).await.unwrap();
            match fault {
                Fault::Overtaken => {
                    let said = ours.unwrap_err().to_string();
                    let theirs = document("# theirs");
                    assert!(said.contains("bob") && said.contains(theirs.hash()), "{said}");
                    assert_eq!(history.in_force(), &theirs);
                }
                Fault::Jostled | Fault::AnswerLost | Fault::Lost => {
                    assert!(matches!(ours.unwrap(), Verdict::Applied { .. }));
                    assert_eq!(history.in_force(), &document("# ours"));
                }
            }
            assert_eq!(history.applied.len(), 1);
        }
    }
}
