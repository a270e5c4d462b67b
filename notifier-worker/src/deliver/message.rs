//! What a job tells, with what is known by now.

use schemas::{JobId, job::SendKind};
use store::job::History;
use uuid::Uuid;

use super::{DeliverWork, Errand};
use crate::{channels::Notification, wording};

impl Notification {
    /// Its incident is over.
    pub(super) fn is_over(&self) -> bool {
        self.kind == SendKind::Resolve
            || self.standing.as_ref().is_some_and(|standing| standing.state.is_over())
    }

    /// A hash of what it shows, whatever kind of message shows it and whenever.
    pub(super) fn shown(&self) -> Uuid {
        let data = (
            (self.is_over(), &self.number, self.risk, &self.facts, &self.analysis),
            (self.frequency, self.cause, &self.standing, &self.summary, &self.tags),
        );
        schemas::id::hash(&[format!("{data:?}").as_bytes()])
    }
}

impl DeliverWork {
    /// The job as a message, as things stand.
    pub(super) async fn notification(
        &self,
        errand: Errand<'_>,
        history: &History,
    ) -> Result<Notification, store::Error> {
        let Errand { job, send, target } = errand;
        let number = self.store.incident_number(send.incident).await?;
        let analysis = match send.kind {
            SendKind::Fire | SendKind::Update | SendKind::Remind => {
                self.store.latest_answer(send.incident).await?
            }
            SendKind::Resolve | SendKind::Summary | SendKind::Test | SendKind::Reply => None,
        };
        // Told that it is over, a message does not go back to an alarm, unless it was opened again.
        let kind = match (send.kind, &send.standing) {
            (SendKind::Update, None) if send.summary.is_none() && history.ended => {
                SendKind::Resolve
            }
            // What a storm grew to reads as its beginning did.
            (SendKind::Update, _) if send.summary.is_some() => SendKind::Summary,
            (kind, _) => kind,
        };
        let mut notification = Notification {
            // Not the job's id: what is sent again at an operator's word is another job.
            key: JobId::send(&send.project, &job.target, send.kind, &send.subject, job.trigger),
            kind,
            attempted_at: self.clock.now(),
            planned_at: send.planned_at,
            project: send.project.clone(),
            incident: send.incident,
            number,
            risk: send.risk,
            facts: send.facts.clone(),
            analysis: analysis.and_then(|answer| answer.analysis),
            frequency: send.frequency,
            cause: send.cause,
            standing: send.standing.clone(),
            summary: send.summary.as_deref().cloned(),
            reply: self.answer(send).await?,
            tags: send.tags.clone(),
            first: history.first.clone(),
            buttons: Vec::new(),
            text: String::new(),
            zone: self.config.zone.clone(),
            language: target.language.or(self.config.language),
            written: None,
        };
        let shown = target.keys.as_deref().unwrap_or(&self.config.keys);
        let place = (job.lane, send.opening);
        notification.buttons = wording::buttons(&notification, target, shown, place);
        // The end of a storm has the words of what it grew to.
        if notification.summary.is_some() {
            notification.kind = SendKind::Summary;
        }
        wording::put_into_words(&mut notification, target, self.channels.templates());
        notification.kind = kind;
        Ok(notification)
    }
}
