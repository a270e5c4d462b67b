//! Named predicates over what a fold made; shared by tests, checks and simulation.
//!
//! Each says what is wrong, and nothing when all is well.

use std::collections::BTreeMap;

use schemas::{
    Event, Fingerprint, IncidentId, Level, Outcome, ProjectId,
    alert::Risk,
    event::{Cause, Kind},
};

use crate::observe::Problem;

mod telling;

pub use telling::{alerts_are_accounted_for, resolves_follow_fires, summaries_add_up};

/// I2: each record in the frames ended in exactly one outcome.
pub fn ledger_balances(in_frames: u64, ledger: &BTreeMap<Outcome, u64>) -> Result<(), String> {
    let outcomes: u64 = ledger.values().sum();
    if outcomes == in_frames {
        Ok(())
    } else {
        Err(format!("{in_frames} records in frames, {outcomes} outcomes: {ledger:?}"))
    }
}

/// R26: at no point of the log has a problem two open incidents, its episodes are numbered from 1
/// without gaps, only an open incident repeats or ends, and the first cause alone is "new".
pub fn episodes_are_in_order<'a>(
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<(), String> {
    #[derive(Default)]
    struct Run {
        open: Option<IncidentId>,
        episodes: u32,
    }
    let mut runs: BTreeMap<(Option<ProjectId>, Fingerprint), Run> = BTreeMap::new();
    for event in events {
        let at = event.at;
        let key = |fingerprint| (event.project.clone(), fingerprint);
        match &event.kind {
            Kind::Opened(opened) => {
                let run = runs.entry(key(opened.fingerprint)).or_default();
                if let Some(open) = run.open.replace(opened.incident) {
                    return Err(format!("{at} opens an incident while {open} is open"));
                }
                run.episodes += 1;
                if opened.episode != run.episodes {
                    let (found, expected) = (opened.episode, run.episodes);
                    return Err(format!("{at} opens episode {found}, {expected} is next"));
                }
                if (opened.cause == Cause::New) != (opened.episode == 1) {
                    return Err(format!("{at}: episode {} is {:?}", opened.episode, opened.cause));
                }
            }
            Kind::Repeated(repeated) => {
                let open = runs.entry(key(repeated.fingerprint)).or_default().open;
                if open != Some(repeated.incident) {
                    return Err(format!("{at} repeats {}, open is {open:?}", repeated.incident));
                }
            }
            Kind::Resolved(over) | Kind::Suppressed(over) => {
                let open = runs.entry(key(over.fingerprint)).or_default().open.take();
                if open != Some(over.incident) {
                    return Err(format!("{at} ends {}, open is {open:?}", over.incident));
                }
            }
            Kind::Expired(over) => {
                let open = runs.entry(key(over.fingerprint)).or_default().open.take();
                if open != Some(over.incident) {
                    return Err(format!("{at} expires {}, open is {open:?}", over.incident));
                }
            }
            Kind::Escalated(raised) => {
                let open = runs.entry(key(raised.fingerprint)).or_default().open;
                if open != Some(raised.incident) {
                    return Err(format!("{at} raises {}, open is {open:?}", raised.incident));
                }
            }
            Kind::Applied(applied) if applied.before.is_over() != applied.after.is_over() => {
                let run = runs.entry(key(applied.fingerprint)).or_default();
                let (before, after) = if applied.after.is_over() {
                    (Some(applied.incident), None)
                } else {
                    (None, Some(applied.incident))
                };
                let open = std::mem::replace(&mut run.open, after);
                if open != before {
                    return Err(format!("{at} turns {}, open is {open:?}", applied.incident));
                }
            }
            Kind::Applied(_)
            | Kind::Refused(_)
            | Kind::SilenceChanged(_)
            | Kind::Asked(_)
            | Kind::Tested(_)
            | Kind::Stale(_)
            | Kind::Answered(_)
            | Kind::Ticked
            | Kind::RulesChanged(_)
            | Kind::Observed(_)
            | Kind::Settled(_)
            | Kind::Sent(_)
            | Kind::Planned(_)
            | Kind::Withheld(_) => {}
        }
    }
    Ok(())
}

/// R28, R41: an incident only gets worse, a repeat that is worse than all before says so, and says what
/// was before.
pub fn incidents_only_get_worse<'a>(
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<(), String> {
    let mut known: BTreeMap<IncidentId, (Option<Level>, Risk)> = BTreeMap::new();
    for event in events {
        let at = event.at;
        match &event.kind {
            Kind::Opened(opened) => {
                known.insert(opened.incident, (opened.facts.level, opened.risk));
            }
            Kind::Repeated(repeated) => {
                let Some((level, risk)) = known.get_mut(&repeated.incident) else { continue };
                let is_worse =
                    |now: Option<Level>| now.is_some() && Level::risk(now) > Level::risk(*level);
                let Some(rise) = &repeated.rise else {
                    if is_worse(repeated.level) {
                        return Err(format!("{at} is worse than before, and does not say so"));
                    }
                    continue;
                };
                if !is_worse(rise.facts.level) || rise.facts.level != repeated.level {
                    return Err(format!("{at} says that it is worse, and is not"));
                }
                if (rise.before, rise.risk_before) != (*level, *risk) || rise.risk < *risk {
                    return Err(format!("{at} rises from {level:?} and {risk}: {rise:?}"));
                }
                (*level, *risk) = (rise.facts.level, rise.risk);
            }
            Kind::Escalated(raised) => {
                let Some((_, risk)) = known.get_mut(&raised.incident) else { continue };
                if raised.risk < *risk {
                    return Err(format!("{at} raises {risk} to {}", raised.risk));
                }
                *risk = raised.risk;
            }
            Kind::Resolved(_)
            | Kind::Suppressed(_)
            | Kind::Expired(_)
            | Kind::Applied(_)
            | Kind::Refused(_)
            | Kind::SilenceChanged(_)
            | Kind::Asked(_)
            | Kind::Tested(_)
            | Kind::Stale(_)
            | Kind::Answered(_)
            | Kind::Ticked
            | Kind::RulesChanged(_)
            | Kind::Observed(_)
            | Kind::Settled(_)
            | Kind::Sent(_)
            | Kind::Planned(_)
            | Kind::Withheld(_) => {}
        }
    }
    Ok(())
}

/// A problem's state agrees with itself.
pub fn problem_is_sound(problem: &Problem) -> Result<(), String> {
    let fired = problem.episodes > 0;
    let told = |what: &str| Err(format!("{what}: {problem:?}"));
    if problem.is_open() && !fired {
        return told("open without an episode");
    }
    if problem.opening.is_some() != fired || problem.incident.is_some() != fired {
        return told("an episode has an opening position and an incident, and nothing else has");
    }
    if (problem.occurrences > 0) != fired || problem.occurrences > problem.total {
        return told("occurrences");
    }
    Ok(())
}
