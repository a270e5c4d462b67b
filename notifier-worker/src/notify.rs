//! Stage notify: decision events in log order, through `domain::notify`, into notices and send jobs.

use std::{sync::Arc, time::Duration};

use domain::{
    notify::{self, FOLD_VERSION, Found, Plan, Prepared, Recipient, State, decide},
    observe::Due,
};
use futures_util::future::BoxFuture;
use lanes::{Halt, Input, Item, Out, Stage};
use schemas::{
    CodecError, Event, EventBatch, IncidentId, JobId, Lane, SourceId,
    event::{Kind, Planned},
    job::{SendJob, SendKind},
    subject::EventChannel,
};
use store::{
    job::{NewJob, Queue},
    lane::{LaneConnection, LaneTransaction},
};

use crate::config::{Channels, Target};

/// The stage: reads channel `decision`, writes channel `notice` and send jobs.
#[derive(Debug)]
pub struct NotifyStage {
    channels: Arc<Channels>,
    hold: Option<Duration>,
}

/// What the owner of a lane holds in memory.
#[derive(Debug, Default)]
pub struct LaneNotify {
    state: State,
    /// What this batch planned, and for which incidents it brought an analysis.
    plans: Vec<Plan>,
    analysed: Vec<IncidentId>,
}

impl NotifyStage {
    /// `hold` is how long a channel that cannot edit waits with a first message for the analysis to
    /// be in it; none when nobody analyses.
    pub fn new(channels: Arc<Channels>, hold: Option<Duration>) -> Self {
        Self { channels, hold }
    }

    /// One job for each channel that stands behind the plan's recipient.
    fn jobs<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = NewJob> + 'a {
        self.targets(&plan.to).into_iter().map(|target| self.job(plan, target))
    }

    /// The channels behind a recipient. A chat is answered through a channel that can answer there:
    /// one of its source, else one of no source in particular; one that can write there by itself,
    /// else one that answers by what a question brings; the first by id, so that nobody is answered
    /// twice.
    fn targets<'a>(&'a self, to: &'a Recipient) -> Vec<&'a Target> {
        match to {
            Recipient::Receiver(receiver) => self.channels.serving(receiver).collect(),
            Recipient::Channel(id) => self.channels.get(id).into_iter().collect(),
            Recipient::Chat(provider, source) => {
                let chat = Some(provider.as_str());
                let of = |wanted: Option<&SourceId>| {
                    let of_source: Vec<&Target> =
                        self.channels.all().filter(|t| t.source.as_ref() == wanted).collect();
                    let by_itself = of_source.iter().find(|t| t.channel.answers(t) == chat);
                    let brought =
                        || of_source.iter().find(|t| t.channel.answers_by_credential(t) == chat);
                    by_itself.or_else(brought).copied()
                };
                of(Some(source)).or_else(|| of(None)).into_iter().collect()
            }
        }
    }

    fn job(&self, plan: &Plan, target: &Target) -> NewJob {
        let id = JobId::send(&plan.project, &target.id, plan.kind, &plan.subject, plan.trigger);
        let hold = match plan.kind {
            SendKind::Fire if !target.channel.can_edit(target) => self.hold,
            SendKind::Fire
            | SendKind::Resolve
            | SendKind::Update
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => None,
        };
        let payload = schemas::codec::encode(&SendJob {
            project: plan.project.clone(),
            incident: plan.incident,
            subject: plan.subject.clone(),
            opening: plan.opening,
            kind: plan.kind,
            target: target.id.clone(),
            facts: plan.facts.clone(),
            risk: plan.risk,
            rule: plan.rule.clone(),
            rules: plan.rules.clone(),
            planned_at: plan.at,
            frequency: plan.frequency,
            cause: plan.cause,
            standing: plan.standing.clone(),
            summary: plan.summary.clone(),
            reply: plan.reply.clone(),
            tags: plan.tags.clone(),
        });
        NewJob {
            id,
            queue: Queue::Send,
            project: plan.project.clone(),
            incident: plan.incident,
            target: target.id.clone(),
            trigger: plan.trigger,
            not_before_delay: hold,
            urgent: crate::deliver::is_urgent(plan.kind, plan.risk),
            payload,
        }
    }
}

impl Stage for NotifyStage {
    type Prepared = Box<Prepared>;
    type Context = ();
    type State = LaneNotify;

    fn name(&self) -> &'static str {
        "notify"
    }

    fn input(&self) -> Input {
        Input::Events(&[EventChannel::Decision])
    }

    fn fold_version(&self) -> u32 {
        FOLD_VERSION
    }

    fn linger(&self) -> Duration {
        // Most of what comes under load is repeats, which tell nobody; to a message this is nothing.
        Duration::from_millis(30)
    }

    fn context(&self, _: &LaneNotify) {}

    fn prepare(&self, (): &(), item: &Item) -> Result<Box<Prepared>, Halt> {
        let halt = |reason: String| Halt { reason: format!("event at {}: {reason}", item.at) };
        let mut batch = EventBatch::parse(&item.bytes).map_err(|e| halt(e.to_string()))?;
        match (batch.events.pop(), batch.events.len()) {
            (Some(event), 0) => {
                let newer = |e| halt(format!("{e}; run a binary that understands these rules"));
                notify::prepare(event).map(Box::new).map_err(newer)
            }
            (_, n) => Err(halt(format!("an item holds one event, this one holds {}", n + 1))),
        }
    }

    fn load<'a>(
        &'a self,
        connection: &'a mut LaneConnection,
        _: Lane,
    ) -> BoxFuture<'a, Result<LaneNotify, store::Error>> {
        Box::pin(async move {
            let in_force = connection.lane_state().await?;
            let gathered = connection.load_gathered().await?;
            let state = State::restore(in_force.as_deref(), gathered.as_deref())
                .map_err(unreadable("lane_state"))?;
            Ok(LaneNotify { state, ..LaneNotify::default() })
        })
    }

    fn ends_batch(&self, prepared: &Box<Prepared>) -> bool {
        prepared.ends_batch()
    }

    fn gather<'a>(
        &'a self,
        connection: &'a mut LaneConnection,
        lane: &'a mut LaneNotify,
        batch: &'a [(Item, Box<Prepared>)],
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let missing = lane.state.missing(batch.iter().map(|(_, prepared)| prepared.as_ref()));
            if missing.is_empty() {
                return Ok(());
            }
            let found = Found {
                rows: connection.load_told(&missing.rows).await?,
                due: match missing.due {
                    Some(Due { until, limit }) => connection.load_due_told(until, limit).await?,
                    None => Vec::new(),
                },
            };
            lane.state.learn(missing, found).map_err(unreadable("told"))
        })
    }

    fn fold(&self, lane: &mut LaneNotify, _: Item, prepared: Box<Prepared>, out: &mut Out) {
        let decided = decide(&mut lane.state, &prepared);
        lane.plans.extend(decided.plans);
        lane.analysed.extend(decided.analysed);
        out.events.extend(decided.notices);
        out.lane_time = out.lane_time.max(prepared.event.lane_time);
    }

    fn write<'a>(
        &'a self,
        transaction: &'a mut LaneTransaction<'_>,
        lane: &'a mut LaneNotify,
        _: &'a mut Out,
    ) -> BoxFuture<'a, Result<(), store::Error>> {
        Box::pin(async move {
            let changes = lane.state.take_changes().map_err(|e| store::Error::Column {
                table: "told",
                column: "state",
                detail: e.to_string(),
            })?;
            transaction.upsert_told(&changes.rows);
            transaction.delete_told(&changes.gone);
            if let Some(in_force) = &changes.in_force {
                transaction.put_lane_state(in_force);
            }
            if let Some(gathered) = &changes.gathered {
                transaction.put_gathered(gathered);
            }
            let plans = std::mem::take(&mut lane.plans);
            for plan in &plans {
                if self.targets(&plan.to).is_empty() {
                    // The notice says it was planned; here it ends, so it is said aloud.
                    metrics::counter!("bellwether_sends_without_channel_total").increment(1);
                    tracing::warn!(
                        incident = %plan.incident,
                        receiver = %plan.to,
                        "no channel serves {}: nobody is told of incident {}",
                        plan.to,
                        plan.incident,
                    );
                }
            }
            let jobs: Vec<NewJob> = plans.iter().flat_map(|plan| self.jobs(plan)).collect();
            transaction.insert_jobs(&jobs).await?;
            // After the jobs: the analysis may stand in the same batch.
            transaction.hasten_sends(&std::mem::take(&mut lane.analysed)).await
        })
    }

    fn ended(&self, events: &[Event], failed: Option<&store::Error>) {
        if failed.is_none() {
            events.iter().for_each(count);
        }
    }
}

/// R45: what was decided, by kind of message or by why there is none.
fn count(event: &Event) {
    if let Kind::Planned(Planned { reason: Some(reason), .. }) = &event.kind {
        // `level_rose`, `still_fires`, `silence_over`: people are rung again.
        metrics::counter!("bellwether_told_again_total", "why" => reason.clone()).increment(1);
    }
    let (decided, why) = match &event.kind {
        Kind::Planned(planned) => ("planned", planned.kind.word().to_owned()),
        Kind::Withheld(withheld) => ("withheld", withheld.reason.clone()),
        Kind::Opened(_)
        | Kind::Repeated(_)
        | Kind::Resolved(_)
        | Kind::Suppressed(_)
        | Kind::Stale(_)
        | Kind::Answered(_)
        | Kind::Ticked
        | Kind::RulesChanged(_)
        | Kind::Escalated(_)
        | Kind::Expired(_)
        | Kind::Applied(_)
        | Kind::Refused(_)
        | Kind::SilenceChanged(_)
        | Kind::Asked(_)
        | Kind::Tested(_)
        | Kind::Observed(_)
        | Kind::Settled(_)
        | Kind::Sent(_) => return,
    };
    metrics::counter!("bellwether_notices_total", "decided" => decided, "why" => why).increment(1);
}

fn unreadable(table: &'static str) -> impl FnOnce(CodecError) -> store::Error {
    move |e| store::Error::Column { table, column: "state", detail: e.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use schemas::{
        EventId, Facts, InputPosition, Level, Position, ProjectId, SourceId, Status, Time,
        alert::Risk,
        event::{Cause, EVENT_VERSION},
    };
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn stage(hold: Option<Duration>) -> NotifyStage {
        let config = serde_json::from_str(r#"{"kind": "log"}"#).unwrap();
        let other = serde_json::from_str(r#"{"kind": "log", "receivers": ["ops"]}"#).unwrap();
        let configs = BTreeMap::from([("screen".to_owned(), config), ("other".to_owned(), other)]);
        NotifyStage::new(Arc::new(Channels::new(&configs).unwrap()), hold)
    }

    fn at(sequence: u64) -> Position {
        InputPosition { incarnation: 7, sequence, record: 0 }.alert(0)
    }

    #[test]
    fn r15_a_chat_is_answered_by_the_channel_of_its_source() {
        let telegram = |source: Option<&str>| {
            let mut config = serde_json::json!({
                "kind": "telegram", "token": "1:a_token_of_these_tests_only_0123456789",
                "chat_id": -100,
            });
            if let Some(source) = source {
                config["source"] = source.into();
            }
            serde_json::from_value(config).unwrap()
        };
        let slack = |keys: serde_json::Value| {
            let mut config = json!({ "kind": "slack" });
            config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            serde_json::from_value(config).unwrap()
        };
        let configs = BTreeMap::from([
            ("a-screen".to_owned(), serde_json::from_str(r#"{"kind": "log"}"#).unwrap()),
            ("b-others".to_owned(), telegram(Some("others"))),
            ("c-any".to_owned(), telegram(None)),
            ("d-ops".to_owned(), telegram(Some("ops"))),
            ("e-hook".to_owned(), slack(json!({"url": "https://hooks.slack.com/services/T/B/x"}))),
            (
                "f-bot".to_owned(),
                slack(json!({"token": "xoxb-0123456789", "channel": "C01234567"})),
            ),
            (
                "g-west".to_owned(),
                slack(json!({"url": "https://hooks.slack.com/services/T/B/y", "source": "west"})),
            ),
        ]);
        let channels = Channels::new(&configs).unwrap_or_else(|error| panic!("{error}"));
        let stage = NotifyStage::new(Arc::new(channels), None);
        for (provider, source, expect) in [
            ("telegram", "ops", &["d-ops"][..]),
            ("telegram", "third", &["c-any"]),
            ("lark", "ops", &[]),
            // Who needs nothing from the question goes before, where both are of the same source.
            ("slack", "east", &["f-bot"]),
            ("slack", "west", &["g-west"]),
        ] {
            let source = SourceId::new(source).unwrap();
            let chat = Recipient::Chat(provider.into(), source);
            let found = stage.targets(&chat);
            let found: Vec<_> = found.iter().map(|target| target.id.as_str()).collect();
            assert_eq!(found, expect);
        }
        let config: crate::config::ChannelConfig =
            serde_json::from_str(r#"{"kind": "log", "source": "ops"}"#).unwrap();
        let wrong = Channels::new(&BTreeMap::from([("screen".to_owned(), config)])).unwrap_err();
        assert_eq!(wrong.key, "channels.screen.source");
    }

    fn plan(kind: SendKind) -> Plan {
        Plan {
            project: ProjectId::new("shop").unwrap(),
            incident: IncidentId(Uuid::from_u128(1)),
            opening: at(1),
            kind,
            subject: at(1).to_string(),
            to: Recipient::Receiver("default".into()),
            facts: Facts {
                level: Some(Level::Error),
                ..Facts::new("sentry", SourceId::new("main").unwrap(), "boom", Status::Firing)
            },
            risk: Risk::High,
            rule: "everything".into(),
            rules: "0123".into(),
            trigger: at(2),
            at: Time::from_micros(5),
            frequency: None,
            cause: Some(Cause::New),
            standing: None,
            summary: None,
            reply: None,
            tags: vec!["environment:testing".into()],
        }
    }

    #[test]
    fn a_plan_becomes_a_job_for_each_channel_of_its_receiver() {
        let stage = stage(None);
        let plan = plan(SendKind::Fire);
        let jobs: Vec<NewJob> = stage.jobs(&plan).collect();
        let [job] = jobs.as_slice() else { panic!("{jobs:?}") };
        assert_eq!((job.target.as_str(), job.queue), ("screen", Queue::Send));
        let payload: SendJob = schemas::codec::decode("send job", &job.payload).unwrap();
        assert_eq!((payload.subject, payload.planned_at), ("7-1-0-0".into(), plan.at));
        assert_eq!(job.id, stage.jobs(&plan).next().unwrap().id);
        assert_eq!((payload.cause, payload.tags), (plan.cause, plan.tags.clone()));
        let other = Plan { to: Recipient::Channel("other".into()), ..plan.clone() };
        assert_eq!(stage.jobs(&other).next().unwrap().target, "other");
        let nobody = Plan { to: Recipient::Receiver("nobody".into()), ..plan };
        assert_eq!(stage.jobs(&nobody).count(), 0);
    }

    #[test]
    fn i6_the_id_of_a_send_is_its_key() {
        let base = plan(SendKind::Fire);
        let id = |plan: &Plan, target| {
            JobId::send(&plan.project, target, plan.kind, &plan.subject, plan.trigger)
        };
        let changed = [
            id(&Plan { kind: SendKind::Resolve, ..base.clone() }, "screen"),
            id(&Plan { trigger: at(3), ..base.clone() }, "screen"),
            id(&base, "other"),
            id(&Plan { subject: "7-1-0-1".into(), ..base.clone() }, "screen"),
        ];
        assert!(changed.iter().all(|other| *other != id(&base, "screen")));
    }

    #[test]
    fn a_first_message_is_held_for_its_analysis_and_a_resolve_is_not() {
        let hold = Some(Duration::from_secs(5));
        for (given, kind, expect) in [
            (hold, SendKind::Fire, hold),
            (hold, SendKind::Resolve, None),
            (None, SendKind::Fire, None),
        ] {
            let plan = plan(kind);
            assert_eq!(stage(given).jobs(&plan).next().unwrap().not_before_delay, expect);
        }
    }

    #[test]
    fn prepare_refuses_what_is_not_one_event() {
        let item = |bytes: Vec<u8>| Item {
            at: InputPosition::default(),
            bytes: Bytes::from(bytes),
            stored_at: Time::default(),
            of_all: false,
        };
        let event = |version| {
            schemas::codec::encode(&Event {
                version,
                id: EventId(Uuid::from_u128(1)),
                at: at(1),
                lane_time: Time::default(),
                project: None,
                rules: String::new(),
                kind: Kind::Ticked,
            })
        };
        let one = event(EVENT_VERSION);
        assert!(stage(None).prepare(&(), &item(one.clone())).is_ok());
        for bad in [vec![], [one.clone(), one].concat(), event(EVENT_VERSION + 1), vec![0xff]] {
            assert!(stage(None).prepare(&(), &item(bad)).is_err());
        }
    }
}
