//! How often the same thing comes back (R55-R57).

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::read::recurrence::{RecurringEvent, RecurringKey, RecurringTotals};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{App, Params, bounded, counts_all};
use crate::{auth::Caller, problem::Problem};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RecurrenceQuery {
    /// The tenant; yours, or the default, when absent.
    project_id: Option<String>,
    /// Only this provider, for example `alertmanager`.
    provider: Option<String>,
    /// How many of the newest events are counted; the groups are made of those. With `window=all`,
    /// how many groups are listed.
    #[param(minimum = 1, maximum = 300, default = 100)]
    limit: Option<i64>,
    /// `all`: totals over everything ever observed, from the materialised counters.
    #[param(pattern = "^all$")]
    window: Option<String>,
}

/// Sums over the events counted. There are no repair runs and no work items yet, so what counts
/// those is 0.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ChannelEventRecurrenceSummary {
    /// Events counted: the groups partition them.
    source_event_total: usize,
    recurrence_group_total: usize,
    /// Groups with at least two events.
    recurrent_group_total: usize,
    duplicate_event_total: usize,
    /// Events whose incident has a run; with `unlinked_event_total` all of them. With `window=all`
    /// those that belong to an incident: each is asked for a run as it opens.
    linked_run_total: usize,
    unlinked_event_total: usize,
    auto_repair_linked_total: usize,
    verified_repair_group_total: usize,
    open_work_item_group_total: usize,
    manual_gate_group_total: usize,
    automation_gap_group_total: usize,
    failed_repair_group_total: usize,
    latest_received_at: Option<Timestamp>,
}

/// Events of one recurrence key. Identity and `latest_*` are those of the newest event that
/// states them.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ChannelEventRecurrenceItem {
    recurrence_key: String,
    provider: Option<String>,
    alertname: Option<String>,
    severity: Option<String>,
    namespace: Option<String>,
    target_resource: Option<String>,
    fingerprint: Option<String>,
    latest_event_id: Option<Uuid>,
    latest_provider_event_id: Option<String>,
    latest_content_preview: Option<String>,
    latest_run_id: Option<Uuid>,
    /// `running`, `completed` or `failed`.
    latest_run_state: Option<String>,
    /// The analyst of that run.
    latest_agent_id: Option<String>,
    latest_incident_id: Option<String>,
    /// Newest first; with `window=all` the newest alone.
    incident_ids: Vec<String>,
    /// Null: there are no repair runs yet.
    #[schema(value_type = Option<Object>)]
    repair_summary: Option<serde_json::Value>,
    /// Null: there are no work items yet.
    #[schema(value_type = Option<Object>)]
    work_item: Option<serde_json::Value>,
    occurrence_total: usize,
    duplicate_total: usize,
    /// Events whose incident has a run; with `window=all` those that belong to an incident.
    linked_run_total: usize,
    source_ref_total: i64,
    missing_source_refs_total: usize,
    sentry_ref_total: i64,
    signoz_ref_total: i64,
    alert_ref_total: i64,
    /// Linked events by the state of their run; sums to `linked_run_total`. Empty with `window=all`.
    run_state_counts: BTreeMap<String, usize>,
    first_received_at: Option<Timestamp>,
    latest_received_at: Option<Timestamp>,
}

/// The newest events, grouped by what comes back.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelEventRecurrenceResponse {
    project_id: String,
    limit: u32,
    summary: ChannelEventRecurrenceSummary,
    /// Most frequent first, then newest first.
    items: Vec<ChannelEventRecurrenceItem>,
}

/// The newest events, or all, grouped by what comes back.
#[utoipa::path(
    get,
    path = "/api/v1/events/dossier/recurrence",
    params(RecurrenceQuery),
    security(("operator_key" = [])),
    responses(
        (status = 200, body = ChannelEventRecurrenceResponse),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn recurrence(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Params(query): Params<RecurrenceQuery>,
) -> Result<Json<ChannelEventRecurrenceResponse>, Problem> {
    let limit = bounded("limit", query.limit, 1..=300, 100)?;
    let all = counts_all(query.window.as_deref())?;
    let project_id = app.project(&caller, query.project_id.as_deref())?;
    let mut view = app.store.view(&caller.visible).await?;
    let provider = query.provider.as_deref();
    let (summary, items) = if all {
        let totals = view.recurring_totals(&project_id, provider).await?;
        let keys = view.recurring_keys(&project_id, provider, limit).await?;
        let items = keys.into_iter().map(ChannelEventRecurrenceItem::from).collect();
        (ChannelEventRecurrenceSummary::from(&totals), items)
    } else {
        let items = groups(&view.recurring_events(&project_id, provider, limit).await?);
        (summary(&items), items)
    };
    Ok(Json(ChannelEventRecurrenceResponse { project_id, limit, summary, items }))
}

/// Groups events, given newest first, by their recurrence key.
fn groups(events: &[RecurringEvent]) -> Vec<ChannelEventRecurrenceItem> {
    let mut order = Vec::<Uuid>::new();
    let mut groups = BTreeMap::<Uuid, ChannelEventRecurrenceItem>::new();
    for event in events {
        let group = groups.entry(event.recurrence_key).or_insert_with(|| {
            order.push(event.recurrence_key);
            newest(event)
        });
        count(group, event);
    }
    let mut items: Vec<_> = order.iter().filter_map(|key| groups.remove(key)).collect();
    // A stable sort: equally frequent groups stay newest first.
    items.sort_by_key(|item| std::cmp::Reverse(item.occurrence_total));
    items
}

/// A group that knows its newest event and has counted nothing.
fn newest(event: &RecurringEvent) -> ChannelEventRecurrenceItem {
    ChannelEventRecurrenceItem {
        recurrence_key: event.recurrence_key.to_string(),
        provider: Some(event.provider.clone()),
        alertname: event.alertname.clone(),
        severity: event.severity.clone(),
        namespace: event.namespace.clone(),
        target_resource: event.target_resource.clone(),
        fingerprint: Some(event.fingerprint.to_string()),
        latest_event_id: Some(event.event),
        latest_provider_event_id: Some(event.provider_event_id.clone()),
        latest_content_preview: event.content_preview.clone(),
        ..ChannelEventRecurrenceItem::default()
    }
}

/// Counts one event into its group.
fn count(group: &mut ChannelEventRecurrenceItem, event: &RecurringEvent) {
    let refs = event.sentry_refs + event.signoz_refs + event.alert_refs;
    let received_at = event.received_at.timestamp();
    group.occurrence_total += 1;
    group.duplicate_total += usize::from(event.is_duplicate);
    group.source_ref_total += refs;
    group.missing_source_refs_total += usize::from(refs == 0);
    group.sentry_ref_total += event.sentry_refs;
    group.signoz_ref_total += event.signoz_refs;
    group.alert_ref_total += event.alert_refs;
    group.latest_received_at = group.latest_received_at.max(Some(received_at));
    group.first_received_at =
        Some(group.first_received_at.map_or(received_at, |first| first.min(received_at)));
    if let Some(incident) = event.incident {
        let incident = incident.to_string();
        group.latest_incident_id.get_or_insert_with(|| incident.clone());
        if !group.incident_ids.contains(&incident) {
            group.incident_ids.push(incident);
        }
    }
    if let Some(run) = &event.run {
        group.linked_run_total += 1;
        *group.run_state_counts.entry(run.state.clone()).or_default() += 1;
        if group.latest_run_id.is_none() {
            group.latest_run_id = Some(run.run);
            group.latest_run_state = Some(run.state.clone());
            group.latest_agent_id = run.agent.clone();
        }
    }
}

fn summary(items: &[ChannelEventRecurrenceItem]) -> ChannelEventRecurrenceSummary {
    let mut sum = ChannelEventRecurrenceSummary::default();
    for item in items {
        sum.source_event_total += item.occurrence_total;
        sum.recurrence_group_total += 1;
        sum.recurrent_group_total += usize::from(item.occurrence_total >= 2);
        sum.duplicate_event_total += item.duplicate_total;
        sum.linked_run_total += item.linked_run_total;
        sum.unlinked_event_total += item.occurrence_total - item.linked_run_total;
        sum.latest_received_at = sum.latest_received_at.max(item.latest_received_at);
    }
    sum
}

/// A counter, which is never negative.
fn count_of(counter: i64) -> usize {
    usize::try_from(counter).unwrap_or(0)
}

impl From<&RecurringTotals> for ChannelEventRecurrenceSummary {
    fn from(t: &RecurringTotals) -> Self {
        Self {
            source_event_total: count_of(t.events),
            recurrence_group_total: count_of(t.keys),
            recurrent_group_total: count_of(t.recurrent),
            duplicate_event_total: count_of(t.duplicates),
            linked_run_total: count_of(t.linked),
            unlinked_event_total: count_of(t.events - t.linked),
            latest_received_at: t.latest_received_at.map(|at| at.timestamp()),
            ..Self::default()
        }
    }
}

impl From<RecurringKey> for ChannelEventRecurrenceItem {
    fn from(k: RecurringKey) -> Self {
        let incident = k.latest_incident.map(|incident| incident.to_string());
        let (run, state, agent) =
            k.latest_run.map_or((None, None, None), |r| (Some(r.run), Some(r.state), r.agent));
        Self {
            recurrence_key: k.recurrence_key.to_string(),
            provider: Some(k.provider),
            alertname: k.alertname,
            severity: k.severity,
            namespace: k.namespace,
            target_resource: k.target_resource,
            fingerprint: Some(k.fingerprint.to_string()),
            latest_event_id: Some(k.latest_event),
            latest_provider_event_id: Some(k.latest_provider_event_id),
            latest_content_preview: k.latest_content_preview,
            latest_run_id: run,
            latest_run_state: state,
            latest_agent_id: agent,
            incident_ids: incident.iter().cloned().collect(),
            latest_incident_id: incident,
            repair_summary: None,
            work_item: None,
            occurrence_total: count_of(k.counters.total),
            duplicate_total: count_of(k.counters.duplicates),
            linked_run_total: count_of(k.linked),
            source_ref_total: k.counters.refs(),
            missing_source_refs_total: count_of(k.counters.without_refs),
            sentry_ref_total: k.counters.sentry_refs,
            signoz_ref_total: k.counters.signoz_refs,
            alert_ref_total: k.counters.alert_refs,
            run_state_counts: BTreeMap::new(),
            first_received_at: Some(k.first_received_at.timestamp()),
            latest_received_at: Some(k.latest_received_at.timestamp()),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::Time;
    use store::read::recurrence::LinkedRun;

    use super::*;

    /// An event of group `key`, received at second `at`; runs are of the incident's number.
    fn event(key: u128, at: i64, incident: Option<u128>, run: Option<&str>) -> RecurringEvent {
        RecurringEvent {
            recurrence_key: Uuid::from_u128(key),
            event: Uuid::from_u128(1000 + at as u128),
            provider: "sentry".into(),
            provider_event_id: format!("event-{at}"),
            content_preview: None,
            alertname: Some(format!("name-{at}")),
            severity: None,
            namespace: None,
            target_resource: None,
            fingerprint: Uuid::from_u128(key),
            is_duplicate: at % 2 == 0,
            sentry_refs: i64::from(at % 3 == 0),
            signoz_refs: 0,
            alert_refs: 0,
            incident: incident.map(Uuid::from_u128),
            run: run.map(|state| LinkedRun {
                run: Uuid::from_u128(incident.unwrap_or(0)),
                state: state.into(),
                agent: (state == "completed").then(|| "playbook".into()),
            }),
            received_at: Time::from_micros(at * 1_000_000),
        }
    }

    #[test]
    fn r55_r56_groups_partition_the_events() {
        let events = [
            event(1, 9, None, None),
            event(2, 8, Some(22), Some("running")),
            event(2, 7, Some(21), Some("completed")),
            event(2, 6, Some(21), Some("completed")),
            event(3, 5, Some(30), None),
        ];
        let items = groups(&events);
        let keys: Vec<_> = items.iter().map(|i| i.alertname.as_deref().unwrap()).collect();
        assert_eq!(keys, ["name-8", "name-9", "name-5"]);

        let top = &items[0];
        assert_eq!((top.occurrence_total, top.duplicate_total), (3, 2));
        assert_eq!((top.source_ref_total, top.missing_source_refs_total), (1, 2));
        assert_eq!(top.latest_provider_event_id.as_deref(), Some("event-8"));
        assert_eq!(top.latest_run_state.as_deref(), Some("running"));
        assert_eq!(top.latest_agent_id, None);
        assert_eq!(
            top.incident_ids,
            [Uuid::from_u128(22), Uuid::from_u128(21)].map(|u| u.to_string())
        );
        assert_eq!(
            top.run_state_counts,
            BTreeMap::from([("completed".into(), 2), ("running".into(), 1)])
        );
        assert_eq!(top.first_received_at.unwrap().as_second(), 6);
        assert_eq!(top.latest_received_at.unwrap().as_second(), 8);

        let sum = summary(&items);
        assert_eq!(sum.source_event_total, events.len());
        assert_eq!(sum.recurrence_group_total, 3);
        assert_eq!(sum.recurrent_group_total, 1);
        assert_eq!(sum.linked_run_total + sum.unlinked_event_total, events.len());
        assert_eq!(sum.linked_run_total, 3);
        assert_eq!(sum.latest_received_at.unwrap().as_second(), 9);
    }

    #[test]
    fn r57_an_item_has_all_28_fields() {
        let item = serde_json::to_value(&groups(&[event(1, 1, None, None)])[0]).unwrap();
        assert_eq!(item.as_object().unwrap().len(), 28);
        let sum = serde_json::to_value(summary(&[])).unwrap();
        assert_eq!(sum.as_object().unwrap().len(), 13);
    }
}
