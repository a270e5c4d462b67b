//! Past incidents like a new one, whose diagnosis an operator confirmed: what an analyst is told
//! beside the alert.

use schemas::{Fingerprint, IncidentId, ProjectId, Time, job::Similar};
use sqlx::{Row, postgres::PgRow, types::Json};

use crate::{Error, Store, projection::text, time};

/// Most past incidents that are told of.
const MOST: usize = 5;
/// Of a word that many have, the newest that many are looked at: with the most words of an alert
/// that bounds what is read, whatever the table holds.
const NEWEST_OF_A_WORD: i64 = 50;
/// The best of what is found so, which are compared word by word; some may not be confirmed any more.
const CANDIDATES: i64 = 50;

/// What a past incident has to have.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// Of this project, and no other.
    pub project: &'a ProjectId,
    /// Not this one.
    pub incident: IncidentId,
    /// Its problem, where that is known: past incidents of the same are marked.
    pub fingerprint: Option<Fingerprint>,
    /// Words and what each weighs.
    pub words: &'a [(String, u32)],
    /// What the shared words have to weigh together.
    pub enough: u32,
}

impl Store {
    /// The past incidents of a project that share the weightiest words with a new one: those of the
    /// same problem first, then the most like it; a word that few have counts more. Of each, the
    /// diagnosis that was confirmed last.
    pub async fn similar(&self, sought: Sought<'_>) -> Result<Vec<Similar>, Error> {
        let Sought { project, incident, fingerprint, words, enough } = sought;
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<_> = words.iter().map(|(word, _)| text(word)).collect();
        let weights: Vec<i32> = words.iter().map(|(_, weight)| weight.cast_signed()).collect();
        let rows = sqlx::query(
            "with live as materialized (
                 select generation from generation where state = 'active'),
             hits as materialized (
                 select w.word, w.weight, l.run, l.at, count(*) over (partition by w.word) as n
                 from live, unnest($2::text[], $3::int[]) as w(word, weight)
                 cross join lateral (
                     select k.run, k.at from likeness k
                     where k.generation = live.generation and k.project = $1
                       and k.word = w.word
                     order by k.at desc limit $6) l),
             rarity as (
                 select word, weight, weight / (1 + ln(max(n))) as worth
                 from hits group by word, weight),
             candidate as (
                 select run, at from hits group by run, at
                 order by sum(weight / (1 + ln(n))) desc, run limit $7),
             near as (
                 select c.run, sum(r.worth) as worth from live, candidate c cross join rarity r
                 where exists (select from likeness k where k.generation = live.generation
                     and k.project = $1 and k.word = r.word and k.at = c.at and k.run = c.run)
                 group by c.run having sum(r.weight) >= $5)
             select d.incident, d.analysis, i.facts->>'title' as title, i.opened_at, i.closed_at,
                 n.day, n.number, coalesce(i.fingerprint = $8, false) as same_problem
             from live cross join near
             join diagnosis d on d.generation = live.generation and d.project = $1
                 and d.run = near.run
             join incident i on i.generation = live.generation and i.project = $1
                 and i.incident = d.incident
             join incident_number n on n.incident = d.incident
             where d.verdict = 'confirmed' and d.incident <> $4
                 and d.analysis is not null and not d.inconclusive
             order by same_problem desc, near.worth desc, d.verdict_at desc, d.run",
        )
        .bind(project.as_str())
        .bind(texts)
        .bind(weights)
        .bind(incident.0)
        .bind(i64::from(enough))
        .bind(NEWEST_OF_A_WORD)
        .bind(CANDIDATES)
        .bind(fingerprint.map(|fingerprint| fingerprint.0))
        .fetch_all(self.pool())
        .await
        .map_err(Error::doing("look for similar incidents"))?;
        let mut found: Vec<(uuid::Uuid, Similar)> = Vec::new();
        for row in &rows {
            let (of, past) = past(row).map_err(Error::doing("read a similar incident"))?;
            if found.len() < MOST && !found.iter().any(|(known, _)| *known == of) {
                found.push((of, past));
            }
        }
        Ok(found.into_iter().map(|(_, past)| past).collect())
    }
}

fn past(row: &PgRow) -> Result<(uuid::Uuid, Similar), sqlx::Error> {
    let (day, number): (String, i32) = (row.try_get("day")?, row.try_get("number")?);
    let Json(diagnosis) = row.try_get("analysis")?;
    let ended: Option<Time> = row.try_get::<Option<_>, _>("closed_at")?.map(time);
    let past = Similar {
        number: format!("INC-{day}-{number:03}"),
        title: row.try_get("title")?,
        opened: time(row.try_get("opened_at")?),
        ended,
        same_problem: row.try_get("same_problem")?,
        diagnosis,
    };
    Ok((row.try_get("incident")?, past))
}
