//! What must hold of who is told what.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    Event, IncidentId, Position, ProjectId,
    event::{Kind, Planned, Withheld},
    job::SendKind,
};

use crate::notify::Plan;

/// A summary of a project.
type Key<'a> = (&'a ProjectId, &'a str);

/// Every alert that reached notify was told, is told in a summary, or was withheld with a reason: at
/// least one of them, and not told and withheld at once.
///
/// Where an alert is taken by several routes, one may tell it and another gather it.
pub fn alerts_are_accounted_for(events: &[Event], notices: &[Event]) -> Result<(), String> {
    #[derive(Default)]
    struct Said {
        told: u32,
        gathered: u32,
        withheld: u32,
    }
    let mut said: BTreeMap<(Position, IncidentId), Said> = BTreeMap::new();
    let mut told: BTreeSet<Position> = BTreeSet::new();
    for notice in notices {
        match &notice.kind {
            Kind::Planned(Planned {
                kind: SendKind::Fire | SendKind::Resolve | SendKind::Remind,
                incident,
                ..
            }) => {
                told.insert(notice.at);
                said.entry((notice.at, *incident)).or_default().told += 1;
            }
            Kind::Withheld(withheld) => {
                let said = said.entry((notice.at, withheld.incident)).or_default();
                match withheld.summary {
                    Some(_) => said.gathered += 1,
                    None => said.withheld += 1,
                }
            }
            _ => {}
        }
    }
    for event in events {
        let incident = match &event.kind {
            Kind::Opened(opened) => opened.incident,
            Kind::Repeated(repeated) => repeated.incident,
            Kind::Resolved(over) | Kind::Suppressed(over) => over.incident,
            _ => continue,
        };
        let at = event.at;
        let mut said = said.remove(&(at, incident)).unwrap_or_default();
        if said.gathered + said.withheld == 0 {
            // The message may be an earlier incident's, in which this one goes on.
            said.told += u32::from(told.contains(&at));
        }
        match (said.told, said.gathered, said.withheld) {
            (0, 0, 0) => return Err(format!("nothing is said of the alert at {at}")),
            (1.., _, 1..) | (_, 1.., 1..) => {
                return Err(format!("the alert at {at} is told, and withheld as well"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every summary that an alert is to be told in is told, unless its incident left it before, and its
/// last telling counts just the alerts it was promised; `open` are those still to be told.
pub fn summaries_add_up(
    notices: &[Event],
    plans: &[Plan],
    open: &[(ProjectId, String)],
) -> Result<(), String> {
    let mut promised: BTreeMap<Key<'_>, BTreeMap<IncidentId, u64>> = BTreeMap::new();
    let mut told: BTreeSet<Key<'_>> = BTreeSet::new();
    for notice in notices {
        let Some(project) = &notice.project else { continue };
        match &notice.kind {
            Kind::Withheld(Withheld { summary: Some(key), incident, .. }) => {
                let alerts = promised.entry((project, key)).or_default();
                *alerts.entry(*incident).or_default() += 1;
            }
            // What left a bundle before it was told says which.
            Kind::Withheld(Withheld { by: Some(by), incident, .. }) => {
                if let Some(alerts) = promised.get_mut(&(project, by.as_str())) {
                    alerts.remove(incident);
                }
            }
            Kind::Planned(Planned { summary: Some(key), .. }) => {
                told.insert((project, key));
            }
            _ => {}
        }
    }
    let mut last: BTreeMap<Key<'_>, u64> = BTreeMap::new();
    for plan in plans {
        if let Some(summary) = &plan.summary {
            last.insert((&plan.project, &summary.key), summary.alerts);
        }
    }
    for (key, alerts) in promised {
        if open.iter().any(|(project, open)| (project, open.as_str()) == key) {
            continue;
        }
        let promised: u64 = alerts.values().sum();
        if promised > 0 && !told.contains(&key) {
            return Err(format!("{} is told to nobody, of {promised} alerts", key.1));
        }
        if let Some(counted) = last.get(&key).filter(|counted| **counted != promised) {
            return Err(format!("{} counts {counted} alerts of {promised}", key.1));
        }
    }
    Ok(())
}

/// A8: nobody is told of an end who was not told of the incident.
pub fn resolves_follow_fires(notices: &[Event]) -> Result<(), String> {
    let mut told: BTreeSet<(IncidentId, &str)> = BTreeSet::new();
    for notice in notices {
        let Kind::Planned(planned) = &notice.kind else { continue };
        let key = (planned.incident, planned.receiver.as_str());
        match planned.kind {
            SendKind::Fire | SendKind::Remind | SendKind::Summary => {
                told.insert(key);
            }
            SendKind::Resolve | SendKind::Update => {
                if !told.contains(&key) {
                    let (kind, at) = (planned.kind.word(), notice.at);
                    return Err(format!("{at}: {kind} to {} without a fire", planned.receiver));
                }
            }
            SendKind::Test | SendKind::Reply => {}
        }
    }
    Ok(())
}
