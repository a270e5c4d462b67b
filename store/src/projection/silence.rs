//! `silence`: one row a silence, changed by each of its records.

use schemas::{
    Position, ProjectId, Time,
    record::{Matcher, Silence},
};
use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::{json, stated, text};
use crate::{
    Error,
    lane::LaneTransaction,
    rows::{JsonText, Row, composites},
    timestamptz,
};

/// A silence as a record says it.
#[derive(Debug)]
pub struct SilenceRow<'a> {
    pub project: &'a ProjectId,
    pub id: &'a str,
    /// As it is from here on; absent: it is over.
    pub silence: Option<&'a Silence>,
    /// Who said so, where, and in lane time when.
    pub operator: &'a str,
    pub at: Position,
    pub lane_time: Time,
}

impl Row for SilenceRow<'_> {
    const TYPE: &'static str = "silence_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        const NONE: &[Matcher] = &[];
        let (matchers, owner, reason) = self.silence.map_or((NONE, "", ""), |silence| {
            (silence.matchers.as_slice(), silence.owner.as_str(), silence.reason.as_str())
        });
        let ends_at = self.silence.map_or(self.lane_time, |silence| silence.ends_at);
        let starts_at = self.silence.and_then(|silence| silence.starts_at);
        to.encode(self.project.as_str())?
            .encode(text(self.id))?
            .encode(JsonText(json(&matchers)?))?
            .encode(stated(starts_at.unwrap_or(self.lane_time)))?
            .encode(stated(ends_at))?
            .encode(text(owner))?
            .encode(text(reason))?
            .encode(timestamptz(self.lane_time))?
            .encode(text(self.operator))?
            .encode(self.at.input.incarnation)?
            .encode(self.at.input.sequence as i64)?
            .encode(self.at.input.record as i32)?;
        Ok(())
    }
}

impl LaneTransaction<'_> {
    /// Takes in what records say of silences, in log order. Every lane may tell of the same record:
    /// what is not newer changes nothing.
    pub async fn put_silences(&mut self, rows: &[SilenceRow<'_>]) -> Result<(), Error> {
        let generation = self.generation.0;
        for row in rows {
            let sql = if row.silence.is_some() {
                "insert into silence (generation, project, silence, matchers, starts_at, ends_at, \
                   owner, reason, created_at, created_by, changed_at, changed_by, inc, seq, rec) \
                 select $1, u.project, u.silence, u.matchers, u.starts_at, u.ends_at, u.owner, \
                   u.reason, u.changed_at, u.changed_by, u.changed_at, u.changed_by, u.inc, u.seq, \
                   u.rec \
                 from unnest($2::silence_row[]) u \
                 on conflict (generation, project, silence) do update set \
                   matchers = excluded.matchers, starts_at = excluded.starts_at, \
                   ends_at = excluded.ends_at, owner = excluded.owner, reason = excluded.reason, \
                   changed_at = excluded.changed_at, changed_by = excluded.changed_by, \
                   inc = excluded.inc, seq = excluded.seq, rec = excluded.rec, ended = false \
                 where (silence.inc, silence.seq, silence.rec) < (excluded.inc, excluded.seq, excluded.rec)"
            } else {
                "update silence s set ended = true, ends_at = least(s.ends_at, u.ends_at), \
                   changed_at = u.changed_at, changed_by = u.changed_by, inc = u.inc, seq = u.seq, \
                   rec = u.rec \
                 from unnest($2::silence_row[]) u \
                 where s.generation = $1 and s.project = u.project and s.silence = u.silence \
                   and (s.inc, s.seq, s.rec) < (u.inc, u.seq, u.rec)"
            };
            sqlx::query(sql)
                .bind(generation)
                .bind(composites([row]))
                .execute(self.connection().await?)
                .await
                .map_err(Error::doing("put a silence"))?;
        }
        Ok(())
    }
}
