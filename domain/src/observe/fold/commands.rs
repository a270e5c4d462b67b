//! What operators ask for: taken or refused, and said either way.

use schemas::{
    Fingerprint, IncidentId, Outcome, Position, ProjectId,
    event::{Applied, Asked as AskedEvent, IncidentState, Kind as EventKind, Refused},
    job::{Rejection, ReplyTo, TriageJob},
    record::CHAT,
};
use serde_json::{Value, json};

use super::{LaneState, Turn, Verdict};
use crate::{
    effect::{Effects, TriageAsk},
    observe::{
        Problem, ProblemKey,
        incident::{Asked, Episode, Verb, remark, silence_minutes},
        incident_id,
        prepare::PreparedCommand,
    },
    providers::By,
};

/// Whoever asks in a chat: with what, and where an answer belongs.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub by: By,
    pub to: ReplyTo,
}

impl Asker {
    /// Where it is told that something was done: nowhere, where the message itself shows it.
    fn when_done(&self, verb: &str) -> Option<ReplyTo> {
        // No message shows what is thought of it.
        let opinion = Verb::from_word(verb).is_some_and(|verb| verb.opinion().is_some());
        match self.by {
            By::Button if opinion => Some(self.to.clone()),
            By::Button | By::Reaction if self.to.ours => None,
            By::Button | By::Reaction | By::Command => self.somewhere(),
        }
    }

    /// Where it was asked, as far as that was said: a message too old for its chat is in none.
    fn somewhere(&self) -> Option<ReplyTo> {
        let ReplyTo { chat, message, .. } = &self.to;
        (chat.is_some() || message.is_some()).then(|| self.to.clone())
    }

    /// Where it is told that something was not done. Who reacts to a message that is over may just be
    /// glad, and is left in peace; who may not act is told so.
    fn when_refused(&self, reason: &str) -> Option<ReplyTo> {
        match self.by {
            By::Command | By::Button => self.somewhere(),
            By::Reaction => self.somewhere().filter(|_| STRANGERS.contains(&reason)),
        }
    }
}

/// Why somebody may not act, whatever there is to act on.
const STRANGERS: [&str; 2] = ["unknown_actor", "not_your_project"];

impl LaneState {
    /// Does what an operator asks for, or says why not. Whatever comes of it, the record is one
    /// command.
    pub(super) fn command(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        command: PreparedCommand,
        effects: &mut Effects,
    ) -> Verdict {
        if turn.project.is_none() {
            return Verdict::parked("no_project: a command belongs to the project of its incident");
        }
        self.carry_out(turn, at, command, None, effects);
        Verdict::of(Outcome::Command)
    }

    /// Does what an operator asks for in the project of this turn, or says why not.
    pub(super) fn carry_out(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        mut command: PreparedCommand,
        asker: Option<&Asker>,
        effects: &mut Effects,
    ) {
        let refused = self.authorise(turn, &mut command, asker).err();
        let kind = match self.take(turn, at, &command, refused, effects) {
            Ok(applied) => {
                let reply = asker.and_then(|asker| asker.when_done(&applied.verb));
                EventKind::Applied(Box::new(Applied { reply, ..applied }))
            }
            Err((reason, incident)) => not_done(command, incident, reason, asker),
        };
        self.tell(turn, at, kind, effects);
    }

    /// Answers what changes nothing: about an incident, where one is meant. Everybody is told what
    /// can be asked, and only operators how things are.
    pub(super) fn answer_asker(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        mut command: PreparedCommand,
        asker: &Asker,
        effects: &mut Effects,
    ) {
        let may = match command.verb.as_str() {
            "help" => Ok(()),
            _ => self.authorise(turn, &mut command, Some(asker)),
        };
        let refused = may.and_then(|()| self.known(turn, &command)).err();
        let kind = match refused {
            Some(reason) => not_done(command, None, reason, Some(asker)),
            None => {
                let about = turn.project.zip(command.opening);
                EventKind::Asked(Box::new(AskedEvent {
                    incident: about.map(|(project, opening)| incident_id(project, opening)),
                    opening: command.opening,
                    verb: command.verb,
                    arguments: command.arguments,
                    actor: command.operator,
                    to: asker.to.clone(),
                }))
            }
        };
        self.tell(turn, at, kind, effects);
    }

    /// Says that what was written cannot be done, and why; to a stranger no more than that.
    pub(super) fn misunderstood(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        mut command: PreparedCommand,
        reason: &'static str,
        asker: &Asker,
        effects: &mut Effects,
    ) {
        let reason = self.authorise(turn, &mut command, Some(asker)).err().unwrap_or(reason);
        self.tell(turn, at, not_done(command, None, reason, Some(asker)), effects);
    }

    /// Whether there is the incident that a question is about, if it is about one.
    fn known(&mut self, turn: &Turn<'_>, command: &PreparedCommand) -> Result<(), &'static str> {
        let (Some(project), Some(opening)) = (turn.project, command.opening) else {
            return Ok(());
        };
        let key = (project.clone(), incident_id(project, opening));
        self.working.fingerprint_of(&key).map(|_| ()).ok_or("unknown_incident")
    }

    /// Who asks, and why it is none who may.
    ///
    /// The console's commands carry its verdict. A chat only says which of its users pressed the
    /// button; who that is, at that source, stands in a control record.
    fn authorise(
        &self,
        turn: &Turn<'_>,
        command: &mut PreparedCommand,
        asker: Option<&Asker>,
    ) -> Result<(), &'static str> {
        if command.auth_method != CHAT {
            return Ok(());
        }
        let source = asker.map(|asker| &asker.to.source);
        let user = self.operators.get(&command.operator, source).ok_or("unknown_actor")?;
        // How it is known that it is that operator: by the user of the chat.
        command.auth_method = format!("{CHAT}:{}", command.operator);
        command.operator.clone_from(&user.operator);
        let may = turn.project.is_some_and(|project| user.may_act_on(project));
        if may { Ok(()) } else { Err("not_your_project") }
    }

    fn take(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        command: &PreparedCommand,
        unauthorised: Option<&'static str>,
        effects: &mut Effects,
    ) -> Result<Applied, (&'static str, Option<IncidentId>)> {
        // Who may not do it is not told what there is.
        let unknown = (unauthorised.unwrap_or("unknown_incident"), None);
        let (Some(project), Some(opening)) = (turn.project, command.opening) else {
            return Err(unknown);
        };
        let id = incident_id(project, opening);
        let key = (project.clone(), id);
        let Some(fingerprint) = self.working.fingerprint_of(&key) else { return Err(unknown) };
        let refused = |reason| (reason, Some(id));
        if let Some(reason) = unauthorised {
            return Err(refused(reason));
        }
        let verb = Verb::from_word(&command.verb).ok_or(refused("unknown_verb"))?;
        let arguments = whole_arguments(verb, &command.arguments).map_err(refused)?;
        let now = self.lane_time;

        let problem = (project.clone(), fingerprint);
        let over = self.over(&problem, id);
        let Some(incident) = self.working.incident(&key) else {
            return Err(("unknown_incident", None));
        };
        let before = incident.state(over);
        // Of what is asked, not of what comes of it.
        let diagnosis = incident.diagnosis.clone().filter(|_| verb.is_about_diagnosis());
        let said = incident.said.clone();
        let Asked { changed, episode, triage } =
            incident.apply(verb, &command.operator, &arguments, over, now).map_err(refused)?;
        if let Some(episode) = episode {
            self.turn_episode(project, fingerprint, episode);
        }
        let over = self.over(&problem, id);
        let after = self.working.incident(&key).map_or(before, |incident| incident.state(over));
        if let Some(reason) = triage.clone() {
            let project = project.clone();
            // The facts stand with the job of the opening; a command has none of its own.
            let job = TriageJob {
                rejection: (verb == Verb::Reject).then(|| Rejection {
                    analysis: said.map(|said| *said),
                    operator: command.operator.clone(),
                    note: remark(&arguments),
                }),
                fingerprint: Some(fingerprint),
                ..TriageJob::new(project, id, opening, reason, None)
            };
            effects.triage.push(TriageAsk::new(at, job, &self.rules));
        }
        Ok(Applied {
            incident: id,
            fingerprint,
            opening,
            verb: verb.word().to_owned(),
            actor: command.operator.clone(),
            auth_method: command.auth_method.clone(),
            before,
            after,
            changed,
            arguments,
            triage,
            reply: None,
            diagnosis,
        })
    }

    /// How an incident's episode ended, if it did.
    fn over(&mut self, problem: &ProblemKey, incident: IncidentId) -> Option<IncidentState> {
        let problem = self.working.problem(problem);
        problem.map_or(Some(IncidentState::Superseded), |problem| problem.is_over(incident))
    }

    /// Ends the latest episode of a problem, or lets it go on, at lane time.
    fn turn_episode(&mut self, project: &ProjectId, fingerprint: Fingerprint, episode: Episode) {
        let (now, rules) = (self.lane_time, self.rules.clone());
        let part = self.working.change((project.clone(), fingerprint), |problem| {
            let problem: &mut Problem = problem.as_mut()?;
            match episode {
                Episode::End => problem.close(now),
                Episode::GoOn => problem.reopen(now, rules.expiry(project)),
            }
            problem.part.clone()
        });
        if let Some(part) = part {
            self.list(project, fingerprint, part, episode == Episode::GoOn);
        }
    }
}

/// What goes with a verb, with what it leaves open: how long a silence lasts is said in what follows
/// from it.
fn whole_arguments(verb: Verb, arguments: &str) -> Result<String, &'static str> {
    if verb != Verb::Silence {
        return Ok(arguments.to_owned());
    }
    let minutes = silence_minutes(arguments)?;
    let mut whole = match serde_json::from_str(arguments) {
        Ok(Value::Object(given)) => given,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    whole.insert("minutes".to_owned(), json!(minutes));
    Ok(Value::Object(whole).to_string())
}

/// The event that says why something is not done.
fn not_done(
    command: PreparedCommand,
    incident: Option<IncidentId>,
    reason: &str,
    asker: Option<&Asker>,
) -> EventKind {
    EventKind::Refused(Box::new(Refused {
        incident,
        opening: command.opening,
        verb: command.verb,
        actor: command.operator,
        auth_method: command.auth_method,
        reason: reason.to_owned(),
        reply: asker.and_then(|asker| asker.when_refused(reason)),
    }))
}
