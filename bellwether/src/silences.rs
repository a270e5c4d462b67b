//! Silences of operators: said by control records, of which the last one of a silence is in force.

use std::collections::BTreeMap;

use eventlog::Log;
use runtime::Clock;
use schemas::{
    InputPosition, ProjectId, Record, Time,
    record::{Body, Control, Silence, SilenceChange},
};

use crate::controls::{self, Controls};

/// A silence as its records say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The tenant; absent where it concerns all.
    pub project: Option<ProjectId>,
    pub silence: Silence,
    /// Since when, and who made it.
    pub created_at: Time,
    pub created_by: String,
    /// When it was ended before its time, and by whom.
    pub ended: Option<(Time, String)>,
    /// Where its last record stands.
    pub position: InputPosition,
}

/// Every silence there ever was, by id.
///
/// # Errors
/// When the log cannot be asked.
pub async fn kept(log: &dyn Log) -> anyhow::Result<BTreeMap<String, Kept>> {
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    for (position, record) in Controls::read(log).await?.records {
        let Record { received_at: at, project, body, .. } = record;
        let Body::Control(control) = body else { continue };
        let Control::Silence(SilenceChange { id, silence, operator }) = *control else { continue };
        match (kept.get_mut(&id), silence) {
            (Some(known), Some(silence)) => {
                (known.silence, known.position, known.ended) = (silence, position, None);
            }
            (Some(known), None) => {
                (known.ended, known.position) = (Some((at, operator)), position);
            }
            (None, Some(silence)) => {
                let ended = None;
                let (created_at, created_by) = (at, operator);
                kept.insert(id, Kept { project, silence, created_at, created_by, ended, position });
            }
            // What never began.
            (None, None) => {}
        }
    }
    Ok(kept)
}

/// What came of asking for a silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub id: String,
    /// From where on it holds as asked for; absent where it did so already.
    pub position: Option<InputPosition>,
}

/// An end that is nearer than this to the one that holds is the same, in seconds: of two that ask for
/// "an hour" one after the other the second asks for nothing.
const SAME_END: i64 = 60;

/// Makes a silence. Where the same operator has one of the same matchers, start, owner and reason that
/// is not over, that one ends when this one is to.
///
/// # Errors
/// When the log cannot be asked, did not take it, or did not say.
pub async fn make(
    log: &dyn Log,
    clock: &Clock,
    project: ProjectId,
    silence: Silence,
    operator: String,
) -> anyhow::Result<Made> {
    let now = clock.now();
    let same = |one: &Kept| {
        let at = |silence: &Silence| Silence { ends_at: Time::default(), ..silence.clone() };
        one.ended.is_none()
            && one.silence.ends_at > now
            && (one.project.as_ref(), one.created_by.as_str()) == (Some(&project), &*operator)
            && at(&one.silence) == at(&silence)
    };
    let known = kept(log).await?.into_iter().find(|(_, one)| same(one));
    let id = match known {
        Some((id, one)) => {
            let apart = one.silence.ends_at.micros_since(silence.ends_at).unsigned_abs();
            if apart < SAME_END.unsigned_abs() * 1_000_000 {
                return Ok(Made { id, position: None });
            }
            id
        }
        None => domain::silence::id(&project, &operator, &silence),
    };
    let change = SilenceChange { id: id.clone(), silence: Some(silence), operator };
    let body = Body::Control(Box::new(Control::Silence(change)));
    let record = Record::new(runtime::record_id(clock), now, Some(project), body);
    Ok(Made { id, position: Some(controls::append(log, &record).await?) })
}

/// Ends a silence from the position that is returned.
///
/// # Errors
/// When the log did not take it, or did not say.
pub async fn end(
    log: &dyn Log,
    clock: &Clock,
    project: Option<ProjectId>,
    id: String,
    operator: String,
) -> anyhow::Result<InputPosition> {
    let change = SilenceChange { id, silence: None, operator };
    let body = Body::Control(Box::new(Control::Silence(change)));
    let record = Record::new(runtime::record_id(clock), clock.now(), project, body);
    controls::append(log, &record).await
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use domain::silence::{Asked, silence};
    use eventlog::MemoryLog;
    use schemas::Namespace;

    use super::*;

    #[tokio::test]
    async fn b6_every_silence_is_kept_with_who_made_and_who_ended_it() {
        let log = MemoryLog::new(Namespace::default(), NonZeroU16::MIN);
        let clock = Clock::system();
        assert_eq!(kept(&log).await.unwrap(), BTreeMap::new());
        let shop = ProjectId::new("shop").unwrap();
        let asked = Asked {
            matchers: "alertname=DiskFull",
            starts_at: None,
            ends_at: clock.now().plus_seconds(3600),
            owner: "sre",
            reason: "disks are changed",
        };
        let (made, _) = silence(&asked, clock.now()).unwrap();
        let make = |made: &Silence, by: &str| {
            super::make(&log, &clock, shop.clone(), made.clone(), by.to_owned())
        };
        let Made { id, position } = make(&made, "ada").await.unwrap();
        let other = make(&made, "bob").await.unwrap().id;
        assert_ne!(id, other);
        // Said again it is the same, and asks for nothing; a moment later or not.
        assert!(position.is_some());
        let again = Made { id: id.clone(), position: None };
        assert_eq!(make(&made, "ada").await.unwrap(), again);
        let ends_at = made.ends_at.plus_seconds(59);
        assert_eq!(make(&Silence { ends_at, ..made.clone() }, "ada").await.unwrap(), again);
        let before = kept(&log).await.unwrap();
        let one = &before[&id];
        assert_eq!((&one.silence, one.created_by.as_str(), &one.ended), (&made, "ada", &None));
        assert_eq!(one.project, Some(shop.clone()));
        end(&log, &clock, Some(shop.clone()), id.clone(), "eve".into()).await.unwrap();
        end(&log, &clock, Some(shop.clone()), "never".into(), "eve".into()).await.unwrap();
        let after = kept(&log).await.unwrap();
        assert_eq!(after.len(), 2);
        assert_eq!(after[&id].ended.as_ref().map(|(_, by)| by.as_str()), Some("eve"));
        assert_eq!(after[&other], before[&other]);

        // For longer: the same silence, until later. Ended, it is another.
        let ends_at = made.ends_at.plus_seconds(3600);
        let longer = Silence { ends_at, ..made.clone() };
        let extended = make(&longer, "bob").await.unwrap();
        assert_eq!((&extended.id, extended.position.is_some()), (&other, true));
        let last = kept(&log).await.unwrap();
        assert_eq!((last.len(), last[&other].silence.ends_at), (2, ends_at));
        assert_ne!(make(&longer, "ada").await.unwrap().id, id);
        let elsewhere = Silence { reason: "others".into(), ..made };
        assert_ne!(make(&elsewhere, "bob").await.unwrap().id, other);
    }
}
