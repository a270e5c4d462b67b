//! A delivery, in its turn or redriven: its alerts one after the other, and what became of it.

use schemas::{
    Outcome, Position, ProjectId,
    event::{Kind as EventKind, Refused, Settled},
};

use super::{LaneState, Turn, Verdict, alerts::Went};
use crate::{
    effect::Effects,
    observe::prepare::{Original, PreparedDelivery, PreparedRedrive, SeenKey, Told},
    providers,
};

/// Why a delivery is one that came before.
pub(super) const SEEN: &str = "delivery_id_seen";

/// What a refused redrive is called among the verbs of operators.
const REDRIVE: &str = "redrive";

/// The delivery an alert came in.
pub(super) struct Parcel<'a> {
    pub project: &'a ProjectId,
    pub raw_sha256: [u8; 32],
    pub raw_length: u64,
    pub channel_type: &'static str,
    pub provider_version: Option<u32>,
    pub redelivered: bool,
    /// The channel its sender asked for, by id (R5).
    pub channel: Option<&'a str>,
}

/// What became of a delivery.
pub(super) struct Settling {
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub alerts: usize,
}

impl LaneState {
    /// Applies a delivery in its turn.
    pub(super) fn delivery(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        mut delivery: PreparedDelivery,
        effects: &mut Effects,
    ) -> Verdict {
        let content = delivery.take_content();
        let seen = match &content {
            Told::Alerts { key: Some(key), .. } | Told::Interaction { key: Some(key), .. } => {
                self.seen_before(*key)
            }
            Told::Alerts { key: None, .. }
            | Told::Interaction { key: None, .. }
            | Told::Recorded { .. }
            | Told::Rejected { .. }
            | Told::Unknown { .. } => false,
        };
        let settling = self.content(turn, at, &delivery, content, seen, effects);
        let outcome = settling.outcome;
        if outcome == Outcome::Rejected {
            self.working.reject(at.input, self.lane_time);
        }
        let reason = settling.reason.clone().filter(|_| outcome == Outcome::Parked);
        // A delivery of nobody has no page it could be shown on; its parked row tells of it.
        if turn.project.is_some() {
            self.settle(turn, at, &delivery, settling, effects);
        }
        Verdict { outcome, reason }
    }

    /// Applies a delivery that was rejected or parked when it was its turn. That its sender sent it
    /// before is no reason not to.
    pub(super) fn redrive(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        redrive: PreparedRedrive,
        effects: &mut Effects,
    ) -> Verdict {
        if turn.project.is_none() {
            return Verdict::parked("no_project: a redrive belongs to the project of its delivery");
        }
        let PreparedRedrive { original: place, operator, content } = redrive;
        let given_up = self.working.is_given_up(place.input);
        let Original { received_at, mut delivery } = match content {
            Ok(original) if given_up => original,
            Ok(_) => return self.refuse(turn, at, operator, "original_not_given_up", effects),
            Err(reason) => return self.refuse(turn, at, operator, reason, effects),
        };
        let turn = Turn { received_at, original: Some(place), ..*turn };
        let content = delivery.take_content();
        if let Told::Alerts { key: Some(key), .. } | Told::Interaction { key: Some(key), .. } =
            &content
        {
            self.working.note_seen(*key, self.lane_time);
        }
        let settling = self.content(&turn, at, &delivery, content, false, effects);
        let (outcome, reason) = (settling.outcome, settling.reason.clone().unwrap_or_default());
        self.settle(&turn, at, &delivery, settling, effects);
        if outcome == Outcome::Parked {
            return Verdict::parked(reason);
        }
        // Rejected once more, it may be redriven once more.
        if outcome != Outcome::Rejected {
            self.working.redrive(place.input);
        }
        Verdict::of(Outcome::Redrive)
    }

    fn refuse(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        actor: String,
        reason: &str,
        effects: &mut Effects,
    ) -> Verdict {
        let refused = Refused {
            incident: None,
            opening: None,
            verb: REDRIVE.to_owned(),
            actor,
            auth_method: String::new(),
            reason: reason.to_owned(),
            reply: None,
        };
        self.tell(turn, at, EventKind::Refused(Box::new(refused)), effects);
        Verdict::of(Outcome::Redrive)
    }

    /// Applies what a delivery says.
    fn content(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        delivery: &PreparedDelivery,
        content: Told,
        redelivered: bool,
        effects: &mut Effects,
    ) -> Settling {
        let settling = |outcome, reason, alerts| Settling { outcome, reason, alerts };
        let (alerts, project) = match (content, turn.project) {
            (Told::Alerts { alerts, .. }, Some(project)) => (alerts, project),
            (Told::Alerts { .. }, None) => {
                return settling(Outcome::Parked, Some("no_project".to_owned()), 0);
            }
            (Told::Interaction { .. }, _) if redelivered => {
                return settling(Outcome::Redelivered, Some(SEEN.to_owned()), 0);
            }
            (Told::Interaction { interaction, .. }, _) => {
                self.note_provider(delivery);
                return self.asked_alone(turn, at, delivery, &interaction, effects);
            }
            (Told::Recorded { reason }, _) => return settling(Outcome::Recorded, Some(reason), 0),
            (Told::Rejected { reason }, _) => return settling(Outcome::Rejected, Some(reason), 0),
            (Told::Unknown { reason }, _) => return settling(Outcome::Parked, Some(reason), 0),
        };
        self.note_provider(delivery);
        let parcel = Parcel {
            project,
            raw_sha256: delivery.raw_sha256,
            raw_length: delivery.raw_length,
            channel_type: providers::channel_type(&delivery.provider, &delivery.source),
            provider_version: delivery.provider_version,
            redelivered,
            channel: delivery.channel.as_deref(),
        };
        let count = alerts.len();
        let mut went = Went::default();
        for (index, alert) in (0u32..).zip(alerts) {
            self.alert(turn, &parcel, at.input.alert(index), alert, &mut went, effects);
        }
        self.learn_repeats(project, went);
        if redelivered {
            settling(Outcome::Redelivered, Some(SEEN.to_owned()), count)
        } else {
            settling(Outcome::Observed, None, count)
        }
    }

    /// Looks a sender's delivery id up, and notes it when it is new.
    pub(super) fn seen_before(&mut self, key: SeenKey) -> bool {
        let seen = self.working.seen_until(key.key).is_some_and(|until| until > self.lane_time);
        if !seen {
            self.working.note_seen(key, self.lane_time);
        }
        seen
    }

    /// Notes the version of the provider that read a delivery.
    pub(super) fn note_provider(&mut self, delivery: &PreparedDelivery) {
        let Some(version) = delivery.provider_version else { return };
        if self.read_by.get(&delivery.provider) != Some(&version) {
            self.read_by.insert(delivery.provider.clone(), version);
            self.working.in_force_changed = true;
        }
    }

    pub(super) fn settle(
        &self,
        turn: &Turn<'_>,
        at: Position,
        delivery: &PreparedDelivery,
        settling: Settling,
        effects: &mut Effects,
    ) {
        let Settling { outcome, reason, alerts } = settling;
        let settled = Settled {
            record: turn.record,
            outcome,
            reason,
            alerts: u32::try_from(alerts).unwrap_or(u32::MAX),
            provider: delivery.provider.clone(),
            source: delivery.source.clone(),
            received_at: turn.received_at,
            original: turn.original,
        };
        self.tell(turn, at, EventKind::Settled(Box::new(settled)), effects);
    }
}

impl PreparedDelivery {
    fn take_content(&mut self) -> Told {
        std::mem::replace(&mut self.content, Told::Recorded { reason: String::new() })
    }
}
