//! Why something was told, or was not: each step with the rule that decided and what the receiver said.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use jiff::Timestamp;
use schemas::RecordId;
use serde::{Deserialize, Serialize};
use store::read::{
    View,
    delivery::{SettledDelivery, SettledSend},
    incident::IncidentItem,
    why::{Decision as Decided, Folded, Waiting as Waits},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{App, Params, commands::Action, incidents::Named, page::Page};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WhyQuery {
    /// The tenant of an incident's number or of a sender's id; yours, or the default, when absent.
    project_id: Option<String>,
    /// Of a delivery: the alerts behind this one, as `next` says; the first when absent.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Of a delivery: how many of its alerts.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// Alerts of a delivery in one answer, at most and where nothing is said: each may have an incident of its
/// own, and of each all is told.
pub const ALERTS: (u32, u32) = (200, 50);

/// Why something was told, or was not.
#[derive(Debug, Serialize, ToSchema)]
pub struct Why {
    /// What was asked about: `incident`, `delivery`, `alert` or `message`.
    pub about: &'static str,
    pub id: String,
    pub project_id: String,
    /// What arrived.
    pub deliveries: Vec<Delivery>,
    /// What the fold made of it.
    pub alerts: Vec<Alert>,
    /// What was decided and sent of each incident, or of each message that is about none.
    pub steps: Vec<Steps>,
    /// Of a delivery with more alerts than these: what to ask for as `after`.
    pub next: Option<i32>,
}

/// A delivery and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    pub record_id: Uuid,
    /// Where it stands in the log.
    pub position: String,
    pub source: String,
    pub provider: String,
    /// `observed`, `redelivered`, `rejected`, ...
    pub outcome: String,
    pub reason: Option<String>,
    pub alerts: i32,
    pub received_at: Timestamp,
}

/// What the fold made of an alert.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alert {
    pub event_id: Uuid,
    pub record_id: Uuid,
    pub position: String,
    pub title: String,
    /// `opened`, `repeated`, `resolved`, `suppressed`, `stale`, `same_occurrence`, ...
    pub effect: String,
    pub is_duplicate: bool,
    /// What makes it the same problem again.
    pub fingerprint: Uuid,
    /// The rule it was made by; null where it is the built-in one.
    pub fingerprint_by: Option<String>,
    pub incident_id: Option<Uuid>,
    pub received_at: Timestamp,
}

/// What was decided and sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Steps {
    pub incident_id: Uuid,
    /// The incident; null of a summary, a trial or an answer.
    pub incident: Option<Brief>,
    /// Oldest first; the newest 500.
    pub decisions: Vec<Decision>,
    /// What was sent, and what the receiver said; oldest first.
    pub sends: Vec<Send>,
    /// What is still to be sent.
    pub waiting: Vec<Waiting>,
    /// What operators asked for; oldest first.
    pub actions: Vec<Action>,
}

/// An incident in short.
#[derive(Debug, Serialize, ToSchema)]
pub struct Brief {
    pub number: Option<String>,
    pub title: String,
    pub opening: String,
    pub cause: String,
    pub status: String,
    pub risk: String,
    pub occurrences: i64,
    pub opened_at: Timestamp,
    pub silenced_until: Option<Timestamp>,
}

/// One decision, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct Decision {
    /// Lane time.
    pub at: Timestamp,
    /// Where what it was decided about stands in the log.
    pub position: String,
    /// `planned` or `withheld`.
    pub verdict: String,
    /// What was planned: `fire`, `resolve`, `update`, ...
    pub kind: Option<String>,
    pub receiver: Option<String>,
    /// Why nothing was planned, or why people are told of what they were told of before.
    pub reason: Option<String>,
    /// The rule that decided, and the hash of the rules it stands in.
    pub rule: String,
    pub rules: String,
    /// The summary it is or will be told in.
    pub summary: Option<String>,
    /// What decided besides the rule: a silence, another incident, ...
    pub decided_by: Option<String>,
}

/// A message and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Send {
    pub job_id: Uuid,
    pub target: String,
    pub channel: String,
    pub kind: String,
    /// Where what caused it stands in the log.
    pub position: String,
    /// `delivered`, `already_told`, `refused`, `unknown`, `not_needed`.
    pub result: String,
    /// What the receiver said: its id of the message, or why it did not take it.
    pub detail: Option<String>,
    pub attempts: i32,
    pub settled_at: Timestamp,
}

/// A message that is still to be sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Waiting {
    pub job_id: Uuid,
    pub target: String,
    /// `pending`, or `claimed`: just being sent.
    pub state: String,
    pub position: String,
    pub attempts: i32,
    /// Not tried before.
    pub not_before: Timestamp,
    /// What the receiver said last.
    pub reason: Option<String>,
}

/// Why something was told, or was not: each step from what arrived to what the receiver said.
#[utoipa::path(
    get,
    path = "/api/v1/why/{id}",
    params(
        ("id" = String, Path, description = "An incident's id or number `INC-YYYYMMDD-NNN`, the id of \
            a delivery or of a message, or a sender's own id of an alert."),
        WhyQuery,
    ),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = Why),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn why(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    path: Result<Path<String>, PathRejection>,
    Params(query): Params<WhyQuery>,
) -> Result<Json<Why>, Problem> {
    let Path(id) = path.map_err(|_| Problem::parameter("id", "cannot be read"))?;
    let page = Page::asked(query.after, query.limit, ALERTS)?;
    let project = app.project(&caller, query.project_id.as_deref());
    let mut view = app.store.view(&caller.visible).await?;
    let found = if id.parse::<Uuid>().is_ok() {
        // A sender's own id may look like one of ours; it is one of the project's.
        trace(&mut view, project.as_deref().unwrap_or_default(), &id, page).await?
    } else {
        trace(&mut view, &project?, &id, page).await?
    };
    found.map(Json).ok_or_else(|| Problem::not_found(format!("nothing is known of {id:?}")))
}

/// Why what `id` names was told, or was not, as far as the view shows it; `project` is that of a number
/// or of a sender's own id, `page` that of a delivery.
///
/// # Errors
/// When the tables cannot be read.
pub async fn trace(
    view: &mut View,
    project: &str,
    id: &str,
    page: Page,
) -> Result<Option<Why>, store::Error> {
    if id.contains('\0') {
        return Ok(None);
    }
    match Named::of(id) {
        Ok(Named::Id(uuid)) => match of_id(view, id, uuid, page).await? {
            Some(why) => Ok(Some(why)),
            None => of_sender(view, project, id).await,
        },
        Ok(Named::Number(day, number)) => {
            match view.incident_of_number(project, &day, number).await? {
                Some(incident) => of_incident(view, id, project, incident).await,
                None => Ok(None),
            }
        }
        Err(_) => of_sender(view, project, id).await,
    }
}

async fn of_sender(view: &mut View, project: &str, id: &str) -> Result<Option<Why>, store::Error> {
    match view.folded_of_sender(project, id).await? {
        Some(alert) => of_alert(view, id, alert).await.map(Some),
        None => Ok(None),
    }
}

async fn of_id(
    view: &mut View,
    id: &str,
    uuid: Uuid,
    page: Page,
) -> Result<Option<Why>, store::Error> {
    if let Some(project) = view.project_of(uuid).await? {
        return of_incident(view, id, &project, uuid).await;
    }
    if let Some(asked) = view.asked_for(uuid).await? {
        let mut steps = steps_of(view, &asked.project, asked.incident).await?;
        steps.decisions.retain(|decision| decision.position == asked.trigger);
        steps.sends.retain(|send| send.job_id == asked.job);
        steps.waiting.retain(|waiting| waiting.job_id == asked.job);
        let (deliveries, alerts) = opening(view, &asked.project, &steps).await?;
        let (about, id) = ("message", id.to_owned());
        let project_id = asked.project;
        let (steps, next) = (vec![steps], None);
        return Ok(Some(Why { about, id, project_id, deliveries, alerts, steps, next }));
    }
    let Some(delivery) = view.delivery(RecordId(uuid)).await? else { return Ok(None) };
    let (project_id, day, position) = (delivery.project.clone(), delivery.day, delivery.position);
    let folded = view.folded_of(&project_id, day, position, (page.after, page.limit)).await?;
    let next = Page::next(folded.last().map(|alert| alert.position.3), delivery.alerts);
    let mut all = steps(view, &project_id, &distinct(&folded)).await?;
    // What else was decided of them is not about this delivery.
    let (inc, seq, rec) = position;
    let (place, within) = (format!("{inc}-{seq}-{rec}"), format!("{inc}-{seq}-{rec}-"));
    let of_it = |at: &str| at == place || at.starts_with(&within);
    for of_one in &mut all {
        of_one.decisions.retain(|decision| of_it(&decision.position));
        of_one.sends.retain(|send| of_it(&send.position));
        of_one.waiting.retain(|waiting| of_it(&waiting.position));
    }
    Ok(Some(Why {
        about: "delivery",
        id: id.to_owned(),
        project_id,
        deliveries: vec![delivery.into()],
        alerts: folded.into_iter().map(Alert::from).collect(),
        steps: all,
        next,
    }))
}

async fn of_incident(
    view: &mut View,
    id: &str,
    project: &str,
    incident: Uuid,
) -> Result<Option<Why>, store::Error> {
    let steps = steps_of(view, project, incident).await?;
    if steps.incident.is_none() {
        return Ok(None);
    }
    let (deliveries, alerts) = opening(view, project, &steps).await?;
    let (about, id, project_id) = ("incident", id.to_owned(), project.to_owned());
    let (steps, next) = (vec![steps], None);
    Ok(Some(Why { about, id, project_id, deliveries, alerts, steps, next }))
}

async fn of_alert(view: &mut View, id: &str, alert: Folded) -> Result<Why, store::Error> {
    let delivery = view.delivery(alert.record).await?;
    let project_id = alert.project.clone();
    let steps = steps(view, &project_id, alert.incident.as_slice()).await?;
    Ok(Why {
        about: "alert",
        id: id.to_owned(),
        project_id,
        deliveries: delivery.into_iter().map(Delivery::from).collect(),
        alerts: vec![alert.into()],
        steps,
        next: None,
    })
}

/// The delivery and the alert that opened an incident, as long as the tables have them.
async fn opening(
    view: &mut View,
    project: &str,
    steps: &Steps,
) -> Result<(Vec<Delivery>, Vec<Alert>), store::Error> {
    let Some(incident) = &steps.incident else { return Ok((Vec::new(), Vec::new())) };
    let Ok(at) = incident.opening.parse() else { return Ok((Vec::new(), Vec::new())) };
    let day = schemas::Time::from(incident.opened_at).day();
    let Some(alert) = view.folded_at(project, day, at).await? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let delivery = view.delivery(alert.record).await?;
    Ok((delivery.into_iter().map(Delivery::from).collect(), vec![alert.into()]))
}

fn distinct(alerts: &[Folded]) -> Vec<Uuid> {
    let mut incidents: Vec<_> = alerts.iter().filter_map(|alert| alert.incident).collect();
    incidents.sort_unstable();
    incidents.dedup();
    incidents
}

/// All that was decided, sent and asked for of each of these incidents, or of what stands in the place
/// of one.
async fn steps(
    view: &mut View,
    project: &str,
    incidents: &[Uuid],
) -> Result<Vec<Steps>, store::Error> {
    let mut all: BTreeMap<Uuid, Steps> =
        incidents.iter().map(|incident| (*incident, Steps::of(*incident))).collect();
    for item in view.incidents_by_id(project, incidents).await? {
        all.entry(item.incident).and_modify(|of| of.incident = Some(item.into()));
    }
    for decided in view.decisions_of(project, incidents).await? {
        all.entry(decided.incident).and_modify(|of| of.decisions.push(decided.into()));
    }
    for sent in view.sends_of(project, incidents).await? {
        let Some(incident) = sent.incident else { continue };
        all.entry(incident).and_modify(|of| of.sends.push(sent.into()));
    }
    for waits in view.waiting_of(project, incidents).await? {
        all.entry(waits.incident).and_modify(|of| of.waiting.push(waits.into()));
    }
    for asked in view.actions_of(project, incidents).await? {
        all.entry(asked.incident).and_modify(|of| of.actions.push(asked.into()));
    }
    Ok(all.into_values().collect())
}

async fn steps_of(view: &mut View, project: &str, incident: Uuid) -> Result<Steps, store::Error> {
    Ok(steps(view, project, &[incident]).await?.pop().unwrap_or_else(|| Steps::of(incident)))
}

impl Steps {
    /// Nothing so far.
    fn of(incident_id: Uuid) -> Self {
        let (decisions, sends, waiting, actions) = Default::default();
        Self { incident_id, incident: None, decisions, sends, waiting, actions }
    }
}

/// What was decided about an incident, and why.
///
/// # Errors
/// When the tables cannot be read.
pub async fn decisions(
    view: &mut View,
    project: &str,
    incident: Uuid,
) -> Result<Vec<Decision>, store::Error> {
    let found = view.decisions_of(project, &[incident]).await?;
    Ok(found.into_iter().map(Decision::from).collect())
}

impl From<SettledDelivery> for Delivery {
    fn from(d: SettledDelivery) -> Self {
        let (inc, seq, rec) = d.position;
        Self {
            record_id: d.record.0,
            position: format!("{inc}-{seq}-{rec}"),
            source: d.source,
            provider: d.provider,
            outcome: d.outcome,
            reason: d.reason,
            alerts: d.alerts,
            received_at: d.received_at.timestamp(),
        }
    }
}

impl From<Folded> for Alert {
    fn from(f: Folded) -> Self {
        let (inc, seq, rec, idx) = f.position;
        Self {
            event_id: f.event,
            record_id: f.record.0,
            position: format!("{inc}-{seq}-{rec}-{idx}"),
            title: f.facts.title,
            effect: f.effect,
            is_duplicate: f.is_duplicate,
            fingerprint: f.fingerprint,
            fingerprint_by: f.fingerprint_by,
            incident_id: f.incident,
            received_at: f.received_at.timestamp(),
        }
    }
}

impl From<IncidentItem> for Brief {
    fn from(i: IncidentItem) -> Self {
        Self {
            number: i.number.map(|(day, number)| format!("INC-{day}-{number:03}")),
            title: i.facts.title,
            opening: i.opening,
            cause: i.cause,
            status: i.status,
            risk: i.risk.word().to_owned(),
            occurrences: i.occurrences,
            opened_at: i.opened_at.timestamp(),
            silenced_until: i.silenced_until.map(|t| t.timestamp()),
        }
    }
}

impl From<Decided> for Decision {
    fn from(d: Decided) -> Self {
        Self {
            at: d.lane_time.timestamp(),
            position: d.at,
            verdict: d.verdict,
            kind: d.kind,
            receiver: d.receiver,
            reason: d.reason,
            rule: d.rule,
            rules: d.rules,
            summary: d.summary,
            decided_by: d.by,
        }
    }
}

impl From<SettledSend> for Send {
    fn from(s: SettledSend) -> Self {
        Self {
            job_id: s.job,
            target: s.target,
            channel: s.channel,
            kind: s.kind,
            position: s.trigger,
            result: s.result,
            detail: s.detail,
            attempts: s.attempts,
            settled_at: s.settled_at.timestamp(),
        }
    }
}

impl From<Waits> for Waiting {
    fn from(w: Waits) -> Self {
        Self {
            job_id: w.job,
            target: w.target,
            state: w.state,
            position: w.trigger,
            attempts: w.attempts,
            not_before: w.not_before.timestamp(),
            reason: w.reason,
        }
    }
}
