//! What redaction costs. `cargo nextest run --release -p domain --run-ignored all speed --no-capture`
//! prints it; how fast a machine is decides nothing here.

use std::{hint::black_box, time::Instant};

use serde_json::{Value, json};

use super::super::Redactor;

/// An error event of about 2 KB, without any secret.
fn sentry_event() -> Value {
    json!({"action": "created", "installation": {"uuid": "7a485448-a9e2-4c85-8a3c-4f44175783c9"},
    "actor": {"type": "application", "id": "sentry", "name": "Sentry"},
    "data": {"error": {
        "event_id": "bb78c1407cea4519aa397afc059c793d", "issue_id": "1170820242", "project": 4505,
        "title": "TypeError: Cannot read properties of undefined (reading 'total')",
        "culprit": "app/checkout.views in confirm_order", "level": "error", "platform": "python",
        "environment": "production", "release": "shop@2026.11.3+8df98227bdd81384",
        "timestamp": 1_790_000_000.25, "datetime": "2026-11-20T08:43:01.250000Z",
        "message": "order 7719 of customer 4cf1 could not be confirmed: payment gateway said 502",
        "web_url": "https://sentry.io/organizations/acme/issues/1170820242/events/bb78c1407cea4519aa397afc059c793d/",
        "tags": [["browser", "Chrome 153.0"], ["environment", "production"], ["level", "error"],
            ["server_name", "checkout-6d5f9c7b8-x2lkq"], ["transaction", "/orders/{id}/confirm"],
            ["trace_id", "771a43a4192642f0b136d5159a501700"], ["span_id", "a1b2c3d4e5f60718"]],
        "request": {"url": "https://shop.example.com/orders/7719/confirm", "method": "POST",
            "headers": [["Accept", "*/*"], ["Content-Type", "application/json"],
                ["User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"]]},
        "contexts": {"trace": {"trace_id": "771a43a4192642f0b136d5159a501700", "span_id": "a1b2c3d4e5f60718"},
            "runtime": {"name": "CPython", "version": "3.13.1"}},
        "exception": {"values": [{"type": "TypeError", "value": "Cannot read properties of undefined",
            "stacktrace": {"frames": [
                {"filename": "app/middleware.py", "function": "__call__", "lineno": 41, "in_app": true,
                    "context_line": "        return self.get_response(request)"},
                {"filename": "app/checkout/views.py", "function": "confirm_order", "lineno": 188,
                    "in_app": true, "context_line": "    amount = order.basket.total(currency)"}]}}]},
    }}})
}

/// An alert of about 1 KB, without any secret.
fn alertmanager_alert() -> Value {
    json!({"status": "firing",
    "labels": {"alertname": "KubePodCrashLooping", "cluster": "prod-eu-1", "container": "checkout",
        "endpoint": "http", "instance": "10.42.3.17:8080", "job": "kube-state-metrics",
        "namespace": "shop", "pod": "checkout-6d5f9c7b8-x2lkq", "prometheus": "monitoring/k8s",
        "severity": "critical", "uid": "7a485448-a9e2-4c85-8a3c-4f44175783c9"},
    "annotations": {
        "summary": "Pod shop/checkout-6d5f9c7b8-x2lkq is crash looping.",
        "description": "Pod shop/checkout-6d5f9c7b8-x2lkq (checkout) is in waiting state (reason: \"CrashLoopBackOff\") on cluster prod-eu-1 for more than 15 minutes.",
        "runbook_url": "https://runbooks.prometheus-operator.dev/runbooks/kubernetes/kubepodcrashlooping"},
    "startsAt": "2026-11-20T08:28:01.123Z", "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "https://prometheus.example.com/graph?g0.expr=max_over_time%28kube_pod_container_status_waiting_reason%7Breason%3D%22CrashLoopBackOff%22%7D%5B5m%5D%29+%3E%3D+1&g0.tab=1",
    "fingerprint": "8df98227bdd81384"})
}

#[test]
#[ignore = "measures: run with --release and alone"]
fn speed() {
    let redactor = Redactor::builtin();
    for (what, value) in
        [("sentry event", sentry_event()), ("alertmanager alert", alertmanager_alert())]
    {
        let mut value = value;
        let size = value.to_string().len();
        let mut best = f64::MAX;
        for _ in 0..20 {
            let rounds = 2000;
            let start = Instant::now();
            for _ in 0..rounds {
                assert_eq!(redactor.value(black_box(&mut value)), 0);
            }
            best = best.min(start.elapsed().as_secs_f64() / f64::from(rounds));
        }
        println!(
            "{what}: {size} bytes, {:.0} ns, {:.0} ns per KB, {:.0} alerts/s",
            best * 1e9,
            best * 1e9 / (size as f64 / 1024.0),
            1.0 / best,
        );
    }
}
