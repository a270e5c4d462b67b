//! `bellwether parked`: shows which records and sends were given up, and has them applied or sent
//! again.
//!
//! A redrive is a record of its own at the end of the log, which carries the original byte for byte;
//! the fold decides whether it is applied (docs/adr/0009).

mod sends;

use std::{fmt, time::Duration};

use anyhow::Context;
use eventlog::{Log, Publish, PublishError};
use runtime::Clock;
use schemas::{
    Generation, InputPosition, JobId, Lane, LaneKey, Record, RecordId,
    frame::RecordFrame,
    record::{Body, Redrive as RedriveRecord},
    subject::{Class, deliveries, deliveries_stream},
};
use store::{
    Store,
    given_up::GivenUp,
    read::{Visible, delivery::SettledDelivery},
};
use tokio::time::Instant;

use super::place::{Place, user};
use crate::controls::frame_of;

/// How often an append is tried whose outcome is unknown.
const TRIES: u32 = 10;
/// Pause before it is tried again, and between two looks at the tables.
const PAUSE: Duration = Duration::from_millis(200);

/// What to do with records that were given up.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// List the records that ended parked or rejected, newest first.
    List(List),
    /// Say what is known of one.
    Show(Show),
    /// Have one applied again, at the end of the log, and wait for what comes of it.
    ///
    /// Exits with 2 when it was not given up, is no delivery of a project, or is given up again.
    Redrive(Redrive),
    /// Forget one: it can not be redriven any more.
    Drop(Drop),
    /// List the sends that were refused for good, or of which nobody knows whether they arrived,
    /// with the receiver's words, the last first.
    Sends(sends::Sends),
    /// Have such a send sent again, by a worker, ahead of what waits.
    ///
    /// Exits with 2 when it was not given up, or when somebody is known to have been told.
    Resend(sends::Resend),
}

#[derive(clap::Args)]
pub struct List {
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Show {
    /// Where it stands in the log, as `list` says.
    position: InputPosition,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Redrive {
    /// Where it stands in the log, as `list` says.
    position: InputPosition,
    /// Who asks for it; your user name when absent.
    #[arg(long)]
    operator: Option<String>,
    /// Seconds to wait for what comes of it.
    #[arg(long, default_value_t = 10)]
    wait: u32,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Drop {
    /// Where it stands in the log, as `list` says.
    position: InputPosition,
    #[command(flatten)]
    place: Place,
}

/// What was understood and is not done.
#[derive(Debug)]
pub enum Refused {
    /// It was not given up, or was redriven or dropped since.
    NotGivenUp(InputPosition),
    /// There is nothing that could be applied.
    NoOriginal(InputPosition, &'static str),
    /// It was appended, and nothing came of it.
    Again { record: RecordId, outcome: String, reason: String },
    /// It was not given up, or was sent again since.
    NoSend(JobId),
    /// The receiver took it, from this job or another.
    ToldBefore(JobId),
    /// This binary cannot read what was to be sent.
    Unreadable(JobId, String),
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGivenUp(at) => write!(
                f,
                "refused: the record at {at} was not given up, or was redriven or dropped since; \
                 see `bellwether parked list`"
            ),
            Self::NoOriginal(at, why) => {
                write!(f, "refused: the record at {at} cannot be redriven: {why}")
            }
            Self::Again { record, outcome, reason } => {
                write!(f, "redrive {record} ended {outcome}: {reason}")
            }
            Self::NoSend(job) => write!(
                f,
                "refused: send {job} was not given up, or was sent again since; see `bellwether \
                 parked sends`"
            ),
            Self::ToldBefore(job) => {
                write!(f, "refused: what send {job} says was told already")
            }
            Self::Unreadable(job, why) => {
                write!(f, "refused: send {job} cannot be read: {why}; run a newer binary")
            }
        }
    }
}

/// Does it.
pub async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List(args) => list(args).await,
        Verb::Show(args) => show(args).await,
        Verb::Redrive(args) => redrive(args).await,
        Verb::Drop(args) => forget(args).await,
        Verb::Sends(args) => sends::list(args).await,
        Verb::Resend(args) => sends::resend(args).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let (log, store) = (args.place.log().await?, args.place.store().await?);
    let rows = store.given_up(generation(&store).await?, args.limit).await?;
    if rows.is_empty() {
        println!("nothing was given up");
    }
    for row in rows {
        let told = Told::of(&log, &store, &row).await?;
        println!("{}  {}  {}  {}", row.at, row.how, told.whose, told.reason);
    }
    Ok(())
}

async fn show(args: Show) -> anyhow::Result<()> {
    let (log, store) = (args.place.log().await?, args.place.store().await?);
    let at = args.position;
    let row = store.given_up_at(generation(&store).await?, at).await?;
    let row = row.ok_or(Refused::NotGivenUp(at))?;
    let told = Told::of(&log, &store, &row).await?;
    println!("position  {at}");
    println!("ended     {} by {} of lane {}", row.how, row.stage, row.lane);
    println!("reason    {}", told.reason);
    if let Some(attempts) = row.attempts {
        println!("attempts  {attempts}");
    }
    if let Some(parked_at) = row.parked_at {
        println!("parked    {parked_at}");
    }
    println!("record    {}", told.whose);
    if let Some(record) = told.record {
        println!("id        {}", record.id);
        println!("received  {}", record.received_at);
        if let Body::Delivery(delivery) = &record.body {
            let length = delivery.raw.len();
            println!("body      {length} bytes, sha256 {}", const_hex::encode(delivery.sha256));
        }
    }
    Ok(())
}

async fn redrive(args: Redrive) -> anyhow::Result<()> {
    let nats = args.place.nats()?;
    let (log, store) = (args.place.log().await?, args.place.store().await?);
    let at = args.position;
    if store.given_up_at(generation(&store).await?, at).await?.is_none() {
        return Err(Refused::NotGivenUp(at).into());
    }
    let refused = |why| Refused::NoOriginal(at, why);
    let bytes = bytes_at(&log, at).await?.ok_or(refused("the log does not hold it any more"))?;
    let original = Record::decode(&bytes).map_err(|_| refused("it cannot be read"))?;
    let Body::Delivery(_) = original.body else { return Err(refused("it is no delivery").into()) };
    let project = original.project.ok_or(refused("it belongs to no project"))?;

    let clock = Clock::system();
    let body = Body::Redrive(RedriveRecord {
        original: at.whole(),
        operator: args.operator.unwrap_or_else(user),
        record: Some(bytes),
    });
    let id = runtime::record_id(&clock);
    let record = Record::new(id, clock.now(), Some(project.clone()), body);
    let lane = LaneKey::Lane(Lane::of(&project, nats.lanes));
    let position = append(&log, lane, &record).await?;
    println!("record    {id}");
    println!("position  {position}");

    let deadline = Instant::now() + Duration::from_secs(args.wait.into());
    loop {
        let mut view = store.view(&Visible::Everything).await?;
        if let Some(SettledDelivery { outcome, reason, .. }) = view.delivery(id).await? {
            if outcome == "rejected" || outcome == "parked" {
                let reason = reason.unwrap_or_default();
                return Err(Refused::Again { record: id, outcome, reason }.into());
            }
            println!("outcome   {outcome}");
            return Ok(());
        }
        if let Some(action) = view.action_of_record(project.as_str(), id).await? {
            let (outcome, reason) = (action.verdict, action.reason.unwrap_or_default());
            return Err(Refused::Again { record: id, outcome, reason }.into());
        }
        if Instant::now() >= deadline {
            println!("outcome   not known yet: ask for GET /api/v1/deliveries/{id}");
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn forget(args: Drop) -> anyhow::Result<()> {
    let store = args.place.store().await?;
    if !store.drop_given_up(args.position).await? {
        return Err(Refused::NotGivenUp(args.position).into());
    }
    println!("dropped   {}", args.position);
    Ok(())
}

async fn generation(store: &Store) -> anyhow::Result<Generation> {
    store.active_generation().await?.context("no generation is active in this database")
}

/// A record that was given up, for people.
struct Told {
    /// Its kind, project, source and provider.
    whose: String,
    reason: String,
    /// Absent when it cannot be read, or the log does not hold it any more.
    record: Option<Record>,
}

impl Told {
    async fn of(log: &dyn Log, store: &Store, row: &GivenUp) -> anyhow::Result<Self> {
        let bytes = bytes_at(log, row.at).await?;
        let record = bytes.as_deref().and_then(|bytes| Record::decode(bytes).ok());
        let whose = match (&bytes, &record) {
            (None, _) => "gone from the log".to_owned(),
            (Some(_), None) => "unreadable".to_owned(),
            (Some(_), Some(record)) => {
                let project = record.project.as_ref().map_or("no project", |p| p.as_str());
                match &record.body {
                    Body::Delivery(delivery) => {
                        let (source, provider) = (&delivery.source, &delivery.provider);
                        format!("delivery of {project}, source {}, {provider}", source.as_str())
                    }
                    Body::Command(_)
                    | Body::Answer(_)
                    | Body::Outcome(_)
                    | Body::Tick(_)
                    | Body::Redrive(_)
                    | Body::Control(_) => format!("{} of {project}", record.kind()),
                }
            }
        };
        let mut reason = row.reason.clone();
        if let (None, Some(record)) = (&reason, &record) {
            let mut view = store.view(&Visible::Everything).await?;
            reason = view.delivery(record.id).await?.and_then(|delivery| delivery.reason);
        }
        Ok(Self { whose, reason: reason.unwrap_or_else(|| "not known".to_owned()), record })
    }
}

/// The bytes of the record at a position, if the log holds them.
async fn bytes_at(log: &dyn Log, at: InputPosition) -> anyhow::Result<Option<Vec<u8>>> {
    let stream = deliveries_stream(log.namespace());
    if log.info(&stream).await?.incarnation != at.incarnation {
        return Ok(None);
    }
    let Some(message) = log.get(&stream, at.sequence).await? else { return Ok(None) };
    let Ok(frame) = RecordFrame::parse(&message.payload) else { return Ok(None) };
    Ok(frame.records.get(at.record as usize).map(|bytes| bytes.to_vec()))
}

/// Appends a record of one's own to a lane.
async fn append(log: &dyn Log, lane: LaneKey, record: &Record) -> anyhow::Result<InputPosition> {
    let stream = deliveries_stream(log.namespace());
    let incarnation = log.info(&stream).await?.incarnation;
    let message = Publish {
        stream,
        subject: deliveries(log.namespace(), lane, Class::Data),
        // A frame that stands twice all the same is known by its number.
        message_id: Some(format!("redrive:{}", record.id)),
        headers: Vec::new(),
        payload: frame_of(record).into(),
        fence: None,
        keep_forever: false,
    };
    for _ in 0..TRIES {
        match log.publish(message.clone()).await {
            Ok(ack) => {
                return Ok(InputPosition { incarnation, sequence: ack.sequence, record: 0 });
            }
            Err(PublishError::Unknown { .. }) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("the log did not say whether it took the redrive; look with `parked show`")
}
