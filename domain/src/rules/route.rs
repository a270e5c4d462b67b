//! Who is told: a tree of routes, with Alertmanager's meaning of it.
//!
//! An alert goes down from the top: of the routes beside each other, the first that fits takes it,
//! and, if that one says `continue`, the next that fits as well. Where one of a route's own routes
//! takes it, that one decides, with whatever it does not say from the route above; where none does, the
//! route itself.

use std::{collections::BTreeSet, fmt};

use serde::Deserialize;

use super::condition::{Conditions, Subject};

/// Longest wait and interval of a group, in seconds.
const LONGEST: u32 = 24 * 3600;

/// In `group_by`: by all labels.
const ALL_LABELS: &str = "...";

/// A route that took an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// Name of the route.
    pub rule: String,
    /// Names of the receivers, in the document's order.
    pub receivers: Vec<String>,
    pub group: Group,
}

/// How a route bundles what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The labels and fields whose values make a group; `...` is all labels. None: one group.
    pub by: Vec<String>,
    /// Seconds from the first of a group to its message. 0: at once, each by itself.
    pub wait_seconds: i64,
    /// Seconds from a message of a group to its next.
    pub interval_seconds: i64,
}

impl Group {
    /// True when alerts of the route wait for others.
    pub fn bundles(&self) -> bool {
        self.wait_seconds > 0 || self.interval_seconds > 0
    }

    /// Names and values that make the group of an alert, in the document's order; of `...` in that of
    /// the names.
    pub fn of(&self, subject: &Subject<'_>) -> Vec<(String, String)> {
        if self.by.iter().any(|name| name == ALL_LABELS) {
            let mut labels = subject.facts.labels.clone();
            labels.sort();
            return labels;
        }
        self.by.iter().map(|name| (name.clone(), subject.value(name).into_owned())).collect()
    }
}

/// One route, its open ends filled in from the one above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    name: String,
    matchers: Conditions,
    continues: bool,
    receivers: Vec<String>,
    group: Group,
    routes: Vec<Route>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoute {
    name: String,
    #[serde(default)]
    matchers: Conditions,
    #[serde(default, rename = "continue")]
    continues: bool,
    receivers: Option<Vec<String>>,
    group_by: Option<Vec<String>>,
    group_wait_seconds: Option<u32>,
    group_interval_seconds: Option<u32>,
    #[serde(default)]
    routes: Vec<WrittenRoute>,
}

/// The routes of a section, tried from the top.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<WrittenRoute>")]
pub(super) struct Routes(Vec<Route>);

impl Routes {
    /// The routes that take an alert, in the document's order; none where none fits.
    pub fn take(&self, subject: &Subject<'_>) -> Vec<Routed> {
        let mut taken = Vec::new();
        take(&self.0, subject, &mut taken);
        taken
    }
}

/// Whether one of them took it.
fn take(routes: &[Route], subject: &Subject<'_>, taken: &mut Vec<Routed>) -> bool {
    let mut any = false;
    for route in routes.iter().filter(|route| route.matchers.hold(subject)) {
        any = true;
        if !take(&route.routes, subject, taken) {
            taken.push(Routed {
                rule: route.name.clone(),
                receivers: route.receivers.clone(),
                group: route.group.clone(),
            });
        }
        if !route.continues {
            break;
        }
    }
    any
}

impl TryFrom<Vec<WrittenRoute>> for Routes {
    type Error = String;

    fn try_from(written: Vec<WrittenRoute>) -> Result<Self, String> {
        if written.is_empty() {
            return Err("there is no route".into());
        }
        let mut names = BTreeSet::new();
        routes(written, None, &mut names).map(Self)
    }
}

fn routes(
    written: Vec<WrittenRoute>,
    above: Option<&Route>,
    names: &mut BTreeSet<String>,
) -> Result<Vec<Route>, String> {
    let mut routes: Vec<Route> = Vec::new();
    for written in written {
        let takes_all = routes.last().is_some_and(|r| r.matchers.is_empty() && !r.continues);
        if takes_all {
            return Err(format!(
                "route {:?}: the route above takes every alert, so this one is never reached",
                written.name
            ));
        }
        routes.push(route(written, above, names)?);
    }
    Ok(routes)
}

fn route(
    written: WrittenRoute,
    above: Option<&Route>,
    names: &mut BTreeSet<String>,
) -> Result<Route, String> {
    let WrittenRoute { name, matchers, continues, receivers, group_by, routes: below, .. } =
        written;
    let wrong = |problem: &str| Err(format!("route {name:?}: {problem}"));
    if name.is_empty() {
        return Err("the name of a route is empty".into());
    }
    if !names.insert(name.clone()) {
        return wrong("a route above has the same name, which decisions go by");
    }
    let receivers = match (receivers, above) {
        (Some(receivers), _) => receivers,
        (None, Some(above)) => above.receivers.clone(),
        (None, None) => return wrong("missing field `receivers`"),
    };
    let distinct: BTreeSet<_> = receivers.iter().collect();
    if receivers.iter().any(String::is_empty) {
        return wrong("the name of a receiver is empty");
    }
    if distinct.len() != receivers.len() {
        return wrong("a receiver is named twice");
    }
    let seconds = |written: Option<u32>, above: Option<i64>, what: &str| match written {
        Some(seconds) if seconds > LONGEST => {
            Err(format!("route {name:?}: {what} is {seconds}: more than a day ({LONGEST})"))
        }
        Some(seconds) => Ok(i64::from(seconds)),
        None => Ok(above.unwrap_or_default()),
    };
    let inherited = above.map(|above| &above.group);
    let group = Group {
        by: group_by.or_else(|| Some(inherited?.by.clone())).unwrap_or_default(),
        wait_seconds: seconds(
            written.group_wait_seconds,
            inherited.map(|group| group.wait_seconds),
            "group_wait_seconds",
        )?,
        interval_seconds: seconds(
            written.group_interval_seconds,
            inherited.map(|group| group.interval_seconds),
            "group_interval_seconds",
        )?,
    };
    let mut route = Route { name, matchers, continues, receivers, group, routes: Vec::new() };
    route.routes = routes(below, Some(&route), names)?;
    Ok(route)
}

impl fmt::Display for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(&self.0, f)
    }
}

fn list(routes: &[Route], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, route) in routes.iter().enumerate() {
        if i > 0 {
            f.write_str("; ")?;
        }
        write!(f, "{route}")?;
    }
    Ok(())
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, matchers, continues, receivers, group, routes } = self;
        write!(f, "{name}")?;
        if !matchers.is_empty() {
            write!(f, " of {matchers}")?;
        }
        match receivers.as_slice() {
            [] => f.write_str(" to nobody")?,
            receivers => write!(f, " to {}", receivers.join(", "))?,
        }
        if group.bundles() {
            let Group { by, wait_seconds, interval_seconds } = group;
            write!(
                f,
                " in groups by [{}] after {wait_seconds} s, then every {interval_seconds} s",
                by.join(", ")
            )?;
        }
        if *continues {
            f.write_str(" and on")?;
        }
        if !routes.is_empty() {
            f.write_str(" (")?;
            list(routes, f)?;
            f.write_str(")")?;
        }
        Ok(())
    }
}
