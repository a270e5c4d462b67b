//! How often the same thing comes back (R55-R57).

use schemas::Time;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::{View, coverage::counters};
use crate::{Error, projection::coverage::Counters, time};

/// One event, as recurrence counts it.
#[derive(Clone, Debug)]
pub struct RecurringEvent {
    pub recurrence_key: Uuid,
    pub event: Uuid,
    pub provider: String,
    pub provider_event_id: String,
    pub content_preview: Option<String>,
    pub alertname: Option<String>,
    pub severity: Option<String>,
    pub namespace: Option<String>,
    pub target_resource: Option<String>,
    pub fingerprint: Uuid,
    pub is_duplicate: bool,
    pub sentry_refs: i64,
    pub signoz_refs: i64,
    pub alert_refs: i64,
    pub incident: Option<Uuid>,
    /// The newest run of its incident.
    pub run: Option<LinkedRun>,
    pub received_at: Time,
}

/// A run an event is linked to through its incident.
#[derive(Clone, Debug)]
pub struct LinkedRun {
    pub run: Uuid,
    pub state: String,
    pub agent: Option<String>,
}

impl View {
    /// The newest `limit` events of `project` that can recur, newest first: heartbeats and tests
    /// are left out.
    pub async fn recurring_events(
        &mut self,
        project: &str,
        provider: Option<&str>,
        limit: u32,
    ) -> Result<Vec<RecurringEvent>, Error> {
        let rows = sqlx::query(
            "select d.recurrence_key, d.event_id, d.provider, d.provider_event_id, \
               d.content_preview, d.alertname, d.severity, d.namespace, d.target_resource, \
               d.fingerprint, d.is_duplicate, d.sentry_ref_count, d.signoz_ref_count, \
               d.alert_ref_count, d.incident, d.received_at, r.run, r.state, r.agent \
             from (select * from dossier \
               where generation = $1 and project = $2 \
                 and ($3::text[] is null or project = any($3)) \
                 and ($4::text is null or provider = $4) \
                 and stage in ('received', 'resolved') \
               order by day desc, inc desc, seq desc, rec desc, idx desc limit $5) d \
             left join lateral (select run, state, agent from run r \
               where r.generation = $1 and r.project = d.project and r.incident = d.incident \
               order by started_at desc, run desc limit 1) r on true \
             order by d.day desc, d.inc desc, d.seq desc, d.rec desc, d.idx desc",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(provider)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read recurring events"))?;
        rows.iter()
            .map(recurring_event)
            .collect::<Result<_, _>>()
            .map_err(Error::doing("read a recurring event"))
    }

    /// The all-time counters of each recurrence key of `project`.
    pub async fn recurrence_totals(
        &mut self,
        project: &str,
    ) -> Result<Vec<(Uuid, Counters)>, Error> {
        let rows = sqlx::query(
            "select recurrence_key, occurrence_total as total, duplicate_total as duplicates, \
               redacted_total as redacted, missing_source_refs_total as without_refs, \
               sentry_ref_total as sentry_refs, signoz_ref_total as signoz_refs, \
               alert_ref_total as alert_refs \
             from recurrence where generation = $1 and project = $2 \
               and ($3::text[] is null or project = any($3)) order by recurrence_key",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read recurrence totals"))?;
        let row = |row: &PgRow| Ok((row.try_get("recurrence_key")?, counters(row)?));
        rows.iter()
            .map(row)
            .collect::<Result<_, _>>()
            .map_err(Error::doing("read recurrence totals"))
    }
}

fn recurring_event(row: &PgRow) -> Result<RecurringEvent, sqlx::Error> {
    let run = match row.try_get("run")? {
        None => None,
        Some(run) => {
            Some(LinkedRun { run, state: row.try_get("state")?, agent: row.try_get("agent")? })
        }
    };
    Ok(RecurringEvent {
        recurrence_key: row.try_get("recurrence_key")?,
        event: row.try_get("event_id")?,
        provider: row.try_get("provider")?,
        provider_event_id: row.try_get("provider_event_id")?,
        content_preview: row.try_get("content_preview")?,
        alertname: row.try_get("alertname")?,
        severity: row.try_get("severity")?,
        namespace: row.try_get("namespace")?,
        target_resource: row.try_get("target_resource")?,
        fingerprint: row.try_get("fingerprint")?,
        is_duplicate: row.try_get("is_duplicate")?,
        sentry_refs: i64::from(row.try_get::<i32, _>("sentry_ref_count")?),
        signoz_refs: i64::from(row.try_get::<i32, _>("signoz_ref_count")?),
        alert_refs: i64::from(row.try_get::<i32, _>("alert_ref_count")?),
        incident: row.try_get("incident")?,
        run,
        received_at: time(row.try_get("received_at")?),
    })
}
