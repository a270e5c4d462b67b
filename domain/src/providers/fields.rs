//! Where bodies of a source's own shape hold which fact: the field mapping of a source.

use serde::Deserialize;
use serde_json::Value;

/// Longest path, in bytes.
const MAX_PATH: usize = 256;

/// Where a body holds a fact: names with dots between them (`data.rule.name`), numbers for places
/// in a list (`alerts.0.title`); with a `/` in front a JSON pointer (RFC 6901), for names that hold
/// dots themselves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldPath(String);

impl TryFrom<String> for FieldPath {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        let empty_step = !path.starts_with('/') && path.split('.').any(str::is_empty);
        match path.len() {
            0 => Err("the path of a field is empty"),
            n if n > MAX_PATH => Err("the path of a field is longer than 256 bytes"),
            _ if empty_step => Err("the path of a field has an empty step"),
            _ => Ok(Self(path)),
        }
    }
}

impl FieldPath {
    /// What stands there; null is absent.
    pub(super) fn get<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        let found = match self.0.starts_with('/') {
            true => body.pointer(&self.0),
            false => self.0.split('.').try_fold(body, |value, step| match value {
                Value::Array(items) => items.get(step.parse::<usize>().ok()?),
                other => other.get(step),
            }),
        };
        found.filter(|value| !value.is_null())
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The field mapping of a source: one path for each fact its bodies state elsewhere than where
/// well-known names would be found.
///
/// ```
/// # use domain::providers::FieldMap;
/// let fields: FieldMap = toml::from_str(
///     r#"
///     id = "check.uid"          # the same for as long as it is the same problem
///     title = "check.name"
///     message = "output"
///     status = "state"          # firing, alerting, down, ...; resolved, ok, up, ...
///     severity = "state"
///     url = "links.0.href"
///     target = "/labels/host.name"
///     started_at = "since"
///     "#,
/// )
/// .unwrap();
/// assert_eq!(fields.id.unwrap().as_str(), "check.uid");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldMap {
    /// What makes it the same problem again. Without it: sender, title, service and target.
    pub id: Option<FieldPath>,
    /// One line that says what is wrong.
    pub title: Option<FieldPath>,
    pub message: Option<FieldPath>,
    pub status: Option<FieldPath>,
    pub severity: Option<FieldPath>,
    pub url: Option<FieldPath>,
    pub environment: Option<FieldPath>,
    pub service: Option<FieldPath>,
    pub namespace: Option<FieldPath>,
    pub target: Option<FieldPath>,
    pub started_at: Option<FieldPath>,
    /// Who sent it.
    pub sender: Option<FieldPath>,
}

impl FieldMap {
    /// The facts that are mapped, and the paths to them.
    pub fn paths(&self) -> impl Iterator<Item = (&'static str, &FieldPath)> {
        let Self { id, title, message, status, severity, url, .. } = self;
        let Self { environment, service, namespace, target, started_at, sender, .. } = self;
        [
            ("id", id),
            ("title", title),
            ("message", message),
            ("status", status),
            ("severity", severity),
            ("url", url),
            ("environment", environment),
            ("service", service),
            ("namespace", namespace),
            ("target", target),
            ("started_at", started_at),
            ("sender", sender),
        ]
        .into_iter()
        .filter_map(|(fact, path)| Some((fact, path.as_ref()?)))
    }

    /// Whether a fact is part of what makes two alerts the same problem.
    pub fn is_identity(fact: &str) -> bool {
        ["id", "title", "service", "target", "sender"].contains(&fact)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_through_objects_and_lists() {
        let body = json!({"a": {"b": [{"c": 1}, null]}, "x.y": {"~": 2}, "0": 3});
        let get = |path: &str| FieldPath::try_from(path.to_owned()).unwrap().get(&body).cloned();
        assert_eq!(get("a.b.0.c"), Some(json!(1)));
        assert_eq!(get("/a/b/0/c"), Some(json!(1)));
        assert_eq!(get("/x.y/~0"), Some(json!(2)));
        assert_eq!(get("0"), Some(json!(3)));
        for nowhere in ["a.b.1", "a.b.2", "a.b.c", "a.c.d", "x.y", "/a/c", "a.b.-1", "a.b.0.c.d"] {
            assert_eq!(get(nowhere), None, "{nowhere}");
        }
        for bad in [String::new(), ".".into(), "a..b".into(), "a.".into(), "x".repeat(257)] {
            assert!(FieldPath::try_from(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mapping_names_only_known_facts() {
        let read = |text: &str| toml::from_str::<FieldMap>(text).map_err(|e| e.to_string());
        assert!(read("title = \"a.b\"").unwrap().title.is_some());
        assert!(read("titel = \"a\"").unwrap_err().contains("unknown field `titel`"));
        assert!(read("title = \"a..b\"").unwrap_err().contains("empty step"));
    }
}
