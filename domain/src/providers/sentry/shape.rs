//! Which kind of body it is, and what its action means.

use schemas::Status;
use serde_json::Value;

use crate::providers::json::{at, id, text};

/// The kinds of body. What `data` holds decides; the resource header must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `data.issue`, with or without `data.event` beside it.
    Issue,
    /// `data.issue` and `data.activity`.
    ActivityAlert,
    /// `data.error`.
    Error,
    /// `data.event`.
    EventAlert,
    /// `data.metric_alert`.
    MetricAlert,
    /// The legacy plugin's: flat, the issue's fields beside `event`.
    Plugin,
    /// Understood, and no alert: the name of the resource.
    Other(&'static str),
    /// A resource this code does not know.
    Unknown(String),
    /// Nothing that is known stands in `data`.
    Empty,
    /// The header names one resource, the body is another.
    Mismatch { resource: String, found: &'static str },
}

/// What to do with a body.
pub(super) enum Verdict {
    Issue { status: Status },
    Metric { status: Status },
    Recorded(String),
    Rejected(String),
}

/// The kind of `body`, which came under the header `resource`.
pub(super) fn shape(resource: Option<&str>, body: &Value) -> Shape {
    let Some(resource) = resource else { return found(body) };
    let known = match resource {
        "issue" => Shape::Issue,
        "error" => Shape::Error,
        "event_alert" => Shape::EventAlert,
        "metric_alert" => Shape::MetricAlert,
        "activity_alert" => Shape::ActivityAlert,
        "comment" => Shape::Other("comment"),
        "installation" => Shape::Other("installation"),
        "seer" => Shape::Other("seer"),
        "preprod_artifact" => Shape::Other("preprod_artifact"),
        other => return Shape::Unknown(other.to_owned()),
    };
    let found = found(body);
    let fits = match (&known, &found) {
        // An issue with its event beside it is also sent as error or event alert.
        (Shape::Error | Shape::EventAlert, Shape::Issue) => at(body, &["data", "event"]).is_some(),
        // Their contents differ from version to version; but they are never an alert's.
        (Shape::Other("seer" | "preprod_artifact"), Shape::Other(_)) => true,
        (_, Shape::Empty) => return if matches!(known, Shape::Other(_)) { known } else { found },
        (known, found) => known == found,
    };
    match fits {
        true if matches!(known, Shape::Other(_)) => known,
        true => found,
        // The alert's own null event does not make it another shape.
        false if known == Shape::EventAlert && found == Shape::Issue => found,
        false => Shape::Mismatch { resource: resource.to_owned(), found: found.word() },
    }
}

fn found(body: &Value) -> Shape {
    let has = |name: &str| at(body, &["data", name]).is_some();
    if has("metric_alert") {
        Shape::MetricAlert
    } else if has("error") {
        Shape::Error
    } else if has("issue") && has("activity") {
        Shape::ActivityAlert
    } else if has("issue") {
        Shape::Issue
    } else if has("event") {
        Shape::EventAlert
    } else if has("comment") {
        Shape::Other("comment")
    } else if has("installation") {
        Shape::Other("installation")
    } else if has("run_id") {
        Shape::Other("seer")
    } else if is_plugin(body) {
        Shape::Plugin
    } else {
        Shape::Empty
    }
}

fn is_plugin(body: &Value) -> bool {
    let has = |name: &str| at(body, &[name]).is_some();
    let of_issue = has("id") && ["culprit", "project_name", "project_slug"].into_iter().any(has);
    !has("data") && (at(body, &["event"]).is_some_and(Value::is_object) || of_issue)
}

impl Shape {
    fn word(&self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::ActivityAlert => "activity_alert",
            Self::Error => "error",
            Self::EventAlert => "event_alert",
            Self::MetricAlert => "metric_alert",
            Self::Plugin => "plugin",
            Self::Other(name) => name,
            Self::Unknown(_) | Self::Empty => "nothing",
            Self::Mismatch { found, .. } => found,
        }
    }

    /// The issue and the event in `body`, as far as this kind has them.
    pub fn subjects<'a>(&self, body: &'a Value) -> (Option<&'a Value>, Option<&'a Value>) {
        match self {
            Self::Plugin => (Some(body), at(body, &["event"])),
            Self::Error => (at(body, &["data", "issue"]), at(body, &["data", "error"])),
            _ => (at(body, &["data", "issue"]), at(body, &["data", "event"])),
        }
    }

    /// What the body asks for.
    pub fn verdict(&self, body: &Value) -> Verdict {
        let action = text(body, &["action"]).unwrap_or_default();
        let firing = Verdict::Issue { status: Status::Firing };
        match self {
            Self::Error | Self::EventAlert | Self::Plugin => firing,
            Self::ActivityAlert => Verdict::Issue { status: issue_status(body) },
            Self::Issue => match action {
                "created" | "unresolved" | "triggered" => firing,
                "resolved" => Verdict::Issue { status: Status::Resolved },
                "archived" | "ignored" => Verdict::Issue { status: Status::Suppressed },
                "" => Verdict::Issue { status: issue_status(body) },
                "assigned" => Verdict::Recorded("issue_assigned".to_owned()),
                _ => Verdict::Recorded("unknown_action: issue".to_owned()),
            },
            Self::MetricAlert => match action {
                "critical" | "warning" | "open" => Verdict::Metric { status: Status::Firing },
                "resolved" => Verdict::Metric { status: Status::Resolved },
                _ => Verdict::Recorded("unknown_action: metric_alert".to_owned()),
            },
            Self::Other(name) => Verdict::Recorded((*name).to_owned()),
            Self::Unknown(name) => Verdict::Recorded(format!("unknown_resource: {name}")),
            Self::Empty => Verdict::Rejected("missing_issue_id".to_owned()),
            Self::Mismatch { resource, found } => Verdict::Rejected(format!(
                "resource_mismatch: the header says {resource}, the body is {found}"
            )),
        }
    }

    /// What stays the same over the sender's retries, and differs in everything else it sends:
    /// resource, action and ids.
    ///
    /// A change of an issue's state has no such thing. Resolved, reopened and resolved again reads
    /// the same twice; and to apply a retry of one again changes nothing.
    pub fn key_parts(&self, body: &Value) -> Option<Vec<String>> {
        let (issue, event) = self.subjects(body);
        let action = text(body, &["action"]).unwrap_or_default();
        let mut parts = vec![self.word().to_owned(), action.to_owned()];
        let event_id = event.and_then(event_id);
        match self {
            Self::Issue if action == "created" => {
                parts.push(issue_id(issue, event)?);
                parts.extend(event_id);
            }
            Self::Issue if action != "triggered" => return None,
            Self::Issue | Self::Error | Self::EventAlert => {
                parts.push(issue_id(issue, event).unwrap_or_default());
                parts.push(event_id?);
                // Two rules may report one event.
                parts.extend(at(body, &["data", "triggered_rule"]).map(ToString::to_string));
            }
            Self::Plugin => {
                parts.push(issue_id(issue, event)?);
                parts.push(event_id?);
            }
            Self::MetricAlert => {
                parts.push(id(at(body, &["data", "metric_alert"])?, &["id"])?);
            }
            Self::ActivityAlert
            | Self::Other(_)
            | Self::Unknown(_)
            | Self::Empty
            | Self::Mismatch { .. } => return None,
        }
        Some(parts)
    }
}

fn issue_status(body: &Value) -> Status {
    match text(body, &["data", "issue", "status"]) {
        Some("resolved") => Status::Resolved,
        Some("ignored" | "archived") => Status::Suppressed,
        _ => Status::Firing,
    }
}

/// The issue's id: stated, or part of the links of its event.
pub(super) fn issue_id(issue: Option<&Value>, event: Option<&Value>) -> Option<String> {
    let stated = issue.and_then(|issue| id(issue, &["id"]));
    let of_event = || {
        let event = event?;
        id(event, &["issue_id"]).or_else(|| id(event, &["groupID"])).or_else(|| {
            let links = ["issue_url", "web_url"].iter().filter_map(|link| text(event, &[link]));
            links.filter_map(|link| segment(link, "issues", 0)).next().map(str::to_owned)
        })
    };
    stated.or_else(of_event)
}

/// The event's id.
pub(super) fn event_id(event: &Value) -> Option<String> {
    id(event, &["event_id"]).or_else(|| id(event, &["eventID"]))
}

/// The `nth` path segment (from 0) after `name` in a link.
pub(super) fn segment<'a>(link: &'a str, name: &str, nth: usize) -> Option<&'a str> {
    let path = link.split(['?', '#']).next()?;
    let mut after = path.split('/').skip_while(|s| *s != name).skip(1);
    after.nth(nth).filter(|s| !s.is_empty())
}
