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

/// All events of one recurrence key.
#[derive(Clone, Debug)]
pub struct RecurringKey {
    pub recurrence_key: Uuid,
    /// Identity is that of the latest event.
    pub provider: String,
    pub alertname: Option<String>,
    pub severity: Option<String>,
    pub namespace: Option<String>,
    pub target_resource: Option<String>,
    pub fingerprint: Uuid,
    pub latest_event: Uuid,
    pub latest_provider_event_id: String,
    pub latest_content_preview: Option<String>,
    pub latest_incident: Option<Uuid>,
    /// The newest run of that incident.
    pub latest_run: Option<LinkedRun>,
    pub counters: Counters,
    /// Events that belong to an incident.
    pub linked: i64,
    pub first_received_at: Time,
    pub latest_received_at: Time,
}

/// Sums over all recurrence keys of a project.
#[derive(Clone, Debug)]
pub struct RecurringTotals {
    pub keys: i64,
    /// Keys with at least two events.
    pub recurrent: i64,
    pub events: i64,
    pub duplicates: i64,
    /// Events that belong to an incident.
    pub linked: i64,
    pub latest_received_at: Option<Time>,
}

impl View {
    /// The `limit` most frequent recurrence keys of `project` over all time, of equally frequent
    /// ones the newest first.
    pub async fn recurring_keys(
        &mut self,
        project: &str,
        provider: Option<&str>,
        limit: u32,
    ) -> Result<Vec<RecurringKey>, Error> {
        let rows = sqlx::query(
            "select k.*, r.run, r.state, r.agent \
             from (select *, occurrence_total as total, duplicate_total as duplicates, \
                 redacted_total as redacted, missing_source_refs_total as without_refs, \
                 sentry_ref_total as sentry_refs, signoz_ref_total as signoz_refs, \
                 alert_ref_total as alert_refs \
               from recurrence \
               where generation = $1 and project = $2 \
                 and ($3::text[] is null or project = any($3)) \
                 and ($4::text is null or provider = $4) \
               order by occurrence_total desc, latest_received_at desc, recurrence_key \
               limit $5) k \
             left join lateral (select run, state, agent from run r \
               where r.generation = $1 and r.project = k.project \
                 and r.incident = k.latest_incident \
               order by started_at desc, run desc limit 1) r on true \
             order by k.occurrence_total desc, k.latest_received_at desc, k.recurrence_key",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(provider)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read recurrence keys"))?;
        rows.iter()
            .map(recurring_key)
            .collect::<Result<_, _>>()
            .map_err(Error::doing("read a recurrence key"))
    }

    /// What [`Self::recurring_keys`] sums to without its limit.
    pub async fn recurring_totals(
        &mut self,
        project: &str,
        provider: Option<&str>,
    ) -> Result<RecurringTotals, Error> {
        let row = sqlx::query(
            "select count(*) as keys, count(*) filter (where occurrence_total >= 2) as recurrent, \
               coalesce(sum(occurrence_total), 0)::bigint as events, \
               coalesce(sum(duplicate_total), 0)::bigint as duplicates, \
               coalesce(sum(linked_total), 0)::bigint as linked, \
               max(latest_received_at) as latest_received_at \
             from recurrence where generation = $1 and project = $2 \
               and ($3::text[] is null or project = any($3)) \
               and ($4::text is null or provider = $4)",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(provider)
        .fetch_one(&mut *self.transaction)
        .await
        .map_err(Error::doing("sum recurrence"))?;
        let totals = |row: PgRow| {
            Ok(RecurringTotals {
                keys: row.try_get("keys")?,
                recurrent: row.try_get("recurrent")?,
                events: row.try_get("events")?,
                duplicates: row.try_get("duplicates")?,
                linked: row.try_get("linked")?,
                latest_received_at: row.try_get::<Option<_>, _>("latest_received_at")?.map(time),
            })
        };
        totals(row).map_err(Error::doing("sum recurrence"))
    }

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
}

fn recurring_key(row: &PgRow) -> Result<RecurringKey, sqlx::Error> {
    Ok(RecurringKey {
        recurrence_key: row.try_get("recurrence_key")?,
        provider: row.try_get("provider")?,
        alertname: row.try_get("alertname")?,
        severity: row.try_get("severity")?,
        namespace: row.try_get("namespace")?,
        target_resource: row.try_get("target_resource")?,
        fingerprint: row.try_get("fingerprint")?,
        latest_event: row.try_get("latest_event_id")?,
        latest_provider_event_id: row.try_get("latest_provider_event_id")?,
        latest_content_preview: row.try_get("latest_content_preview")?,
        latest_incident: row.try_get("latest_incident")?,
        latest_run: linked_run(row)?,
        counters: counters(row)?,
        linked: row.try_get("linked_total")?,
        first_received_at: time(row.try_get("first_received_at")?),
        latest_received_at: time(row.try_get("latest_received_at")?),
    })
}

/// Reads the columns run, state and agent.
fn linked_run(row: &PgRow) -> Result<Option<LinkedRun>, sqlx::Error> {
    Ok(match row.try_get("run")? {
        None => None,
        Some(run) => {
            Some(LinkedRun { run, state: row.try_get("state")?, agent: row.try_get("agent")? })
        }
    })
}

fn recurring_event(row: &PgRow) -> Result<RecurringEvent, sqlx::Error> {
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
        run: linked_run(row)?,
        received_at: time(row.try_get("received_at")?),
    })
}
