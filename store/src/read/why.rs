//! Why something was told, or was not: each step from the delivery to what the receiver said (I9).

use schemas::{Facts, Position, RecordId, Time};
use sqlx::{Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{View, by_incident::ByIncident};
use crate::{Error, time, timestamptz};

/// What the fold made of an alert.
#[derive(Clone, Debug)]
pub struct Folded {
    pub event: Uuid,
    pub record: RecordId,
    pub project: String,
    /// Incarnation, sequence, record, index.
    pub position: (i64, i64, i32, i32),
    pub facts: Facts,
    /// `opened`, `repeated`, ...
    pub effect: String,
    pub is_duplicate: bool,
    pub fingerprint: Uuid,
    /// The rule it was made by; absent where it is the built-in one.
    pub fingerprint_by: Option<String>,
    pub incident: Option<Uuid>,
    pub received_at: Time,
}

/// One decision of notify.
#[derive(Clone, Debug)]
pub struct Decision {
    pub incident: Uuid,
    /// The position of what it was decided about.
    pub at: String,
    /// `planned` or `withheld`.
    pub verdict: String,
    /// What was planned, and for whom.
    pub kind: Option<String>,
    pub receiver: Option<String>,
    /// Why nothing was planned, or why people are told of what they were told of before.
    pub reason: Option<String>,
    pub rule: String,
    /// Hash of the rules document it stands in.
    pub rules: String,
    /// The summary it is or will be told in.
    pub summary: Option<String>,
    /// What decided besides the rule: a silence, another incident, ...
    pub by: Option<String>,
    pub lane_time: Time,
}

/// A message that is still to be sent.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub job: Uuid,
    pub incident: Uuid,
    pub target: String,
    /// `pending` or `claimed`.
    pub state: String,
    pub attempts: i32,
    /// Not tried before.
    pub not_before: Time,
    /// What the receiver said last.
    pub reason: Option<String>,
    pub trigger: String,
}

/// A message that was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub job: Uuid,
    pub project: String,
    pub incident: Uuid,
    /// The position of what caused it.
    pub trigger: String,
}

/// A problem that fired often.
#[derive(Clone, Debug)]
pub struct Frequent {
    pub fingerprint: Uuid,
    /// Of its newest alert.
    pub title: String,
    /// (day as `YYYYMMDD`, running number) of its newest incident.
    pub number: Option<(String, i32)>,
    pub alerts: i64,
}

/// Most alerts that are counted for an answer in a chat: the newest.
const MOST_COUNTED: i64 = 50_000;

const FOLDED: &str = "event_id, record, project, inc, seq, rec, idx, facts, effect, is_duplicate, \
    fingerprint, fingerprint_by, incident, received_at";

impl View {
    /// The alert at a position, which was folded on that lane day.
    pub async fn folded_at(
        &mut self,
        project: &str,
        day: i32,
        at: Position,
    ) -> Result<Option<Folded>, Error> {
        let sql = format!(
            "select {FOLDED} from dossier where generation = $1 and project = $2 \
               and ($3::text[] is null or project = any($3)) \
               and day = $4 and inc = $5 and seq = $6 and rec = $7 and idx = $8"
        );
        // Made of a constant of this file.
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.generation)
            .bind(project)
            .bind(&self.projects)
            .bind(day)
            .bind(at.input.incarnation)
            .bind(at.input.sequence as i64)
            .bind(at.input.record as i32)
            .bind(at.alert.map_or(-1, |index| index as i32))
            .fetch_optional(&mut *self.transaction)
            .await
            .map_err(Error::doing("look for an alert"))?;
        row.as_ref().map(folded).transpose().map_err(Error::doing("read an alert"))
    }

    /// The newest alert of `project` that its sender knows by that id.
    pub async fn folded_of_sender(
        &mut self,
        project: &str,
        id: &str,
    ) -> Result<Option<Folded>, Error> {
        let sql = format!(
            "select {FOLDED} from dossier where generation = $1 and project = $2 \
               and ($3::text[] is null or project = any($3)) and provider_event_id = $4 \
             order by day desc, inc desc, seq desc, rec desc, idx desc limit 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.generation)
            .bind(project)
            .bind(&self.projects)
            .bind(id)
            .fetch_optional(&mut *self.transaction)
            .await
            .map_err(Error::doing("look for an alert of a sender"))?;
        row.as_ref().map(folded).transpose().map_err(Error::doing("read an alert"))
    }

    /// What the fold made of the alerts of a delivery that was folded on that lane day, in the order
    /// of its body: at most `limit` behind the index `after`.
    pub async fn folded_of(
        &mut self,
        project: &str,
        day: i32,
        (inc, seq, rec): (i64, i64, i32),
        (after, limit): (i32, u32),
    ) -> Result<Vec<Folded>, Error> {
        let sql = format!(
            "select {FOLDED} from dossier where generation = $1 and project = $2 \
               and ($3::text[] is null or project = any($3)) \
               and day = $4 and inc = $5 and seq = $6 and rec = $7 and idx > $8 \
             order by idx limit $9"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.generation)
            .bind(project)
            .bind(&self.projects)
            .bind(day)
            .bind(inc)
            .bind(seq)
            .bind(rec)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.transaction)
            .await
            .map_err(Error::doing("read what became of a delivery's alerts"))?;
        rows.iter().map(folded).collect::<Result<_, _>>().map_err(Error::doing("read an alert"))
    }

    /// The decisions of notify about each of `incidents` of `project`, in the order of lane time; the
    /// newest 500.
    pub async fn decisions_of(
        &mut self,
        project: &str,
        incidents: &[Uuid],
    ) -> Result<Vec<Decision>, Error> {
        const READ: ByIncident = ByIncident {
            columns: "*",
            from: "notice where true",
            taken: "lane_time desc, event_id",
            shown: "r.lane_time, r.at, r.event_id",
            doing: "read decisions",
        };
        let rows = self.of_incidents(&READ, project, incidents).await?;
        let decision = |row: &PgRow| {
            Ok(Decision {
                incident: row.try_get("incident")?,
                at: row.try_get("at")?,
                verdict: row.try_get("verdict")?,
                kind: row.try_get("kind")?,
                receiver: row.try_get("receiver")?,
                reason: row.try_get("reason")?,
                rule: row.try_get("rule")?,
                rules: row.try_get("rules")?,
                summary: row.try_get("summary")?,
                by: row.try_get("decided_by")?,
                lane_time: time(row.try_get("lane_time")?),
            })
        };
        rows.iter().map(decision).collect::<Result<_, _>>().map_err(Error::doing("read a decision"))
    }

    /// The messages about each of `incidents` of `project` that are still to be sent, in their order;
    /// the first 500.
    pub async fn waiting_of(
        &mut self,
        project: &str,
        incidents: &[Uuid],
    ) -> Result<Vec<Waiting>, Error> {
        const READ: ByIncident = ByIncident {
            // Not the payload: it holds whole messages.
            columns: "id, incident, target, ordinal, state, attempts, not_before, reason, trigger",
            from: "job where queue = 'send' and state in ('pending', 'claimed')",
            taken: "target, ordinal",
            shown: "r.incident, r.target, r.ordinal",
            doing: "read messages that wait",
        };
        let rows = self.of_incidents(&READ, project, incidents).await?;
        let waiting = |row: &PgRow| {
            Ok(Waiting {
                job: row.try_get("id")?,
                incident: row.try_get("incident")?,
                target: row.try_get("target")?,
                state: row.try_get("state")?,
                attempts: row.try_get("attempts")?,
                not_before: time(row.try_get("not_before")?),
                reason: row.try_get("reason")?,
                trigger: row.try_get("trigger")?,
            })
        };
        rows.iter().map(waiting).collect::<Result<_, _>>().map_err(Error::doing("read a job"))
    }

    /// The problems of `project` that fired most since then, most first; of the newest 50,000 alerts.
    pub async fn most_frequent(
        &mut self,
        project: &str,
        since: Time,
        limit: u32,
    ) -> Result<Vec<Frequent>, Error> {
        let rows = sqlx::query(
            "select f.*, n.day, n.number from ( \
               select fingerprint, count(*) as alerts, \
                 (array_agg(title order by nth))[1] as title, \
                 (array_agg(incident order by nth) filter (where incident is not null))[1] \
                   as incident \
               from (select fingerprint, title, incident, \
                   row_number() over (order by day desc, inc desc, seq desc, rec desc, idx desc) \
                     as nth \
                 from dossier where generation = $1 and project = $2 \
                   and ($3::text[] is null or project = any($3)) \
                   and day >= $4 and received_at >= $5 and stage = 'received' \
                 order by day desc, inc desc, seq desc, rec desc, idx desc limit $6) a \
               group by fingerprint order by alerts desc, fingerprint limit $7) f \
             left join incident_number n on n.incident = f.incident \
             order by f.alerts desc, f.fingerprint",
        )
        .bind(self.generation)
        .bind(project)
        .bind(&self.projects)
        .bind(since.day())
        .bind(timestamptz(since))
        .bind(MOST_COUNTED)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.transaction)
        .await
        .map_err(Error::doing("count what fires"))?;
        let frequent = |row: &PgRow| {
            let (day, number) = (row.try_get("day")?, row.try_get("number")?);
            let day: Option<String> = day;
            Ok(Frequent {
                fingerprint: row.try_get("fingerprint")?,
                title: row.try_get("title")?,
                number: day.zip(number),
                alerts: row.try_get("alerts")?,
            })
        };
        rows.iter().map(frequent).collect::<Result<_, _>>().map_err(Error::doing("read a count"))
    }

    /// What asked for the message of that id, if a visible project did.
    pub async fn asked_for(&mut self, job: Uuid) -> Result<Option<Asked>, Error> {
        let row = sqlx::query(
            "select id, project, incident, trigger from job where generation = $1 and id = $3 \
               and queue = 'send' and ($2::text[] is null or project = any($2))",
        )
        .bind(self.generation)
        .bind(&self.projects)
        .bind(job)
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(Error::doing("look for a message"))?;
        let asked = |row: PgRow| {
            Ok(Asked {
                job: row.try_get("id")?,
                project: row.try_get("project")?,
                incident: row.try_get("incident")?,
                trigger: row.try_get("trigger")?,
            })
        };
        row.map(asked).transpose().map_err(Error::doing("read a message"))
    }
}

fn folded(row: &PgRow) -> Result<Folded, sqlx::Error> {
    let Json(facts) = row.try_get("facts")?;
    Ok(Folded {
        event: row.try_get("event_id")?,
        record: RecordId(row.try_get("record")?),
        project: row.try_get("project")?,
        position: (
            row.try_get("inc")?,
            row.try_get("seq")?,
            row.try_get("rec")?,
            row.try_get("idx")?,
        ),
        facts,
        effect: row.try_get("effect")?,
        is_duplicate: row.try_get("is_duplicate")?,
        fingerprint: row.try_get("fingerprint")?,
        fingerprint_by: row.try_get("fingerprint_by")?,
        incident: row.try_get("incident")?,
        received_at: time(row.try_get("received_at")?),
    })
}
