//! Recent events (R48) and the dossier (R49-R51).

use schemas::{
    IncidentId, JobId, Time,
    alert::{LogCorrelation, SourceRefs},
};
use sqlx::{Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::View;
use crate::{Error, projection::indexed, time};

/// One event in a list.
#[derive(Clone, Debug)]
pub struct RecentEvent {
    pub event: Uuid,
    pub project: String,
    pub channel_type: String,
    pub provider_event_id: String,
    pub content_preview: Option<String>,
    pub is_duplicate: bool,
    pub received_at: Time,
}

/// One event with its evidence.
#[derive(Clone, Debug)]
pub struct DossierEvent {
    pub event: Uuid,
    pub project: String,
    pub channel_type: String,
    pub provider: String,
    pub stage: String,
    pub provider_event_id: String,
    pub title: String,
    pub content_preview: Option<String>,
    pub content_redacted: Option<String>,
    pub has_redacted_content: bool,
    pub redaction_version: Option<String>,
    pub source_url: Option<String>,
    pub content_sha256: Option<Vec<u8>>,
    pub content_length: Option<i64>,
    pub refs: SourceRefs,
    pub source_ref_count: i32,
    pub correlation: LogCorrelation,
    pub alertname: Option<String>,
    pub severity: Option<String>,
    pub namespace: Option<String>,
    pub target_resource: Option<String>,
    pub fingerprint: Uuid,
    pub effect: String,
    pub is_duplicate: bool,
    pub incident: Option<Uuid>,
    pub provider_ts: Option<Time>,
    pub received_at: Time,
}

/// Which events of a project.
#[derive(Clone, Debug, Default)]
pub struct DossierFilter<'a> {
    /// Events of the incident this run is about.
    pub run: Option<JobId>,
    pub provider_event_id: Option<&'a str>,
}

/// How many days after an incident's last change its events may still come in: senders' own
/// redeliveries are known for 72 h.
const REDELIVERY_DAYS: i32 = 4;

impl View {
    /// The newest events of `project`, newest first. `prefix` is one of `provider_event_id`.
    pub async fn recent_events(
        &mut self,
        project: &str,
        channel_type: Option<&str>,
        prefix: Option<&str>,
        limit: u32,
    ) -> Result<Vec<RecentEvent>, Error> {
        let prefix = prefix.filter(|p| !p.is_empty()).map(indexed);
        let rows = sqlx::query(
            "select event_id, project, channel_type, provider_event_id, content_preview, \
               is_duplicate, received_at \
             from dossier \
             where generation = $1 and project = $2 and ($3::text[] is null or project = any($3)) \
               and ($4::text is null or channel_type = $4) \
               and ($5::text is null or provider_event_id >= $5) \
               and ($6::text is null or provider_event_id < $6) \
             order by day desc, inc desc, seq desc, rec desc, idx desc limit $7",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(channel_type)
        .bind(prefix.as_deref())
        .bind(prefix.as_deref().and_then(after_prefix))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read recent events"))?;
        let event = |row: &PgRow| {
            Ok(RecentEvent {
                event: row.try_get("event_id")?,
                project: row.try_get("project")?,
                channel_type: row.try_get("channel_type")?,
                provider_event_id: row.try_get("provider_event_id")?,
                content_preview: row.try_get("content_preview")?,
                is_duplicate: row.try_get("is_duplicate")?,
                received_at: time(row.try_get("received_at")?),
            })
        };
        rows.iter().map(event).collect::<Result<_, _>>().map_err(Error::doing("read an event"))
    }

    /// Events of `project` with their evidence, newest first.
    pub async fn dossier(
        &mut self,
        project: &str,
        filter: &DossierFilter<'_>,
        limit: u32,
    ) -> Result<Vec<DossierEvent>, Error> {
        let of_run = match filter.run {
            None => None,
            Some(run) => match self.incident_of_run(project, run).await? {
                None => return Ok(Vec::new()),
                found => found,
            },
        };
        let rows = sqlx::query(
            "select event_id, project, channel_type, provider, stage, provider_event_id, title, \
               content_preview, content_redacted, has_redacted_content, redaction_version, \
               source_url, content_sha256, content_length, source_refs, source_ref_count, \
               log_correlation, alertname, severity, namespace, target_resource, fingerprint, \
               effect, is_duplicate, incident, provider_ts, received_at \
             from dossier \
             where generation = $1 and project = $2 and ($3::text[] is null or project = any($3)) \
               and ($4::text is null or provider_event_id = $4) \
               and ($5::uuid is null or incident = $5) \
               and ($6::int is null or day >= $6) and ($7::int is null or day <= $7) \
             order by day desc, inc desc, seq desc, rec desc, idx desc limit $8",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(filter.provider_event_id.map(indexed))
        .bind(of_run.as_ref().map(|span| span.incident.0))
        .bind(of_run.as_ref().map(|span| span.opened.day()))
        .bind(of_run.as_ref().map(|span| span.updated.day() + REDELIVERY_DAYS))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read the dossier"))?;
        rows.iter()
            .map(dossier_event)
            .collect::<Result<_, _>>()
            .map_err(Error::doing("read a dossier row"))
    }

    /// The incident a run is about, and when its events can have come.
    async fn incident_of_run(&mut self, project: &str, run: JobId) -> Result<Option<Span>, Error> {
        let row = sqlx::query(
            "select i.incident, i.opened_at, i.updated_at \
             from run r join incident i on i.generation = $1 and i.project = $2 \
               and i.incident = r.incident \
             where r.generation = $1 and r.project = $2 and r.run = $4 \
               and ($3::text[] is null or r.project = any($3))",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(run.0)
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(Error::doing("look for a run's incident"))?;
        let span = |row: PgRow| {
            Ok(Span {
                incident: IncidentId(row.try_get("incident")?),
                opened: time(row.try_get("opened_at")?),
                updated: time(row.try_get("updated_at")?),
            })
        };
        row.map(span).transpose().map_err(Error::doing("read a run's incident"))
    }
}

/// An incident and the lane time it covers.
struct Span {
    incident: IncidentId,
    opened: Time,
    updated: Time,
}

/// Reads a row that holds every column of [`DossierEvent`].
pub(super) fn dossier_event(row: &PgRow) -> Result<DossierEvent, sqlx::Error> {
    let Json(refs) = row.try_get("source_refs")?;
    let Json(correlation) = row.try_get("log_correlation")?;
    Ok(DossierEvent {
        event: row.try_get("event_id")?,
        project: row.try_get("project")?,
        channel_type: row.try_get("channel_type")?,
        provider: row.try_get("provider")?,
        stage: row.try_get("stage")?,
        provider_event_id: row.try_get("provider_event_id")?,
        title: row.try_get("title")?,
        content_preview: row.try_get("content_preview")?,
        content_redacted: row.try_get("content_redacted")?,
        has_redacted_content: row.try_get("has_redacted_content")?,
        redaction_version: row.try_get("redaction_version")?,
        source_url: row.try_get("source_url")?,
        content_sha256: row.try_get("content_sha256")?,
        content_length: row.try_get("content_length")?,
        refs,
        source_ref_count: row.try_get("source_ref_count")?,
        correlation,
        alertname: row.try_get("alertname")?,
        severity: row.try_get("severity")?,
        namespace: row.try_get("namespace")?,
        target_resource: row.try_get("target_resource")?,
        fingerprint: row.try_get("fingerprint")?,
        effect: row.try_get("effect")?,
        is_duplicate: row.try_get("is_duplicate")?,
        incident: row.try_get("incident")?,
        provider_ts: row.try_get::<Option<_>, _>("provider_ts")?.map(time),
        received_at: time(row.try_get("received_at")?),
    })
}

/// The first text after everything that begins with `prefix`, in code point order; none when
/// there is no such text. A range keeps its index where LIKE may not.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        for (prefix, end) in [
            ("a", Some("b")),
            ("alert-group", Some("alert-grouq")),
            ("告", Some("呋")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
        ] {
            assert_eq!(after_prefix(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
