//! Answers to those who ask in a chat, and tests of whether messages arrive (R15 to R18).

use schemas::{
    Facts, IncidentId, Level, Position, Status,
    alert::Risk,
    event::{Applied, Asked, Refused, Tested},
    job::{Reply, ReplyTo, SendKind},
};

use super::{Desk, Why, no_route};
use crate::{
    notify::{Plan, Recipient, reply},
    rules::Subject,
};

/// Rule id of answers, and of tests of one channel.
const ASKED: &str = "asked";

impl Desk<'_> {
    /// What an operator asked for was done.
    pub(super) fn reply_applied(&mut self, applied: &Applied) {
        let Some(reply) = reply::done(applied) else { return };
        self.reply(reply, Some(applied.opening));
    }

    /// What an operator asked for was not done.
    pub(super) fn refuse(&mut self, refused: &Refused) {
        let Some(reply) = reply::not_done(refused) else { return };
        self.reply(reply, None);
    }

    /// Somebody asked for what changes nothing.
    pub(super) fn asked(&mut self, asked: &Asked) {
        self.reply(reply::asked_for(asked), asked.opening);
    }

    /// Plans an answer into the chat in which it was asked for. It says nothing of the alert: the
    /// incident may be of another project than the chat, and others read along.
    fn reply(&mut self, reply: Reply, opening: Option<Position>) {
        let Some(project) = self.event.project.clone() else { return };
        let ReplyTo { provider, source, at, .. } = &reply.to;
        let chat = Recipient::Chat(provider.clone(), source.clone());
        let facts = Facts::new(provider.clone(), source.clone(), "", Status::Firing);
        let plan = Plan {
            subject: at.to_string(),
            incident: derived(&project, "reply", *at),
            opening: opening.unwrap_or(*at),
            project,
            kind: SendKind::Reply,
            to: chat.clone(),
            facts,
            risk: Risk::Low,
            rule: ASKED.to_owned(),
            rules: self.rules.hash().to_owned(),
            trigger: self.event.at,
            at: self.now,
            frequency: None,
            cause: None,
            standing: None,
            summary: None,
            reply: Some(Box::new(reply)),
            tags: Vec::new(),
        };
        self.send(&plan, &[chat], None);
    }

    /// Somebody tries whether messages arrive: whoever the routes name, or one channel.
    pub(super) fn test(&mut self, tested: &Tested) {
        let Some(project) = self.event.project.clone() else { return };
        let at = self.event.at;
        let (rule, to) = if let Some(id) = &tested.channel {
            (ASKED.to_owned(), vec![Recipient::Channel(id.clone())])
        } else {
            let routed = self.rules.routes(&Subject { project: &project, facts: &tested.facts });
            let rules: Vec<String> = routed.iter().map(|routed| routed.rule.clone()).collect();
            let mut to = Vec::new();
            for receiver in routed.into_iter().flat_map(|routed| routed.receivers) {
                let receiver = Recipient::Receiver(receiver);
                if !to.contains(&receiver) {
                    to.push(receiver);
                }
            }
            let rule = if rules.is_empty() { no_route() } else { rules.join("+") };
            (rule, to)
        };
        let incident = incident_of_test(&project, at);
        if to.is_empty() {
            return self.withhold_of(&project, incident, at, Why::new("no_receiver", &rule));
        }
        let plan = Plan {
            project,
            incident,
            subject: at.to_string(),
            opening: at,
            kind: SendKind::Test,
            to: Recipient::Receiver(String::new()),
            facts: tested.facts.clone(),
            risk: Level::risk(tested.facts.level),
            rule,
            rules: self.rules.hash().to_owned(),
            trigger: at,
            at: self.now,
            frequency: None,
            cause: None,
            standing: None,
            summary: None,
            reply: None,
            tags: Vec::new(),
        };
        self.send(&plan, &to, None);
    }
}

/// What a test is known by in place of an incident: the position of the alert that is one.
pub fn incident_of_test(project: &schemas::ProjectId, at: Position) -> IncidentId {
    derived(project, "test", at)
}

/// The id of what is about no incident.
fn derived(project: &schemas::ProjectId, kind: &str, at: Position) -> IncidentId {
    let at = at.to_string();
    IncidentId(schemas::id::hash(&[project.as_str().as_bytes(), kind.as_bytes(), at.as_bytes()]))
}
