//! What became of one delivery (R71).

use schemas::{RecordId, Time};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    View,
    by_incident::ByIncident,
    event::{DossierEvent, dossier_event},
};
use crate::{Error, time};

/// One delivery and its outcome.
#[derive(Clone, Debug)]
pub struct SettledDelivery {
    pub record: RecordId,
    pub project: String,
    pub source: String,
    pub provider: String,
    pub outcome: String,
    pub reason: Option<String>,
    pub alerts: i32,
    pub received_at: Time,
    /// The lane day it was folded on.
    pub day: i32,
    /// Incarnation, sequence, record.
    pub position: (i64, i64, i32),
}

/// The end of one send.
#[derive(Clone, Debug)]
pub struct SettledSend {
    pub job: Uuid,
    pub incident: Option<Uuid>,
    pub target: String,
    pub channel: String,
    pub kind: String,
    pub trigger: String,
    pub result: String,
    pub detail: Option<String>,
    pub attempts: i32,
    pub settled_at: Time,
}

/// A lane day can be this many days behind the clock that made a record id.
const CLOCKS_APART_DAYS: i32 = 2;

impl View {
    /// The outcome of a delivery, once the projector has passed it.
    pub async fn delivery(&mut self, record: RecordId) -> Result<Option<SettledDelivery>, Error> {
        // The id carries the time it was made, which spares the partitions before it.
        let made = record.0.get_timestamp().map_or(0, |t| t.to_unix().0 / 86_400);
        let row = sqlx::query(
            "select record, project, source, provider, outcome, reason, alerts, received_at, day, \
               inc, seq, rec \
             from delivery \
             where generation = $1 and record = $3 and day >= $4 \
               and ($2::text[] is null or project = any($2)) \
             order by day limit 1",
        )
        .bind(self.generation)
        .bind(&self.projects)
        .bind(record.0)
        .bind(i32::try_from(made).unwrap_or(i32::MAX).saturating_sub(CLOCKS_APART_DAYS))
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(Error::doing("look for a delivery"))?;
        let delivery = |row: PgRow| {
            Ok(SettledDelivery {
                record: RecordId(row.try_get("record")?),
                project: row.try_get("project")?,
                source: row.try_get("source")?,
                provider: row.try_get("provider")?,
                outcome: row.try_get("outcome")?,
                reason: row.try_get("reason")?,
                alerts: row.try_get("alerts")?,
                received_at: time(row.try_get("received_at")?),
                day: row.try_get("day")?,
                position: (row.try_get("inc")?, row.try_get("seq")?, row.try_get("rec")?),
            })
        };
        row.map(delivery).transpose().map_err(Error::doing("read a delivery"))
    }

    /// The alerts of a delivery, in the order of its body: at most `limit` behind the index `after`.
    pub async fn alerts_of(
        &mut self,
        delivery: &SettledDelivery,
        (after, limit): (i32, u32),
    ) -> Result<Vec<DossierEvent>, Error> {
        let (inc, seq, rec) = delivery.position;
        let rows = sqlx::query(
            "select event_id, project, channel_type, provider, stage, provider_event_id, title, \
               content_preview, content_redacted, has_redacted_content, redaction_version, \
               source_url, content_sha256, content_length, source_refs, source_ref_count, \
               log_correlation, alertname, severity, namespace, target_resource, fingerprint, \
               effect, is_duplicate, incident, provider_ts, received_at \
             from dossier \
             where generation = $1 and project = $2 and ($3::text[] is null or project = any($3)) \
               and day = $4 and inc = $5 and seq = $6 and rec = $7 and idx > $8 \
             order by idx limit $9",
        )
        .bind(self.generation)
        .bind(&delivery.project)
        .bind(&self.projects)
        .bind(delivery.day)
        .bind(inc)
        .bind(seq)
        .bind(rec)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read a delivery's alerts"))?;
        rows.iter()
            .map(dossier_event)
            .collect::<Result<_, _>>()
            .map_err(Error::doing("read a delivery's alert"))
    }

    /// The newest 500 settled sends about each of `incidents` of `project`, oldest first.
    pub async fn sends_of(
        &mut self,
        project: &str,
        incidents: &[Uuid],
    ) -> Result<Vec<SettledSend>, Error> {
        const READ: ByIncident = ByIncident {
            columns: "*",
            from: "send where true",
            taken: "settled_at desc",
            shown: "r.settled_at, r.job",
            doing: "read sends",
        };
        let rows = self.of_incidents(&READ, project, incidents).await?;
        let send = |row: &PgRow| {
            Ok(SettledSend {
                job: row.try_get("job")?,
                incident: row.try_get("incident")?,
                target: row.try_get("target")?,
                channel: row.try_get("channel")?,
                kind: row.try_get("kind")?,
                trigger: row.try_get("trigger")?,
                result: row.try_get("result")?,
                detail: row.try_get("detail")?,
                attempts: row.try_get("attempts")?,
                settled_at: time(row.try_get("settled_at")?),
            })
        };
        rows.iter().map(send).collect::<Result<_, _>>().map_err(Error::doing("read a send"))
    }
}
