//! How complete the newest events are (R52).

use schemas::Time;
use sqlx::{Row, postgres::PgRow};

use super::View;
use crate::{Error, projection::coverage::Counters, time, timestamptz};

/// What was counted of one provider.
#[derive(Clone, Debug)]
pub struct ProviderCoverage {
    pub provider: String,
    pub counters: Counters,
    /// Events whose raw body is still in the log; no table counts them over all time.
    pub with_envelope: Option<i64>,
    pub latest_received_at: Time,
}

impl View {
    /// Counts the newest `limit` events of `project`, by provider. Raw bodies received before
    /// `log_floor` are gone from the log.
    pub async fn coverage(
        &mut self,
        project: &str,
        provider: Option<&str>,
        limit: u32,
        log_floor: Time,
    ) -> Result<Vec<ProviderCoverage>, Error> {
        let rows = sqlx::query(
            "select provider, count(*) as total, \
               count(*) filter (where is_duplicate) as duplicates, \
               count(*) filter (where has_redacted_content) as redacted, \
               count(*) filter (where source_ref_count = 0) as without_refs, \
               sum(sentry_ref_count) as sentry_refs, sum(signoz_ref_count) as signoz_refs, \
               sum(alert_ref_count) as alert_refs, \
               count(*) filter (where received_at >= $6) as with_envelope, \
               max(received_at) as latest_received_at \
             from (select provider, is_duplicate, has_redacted_content, source_ref_count, \
                 sentry_ref_count, signoz_ref_count, alert_ref_count, received_at \
               from dossier \
               where generation = $1 and project = $2 \
                 and ($3::text[] is null or project = any($3)) \
                 and ($4::text is null or provider = $4) \
               order by day desc, inc desc, seq desc, rec desc, idx desc limit $5) newest \
             group by provider order by provider",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(provider)
        .bind(i64::from(limit))
        .bind(timestamptz(log_floor))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("count coverage"))?;
        rows.iter()
            .map(provider_coverage)
            .collect::<Result<_, _>>()
            .map_err(Error::doing("read coverage"))
    }

    /// The all-time counters of each provider of `project`.
    pub async fn coverage_of_all(
        &mut self,
        project: &str,
        provider: Option<&str>,
    ) -> Result<Vec<ProviderCoverage>, Error> {
        let rows = sqlx::query(
            "select provider, total, duplicate_total as duplicates, redacted_total as redacted, \
               missing_source_refs_total as without_refs, sentry_ref_total as sentry_refs, \
               signoz_ref_total as signoz_refs, alert_ref_total as alert_refs, \
               null::bigint as with_envelope, latest_received_at \
             from coverage where generation = $1 and project = $2 \
               and ($3::text[] is null or project = any($3)) \
               and ($4::text is null or provider = $4) \
             order by provider",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(provider)
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("read coverage of all"))?;
        rows.iter()
            .map(provider_coverage)
            .collect::<Result<_, _>>()
            .map_err(Error::doing("read coverage of all"))
    }
}

fn provider_coverage(row: &PgRow) -> Result<ProviderCoverage, sqlx::Error> {
    Ok(ProviderCoverage {
        provider: row.try_get("provider")?,
        counters: counters(row)?,
        with_envelope: row.try_get("with_envelope")?,
        latest_received_at: time(row.try_get("latest_received_at")?),
    })
}

/// Reads the columns total, duplicates, redacted, without_refs and the three kinds of reference.
pub(super) fn counters(row: &PgRow) -> Result<Counters, sqlx::Error> {
    Ok(Counters {
        total: row.try_get("total")?,
        duplicates: row.try_get("duplicates")?,
        redacted: row.try_get("redacted")?,
        without_refs: row.try_get("without_refs")?,
        sentry_refs: row.try_get("sentry_refs")?,
        signoz_refs: row.try_get("signoz_refs")?,
        alert_refs: row.try_get("alert_refs")?,
    })
}
