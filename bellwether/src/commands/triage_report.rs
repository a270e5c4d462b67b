//! `bellwether triage-report`.

use console::api::triage::{Analyst, Report, moment, report};
use schemas::ProjectId;
use store::read::Visible;

use super::place::Place;

/// What analysts were asked, how that ended, what it cost, and what operators think of it.
#[derive(clap::Args)]
pub struct Args {
    /// From this time on: `2026-11-20T08:00:00Z`, or a day of UTC; everything when absent.
    #[arg(long)]
    from: Option<String>,
    /// Before this time.
    #[arg(long)]
    to: Option<String>,
    /// Of this project alone.
    #[arg(long)]
    project: Option<ProjectId>,
    /// As the API answers it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Shows the report.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { from, to, project, json, place } = args;
    let time = |text: Option<&str>| text.map(moment).transpose().map_err(anyhow::Error::msg);
    let span = (time(from.as_deref())?, time(to.as_deref())?);
    let mut view = place.store().await?.view(&Visible::Everything).await?;
    let report = report(&mut view, project.as_ref().map(ProjectId::as_str), span).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        lines(&report).iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// What stands above the columns.
const HEAD: [&str; 16] = [
    "analyst",
    "model",
    "prompt",
    "asked",
    "answered",
    "calls",
    "p50 s",
    "p95 s",
    "tokens",
    "cost",
    "confirmed",
    "rejected",
    "inconclusive",
    "useful",
    "not useful",
    "noise",
];

/// A table, and below it who failed how.
fn lines(report: &Report) -> Vec<String> {
    if report.items.is_empty() {
        return vec!["nobody was asked in this time".to_owned()];
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(report.items.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut out: Vec<String> = rows.iter().map(|row| aligned(row, &widths)).collect();
    for item in &report.items {
        let who = item.analyst.as_deref().unwrap_or("-");
        let model = item.model.as_ref().map(|model| format!(" ({model})")).unwrap_or_default();
        out.extend(
            item.failures
                .iter()
                .map(|(name, times)| format!("{who}{model} failed {times}x: {name}")),
        );
    }
    out
}

fn row(item: &Analyst) -> [String; 16] {
    let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    let seconds =
        |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1}", ms as f64 / 1e3));
    [
        named(&item.analyst),
        named(&item.model),
        named(&item.prompt),
        item.asked.to_string(),
        item.answered.to_string(),
        item.calls.to_string(),
        seconds(item.latency_p50_ms),
        seconds(item.latency_p95_ms),
        (item.tokens_in + item.tokens_out).to_string(),
        format!("{}.{:04}", item.cost_micros / 1_000_000, item.cost_micros % 1_000_000 / 100),
        item.confirmed.to_string(),
        item.rejected.to_string(),
        item.inconclusive.to_string(),
        item.useful.to_string(),
        item.not_useful.to_string(),
        item.noise.to_string(),
    ]
}

/// Names to the left, numbers to the right.
fn aligned(row: &[String], widths: &[usize]) -> String {
    const NAMES: usize = 3;
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        if column < NAMES { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_a_table_that_people_can_read() {
        let item = |analyst: Option<&str>, asked| Analyst {
            analyst: analyst.map(str::to_owned),
            model: analyst.map(|_| "qwen".to_owned()),
            prompt: analyst.map(|_| "0123456789abcdef".to_owned()),
            asked,
            answered: asked - 2,
            failures: [("status 500".to_owned(), 2)].into(),
            calls: asked,
            tokens_in: 1_000,
            tokens_out: 200,
            cost_micros: 1_234_567,
            latency_p50_ms: Some(1_250),
            latency_p95_ms: None,
            diagnoses: asked - 2,
            confirmed: 3,
            rejected: 1,
            inconclusive: 0,
            useful: 5,
            not_useful: 0,
            noise: 12,
        };
        let mut said = item(None, 2);
        said.failures.clear();
        let items = vec![said, item(Some("openclaw"), 128)];
        let report = Report { project_id: None, from: None, to: None, items };
        let lines = lines(&report);
        let widths: Vec<usize> = lines[..3].iter().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [widths[0]; 3], "{lines:#?}");
        assert!(lines[0].starts_with("analyst   model  prompt            asked"), "{}", lines[0]);
        assert!(lines[2].contains("  1.2      -    1200  1.2345  "), "{}", lines[2]);
        assert_eq!(lines[3], "openclaw (qwen) failed 2x: status 500");
        assert_eq!(lines.len(), 4);
        let none = Report { project_id: None, from: None, to: None, items: Vec::new() };
        assert_eq!(super::lines(&none), ["nobody was asked in this time"]);
    }
}
