//! `bellwether why`.

use std::fmt;

use console::api::{
    page::Page,
    why::{ALERTS, Decision, Steps, Why, trace},
};
use schemas::ProjectId;
use store::read::Visible;

use super::place::Place;

/// Why something was told, or was not: each step, the rule that decided, and what the receiver said.
#[derive(clap::Args)]
pub struct Args {
    /// An incident's id or number, the id of a delivery or of a message, or a sender's own id of an
    /// alert.
    id: String,
    /// The project of a number or of a sender's own id; the console's default when absent.
    #[arg(long)]
    project: Option<ProjectId>,
    /// Of a delivery: its alerts behind this one, as the last line of the answer before says.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    after: Option<i32>,
    /// Of a delivery: how many of its alerts.
    #[arg(
        long,
        default_value_t = ALERTS.1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(ALERTS.0))
    )]
    limit: u32,
    /// As the API answers it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Nothing is known of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unknown(String);

impl std::error::Error for Unknown {}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "refused: nothing is known of {:?}; a number and a sender's own id need --project",
            self.0
        )
    }
}

/// Says why.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { id, project, after, limit, json, place } = args;
    let page = Page { after: after.unwrap_or(-1), limit };
    let project = match project {
        Some(project) => project,
        None => place.checked()?.config.console.default_project,
    };
    let mut view = place.store().await?.view(&Visible::Everything).await?;
    let found = trace(&mut view, project.as_str(), &id, page).await?;
    let why = found.ok_or(Unknown(id))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&why)?);
    } else {
        lines(&why).iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// One line for each step, from what arrived to what the receiver said.
fn lines(why: &Why) -> Vec<String> {
    let mut out = vec![format!("{} {} of {}", why.about, why.id, why.project_id)];
    for d in &why.deliveries {
        let reason = because(d.reason.as_deref());
        out.push(format!(
            "arrived   {}  {} from {} ({}) at {}: {}{reason}",
            d.received_at, d.record_id, d.source, d.provider, d.position, d.outcome,
        ));
    }
    for a in &why.alerts {
        let by = a.fingerprint_by.as_deref().unwrap_or("built-in");
        out.push(format!(
            "folded    {}  {:?}: {}, fingerprint {} by rule {by}",
            a.received_at, a.title, a.effect, a.fingerprint,
        ));
    }
    out.extend(why.steps.iter().flat_map(steps));
    if let Some(next) = why.next {
        out.push(format!("more      ask with --after {next}"));
    }
    out
}

fn steps(steps: &Steps) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(i) = &steps.incident {
        let number = i.number.as_deref().unwrap_or("no number yet");
        let silenced = i.silenced_until.map(|until| format!(", silenced until {until}"));
        out.push(format!(
            "incident  {}  {number} {:?}: {}, {}, opened by {}, {} times{}",
            i.opened_at,
            i.title,
            i.status,
            i.risk,
            i.cause,
            i.occurrences,
            silenced.unwrap_or_default(),
        ));
    }
    out.extend(steps.decisions.iter().map(decision));
    for s in &steps.sends {
        let detail = because(s.detail.as_deref());
        out.push(format!(
            "sent      {}  {} to {} ({}): {} at attempt {}{detail}",
            s.settled_at, s.kind, s.target, s.channel, s.result, s.attempts,
        ));
    }
    for w in &steps.waiting {
        let reason = because(w.reason.as_deref());
        out.push(format!(
            "waits     {}  for {}: {} after {} attempts{reason}",
            w.not_before, w.target, w.state, w.attempts,
        ));
    }
    for a in &steps.actions {
        out.push(format!("operator  {}", a.line()));
    }
    out
}

fn decision(d: &Decision) -> String {
    let what = match (&d.kind, &d.receiver) {
        (Some(kind), Some(receiver)) => {
            format!("{kind} for {receiver} planned{}", because(d.reason.as_deref()))
        }
        _ => format!("withheld: {}", d.reason.as_deref().unwrap_or("no reason")),
    };
    let by = d.decided_by.as_ref().map(|by| format!(", because of {by}")).unwrap_or_default();
    let summary = d.summary.as_ref().map(|key| format!(", told in {key}")).unwrap_or_default();
    format!(
        "decided   {}  {what}{by}{summary} (rule {} of {}, on {})",
        d.at, d.rule, d.rules, d.position,
    )
}

fn because(said: Option<&str>) -> String {
    said.map(|said| format!(" ({said})")).unwrap_or_default()
}
