//! What an answer in a chat says: looked up when it is sent, and only in the project it is about.

use domain::notify::{about, with_found};
use jiff::tz::TimeZone;
use schemas::{
    ProjectId, Time,
    job::{Reply, SendJob},
};
use store::read::{
    View, Visible,
    delivery::SettledSend,
    home::Problem,
    why::{Decision, Waiting},
};
use uuid::Uuid;

use super::DeliverWork;

/// How many problems, and how many steps of one kind, an answer names.
const MOST: usize = 5;

impl DeliverWork {
    /// Whom a send answers, with what there is to say by now; none where it answers nobody.
    pub(super) async fn answer(&self, send: &SendJob) -> Result<Option<Reply>, store::Error> {
        let Some(reply) = send.reply.as_deref() else { return Ok(None) };
        let incident = about(reply);
        let number = match incident {
            Some(incident) => self.store.incident_number(incident).await?,
            None => None,
        };
        let asked = if reply.refused.is_none() { reply.verb.as_str() } else { "" };
        let lines = match (asked, incident) {
            ("status" | "top", _) | ("why", Some(_)) => {
                let visible = Visible::Projects(vec![send.project.clone()]);
                let mut view = self.store.view(&visible).await?;
                let zone = &self.config.zone;
                match (asked, incident) {
                    ("why", Some(one)) => why(&mut view, &send.project, one.0, zone).await?,
                    (_, Some(one)) => stands(&mut view, &send.project, one.0, zone).await?,
                    ("top", None) => top(&mut view, &send.project).await?,
                    (_, None) => status(&mut view, &send.project, zone).await?,
                }
            }
            _ => Vec::new(),
        };
        Ok(Some(with_found(reply, number.as_deref(), &lines)))
    }
}

/// How many incidents nobody has, by risk, and the most urgent ones.
async fn status(
    view: &mut View,
    project: &ProjectId,
    zone: &TimeZone,
) -> Result<Vec<String>, store::Error> {
    let projects = [project.to_string()];
    let mut open = view.open_by_risk(&projects).await?;
    let order = ["CRITICAL", "HIGH", "MEDIUM", "LOW"];
    open.sort_by_key(|(risk, ..)| order.iter().position(|known| known == risk));
    let mut lines: Vec<_> = open
        .into_iter()
        .map(|(risk, count, oldest)| format!("{risk}: {count} ({})", local(oldest, zone)))
        .collect();
    let urgent = view.urgent_problems(&projects, MOST as u32).await?;
    lines.extend(
        urgent.iter().map(|problem| format!("{} {}", number(problem), problem.facts.title)),
    );
    Ok(lines)
}

/// Where one incident stands.
async fn stands(
    view: &mut View,
    project: &ProjectId,
    incident: Uuid,
    zone: &TimeZone,
) -> Result<Vec<String>, store::Error> {
    let found = view.incidents_by_id(project.as_str(), &[incident]).await?.pop();
    let Some(i) = found else { return Ok(Vec::new()) };
    let mut lines = vec![
        i.facts.title,
        format!("{} {} ×{} ({})", i.risk, i.status, i.occurrences, local(i.opened_at, zone)),
    ];
    lines.extend(i.silenced_until.map(|until| format!("🔕 {}", local(until, zone))));
    Ok(lines)
}

/// The problems that fired most in the last day.
async fn top(view: &mut View, project: &ProjectId) -> Result<Vec<String>, store::Error> {
    let now = view.now().await?;
    let since = now.plus_seconds(-24 * 3600);
    let found = view.most_frequent(project.as_str(), since, MOST as u32).await?;
    let line = |one: &store::read::why::Frequent| {
        let number = one.number.as_ref().map(|(day, n)| format!("INC-{day}-{n:03} "));
        format!("{}× {}{}", one.alerts, number.unwrap_or_default(), one.title)
    };
    Ok(found.iter().map(line).collect())
}

/// The last steps of an incident: what was decided, what became of it, and what waits.
async fn why(
    view: &mut View,
    project: &ProjectId,
    incident: Uuid,
    zone: &TimeZone,
) -> Result<Vec<String>, store::Error> {
    let name = project.as_str();
    let decisions = view.decisions_of(name, &[incident]).await?;
    let sends = view.sends_of(name, &[incident]).await?;
    let waiting = view.waiting_of(name, &[incident]).await?;
    let mut lines = Vec::new();
    lines.extend(last(&decisions).iter().map(|d| decided(d, zone)));
    lines.extend(last(&sends).iter().map(|s| sent(s, zone)));
    lines.extend(last(&waiting).iter().map(|w| waits(w, zone)));
    Ok(lines)
}

fn last<T>(all: &[T]) -> &[T] {
    all.get(all.len().saturating_sub(MOST)..).unwrap_or_default()
}

fn decided(d: &Decision, zone: &TimeZone) -> String {
    let what = match (&d.kind, &d.receiver, &d.reason) {
        (Some(kind), Some(receiver), _) => format!("{kind} → {receiver}"),
        (_, _, Some(reason)) => format!("{}: {reason}", d.verdict),
        _ => d.verdict.clone(),
    };
    let by = d.by.as_ref().map(|by| format!(" ← {by}")).unwrap_or_default();
    let (at, rule) = (local(d.lane_time, zone), &d.rule);
    format!("🧭 {at} {what}{by} [{rule}]")
}

fn sent(s: &SettledSend, zone: &TimeZone) -> String {
    // What the receiver calls a message it took says nothing to people.
    let said = s.detail.as_ref().filter(|_| s.result != "delivered");
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    let at = local(s.settled_at, zone);
    format!("📨 {at} {} → {} {} ×{}{said}", s.kind, s.target, s.result, s.attempts)
}

fn waits(w: &Waiting, zone: &TimeZone) -> String {
    let said = w.reason.as_ref().map(|said| format!(": {said}")).unwrap_or_default();
    let at = local(w.not_before, zone);
    format!("⏳ {at} → {} {} ×{}{said}", w.target, w.state, w.attempts)
}

fn number(problem: &Problem) -> String {
    match &problem.number {
        Some((day, number)) => format!("INC-{day}-{number:03}"),
        None => problem.incident.to_string(),
    }
}

fn local(time: Time, zone: &TimeZone) -> String {
    time.timestamp().to_zoned(zone.clone()).strftime("%m-%d %H:%M:%S").to_string()
}
