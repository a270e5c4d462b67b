//! What people ask for in chats. It stands in the lane `all`, because nobody who takes it in knows
//! whose incident it is about: the lane that has the incident does it, the lane of the source says
//! what became of the record, and to all others it is elsewhere.

use schemas::{Lane, Outcome, Position, ProjectId, job::ReplyTo, record::CHAT};
use serde_json::json;

use super::{
    LaneState, Turn, Verdict,
    commands::Asker,
    deliveries::{SEEN, Settling},
};
use crate::{
    effect::Effects,
    observe::{
        handle,
        prepare::{Kind, PreparedCommand, PreparedDelivery, Readable, SeenKey, Told},
    },
    providers::{Ask, Interaction, Place, QUESTIONS, Target},
};

impl LaneState {
    /// Applies what stands in the lane `all` and is asked of it; none where it is no such record.
    pub(super) fn asked_of_all(
        &mut self,
        record: &Readable,
        at: Position,
        effects: &mut Effects,
    ) -> Option<Verdict> {
        let (Kind::Delivery(delivery), Some(project)) = (&record.kind, &record.project) else {
            return None;
        };
        let Told::Interaction { interaction, key } = &delivery.content else { return None };
        let turn = Turn {
            record: record.id,
            project: Some(project),
            received_at: record.received_at,
            original: None,
        };
        Some(self.interaction(&turn, at, delivery, interaction, *key, effects))
    }

    fn interaction(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        delivery: &PreparedDelivery,
        interaction: &Interaction,
        key: Option<SeenKey>,
        effects: &mut Effects,
    ) -> Verdict {
        let home = turn.project.is_some_and(|project| Lane::of(project, self.lanes) == self.lane);
        let asked = turn.project.is_some_and(|project| self.is_asked(project, &interaction.ask));
        if !home && !asked {
            return Verdict::of(Outcome::Elsewhere);
        }
        // Each lane that has to do with it knows for itself that it came before.
        let settling = if key.is_some_and(|key| self.seen_before(key)) {
            Settling { outcome: Outcome::Redelivered, reason: Some(SEEN.to_owned()), alerts: 0 }
        } else {
            self.note_provider(delivery);
            self.settling(turn, at, delivery, interaction, asked, effects)
        };
        if !home {
            return Verdict::of(Outcome::Elsewhere);
        }
        let outcome = settling.outcome;
        self.settle(turn, at, delivery, settling, effects);
        Verdict::of(outcome)
    }

    /// What somebody asks for in a record that only this lane reads: done, if this lane can.
    pub(super) fn asked_alone(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        delivery: &PreparedDelivery,
        interaction: &Interaction,
        effects: &mut Effects,
    ) -> Settling {
        let Interaction { ask, .. } = interaction;
        let asked = turn.project.is_some_and(|project| self.is_asked(project, ask));
        if let (Ask::Do { target: Target::Opening { .. } | Target::Number { .. }, .. }, false) =
            (ask, asked)
        {
            let reason = "not_in_all: it is asked of a lane that does not read it".to_owned();
            return Settling { outcome: Outcome::Parked, reason: Some(reason), alerts: 0 };
        }
        self.settling(turn, at, delivery, interaction, asked, effects)
    }

    /// Does it, if it is asked of this lane; either way, what became of the record.
    fn settling(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        delivery: &PreparedDelivery,
        interaction: &Interaction,
        asked: bool,
        effects: &mut Effects,
    ) -> Settling {
        let settling = |outcome, reason: &str| Settling {
            outcome,
            reason: Some(reason.to_owned()),
            alerts: 0,
        };
        let Interaction { user, by, place: Place { chat, message }, on, ask } = interaction;
        let to = ReplyTo {
            provider: delivery.provider.clone(),
            source: delivery.source.clone(),
            chat: chat.clone(),
            message: message.clone(),
            // Of what is redriven the original has the credentials.
            at: turn.original.unwrap_or(at),
            ours: asked && matches!(ask, Ask::Do { .. }) && self.is_ours(turn, on.as_ref()),
        };
        let asker = Asker { by: *by, to };
        match ask {
            Ask::Say { about } => {
                if asked {
                    self.say(turn, at, user, about, &asker, effects);
                }
                settling(Outcome::Recorded, about)
            }
            Ask::Do { verb, target: Target::Message { .. }, .. } if !asked => {
                // Another lane may know the message, and says so then.
                settling(Outcome::Recorded, &format!("message_not_of_this_lane: {verb}"))
            }
            Ask::Do { verb, target, arguments } => {
                if asked {
                    let ask = (*verb, target, arguments.as_str());
                    self.do_as_asked(turn, at, user, ask, &asker, effects);
                }
                let outcome =
                    if QUESTIONS.contains(verb) { Outcome::Recorded } else { Outcome::Command };
                settling(outcome, verb)
            }
        }
    }

    /// Whether a channel of ours sent the message it was asked on and knows it by name, so that it is
    /// changed with its incident.
    fn is_ours(&mut self, turn: &Turn<'_>, on: Option<&Target>) -> bool {
        let key = turn.project.zip(on).map(|(project, on)| handle::of_target(project, on));
        key.is_some_and(|key| self.working.named(key).is_some())
    }

    /// Whether it is for this lane to do it.
    fn is_asked(&mut self, project: &ProjectId, ask: &Ask) -> bool {
        match ask {
            // There are no more lanes: whose it would be answers that there is none.
            Ask::Do { target: Target::Opening { lane, .. }, .. } if lane.0 < self.lanes.get() => {
                *lane == self.lane
            }
            Ask::Do { target: Target::Number { project: Some(named), .. }, .. } => {
                Lane::of(named, self.lanes) == self.lane
            }
            Ask::Do { target: target @ Target::Message { .. }, .. } => {
                self.working.named(handle::of_target(project, target)).is_some()
            }
            Ask::Do { target: Target::Opening { .. } | Target::Number { .. }, .. }
            | Ask::Say { .. } => Lane::of(project, self.lanes) == self.lane,
        }
    }

    fn do_as_asked(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        user: &str,
        (verb, target, arguments): (&str, &Target, &str),
        asker: &Asker,
        effects: &mut Effects,
    ) {
        let Some(source) = turn.project else { return };
        let found = self.working.named(handle::of_target(source, target));
        // What is not found is looked for, and refused, in the project that was meant.
        let (project, opening) = match (found, target) {
            (Some((project, opening)), _) => (project, Some(opening)),
            (None, Target::Opening { opening, .. }) => (source.clone(), Some(*opening)),
            (None, Target::Number { project: Some(named), .. }) => (named.clone(), None),
            (None, Target::Number { project: None, .. } | Target::Message { .. }) => {
                (source.clone(), None)
            }
        };
        let command =
            PreparedCommand { opening, arguments: arguments.to_owned(), ..of_chat(user, verb) };
        let turn = Turn { project: Some(&project), ..*turn };
        let question = QUESTIONS.contains(&verb);
        if question && project != *source {
            // Whoever else is in the chat reads the answer as well.
            self.misunderstood(&turn, at, command, "other_chat", asker, effects);
        } else if question && opening.is_none() {
            self.misunderstood(&turn, at, command, "unknown_incident", asker, effects);
        } else if question {
            self.answer_asker(&turn, at, command, asker, effects);
        } else {
            self.carry_out(&turn, at, command, Some(asker), effects);
        }
    }

    /// Answers what is about no incident, or of which it is not clear which is meant.
    fn say(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        user: &str,
        about: &str,
        asker: &Asker,
        effects: &mut Effects,
    ) {
        let (what, name) = about.split_once(": ").unwrap_or((about, about));
        let reason = match what {
            // Whoever cannot make himself understood is told what can be said.
            "help" | "unknown_command" => {
                let command = of_chat(user, "help");
                return self.answer_asker(turn, at, command, asker, effects);
            }
            "status" | "top" => {
                return self.answer_asker(turn, at, of_chat(user, what), asker, effects);
            }
            "no_incident_named" | "why" => "unknown_incident",
            "nothing_said" => "bad_arguments",
            "no_duration" => "bad_duration",
            // Buttons of other applications.
            _ => return,
        };
        self.misunderstood(turn, at, of_chat(user, name), reason, asker, effects);
    }
}

/// What a user of a chat asks for with a verb alone.
fn of_chat(user: &str, verb: &str) -> PreparedCommand {
    PreparedCommand {
        operator: user.to_owned(),
        auth_method: CHAT.to_owned(),
        verb: verb.to_owned(),
        opening: None,
        arguments: json!({}).to_string(),
    }
}
