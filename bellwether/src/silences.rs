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

/// Makes a silence; returns its id, and from where on it holds.
///
/// # Errors
/// When the log did not take it, or did not say.
pub async fn make(
    log: &dyn Log,
    clock: &Clock,
    project: ProjectId,
    silence: Silence,
    operator: String,
) -> anyhow::Result<(String, InputPosition)> {
    let record = runtime::record_id(clock);
    let id = record.0.to_string();
    let change = SilenceChange { id: id.clone(), silence: Some(silence), operator };
    let body = Body::Control(Box::new(Control::Silence(change)));
    let record = Record::new(record, clock.now(), Some(project), body);
    Ok((id, controls::append(log, &record).await?))
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
        let (id, _) = make(&log, &clock, shop.clone(), made.clone(), "ada".into()).await.unwrap();
        let (other, _) =
            make(&log, &clock, shop.clone(), made.clone(), "bob".into()).await.unwrap();
        assert_ne!(id, other);
        let before = kept(&log).await.unwrap();
        let one = &before[&id];
        assert_eq!((&one.silence, one.created_by.as_str(), &one.ended), (&made, "ada", &None));
        assert_eq!(one.project, Some(shop.clone()));
        end(&log, &clock, Some(shop.clone()), id.clone(), "eve".into()).await.unwrap();
        end(&log, &clock, Some(shop), "never".into(), "eve".into()).await.unwrap();
        let after = kept(&log).await.unwrap();
        assert_eq!(after.len(), 2);
        assert_eq!(after[&id].ended.as_ref().map(|(_, by)| by.as_str()), Some("eve"));
        assert_eq!(after[&other], before[&other]);
    }
}
