//! A reproducible stream of deliveries, and what must be true once they are all dealt with.

use schemas::{IncidentId, job::SendKind};
use serde_json::{Value, json};

use crate::{
    fleet::{Fleet, Sender},
    oracle,
};

/// A reproducible stream of deliveries: a few problems that fire, repeat and resolve.
pub struct Senders {
    state: u64,
    sent: u32,
    group: u64,
}

impl Senders {
    /// The stream that `seed` gives.
    pub fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self::new_quietly(seed)
    }

    /// The same without a word about it, where there are very many.
    pub fn new_quietly(seed: u64) -> Self {
        Self { state: seed, sent: 0, group: 0 }
    }

    /// The same stream about other problems, for senders side by side.
    #[must_use]
    pub fn of_group(mut self, group: u64) -> Self {
        self.group = group;
        self
    }

    /// A number below `below`.
    pub fn next(&mut self, below: u64) -> u64 {
        // xorshift64*: any reproducible sequence does.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    /// Sends `count` deliveries, one after the other, each until it is accepted; returns their ids.
    pub async fn send(&mut self, sender: &Sender, count: u32) -> Vec<String> {
        let mut accepted = Vec::new();
        for _ in 0..count {
            self.sent += 1;
            if self.next(2) == 0 {
                let issue = self.group * 100 + self.next(6);
                let event = json!({
                    "event_id": format!("{:016x}{:016x}", self.group, self.sent), "issue_id": issue.to_string(),
                    "title": format!("Error {issue}"), "culprit": "shop.cart", "level": "error",
                    "project": 1, "environment": "production",
                });
                let body = json!({"action": "created", "data": {"error": event}});
                accepted.push(sender.sentry("error", &body).await);
            } else {
                let alerts: Vec<Value> = (0..=self.next(3)).map(|_| self.alert()).collect();
                let body = json!({
                    "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r",
                    "truncatedAlerts": 0, "alerts": alerts,
                });
                accepted.push(sender.alertmanager(&body).await);
            }
        }
        accepted
    }

    fn alert(&mut self) -> Value {
        let (instance, resolved) = (self.next(5), self.next(3) == 0);
        // Each change is later than all before it, so that none is stale.
        let at = |seconds: u32| {
            format!(
                "2026-01-01T{:02}:{:02}:{:02}Z",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            )
        };
        json!({
            "status": if resolved { "resolved" } else { "firing" },
            "labels": {"alertname": "Down", "instance": format!("i{}-{instance}", self.group), "severity": "critical"},
            "annotations": {"summary": "down"},
            "startsAt": at(self.sent), "endsAt": if resolved { at(self.sent) } else { at(0) },
        })
    }
}

/// Everything equals the sequential fold; each message that it plans was told once, and no other.
pub async fn check(fleet: &mut Fleet) -> Vec<oracle::Compared> {
    fleet.settled().await;
    let seen = fleet.receiver.seen();
    fleet.stop_all();
    let lanes = oracle::check(&fleet.world).await;
    let count = |of: fn(&oracle::Compared) -> Vec<IncidentId>| -> usize {
        lanes.iter().map(|lane| of(lane).len()).sum()
    };
    let (opened, resolved) = (count(oracle::Compared::opened), count(oracle::Compared::resolved));
    assert!(opened > 5 && resolved > 2, "{opened} {resolved}");
    let planned = |kind| {
        let planned = lanes.iter().flat_map(|lane| lane.planned(kind, "default"));
        let mut planned: Vec<String> = planned.map(|incident| incident.to_string()).collect();
        planned.sort();
        planned
    };
    let told = |word: &str| {
        let mut told: Vec<String> = seen
            .of_type(word)
            .iter()
            .map(|body| body["data"]["incident_id"].as_str().unwrap().to_owned())
            .collect();
        told.sort();
        told
    };
    let (fires, resolves) = (planned(SendKind::Fire), planned(SendKind::Resolve));
    assert!(!fires.is_empty() && !resolves.is_empty(), "{fires:?} {resolves:?}");
    assert_eq!(told("incident.fire"), fires, "each that is planned is told once");
    assert_eq!(told("incident.resolve"), resolves, "each that is planned is told once");
    assert!(seen.invalid.is_empty(), "{:?}", seen.invalid);
    for lane in &lanes {
        assert_eq!(lane.folded.parked.len(), 0);
    }
    lanes
}
