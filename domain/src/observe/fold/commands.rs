//! What operators ask for: taken or refused, and said either way.

use schemas::{
    Fingerprint, IncidentId, Outcome, Position, ProjectId,
    event::{Applied, IncidentState, Kind as EventKind, Refused},
    job::TriageJob,
    record::CHAT,
};

use super::{LaneState, Turn, Verdict};
use crate::{
    effect::{Effects, TriageAsk},
    observe::{
        Problem, ProblemKey,
        incident::{Asked, Episode, Verb},
        incident_id,
        prepare::PreparedCommand,
    },
};

/// Who may do it, and why not.
///
/// The console's commands carry its verdict. A chat only says who pressed the button: which of its
/// users is an operator stands in no record yet, so none is.
fn authorised(command: &PreparedCommand) -> Result<(), &'static str> {
    if command.auth_method == CHAT { Err("unknown_actor") } else { Ok(()) }
}

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
        let kind = match self.take(turn, at, &command, effects) {
            Ok(applied) => EventKind::Applied(Box::new(applied)),
            Err((reason, incident)) => EventKind::Refused(Box::new(Refused {
                incident,
                opening: command.opening,
                verb: command.verb,
                actor: command.operator,
                auth_method: command.auth_method,
                reason: reason.to_owned(),
            })),
        };
        self.tell(turn, at, kind, effects);
        Verdict::of(Outcome::Command)
    }

    fn take(
        &mut self,
        turn: &Turn<'_>,
        at: Position,
        command: &PreparedCommand,
        effects: &mut Effects,
    ) -> Result<Applied, (&'static str, Option<IncidentId>)> {
        let (Some(project), Some(opening)) = (turn.project, command.opening) else {
            return Err(("unknown_incident", None));
        };
        let id = incident_id(project, opening);
        let key = (project.clone(), id);
        let Some(fingerprint) = self.working.fingerprint_of(&key) else {
            return Err(("unknown_incident", None));
        };
        let refused = |reason| (reason, Some(id));
        authorised(command).map_err(refused)?;
        let verb = Verb::from_word(&command.verb).ok_or(refused("unknown_verb"))?;

        let problem = (project.clone(), fingerprint);
        let over = self.over(&problem, id);
        let Some(incident) = self.working.incident(&key) else {
            return Err(("unknown_incident", None));
        };
        let before = incident.state(over);
        let Asked { changed, episode, triage } =
            incident.apply(verb, &command.operator, &command.arguments, over).map_err(refused)?;
        if let Some(episode) = episode {
            self.turn_episode(project, fingerprint, episode);
        }
        let over = self.over(&problem, id);
        let after = self.working.incident(&key).map_or(before, |incident| incident.state(over));
        if let Some(reason) = triage.clone() {
            let project = project.clone();
            // The facts stand with the job of the opening; a command has none of its own.
            let job = TriageJob { project, incident: id, opening, reason, facts: None };
            effects.triage.push(TriageAsk::new(at, job));
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
            arguments: command.arguments.clone(),
            triage,
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
