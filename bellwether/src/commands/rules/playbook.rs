//! `bellwether rules playbook`: shows which entries of the playbook an alert would get, and why.

use std::{fmt::Write as _, path::PathBuf};

use domain::{
    rules::{Rules, Subject},
    triage::playbook::{Chosen, answer},
};
use schemas::{Facts, ProjectId};

use super::{history, read};
use crate::commands::{payload, place::Place};

/// Says which entries of the playbook an alert would get, and why; nothing is sent or written.
#[derive(clap::Args)]
pub struct Playbook {
    /// A file with what a sender sends.
    #[arg(long)]
    alert: PathBuf,
    /// Whose payload the file is; found out when absent.
    #[arg(long)]
    provider: Option<String>,
    /// The project whose entries are asked.
    #[arg(long, default_value = "sample", value_parser = project)]
    project: ProjectId,
    /// A rules document to try; the one in force when absent.
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Prints it, alert by alert.
pub async fn run(args: Playbook) -> anyhow::Result<()> {
    let rules = match &args.file {
        Some(file) => read(file)?,
        None => history(&args.place.log().await?).await?.in_force().clone(),
    };
    for facts in payload::alerts(&args.alert, args.provider.as_deref(), &args.project)? {
        print!("{}", shown(&rules, &args.project, &facts));
    }
    Ok(())
}

/// What the playbook says of one alert.
fn shown(rules: &Rules, project: &ProjectId, facts: &Facts) -> String {
    let chosen = rules.playbook(project).choose(&Subject { project, facts });
    let mut text = format!("alert       {}\n", facts.title);
    if chosen.is_empty() {
        text.push_str("entries     none is about it\n\n");
        return text;
    }
    for (n, Chosen { family, entry, fit, built_in }) in (1..).zip(&chosen) {
        let whose = if *built_in { "built in" } else { "by the rules" };
        let (id, closeness, why) = (&entry.id, fit.specificity, &fit.why);
        // Writing to a text does not fail.
        let _ = writeln!(text, "entry {n}     {id} ({family}, {whose}), {closeness}: {why}");
    }
    let runbook: Vec<_> = chosen.into_iter().map(|chosen| chosen.entry.clone()).collect();
    if let Some(said) = answer(&runbook, None) {
        let percent = (said.confidence * 100.0).round();
        for (label, value) in [
            ("cause", &said.root_cause),
            ("impact", &said.impact),
            ("fix", &said.fix_suggestion),
            ("prevention", &said.prevention),
            ("confidence", &format!("{percent} %")),
        ] {
            let value = value.replace('\n', "\n            ");
            let _ = writeln!(text, "{label:<12}{value}");
        }
    }
    text.push('\n');
    text
}

fn project(text: &str) -> Result<ProjectId, String> {
    ProjectId::new(text).map_err(|error| error.to_string())
}
