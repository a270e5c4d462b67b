//! `incident_action`: what operators asked for, and what became of it.

use schemas::{EventId, IncidentId, InputPosition, ProjectId, Time};

use sqlx::{error::BoxDynError, postgres::types::PgRecordEncoder};

use super::text;
use crate::{
    Error,
    lane::LaneTransaction,
    rows::{JsonText, Row, composites},
    timestamptz,
};

/// One command that was applied or refused.
#[derive(Debug)]
pub struct ActionRow<'a> {
    pub project: &'a ProjectId,
    pub event: EventId,
    /// Absent where there is none of the opening that the command names.
    pub incident: Option<IncidentId>,
    /// Where the command stands.
    pub at: InputPosition,
    /// `applied` or `refused`.
    pub verdict: &'static str,
    pub verb: &'a str,
    pub actor: &'a str,
    pub auth_method: &'a str,
    /// The incident's states before and after; of a command that was applied.
    pub states: Option<(&'static str, &'static str)>,
    pub changed: bool,
    /// JSON text, redacted; of a command that was applied.
    pub arguments: Option<&'a str>,
    /// Why it was refused.
    pub reason: Option<&'a str>,
    pub lane_time: Time,
}

impl Row for ActionRow<'_> {
    const TYPE: &'static str = "incident_action_row";

    fn put(&self, to: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        to.encode(self.project.as_str())?
            .encode(self.event.0)?
            .encode(self.incident.map(|incident| incident.0))?
            .encode(self.at.incarnation)?
            .encode(self.at.sequence as i64)?
            .encode(self.at.record as i32)?
            .encode(self.verdict)?
            .encode(text(self.verb))?
            .encode(text(self.actor))?
            .encode(text(self.auth_method))?
            .encode(self.states.map(|(before, _)| before))?
            .encode(self.states.map(|(_, after)| after))?
            .encode(self.changed)?
            .encode(self.arguments.map(argument).transpose()?)?
            .encode(self.reason)?
            .encode(timestamptz(self.lane_time))?;
        Ok(())
    }
}

/// Arguments as `jsonb` takes them.
fn argument(arguments: &str) -> Result<JsonText, BoxDynError> {
    let value: serde_json::Value = serde_json::from_str(arguments)?;
    Ok(JsonText(super::json(&value)?))
}

impl LaneTransaction<'_> {
    /// Adds commands; each event at most once.
    pub async fn insert_actions(&mut self, rows: &[ActionRow<'_>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into incident_action (generation, project, event_id, incident, inc, seq, rec, \
               verdict, verb, actor, auth_method, before, after, changed, arguments, reason, \
               lane_time) \
             select $1, u.* from unnest($2::incident_action_row[]) as u \
             on conflict do nothing",
        )
        .bind(self.generation.0)
        .bind(composites(rows))
        .execute(self.connection().await?)
        .await
        .map_err(Error::doing("insert commands"))?;
        Ok(())
    }
}
