//! What operators asked for, and what became of it; and which incident a caller means.

use schemas::{EventId, RecordId, Time, id};
use sqlx::{Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{View, by_incident::ByIncident};
use crate::{Error, time};

/// One command that was applied or refused.
#[derive(Clone, Debug)]
pub struct ActionItem {
    pub incident: Uuid,
    /// Where it stands: incarnation, sequence, index.
    pub position: (i64, i64, i32),
    /// `applied` or `refused`.
    pub verdict: String,
    pub verb: String,
    pub actor: String,
    pub auth_method: String,
    /// The incident's states around it; absent when refused.
    pub before: Option<String>,
    pub after: Option<String>,
    pub changed: bool,
    pub arguments: Option<serde_json::Value>,
    /// Why it was refused.
    pub reason: Option<String>,
    pub at: Time,
}

impl View {
    /// What operators asked for of each of `incidents` of `project`, oldest first; the newest 500.
    pub async fn actions_of(
        &mut self,
        project: &str,
        incidents: &[Uuid],
    ) -> Result<Vec<ActionItem>, Error> {
        const READ: ByIncident = ByIncident {
            columns: "*",
            from: "incident_action where true",
            taken: "inc desc, seq desc, rec desc",
            shown: "r.inc, r.seq, r.rec",
            doing: "read the commands of incidents",
        };
        let rows = self.of_incidents(&READ, project, incidents).await?;
        rows.iter().map(item).collect::<Result<_, _>>().map_err(Error::doing("read a command"))
    }

    /// What became of the command whose record has this id, once the projector has passed it.
    pub async fn action_of_record(
        &mut self,
        project: &str,
        record: RecordId,
    ) -> Result<Option<ActionItem>, Error> {
        // The events of a record that stands for itself are derived from it and from their kind.
        let ids = ["applied", "refused"].map(|word| EventId(id::derive(record.0, word, 0)).0);
        let row = sqlx::query(
            "select * from incident_action where generation = $1 and project = $2 \
               and ($3::text[] is null or project = any($3)) and event_id = any($4) limit 1",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(ids.as_slice())
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(Error::doing("look for a command"))?;
        row.as_ref().map(item).transpose().map_err(Error::doing("read a command"))
    }

    /// The project of an incident; none when there is no such incident, or the caller may not see it.
    pub async fn project_of(&mut self, incident: Uuid) -> Result<Option<String>, Error> {
        sqlx::query_scalar(
            "select project from incident_number \
             where incident = $2 and ($1::text[] is null or project = any($1))",
        )
        .bind(&self.projects)
        .bind(incident)
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(Error::doing("look for an incident's project"))
    }

    /// The incident of `project` with a number of a day (`YYYYMMDD`).
    pub async fn incident_of_number(
        &mut self,
        project: &str,
        day: &str,
        number: i32,
    ) -> Result<Option<Uuid>, Error> {
        sqlx::query_scalar(
            "select incident from incident_number where project = $2 \
               and ($1::text[] is null or project = any($1)) and day = $3 and number = $4",
        )
        .bind(&self.projects)
        .bind(project)
        .bind(day)
        .bind(number)
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(Error::doing("look for an incident's number"))
    }
}

fn item(row: &PgRow) -> Result<ActionItem, sqlx::Error> {
    Ok(ActionItem {
        incident: row.try_get("incident")?,
        position: (row.try_get("inc")?, row.try_get("seq")?, row.try_get("rec")?),
        verdict: row.try_get("verdict")?,
        verb: row.try_get("verb")?,
        actor: row.try_get("actor")?,
        auth_method: row.try_get("auth_method")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
        changed: row.try_get("changed")?,
        arguments: row.try_get::<Option<Json<_>>, _>("arguments")?.map(|Json(a)| a),
        reason: row.try_get("reason")?,
        at: time(row.try_get("lane_time")?),
    })
}
