//! What analysts were asked, what it cost, and what operators think of it.

use std::collections::BTreeMap;

use schemas::Time;
use sqlx::{Row, postgres::PgRow};

use super::View;
use crate::{Error, timestamptz};

/// Whose figures a line has: an analyst with its model and the version of the prompt it was given. An
/// operator may say something of messages that no diagnosis stood in: then there is no analyst.
pub type AnalystKey = (Option<String>, Option<String>, Option<String>);

/// What a report is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span<'a> {
    /// One project, or all that the caller may see.
    pub project: Option<&'a str>,
    /// Lane time: from here on, and before there.
    pub from: Option<Time>,
    pub to: Option<Time>,
}

/// The figures of one analyst, model and version of the prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnalystFigures {
    /// How often it was asked, and how often it had an answer.
    pub asked: i64,
    pub answered: i64,
    /// By name: how often it failed.
    pub failures: BTreeMap<String, i64>,
    /// Requests made for it.
    pub calls: i64,
    pub tokens_in: i64,
    pub tokens_out: i64,
    /// Millionths of the currency that prices are configured in.
    pub cost_micros: i64,
    /// Of half, and of 95 of 100, the longest; in milliseconds.
    pub latency_ms: Option<(i64, i64)>,
    /// Of the diagnoses answered in this time: those an operator confirmed or rejected since, and
    /// those that say themselves that what was told does not suffice.
    pub diagnoses: i64,
    pub confirmed: i64,
    pub rejected: i64,
    pub inconclusive: i64,
    /// What operators said in this time of messages that its diagnosis stood in.
    pub useful: i64,
    pub not_useful: i64,
    pub noise: i64,
}

impl View {
    /// The figures of everybody who was asked, in the order of their keys.
    pub async fn analysts(
        &mut self,
        span: Span<'_>,
    ) -> Result<BTreeMap<AnalystKey, AnalystFigures>, Error> {
        let mut lines: BTreeMap<AnalystKey, AnalystFigures> = BTreeMap::new();
        let asked = self
            .of_span(
                "select analyst, model, prompt, count(*) as asked, \
                   count(*) filter (where result = 'answered') as answered, \
                   sum(calls)::bigint as calls, sum(tokens_in)::bigint as tokens_in, \
                   sum(tokens_out)::bigint as tokens_out, \
                   sum(cost_micros)::bigint as cost_micros, \
                   percentile_disc(array[0.5, 0.95]) within group (order by latency_ms) \
                     as latency_ms \
                 from analyst_call where generation = $1 and ($2::text[] is null or project = any($2)) \
                   and ($3::text is null or project = $3) \
                   and ($4::timestamptz is null or at >= $4) \
                   and ($5::timestamptz is null or at < $5) \
                 group by analyst, model, prompt",
                span,
            )
            .await?;
        for row in &asked {
            let line = lines.entry(key(row)?).or_default();
            line.asked = get(row, "asked")?;
            line.answered = get(row, "answered")?;
            line.calls = get(row, "calls")?;
            line.tokens_in = get(row, "tokens_in")?;
            line.tokens_out = get(row, "tokens_out")?;
            line.cost_micros = get(row, "cost_micros")?;
            let latency: Option<Vec<i64>> = get(row, "latency_ms")?;
            line.latency_ms = latency.and_then(|l| Some((*l.first()?, *l.get(1)?)));
        }
        let failed = self
            .of_span(
                "select analyst, model, prompt, result, count(*) as times \
                 from analyst_call where generation = $1 and ($2::text[] is null or project = any($2)) \
                   and ($3::text is null or project = $3) \
                   and ($4::timestamptz is null or at >= $4) \
                   and ($5::timestamptz is null or at < $5) and result <> 'answered' \
                 group by analyst, model, prompt, result",
                span,
            )
            .await?;
        for row in &failed {
            let line = lines.entry(key(row)?).or_default();
            line.failures.insert(get(row, "result")?, get(row, "times")?);
        }
        let diagnosed = self
            .of_span(
                "select analyst, model, prompt, count(*) as diagnoses, \
                   count(*) filter (where verdict = 'confirmed') as confirmed, \
                   count(*) filter (where verdict = 'rejected') as rejected, \
                   count(*) filter (where inconclusive) as inconclusive \
                 from diagnosis where generation = $1 and ($2::text[] is null or project = any($2)) \
                   and ($3::text is null or project = $3) and answered_at is not null \
                   and ($4::timestamptz is null or answered_at >= $4) \
                   and ($5::timestamptz is null or answered_at < $5) \
                 group by analyst, model, prompt",
                span,
            )
            .await?;
        for row in &diagnosed {
            let line = lines.entry(key(row)?).or_default();
            line.diagnoses = get(row, "diagnoses")?;
            line.confirmed = get(row, "confirmed")?;
            line.rejected = get(row, "rejected")?;
            line.inconclusive = get(row, "inconclusive")?;
        }
        let opinions = self
            .of_span(
                "select d.analyst, d.model, d.prompt, \
                   count(*) filter (where u.verdict = 'useful') as useful, \
                   count(*) filter (where u.verdict = 'not_useful') as not_useful, \
                   count(*) filter (where u.verdict = 'noise') as noise \
                 from usefulness u left join diagnosis d on d.generation = $1 \
                   and d.project = u.project and d.run = u.run \
                 where u.generation = $1 and ($2::text[] is null or u.project = any($2)) \
                   and ($3::text is null or u.project = $3) \
                   and ($4::timestamptz is null or u.at >= $4) \
                   and ($5::timestamptz is null or u.at < $5) \
                 group by d.analyst, d.model, d.prompt",
                span,
            )
            .await?;
        for row in &opinions {
            let line = lines.entry(key(row)?).or_default();
            line.useful = get(row, "useful")?;
            line.not_useful = get(row, "not_useful")?;
            line.noise = get(row, "noise")?;
        }
        Ok(lines)
    }

    async fn of_span(&mut self, sql: &'static str, span: Span<'_>) -> Result<Vec<PgRow>, Error> {
        sqlx::query(sql)
            .bind(self.generation)
            .bind(&self.projects)
            .bind(span.project)
            .bind(span.from.map(timestamptz))
            .bind(span.to.map(timestamptz))
            .fetch_all(&mut *self.transaction)
            .await
            .map_err(Error::doing("read the figures of analysts"))
    }
}

fn key(row: &PgRow) -> Result<AnalystKey, Error> {
    Ok((get(row, "analyst")?, get(row, "model")?, get(row, "prompt")?))
}

fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, Error>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(Error::doing("read a figure of an analyst"))
}
