//! `window=all`: totals over everything ever observed, as the materialised tables hold them.

use super::*;

/// References of all kinds.
fn refs(of: &[&Sample]) -> usize {
    of.iter().map(|s| s.refs.iter().sum::<usize>()).sum()
}

fn duplicates(of: &[&Sample]) -> usize {
    of.iter().filter(|s| s.effect.is_duplicate()).count()
}

#[tokio::test]
async fn r52_coverage_of_all_events_equals_a_recount() {
    let desk = Desk::start().await;
    // More than any limit would count.
    let samples = samples(900);
    project_all(&desk, &samples).await;

    let check = async |query: &str, project: &str, provider: Option<&str>| {
        let path = format!("{API}/events/dossier/coverage?window=all{query}");
        let body = desk.ok(ANN, &path).await;
        let of = newest(&samples, project, usize::MAX, |s| {
            provider.is_none_or(|wanted| wanted == s.provider)
        });
        let summary = &body["summary"];
        assert_eq!(summary["source_count"], of.len(), "{query}");
        assert_eq!(summary["duplicate_total"], duplicates(&of));
        assert_eq!(summary["redacted_total"], of.iter().filter(|s| s.replaced > 0).count());
        assert_eq!(summary["source_ref_total"], refs(&of));
        assert_eq!(summary["latest_received_at"], json!(of.iter().map(|s| s.time()).max()));
        // No table counts which bodies the log still holds.
        assert_eq!(summary["source_envelope_total"], Value::Null);
        assert_eq!(summary["missing_source_envelope_total"], Value::Null);
        assert_eq!(keys(summary).len(), 12);
        for row in body["providers"].as_array().unwrap() {
            let of: Vec<_> = of.iter().filter(|s| row["provider"] == s.provider).copied().collect();
            assert_eq!(row["total"], of.len());
            assert_eq!(row["sentry_ref_total"], of.iter().map(|s| s.refs[0]).sum::<usize>());
            assert_eq!(row["latest_received_at"], json!(of[0].time()));
        }
        let names: BTreeSet<_> = of.iter().map(|s| s.provider).collect();
        assert_eq!(strings(&body["providers"], "provider"), Vec::from_iter(names));
    };
    check("", "payments", None).await;
    check("&limit=1", "payments", None).await;
    check("&project_id=search&provider=signoz", "search", Some("signoz")).await;
    check("&provider=unheard", "payments", Some("unheard")).await;
    desk.stop().await;
}

#[tokio::test]
async fn r55_r56_recurrence_of_all_events_equals_a_recount() {
    let desk = Desk::start().await;
    let samples = samples(900);
    let mut events: Vec<Event> = samples.iter().map(Sample::observed).collect();
    let mut opened = BTreeSet::new();
    for s in samples.iter().filter(|s| s.incident && opened.insert(s.incident_id())) {
        let opened = s.opened();
        if s.group == 0 {
            let answer = s.answered(JobId::triage(opened.at, "open"));
            events.extend([opened, answer]);
        } else {
            events.push(opened);
        }
    }
    for batch in events.chunks(90) {
        desk.apply(batch, true).await;
    }

    let check = async |query: &str, project: &str, provider: Option<&str>, limit: usize| {
        let path = format!("{API}/events/dossier/recurrence?window=all{query}");
        let body = desk.ok(ANN, &path).await;
        let of = newest(&samples, project, usize::MAX, |s| {
            s.stage.is_real() && provider.is_none_or(|wanted| wanted == s.provider)
        });
        let mut groups = BTreeMap::<String, Vec<&Sample>>::new();
        for s in &of {
            groups.entry(s.key().to_string()).or_default().push(*s);
        }
        let linked = |of: &[&Sample]| of.iter().filter(|s| s.incident).count();
        let summary = &body["summary"];
        assert_eq!(summary["source_event_total"], of.len(), "{query}");
        assert_eq!(summary["recurrence_group_total"], groups.len());
        let recurrent = groups.values().filter(|of| of.len() >= 2).count();
        assert_eq!(summary["recurrent_group_total"], recurrent);
        assert_eq!(summary["duplicate_event_total"], duplicates(&of));
        assert_eq!(summary["linked_run_total"], linked(&of));
        assert_eq!(summary["unlinked_event_total"], of.len() - linked(&of));
        assert_eq!(summary["latest_received_at"], json!(of.first().map(|s| s.time())));
        assert_eq!(keys(summary).len(), 13);

        let items = body["items"].as_array().unwrap();
        assert_eq!(items.len(), limit.min(groups.len()), "{query}");
        let mut counts = Vec::new();
        for item in items {
            assert_eq!(keys(item).len(), 28);
            let of = &groups[item["recurrence_key"].as_str().unwrap()];
            let latest = of[0];
            assert_eq!(item["occurrence_total"], of.len());
            assert_eq!(item["duplicate_total"], duplicates(of));
            assert_eq!(item["linked_run_total"], linked(of));
            assert_eq!(item["source_ref_total"], refs(of));
            assert_eq!(item["latest_event_id"], json!(latest.observed().id));
            assert_eq!(item["provider"], latest.provider);
            assert_eq!(item["first_received_at"], json!(of[of.len() - 1].time()));
            assert_eq!(item["latest_received_at"], json!(latest.time()));
            let incident = latest.incident.then(|| latest.incident_id());
            assert_eq!(item["latest_incident_id"], json!(incident));
            assert_eq!(item["incident_ids"], json!(Vec::from_iter(incident)));
            let state = match (latest.incident, latest.group) {
                (false, _) => Value::Null,
                (true, 0) => json!("completed"),
                (true, _) => json!("running"),
            };
            assert_eq!(item["latest_run_state"], state);
            assert_eq!(item["run_state_counts"], json!({}));
            counts.push((of.len(), latest.time()));
        }
        // Most frequent first, then newest first.
        assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    };
    check("", "payments", None, 100).await;
    check("&limit=3", "payments", None, 3).await;
    check("&project_id=search&provider=signoz", "search", Some("signoz"), 100).await;
    check("&provider=unheard", "payments", Some("unheard"), 100).await;
    desk.stop().await;
}

#[tokio::test]
async fn r61_another_window_is_refused_by_name_and_tenancy_holds() {
    let desk = Desk::start().await;
    project_all(&desk, &samples(60)).await;
    for list in ["coverage", "recurrence"] {
        let path = format!("{API}/events/dossier/{list}");
        for window in ["", "All", "24h", "all%20"] {
            let (status, body) = desk.get(ANN, &format!("{path}?window={window}")).await;
            assert_eq!(status, 422, "{list} {window}: {body}");
            assert_eq!(body["detail"], "window: must be all, or absent");
        }
        let own = desk.ok(BEN, &format!("{path}?window=all")).await;
        assert_eq!(own, desk.ok(ANN, &format!("{path}?window=all&project_id=search")).await);
        let foreign = desk.get(BEN, &format!("{path}?window=all&project_id=payments")).await;
        assert_eq!(foreign.0, 404);
        assert_eq!(desk.get(ANN, &format!("{path}?window=all&limit=0")).await.0, 422);
    }
    desk.stop().await;
}
