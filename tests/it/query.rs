//! The read models and the console over them: events go in through the project stage, answers come
//! out over HTTP and are compared with a recount of the events.

pub mod desk;
mod incident;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Event, JobId, Outcome, Time, event::Kind};
use serde_json::{Value, json};
use uuid::Uuid;

use self::desk::{ANN, BEN, Desk, NOW, Sample, project, samples};

const API: &str = "/api/v1";

/// The samples of a project, newest first, that `keep`.
fn newest<'a>(
    samples: &'a [Sample],
    project: &str,
    limit: usize,
    keep: impl Fn(&Sample) -> bool,
) -> Vec<&'a Sample> {
    samples.iter().rev().filter(|s| s.project == project && keep(s)).take(limit).collect()
}

fn strings<'a>(items: &'a Value, field: &str) -> Vec<&'a str> {
    items.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn project_all(desk: &Desk, samples: &[Sample]) {
    let events: Vec<Event> = samples.iter().map(Sample::observed).collect();
    for batch in events.chunks(70) {
        desk.apply(batch, true).await;
    }
}

#[tokio::test]
async fn r48_recent_events_are_the_newest_and_filtered() {
    let desk = Desk::start().await;
    let samples = samples(200);
    project_all(&desk, &samples).await;

    let check = async |query: &str, expect: &[&Sample], limit: usize| {
        let body = desk.ok(ANN, &format!("{API}/events/recent?{query}")).await;
        let want: Vec<_> = expect.iter().map(|s| s.provider_event_id()).collect();
        assert_eq!(strings(&body["events"], "provider_event_id"), want, "{query}");
        assert_eq!(body["total"], expect.len(), "{query}");
        assert_eq!(body["limit"], limit, "{query}");
    };
    check("", &newest(&samples, "payments", 20, |_| true), 20).await;
    check("limit=100", &newest(&samples, "payments", 100, |_| true), 100).await;
    check("project_id=search&limit=3", &newest(&samples, "search", 3, |_| true), 3).await;
    let of_sentry = newest(&samples, "payments", 5, |s| s.provider == "sentry");
    check("provider_prefix=sentry-&limit=5", &of_sentry, 5).await;
    check("provider_prefix=nothing", &[], 20).await;
    check("channel_type=chat", &[], 20).await;

    let body = desk.ok(ANN, &format!("{API}/events/recent?limit=1")).await;
    let newest = newest(&samples, "payments", 1, |_| true)[0];
    let expect = json!({
        "event_id": newest.observed().id, "project_id": "payments", "channel_type": "webhook",
        "provider_event_id": newest.provider_event_id(), "channel_chat_id": null,
        "content_preview": format!("preview {}", newest.n),
        "is_duplicate": newest.effect.is_duplicate(), "received_at": newest.time(),
    });
    assert_eq!(body["events"][0], expect);
    desk.stop().await;
}

#[tokio::test]
async fn r49_r50_r51_the_dossier_shows_identity_and_evidence() {
    let desk = Desk::start().await;
    let samples = samples(120);
    project_all(&desk, &samples).await;

    let one = newest(&samples, "payments", 1, |s| s.refs == [1, 1, 1] && s.replaced > 0)[0];
    let path = format!("{API}/events/dossier?provider_event_id={}", one.provider_event_id());
    let body = desk.ok(ANN, &path).await;
    let event = &body["events"][0];
    let expect = json!({
        "event_id": one.observed().id, "project_id": "payments", "channel_type": "webhook",
        "provider": one.provider, "stage": one.stage.word(),
        "provider_event_id": one.provider_event_id(),
        "content_preview": format!("preview {}", one.n),
        "content_redacted": format!("content {}", one.n),
        "has_redacted_content": true, "redaction_version": "builtin-1",
        "source_url": "https://example.test/1", "content_sha256": "07".repeat(32),
        "content_length": 2048,
        "source_refs": {"sentry": ["sentry-0"], "signoz": ["signoz-0"], "alert": ["alert-0"]},
        "source_ref_count": 3, "log_correlation": {"trace_id": "4bf92f35"},
        "alertname": format!("name-{}", one.group), "severity": "error", "namespace": "shop",
        "target_resource": "cart", "fingerprint": one.key(),
        "is_duplicate": one.effect.is_duplicate(),
        "provider_ts": one.time().plus_seconds(-5), "received_at": one.time(),
    });
    assert_eq!(*event, expect);
    assert_eq!(body["total"], 1);

    let body = desk.ok(ANN, &format!("{API}/events/dossier?limit=50")).await;
    let counted = newest(&samples, "payments", 50, |_| true);
    let summary = json!({
        "source_count": 50,
        "duplicate_total": counted.iter().filter(|s| s.effect.is_duplicate()).count(),
        "redacted_total": counted.iter().filter(|s| s.replaced > 0).count(),
        "source_ref_total": counted.iter().map(|s| s.refs.iter().sum::<usize>()).sum::<usize>(),
    });
    assert_eq!((&body["summary"], &body["total"]), (&summary, &json!(50)));
    desk.stop().await;
}

#[tokio::test]
async fn r52_coverage_equals_a_recount() {
    let desk = Desk::start().await;
    let samples = samples(300);
    project_all(&desk, &samples).await;

    let check = async |query: &str, project: &str, provider: Option<&str>, limit: usize| {
        let body = desk.ok(ANN, &format!("{API}/events/dossier/coverage?{query}")).await;
        let counted =
            newest(&samples, project, limit, |s| provider.is_none_or(|p| p == s.provider));
        let count = |of: &[&Sample]| {
            let refs = |i: usize| of.iter().map(|s| s.refs[i]).sum::<usize>();
            let bare = of.iter().filter(|s| s.refs == [0; 3]).count();
            json!({
                "duplicate_total": of.iter().filter(|s| s.effect.is_duplicate()).count(),
                "redacted_total": of.iter().filter(|s| s.replaced > 0).count(),
                "source_ref_total": refs(0) + refs(1) + refs(2),
                "missing_source_refs_total": bare,
                "sentry_ref_total": refs(0), "signoz_ref_total": refs(1), "alert_ref_total": refs(2),
                "latest_received_at": of.iter().map(|s| s.time()).max(),
            })
        };
        let mut summary = count(&counted);
        let bare = summary["missing_source_refs_total"].as_u64().unwrap() as usize;
        summary["source_count"] = counted.len().into();
        let floor = Time::from_micros(NOW).plus_seconds(-35 * 86_400);
        let gone = counted.iter().filter(|s| s.time() < floor).count();
        summary["source_envelope_total"] = (counted.len() - gone).into();
        summary["missing_source_envelope_total"] = gone.into();
        summary["with_source_refs_total"] = (counted.len() - bare).into();
        assert_eq!(body["summary"], summary, "{query}");

        let names: BTreeSet<_> = counted.iter().map(|s| s.provider).collect();
        let providers: Vec<Value> = names
            .into_iter()
            .map(|name| {
                let of: Vec<_> = counted.iter().filter(|s| s.provider == name).copied().collect();
                let mut row = count(&of);
                row["provider"] = name.into();
                row["total"] = of.len().into();
                row
            })
            .collect();
        assert_eq!(body["providers"], json!(providers), "{query}");
        assert_eq!((&body["project_id"], &body["limit"]), (&json!(project), &json!(limit)));
        assert_eq!(keys(&body).len(), 4);
    };
    check("", "payments", None, 100).await;
    check("limit=200", "payments", None, 200).await;
    check("limit=1&project_id=search", "search", None, 1).await;
    check("provider=signoz&limit=50", "payments", Some("signoz"), 50).await;
    check("provider=unheard&limit=50", "payments", Some("unheard"), 50).await;
    desk.stop().await;
}

#[tokio::test]
async fn r55_r56_r57_recurrence_equals_a_recount() {
    let desk = Desk::start().await;
    let samples = samples(400);
    // The incidents of group 0 have a completed run, those of group 1 a running one.
    let mut events = Vec::new();
    for s in &samples {
        events.push(s.observed());
    }
    for (group, answered) in [(0, true), (1, false)] {
        let mut seen = BTreeSet::new();
        for s in samples.iter().filter(|s| s.incident && s.group == group) {
            if seen.insert(s.incident_id()) {
                let opened = s.opened();
                let run = JobId::triage(opened.at, "open");
                events.push(opened);
                if answered {
                    events.push(s.answered(run));
                }
            }
        }
    }
    for batch in events.chunks(90) {
        desk.apply(batch, true).await;
    }

    let check = async |query: &str, project: &str, limit: usize| {
        let body = desk.ok(ANN, &format!("{API}/events/dossier/recurrence?{query}")).await;
        let counted = newest(&samples, project, limit, |s| s.stage.is_real());
        let mut groups = BTreeMap::<String, Vec<&Sample>>::new();
        for s in &counted {
            groups.entry(s.key().to_string()).or_default().push(*s);
        }
        let linked = |of: &[&Sample]| of.iter().filter(|s| s.incident && s.group < 2).count();
        let summary = json!({
            "source_event_total": counted.len(),
            "recurrence_group_total": groups.len(),
            "recurrent_group_total": groups.values().filter(|of| of.len() >= 2).count(),
            "duplicate_event_total": counted.iter().filter(|s| s.effect.is_duplicate()).count(),
            "linked_run_total": linked(&counted),
            "unlinked_event_total": counted.len() - linked(&counted),
            "auto_repair_linked_total": 0, "verified_repair_group_total": 0,
            "open_work_item_group_total": 0, "manual_gate_group_total": 0,
            "automation_gap_group_total": 0, "failed_repair_group_total": 0,
            "latest_received_at": counted[0].time(),
        });
        assert_eq!(body["summary"], summary, "{query}");

        let items = body["items"].as_array().unwrap();
        assert_eq!(items.len(), groups.len(), "{query}");
        for item in items {
            assert_eq!(keys(item).len(), 28);
            let of = &groups[item["recurrence_key"].as_str().unwrap()];
            let latest = of[0];
            assert_eq!(item["occurrence_total"], of.len());
            let duplicates = of.iter().filter(|s| s.effect.is_duplicate()).count();
            assert_eq!(item["duplicate_total"], duplicates);
            assert_eq!(item["linked_run_total"], linked(of));
            assert_eq!(item["latest_event_id"], json!(latest.observed().id));
            assert_eq!(item["first_received_at"], json!(of[of.len() - 1].time()));
            assert_eq!(item["latest_received_at"], json!(latest.time()));
            let refs: usize = of.iter().map(|s| s.refs.iter().sum::<usize>()).sum();
            assert_eq!(item["source_ref_total"], refs);
            let (state, agent) = match latest.group {
                0 => (json!("completed"), json!("playbook")),
                1 => (json!("running"), Value::Null),
                _ => (Value::Null, Value::Null),
            };
            assert_eq!((&item["latest_run_state"], &item["latest_agent_id"]), (&state, &agent));
            let incidents = if latest.incident { json!([latest.incident_id()]) } else { json!([]) };
            assert_eq!(item["incident_ids"], incidents);
        }
    };
    check("", "payments", 100).await;
    check("limit=300", "payments", 300).await;
    check("limit=7&project_id=search", "search", 7).await;
    desk.stop().await;
}

#[tokio::test]
async fn i3_totals_count_every_event_once_over_batches_and_failed_commits() {
    let desk = Desk::start().await;
    let samples = samples(300);
    let events: Vec<Event> = samples.iter().map(Sample::observed).collect();
    for batch in events.chunks(40) {
        // A batch whose commit fails is written again.
        desk.apply(batch, false).await;
        desk.apply(batch, true).await;
    }
    let mut sql = desk.sql().await;
    for project in ["payments", "search"] {
        let of = newest(&samples, project, usize::MAX, |_| true);
        let coverage: Vec<(String, i64, i64, Option<i64>)> = sqlx::query_as(
            "select provider, total, source_ref_total,
                    (extract(epoch from latest_real_received_at) * 1000000)::bigint
             from coverage where project = $1",
        )
        .bind(project)
        .fetch_all(&mut sql)
        .await
        .unwrap();
        assert_eq!(coverage.iter().map(|row| row.1).sum::<i64>() as usize, of.len());
        for (provider, total, source_refs, heard) in coverage {
            let of: Vec<_> = of.iter().filter(|s| s.provider == provider).collect();
            assert_eq!(total as usize, of.len(), "{project} {provider}");
            let refs: usize = of.iter().map(|s| s.refs.iter().sum::<usize>()).sum();
            assert_eq!(source_refs as usize, refs, "{project} {provider}");
            let really = of.iter().filter(|s| s.stage.is_real()).map(|s| s.time()).max();
            assert_eq!(heard, really.map(|t| t.micros()), "{project} {provider}");
        }
        let real: Vec<_> = of.iter().filter(|s| s.stage.is_real()).collect();
        let recurrence: Vec<(Uuid, i64, i64)> = sqlx::query_as(
            "select recurrence_key, occurrence_total, duplicate_total
             from recurrence where project = $1",
        )
        .bind(project)
        .fetch_all(&mut sql)
        .await
        .unwrap();
        assert_eq!(recurrence.iter().map(|row| row.1).sum::<i64>() as usize, real.len());
        for (key, total, duplicate_total) in recurrence {
            let of: Vec<_> = real.iter().filter(|s| s.key().0 == key).collect();
            let duplicates = of.iter().filter(|s| s.effect.is_duplicate()).count();
            assert_eq!((total as usize, duplicate_total as usize), (of.len(), duplicates));
        }
    }
    desk.stop().await;
}

#[tokio::test]
async fn r47_r61_keys_bounds_and_tenancy() {
    let desk = Desk::start().await;
    let samples = samples(60);
    project_all(&desk, &samples).await;
    let theirs = newest(&samples, "payments", 1, |_| true)[0];
    desk.apply(&[theirs.settled(Outcome::Rejected, Some("no_issue_id"))], true).await;

    let lists = [
        "/events/recent",
        "/events/dossier",
        "/events/dossier/coverage",
        "/events/dossier/recurrence",
        "/incidents",
    ];
    for list in lists {
        let path = format!("{API}{list}");
        assert_eq!(desk.without_key(&path).await, 401, "{path}");
        assert_eq!(desk.get("nobody's key", &path).await.0, 401, "{path}");
        // Ben's only project is the default for him, and another one is not there.
        let own = desk.ok(BEN, &format!("{path}?limit=1")).await;
        assert_eq!(own, desk.ok(ANN, &format!("{path}?limit=1&project_id=search")).await);
        assert_eq!(desk.get(BEN, &format!("{path}?project_id=payments")).await.0, 404, "{path}");
        assert_eq!(desk.get(ANN, &format!("{path}?project_id=NO%20ID")).await.0, 404, "{path}");
        for limit in ["0", "-1", "301", "ten", ""] {
            let (status, body) = desk.get(ANN, &format!("{path}?limit={limit}")).await;
            assert_eq!(status, 422, "{path} {limit}: {body}");
            assert!(body["detail"].as_str().unwrap().starts_with("limit: "), "{body}");
            assert_eq!(keys(&body), BTreeSet::from(["type", "title", "status", "detail"]));
        }
    }
    let delivery = format!("{API}/deliveries/{}", theirs.record());
    let seen = desk.ok(ANN, &delivery).await;
    assert_eq!((&seen["outcome"], &seen["reason"]), (&json!("rejected"), &json!("no_issue_id")));
    assert_eq!(desk.get(BEN, &delivery).await.0, 404);
    for (path, name) in [
        ("/deliveries/7", "id: "),
        ("/deliveries/00000000-0000-0000-0000-000000000000?wait=11", "wait: "),
        ("/events/dossier?run_id=7", "run_id: "),
        ("/incidents?status=new", "status: "),
    ] {
        let (status, body) = desk.get(ANN, &format!("{API}{path}")).await;
        assert_eq!(status, 422, "{path}: {body}");
        assert!(body["detail"].as_str().unwrap().starts_with(name), "{path}: {body}");
    }
    assert_eq!(desk.get(ANN, &format!("{API}/nothing")).await.0, 404);
    for open in ["/", "/api/v1/openapi.json", "/health"] {
        assert_eq!(desk.without_key(open).await, 200, "{open}");
    }
    desk.stop().await;
}

#[tokio::test]
async fn a_senders_oddest_text_stops_no_lane() {
    let desk = Desk::start().await;
    let mut odd = samples(1)[0].observed();
    odd.project = Some(project("payments"));
    let Kind::Observed(observed) = &mut odd.kind else { unreachable!() };
    observed.alert.facts.title = "nul \0".into();
    observed.alert.facts.labels = vec![("k\0".into(), "\\u0000 \0".into())];
    observed.alert.content.text = "\0".into();
    observed.alert.provider_event_id = format!("{}\0", "\u{10ffff}".repeat(5000));
    observed.alert.provider_ts = Some(Time::from_micros(i64::MIN));
    desk.apply(&[odd], true).await;
    let body = desk.ok(ANN, &format!("{API}/events/dossier")).await;
    assert_eq!(body["events"][0]["content_redacted"], "\u{fffd}");
    assert_eq!(body["events"][0]["provider_ts"], "0001-01-01T00:00:00Z");
    desk.stop().await;
}

#[tokio::test]
async fn a_page_of_events_reads_no_more_than_it_shows() {
    let desk = Desk::start().await;
    project_all(&desk, &samples(300)).await;
    let mut sql = desk.sql().await;
    let plan: Value = sqlx::query_scalar(
        "explain (analyze, format json) select event_id from dossier \
         where generation = 1 and project = 'payments' \
         order by day desc, inc desc, seq desc, rec desc, idx desc limit 20",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    let text = plan.to_string();
    assert!(!text.contains("Sort\""), "the index gives the order: {text}");
    assert!(text.contains("\"Actual Loops\":0"), "older days are not touched: {text}");
    desk.stop().await;
}
