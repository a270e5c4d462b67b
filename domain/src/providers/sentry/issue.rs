//! Issues and their events: `issue`, `error`, `event_alert`, `activity_alert`, and an issue with its
//! event beside it; and the flat body of the legacy plugin.

use schemas::{
    Alert, Facts, Level, Status,
    alert::{LogCorrelation, SourceRefs, Stage},
};
use serde_json::Value;

use super::{
    Context,
    shape::{self, Shape, segment},
    stack,
};
use crate::providers::{
    build::{self, MAX_LINE, MAX_TEXT, Pairs, time_at},
    json::{self, at, id, text},
    severity,
};

// R22: what Sentry's bodies say when they say nothing.
const TITLE: &str = "Unknown Error";
const UNKNOWN: &str = "unknown";

pub(super) fn alert(
    context: &Context<'_>,
    shape: &Shape,
    status: Status,
) -> Result<Alert, &'static str> {
    let (issue, event) = shape.subjects(context.body);
    let subject = Subject { issue, event };
    let mut notes = vec![];

    let tags = tags(event).unwrap_or_else(|| tags(issue).unwrap_or_default());
    let project = subject.project();
    let culprit = subject.line("culprit");
    let exception = event.and_then(stack::exception_type);
    let issue_id = shape::issue_id(issue, event).map(|id| build::bounded_id(&id));
    let event_id = event.and_then(shape::event_id).map(|id| build::bounded_id(&id));
    let in_project = format!("project:{}", project.key.as_deref().unwrap_or_default());
    let identity = match (&issue_id, issue) {
        (Some(id), _) => vec![in_project, format!("issue:{id}")],
        // An issue without id is nothing; an event without issue is still an error.
        (None, Some(_)) => return Err("missing_issue_id"),
        (None, None) if event_id.is_none() => return Err("missing_issue_id"),
        (None, None) => {
            notes.push("no issue id: known again by type, culprit and frame".to_owned());
            let frame = event.and_then(stack::top_in_app).unwrap_or_default();
            let kind = exception.unwrap_or_default().to_owned();
            vec![in_project, kind, culprit.clone().unwrap_or_default(), frame]
        }
    };

    let message = subject.message(context.body).map(|t| build::cut(t, MAX_TEXT));
    let title = subject.line("title").or_else(|| match shape {
        // The plugin states no title of its own, and older events have none either.
        Shape::Plugin => {
            let named = subject.text(&["metadata", "title"]).or(message.as_deref());
            named.map(|t| build::cut(t, MAX_LINE))
        }
        _ => None,
    });
    let title = title.unwrap_or_else(|| TITLE.to_owned());
    let severity_raw = subject.line("level");
    let level = match &severity_raw {
        Some(word) => severity::level(word),
        None => Some(Level::Error),
    };
    let count = match issue.and_then(|i| at(i, &["count"])) {
        None => 1,
        Some(stated) => json::count(stated).unwrap_or_else(|| {
            notes.push("count is not a whole number: taken as 1".to_owned());
            1
        }),
    };
    let happened = event.and_then(|e| {
        time_at(e, &["datetime"])
            .or_else(|| time_at(e, &["timestamp"]))
            .or_else(|| time_at(e, &["received"]))
    });
    let first_seen = issue.and_then(|i| time_at(i, &["firstSeen"]));
    let last_seen = issue.and_then(|i| time_at(i, &["lastSeen"]));
    let action = text(context.body, &["action"]).unwrap_or("event").to_owned();
    let annotations = annotations(context.body, issue);
    let tag = |names: &[&str]| tags.first(names).map(|t| build::cut(t, MAX_LINE));
    let slug_or_id = project.slug.or(project.key);

    Ok(Alert {
        stage: match status {
            // The event people send from Sentry's own pages to try a webhook.
            _ if tags.first(&["sample_event"]) == Some("yes") => Stage::Test,
            Status::Resolved => Stage::Resolved,
            Status::Firing | Status::Suppressed => Stage::Received,
        },
        provider_event_id: match (&event_id, &issue_id) {
            (Some(event), _) => event.clone(),
            (None, id) => {
                let id = id.as_deref().unwrap_or(UNKNOWN);
                build::bounded_id(&format!("issue-{id}-{action}"))
            }
        },
        provider_ts: happened.or(last_seen).or(first_seen),
        // Sentry does not say when somebody resolved, ignored or reopened an issue: only the
        // arrival tells. For an event, the server's clock goes before the reporting client's.
        status_at: match (status, event) {
            (Status::Resolved | Status::Suppressed, _) => None,
            (Status::Firing, Some(event)) => time_at(event, &["received"]).or(happened),
            (Status::Firing, None) if action == "created" => first_seen.or(last_seen),
            (Status::Firing, None) => None,
        },
        identity: identity.iter().map(|part| build::bounded_id(part)).collect(),
        // Who reopens an issue reports no event, though the last one may stand beside it.
        occurrence: event_id
            .as_ref()
            .filter(|_| action != "unresolved")
            .map(|id| format!("event:{id}")),
        refs: SourceRefs {
            sentry: [
                issue_id.as_ref().map(|id| format!("issue:{id}")),
                issue.and_then(|i| id(i, &["shortId"])).map(|id| format!("short_id:{id}")),
                event_id.as_ref().map(|id| format!("event:{id}")),
            ]
            .into_iter()
            .flatten()
            .map(|reference| build::bounded_id(&reference))
            .collect(),
            ..SourceRefs::default()
        },
        correlation: correlation(event, &tags, event_id),
        content: build::content(
            context.body,
            &[Some(&title), message.as_deref(), culprit.as_deref()],
            context.redactor,
            context.replaced,
        ),
        notes,
        facts: Facts {
            provider: "sentry".to_owned(),
            source: context.source.clone(),
            status,
            level,
            severity_raw,
            alertname: subject
                .text(&["metadata", "type"])
                .or(exception)
                .map_or_else(|| Some(title.clone()), |t| Some(build::cut(t, MAX_LINE))),
            title,
            message,
            target: culprit.clone(),
            culprit: Some(culprit.unwrap_or_else(|| UNKNOWN.to_owned())),
            environment: subject.line("environment").or_else(|| tag(&["environment"])),
            service: tag(&["service"]).or_else(|| slug_or_id.clone()),
            namespace: tag(&["namespace", "k8s.namespace.name"]),
            sender_project: Some(slug_or_id.unwrap_or_else(|| UNKNOWN.to_owned())),
            platform: event
                .and_then(|e| text(e, &["platform"]))
                .or_else(|| issue.and_then(|i| text(i, &["platform"])))
                .map(|t| build::cut(t, MAX_LINE)),
            issue_id,
            url: subject.link(),
            started_at: first_seen.or(happened),
            ended_at: None,
            first_seen,
            count: Some(count),
            user_count: issue.and_then(|i| at(i, &["userCount"])).and_then(json::count),
            stack: event.map(stack::frames).unwrap_or_default(),
            labels: tags.list,
            annotations,
        },
    })
}

/// The issue, the event, or both; the issue goes first.
struct Subject<'a> {
    issue: Option<&'a Value>,
    event: Option<&'a Value>,
}

/// The sender's project: the slug for people, the key for identity.
struct Project {
    slug: Option<String>,
    /// The numeric id, which every shape states and no renaming changes; else the slug.
    key: Option<String>,
}

impl<'a> Subject<'a> {
    fn text(&self, path: &[&str]) -> Option<&'a str> {
        [self.issue, self.event].into_iter().flatten().find_map(|value| text(value, path))
    }

    fn line(&self, field: &str) -> Option<String> {
        self.text(&[field]).map(|t| build::cut(t, MAX_LINE))
    }

    fn project(&self) -> Project {
        let of = |value: &Value| {
            let project = at(value, &["project"]);
            let slug = project.and_then(|p| p.as_str().or_else(|| text(p, &["slug"])));
            let linked = || {
                let links = ["url", "issue_url"].iter().filter_map(|l| text(value, &[l]));
                // .../projects/<organisation>/<project>/...
                links.filter_map(|link| segment(link, "projects", 1)).next()
            };
            let slug = slug
                .filter(|s| !s.trim().is_empty())
                .or_else(|| text(value, &["project_slug"]))
                .or_else(linked);
            let number = project.and_then(|p| id(p, &["id"])).or_else(|| {
                project.filter(|p| p.is_number()).and_then(|_| id(value, &["project"]))
            });
            (slug.map(|s| build::cut(s, MAX_LINE)), number)
        };
        let all: Vec<_> = [self.issue, self.event].into_iter().flatten().map(of).collect();
        let slug = all.iter().find_map(|(slug, _)| slug.clone());
        let number = all.iter().find_map(|(_, number)| number.clone());
        Project { key: number.or_else(|| slug.clone()), slug }
    }

    fn message(&self, body: &'a Value) -> Option<&'a str> {
        // Flat bodies state it; older events name the interface it comes from.
        let of_event = |event: &'a Value| {
            text(event, &["message"])
                .or_else(|| text(event, &["logentry", "formatted"]))
                .or_else(|| text(event, &["sentry.interfaces.Message", "formatted"]))
                .or_else(|| text(event, &["sentry.interfaces.Message", "message"]))
        };
        text(body, &["message"])
            .or_else(|| self.event.and_then(of_event))
            .or_else(|| text(body, &["data", "activity", "details", "summary"]))
    }

    fn link(&self) -> Option<String> {
        let of = |value: Option<&'a Value>, field: &str| text(value?, &[field]);
        of(self.issue, "web_url")
            .or_else(|| of(self.issue, "permalink"))
            .or_else(|| of(self.event, "web_url"))
            // Sentry's own `url` is its API; others put a page there.
            .or_else(|| of(self.issue, "url").filter(|url| !url.contains("/api/0/")))
            .and_then(build::link)
    }
}

/// Tags: pairs, an object, or objects of key and value. `None` when there is no usable list.
fn tags(subject: Option<&Value>) -> Option<Pairs> {
    let mut pairs = Pairs::default();
    match at(subject?, &["tags"])? {
        map @ Value::Object(_) => pairs = Pairs::object(Some(map), 2 * MAX_LINE),
        Value::Array(list) => {
            for tag in list {
                let (name, value) = match tag {
                    Value::Array(pair) => (pair.first(), pair.get(1)),
                    Value::Object(map) => (map.get("key"), map.get("value")),
                    _ => continue,
                };
                if let (Some(name), Some(value)) =
                    (name.and_then(json::scalar), value.and_then(json::scalar))
                {
                    pairs.push(&name, &value, 2 * MAX_LINE);
                }
            }
        }
        _ => return None,
    }
    Some(pairs)
}

fn annotations(body: &Value, issue: Option<&Value>) -> Vec<(String, String)> {
    let mut pairs = Pairs::default();
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            pairs.push(name, value, MAX_LINE);
        }
    };
    add("triggered_rule", text(body, &["data", "triggered_rule"]));
    add("triggered_rule", text(body, &["data", "alert", "title"]));
    let rules = at(body, &["triggering_rules"]).and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        add("triggered_rule", rule.as_str());
    }
    add("activity", text(body, &["data", "activity", "type"]));
    for field in ["substatus", "priority", "issueCategory"] {
        add(field, issue.and_then(|i| text(i, &[field])));
    }
    pairs.list
}

fn correlation(event: Option<&Value>, tags: &Pairs, event_id: Option<String>) -> LogCorrelation {
    let of = |path: &[&str]| event.and_then(|e| text(e, path)).map(|t| build::cut(t, MAX_LINE));
    let tag = |names: &[&str]| tags.first(names).map(|t| build::cut(t, MAX_LINE));
    LogCorrelation {
        trace_id: of(&["contexts", "trace", "trace_id"]).or_else(|| tag(&["trace_id"])),
        span_id: of(&["contexts", "trace", "span_id"]).or_else(|| tag(&["span_id", "trace.span"])),
        request_id: tag(&["request_id", "request-id", "x-request-id"]),
        release: of(&["release"])
            .or_else(|| of(&["release", "version"]))
            .or_else(|| tag(&["release", "sentry:release"])),
        sentry_event_id: event_id,
        ..LogCorrelation::default()
    }
}
