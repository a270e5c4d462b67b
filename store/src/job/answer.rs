//! What a message says beyond its job: the incident's number and its analysis.

use schemas::{IncidentId, job::AnswerResult};

use crate::{Error, Store};

impl Store {
    /// The number an incident was given, `INC-YYYYMMDD-NNN`; wider past 999.
    pub async fn incident_number(&self, incident: IncidentId) -> Result<Option<String>, Error> {
        let row: Option<(String, i32)> =
            sqlx::query_as("select day, number from incident_number where incident = $1")
                .bind(incident.0)
                .fetch_optional(self.pool())
                .await
                .map_err(Error::doing("read an incident's number"))?;
        Ok(row.map(|(day, number)| format!("INC-{day}-{number:03}")))
    }

    /// What analysts said of an incident: the newest answer with an analysis, else the newest. A
    /// result counts from when it is stored: its record may be folded before its job is settled.
    pub async fn latest_answer(&self, incident: IncidentId) -> Result<Option<AnswerResult>, Error> {
        let results: Vec<Vec<u8>> = sqlx::query_scalar(
            "select result from job
             where incident = $1 and queue = 'triage' and result_end = 'done'
               and result is not null
             order by settled_at desc nulls first, ordinal desc
             limit 10",
        )
        .bind(incident.0)
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("read an incident's analysis"))?;
        let mut newest = None;
        for bytes in results {
            let answer: AnswerResult = schemas::codec::decode("answer", &bytes).map_err(|e| {
                Error::Column { table: "job", column: "result", detail: e.to_string() }
            })?;
            if answer.analysis.is_some() {
                return Ok(Some(answer));
            }
            newest.get_or_insert(answer);
        }
        Ok(newest)
    }
}
