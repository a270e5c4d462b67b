//! What was told before (I6): one row a telling, in no generation.

use std::time::Duration;

use schemas::{Generation, JobId, Position, ProjectId, id};
use sqlx::FromRow;
use uuid::Uuid;

use super::Job;
use crate::{Error, Store, projection::text};

/// How many tellings about one subject are looked at, the newest first.
const MOST_TELLINGS: i64 = 200;

/// Who told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nobody so far, or it was refused: the row is this job's, go on.
    First,
    /// This job, under an earlier claim of which no refusal is known: it may have arrived.
    Again {
        /// How long ago the first attempt that may have arrived was made.
        since: Duration,
    },
    /// This job, and the receiver took it.
    Delivered(Message),
    /// Another job: there is nothing left to tell.
    ByAnother,
}

/// A message as its receiver has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the receiver calls it, where it says so.
    pub name: Option<String>,
    /// A hash of what it shows.
    pub shown: Uuid,
    /// It carries an analysis.
    pub analysed: bool,
}

/// The key of `sent` (I6): never told twice.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    pub project: &'a ProjectId,
    pub target: &'a str,
    /// `fire`, `resolve`, ...
    pub kind: &'a str,
    /// Opening position or digest key, as text.
    pub subject: &'a str,
    pub trigger: Position,
    /// See [`Telling::teller`].
    pub job: JobId,
}

impl Telling<'_> {
    /// Who tells: the id of a send is the same in every generation; who told it is the job of one.
    pub fn teller(generation: Generation, job: JobId) -> JobId {
        JobId(id::derive(job.0, "generation", u64::from(generation.0.unsigned_abs())))
    }
}

/// What [`Store::tell`] noted under a claim, and of which it is certain that it was not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// As in [`Telling::kind`].
    pub kind: String,
    /// As in [`Telling::subject`].
    pub subject: String,
}

impl From<Telling<'_>> for Untold {
    fn from(telling: Telling<'_>) -> Self {
        Self { kind: telling.kind.to_owned(), subject: telling.subject.to_owned() }
    }
}

/// What a target was told about a subject, by other tellings than the one that asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The newest message that was delivered, and may be edited.
    pub message: Option<Message>,
    /// What the receiver calls the first message of those.
    pub first: Option<String>,
    /// A message that was delivered carries an analysis.
    pub analysed: bool,
    /// One may have arrived.
    pub doubtful: bool,
    /// One was definitely not taken.
    pub refused: bool,
    /// It was told, or may have been, that it is over.
    pub ended: bool,
}

#[derive(FromRow)]
struct TellerRow {
    #[sqlx(flatten)]
    row: SentRow,
    claim: Option<Uuid>,
    /// Seconds since it was noted.
    age: f64,
}

#[derive(FromRow)]
struct SentRow {
    kind: String,
    job: Uuid,
    delivered: bool,
    refused: bool,
    message: Option<String>,
    shown: Option<Uuid>,
    analysed: bool,
}

impl SentRow {
    fn message(self) -> Message {
        let Self { message, shown, analysed, .. } = self;
        Message { name: message, shown: shown.unwrap_or_default(), analysed }
    }
}

impl Store {
    /// Claims the right to tell something, once for ever (I6), for the claim `claim` of its job. Asked
    /// again under the same claim, the answer is the same: whoever did not hear it may ask again.
    pub async fn tell(&self, telling: Telling<'_>, claim: Uuid) -> Result<Told, Error> {
        // The row can be made between the two statements and go again; then the next round makes it.
        loop {
            let made = sqlx::query(
                "insert into sent (project, target, kind, subject, trigger, job, claim)
                 values ($1, $2, $3, $4, $5, $6, $7)
                 on conflict (project, target, kind, subject, trigger) do update
                 set job = excluded.job, claim = excluded.claim, told_at = now(), refused_at = null
                 where sent.refused_at is not null",
            )
            .bind(telling.project.as_str())
            .bind(telling.target)
            .bind(telling.kind)
            .bind(telling.subject)
            .bind(telling.trigger.to_string())
            .bind(telling.job.0)
            .bind(claim)
            .execute(self.pool())
            .await
            .map_err(Error::doing("note what is told"))?;
            if made.rows_affected() > 0 {
                return Ok(Told::First);
            }
            let by: Option<TellerRow> = sqlx::query_as(
                "select kind, job, delivered_at is not null as delivered,
                        refused_at is not null as refused, message, shown, analysed, claim,
                        greatest(0, extract(epoch from now() - told_at))::float8 as age
                 from sent
                 where project = $1 and target = $2 and kind = $3 and subject = $4
                   and trigger = $5",
            )
            .bind(telling.project.as_str())
            .bind(telling.target)
            .bind(telling.kind)
            .bind(telling.subject)
            .bind(telling.trigger.to_string())
            .fetch_optional(self.pool())
            .await
            .map_err(Error::doing("read who told it"))?;
            let Some(by) = by else { continue };
            match by.row {
                row if row.refused => {}
                row if row.job != telling.job.0 => return Ok(Told::ByAnother),
                row if row.delivered => return Ok(Told::Delivered(row.message())),
                _ if by.claim == Some(claim) => return Ok(Told::First),
                _ => return Ok(Told::Again { since: Duration::from_secs_f64(by.age) }),
            }
        }
    }

    /// Takes back what [`Store::tell`] noted under the claim of `job`, after an answer that says for
    /// certain that nothing was told; the next attempt is [`Told::First`] again. What was noted under
    /// an earlier claim stays: that may have been told.
    pub async fn retract(&self, job: &Job, untold: &Untold) -> Result<(), Error> {
        sqlx::query(
            "update sent set refused_at = now()
             where project = $1 and target = $2 and kind = $3 and subject = $4 and trigger = $5
               and job = $6 and claim = $7 and delivered_at is null",
        )
        .bind(job.project.as_str())
        .bind(&job.target)
        .bind(&untold.kind)
        .bind(&untold.subject)
        .bind(job.trigger.to_string())
        .bind(Telling::teller(job.generation, job.id).0)
        .bind(job.claim)
        .execute(self.pool())
        .await
        .map_err(Error::doing("take back what was noted as told"))?;
        Ok(())
    }

    /// Keeps what the receiver has now, after it took what [`Store::tell`] noted.
    pub async fn delivered(&self, telling: Telling<'_>, message: &Message) -> Result<(), Error> {
        sqlx::query(
            "update sent set delivered_at = now(), message = $7, shown = $8, analysed = $9
             where project = $1 and target = $2 and kind = $3 and subject = $4 and trigger = $5
               and job = $6",
        )
        .bind(telling.project.as_str())
        .bind(telling.target)
        .bind(telling.kind)
        .bind(telling.subject)
        .bind(telling.trigger.to_string())
        .bind(telling.job.0)
        .bind(message.name.as_deref().map(text))
        .bind(message.shown)
        .bind(message.analysed)
        .execute(self.pool())
        .await
        .map_err(Error::doing("keep what was delivered"))?;
        Ok(())
    }

    /// Keeps what a message shows that was changed for `telling`, and told by another.
    pub async fn shows(
        &self,
        telling: Telling<'_>,
        message: &str,
        shown: Uuid,
    ) -> Result<(), Error> {
        sqlx::query(
            "update sent set shown = $5
             where project = $1 and target = $2 and subject = $3 and message = $4
               and kind in ('fire', 'update', 'remind', 'summary')",
        )
        .bind(telling.project.as_str())
        .bind(telling.target)
        .bind(telling.subject)
        .bind(message)
        .bind(shown)
        .execute(self.pool())
        .await
        .map_err(Error::doing("keep what a message shows"))?;
        Ok(())
    }

    /// What the target of `telling` was told about its subject by others.
    pub async fn history(&self, telling: Telling<'_>) -> Result<History, Error> {
        let rows: Vec<SentRow> = sqlx::query_as(
            "select kind, job, delivered_at is not null as delivered,
                    refused_at is not null as refused, message, shown, analysed
             from sent
             where project = $1 and target = $2 and subject = $3
               and kind in ('fire', 'update', 'remind', 'summary', 'resolve') and job <> $4
             order by delivered_at desc nulls last, told_at desc
             limit $5",
        )
        .bind(telling.project.as_str())
        .bind(telling.target)
        .bind(telling.subject)
        .bind(telling.job.0)
        .bind(MOST_TELLINGS)
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("read what was told before"))?;
        Ok(History::of(rows))
    }
}

impl History {
    /// Of rows with the newest delivery first.
    fn of(rows: Vec<SentRow>) -> Self {
        let mut history = Self::default();
        for row in rows {
            if row.kind == "resolve" {
                history.ended |= !row.refused;
            } else if row.refused {
                history.refused = true;
            } else if row.delivered {
                history.analysed |= row.analysed;
                history.first = row.message.clone().or(history.first);
                history.message.get_or_insert_with(|| row.message());
            } else {
                history.doubtful = true;
            }
        }
        history
    }

    /// Somebody was told, or may have been.
    pub fn told(&self) -> bool {
        self.message.is_some() || self.doubtful
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, delivered: bool, refused: bool, message: &str) -> SentRow {
        SentRow {
            kind: kind.into(),
            job: Uuid::nil(),
            delivered,
            refused,
            message: Some(message.into()),
            shown: None,
            analysed: message == "with",
        }
    }

    #[test]
    fn a8_the_newest_message_that_was_taken_is_the_one_to_edit() {
        assert_eq!(History::of(vec![]), History::default());
        let history = History::of(vec![
            row("resolve", true, false, "end"),
            row("remind", true, false, "second"),
            row("fire", true, false, "with"),
            row("update", false, true, ""),
            row("update", false, false, ""),
        ]);
        let message = Message { name: Some("second".into()), shown: Uuid::nil(), analysed: false };
        let expect = History {
            message: Some(message),
            first: Some("with".into()),
            analysed: true,
            doubtful: true,
            refused: true,
            ended: true,
        };
        assert_eq!(history, expect);
        assert!(history.told());
        assert!(!History::of(vec![row("fire", false, true, "")]).told());
        assert!(!History::of(vec![row("resolve", false, true, "")]).ended);
    }
}
