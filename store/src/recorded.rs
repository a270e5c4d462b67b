//! Answers that are found again: what took effect once for (opening position, reason, prompt, model)
//! is not asked anew, in whichever generation.

use schemas::{InputPosition, Lane, Position, ProjectId};
use sqlx::FromRow;

use crate::{Error, Store, lane::LaneTransaction};

/// An answer of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedAnswer {
    pub project: ProjectId,
    pub opening: Position,
    /// `open`, `escalate`, `request n`, `reject n`.
    pub reason: String,
    /// Version of the prompt; empty where none was needed, or nobody had an answer.
    pub prompt: String,
    /// The model; empty like the prompt.
    pub model: String,
    /// Where its record stands.
    pub at: InputPosition,
    /// CBOR of a [`schemas::job::AnswerResult`].
    pub result: Vec<u8>,
}

#[derive(FromRow)]
struct AnswerRow {
    project: String,
    prompt: String,
    model: String,
    inc: i64,
    seq: i64,
    rec: i32,
    result: Vec<u8>,
}

impl LaneTransaction<'_> {
    /// Keeps answers that took effect; of the same (opening, reason, prompt, model) the first stays.
    pub fn insert_answers(&mut self, answers: &[RecordedAnswer]) {
        if answers.is_empty() {
            return;
        }
        let column = |of: fn(&RecordedAnswer) -> &str| answers.iter().map(of).collect::<Vec<_>>();
        self.write(
            "answer",
            "insert into answer (project, opening, reason, prompt, model, inc, seq, rec, result) \
             select * from unnest(?::text[], ?::text[], ?::text[], ?::text[], ?::text[], \
               ?::bigint[], ?::bigint[], ?::int[], ?::bytea[]) \
             on conflict (opening, reason, prompt, model) do nothing",
        )
        .bind(column(|a| a.project.as_str()))
        .bind(answers.iter().map(|a| a.opening.to_string()).collect::<Vec<_>>())
        .bind(column(|a| &a.reason))
        .bind(column(|a| &a.prompt))
        .bind(column(|a| &a.model))
        .bind(answers.iter().map(|a| a.at.incarnation).collect::<Vec<_>>())
        .bind(answers.iter().map(|a| a.at.sequence as i64).collect::<Vec<_>>())
        .bind(answers.iter().map(|a| a.at.record as i32).collect::<Vec<_>>())
        .bind(answers.iter().map(|a| a.result.as_slice()).collect::<Vec<_>>());
    }
}

impl Store {
    /// What was answered for an opening and a reason, in the order of the log.
    pub async fn recorded_answers(
        &self,
        opening: Position,
        reason: &str,
    ) -> Result<Vec<RecordedAnswer>, Error> {
        let rows: Vec<AnswerRow> = sqlx::query_as(
            "select project, prompt, model, inc, seq, rec, result from answer
             where opening = $1 and reason = $2 order by inc, seq, rec",
        )
        .bind(opening.to_string())
        .bind(reason)
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("look for a recorded answer"))?;
        let answer = |row: AnswerRow| {
            let project = ProjectId::new(row.project).map_err(|e| Error::Column {
                table: "answer",
                column: "project",
                detail: e.to_string(),
            })?;
            Ok(RecordedAnswer {
                project,
                opening,
                reason: reason.to_owned(),
                prompt: row.prompt,
                model: row.model,
                at: InputPosition {
                    incarnation: row.inc,
                    sequence: row.seq as u64,
                    record: row.rec as u32,
                },
                result: row.result,
            })
        };
        rows.into_iter().map(answer).collect()
    }

    /// How far some generation has observed a lane, as (incarnation, sequence): all answers that took
    /// effect until there can be found. None before the first.
    pub async fn observed_through(&self, lane: Lane) -> Result<Option<(i64, u64)>, Error> {
        let furthest: Option<(i64, i64)> = sqlx::query_as(
            "select inc, seq from cursor where stage = 'observe' and lane = $1
             order by inc desc, seq desc limit 1",
        )
        .bind(i32::from(lane.0))
        .fetch_optional(self.pool())
        .await
        .map_err(Error::doing("read how far a lane is observed"))?;
        Ok(furthest.map(|(incarnation, sequence)| (incarnation, sequence as u64)))
    }
}
