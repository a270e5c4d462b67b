//! `bellwether render`: shows what a channel would send, and sends nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use domain::notify::{Language, SAMPLES, Sample, Templates, sample_facts};
use notifier_worker::{
    Target,
    channels::{self, Notification, Request},
    wording,
};
use runtime::Clock;
use schemas::{
    Facts, IncidentId, InputPosition, JobId, Lane, Level, ProjectId, Status, job::SendKind,
};

use super::{payload, place::Place};
use crate::config::Checked;

/// Shows what a channel would send; nothing is sent, and no credential is shown.
#[derive(clap::Args)]
pub struct Args {
    /// A configured channel by its id, or a kind of channel.
    #[arg(long)]
    channel: String,
    /// What is told: `fire`, `resolve`, `update`, `remind`, `summary`, `test` or `reply`.
    #[arg(long, default_value = "fire", value_parser = kind)]
    kind: SendKind,
    /// `zh-CN`, `zh-TW` or `en`; that of the channel when absent.
    #[arg(long, value_parser = language)]
    language: Option<Language>,
    /// `error`, `alert`, or a file with what a sender sends.
    #[arg(long, default_value = SAMPLES[0])]
    sample: String,
    /// Whose payload the file is; found out when absent.
    #[arg(long)]
    provider: Option<String>,
    /// A template to try in place of those configured.
    #[arg(long)]
    template: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Prints it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let checked = args.place.checked()?;
    let target = target(&args.channel, &checked)?;
    let templates = templates(args, &target, &checked)?;
    let mut sample = Sample::new(args.kind, facts(args)?, ProjectId::new("sample")?);
    sample.zone = checked.config.deliver.zone.clone();
    let mut n = notification(sample);
    n.language = args.language.or(target.language).or(checked.config.deliver.language);
    let keys = target.keys.as_deref().unwrap_or(&checked.config.deliver.keys);
    let opening = InputPosition { incarnation: 1, sequence: 1, record: 0 }.alert(0);
    n.buttons = wording::buttons(&n, &target, keys, (Lane(0), opening));
    wording::put_into_words(&mut n, &target, &templates);
    println!("{}", shown(&n, &target)?);
    Ok(())
}

/// What is sent: a text as it is, anything else as JSON.
fn shown(n: &Notification, target: &Target) -> anyhow::Result<String> {
    let request = target.channel.request(n, target).map_err(anyhow::Error::msg)?;
    Ok(match request {
        Request::Print { text } => text,
        Request::Mail(_) => n.text.clone(),
        Request::Http { body, .. } => match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(json) => serde_json::to_string_pretty(&json)?,
            Err(_) => String::from_utf8_lossy(&body).into_owned(),
        },
    })
}

/// The channel of that id, else one of that kind that could be.
fn target(named: &str, checked: &Checked) -> anyhow::Result<Target> {
    if let Some(target) = checked.channels.get(named) {
        return Ok(target.to_show());
    }
    if let Some(channel) = channels::by_kind(named) {
        return Ok(Target::of_kind(channel));
    }
    let ids: Vec<&str> = checked.channels.all().map(|target| target.id.as_str()).collect();
    let kinds: Vec<&str> = channels::all().iter().map(|channel| channel.kind()).collect();
    bail!(
        "there is no channel {named:?}; configured are: {}; kinds are: {}",
        ids.join(", "),
        kinds.join(", ")
    )
}

fn templates(args: &Args, target: &Target, checked: &Checked) -> anyhow::Result<Templates> {
    let Some(file) = &args.template else { return Ok(checked.channels.templates().clone()) };
    let text = fs::read_to_string(file)
        .with_context(|| format!("read the template {}", file.display()))?;
    let name = format!("{}/{}.txt", target.channel.kind(), args.kind.word());
    let templates = Templates::read([(name.clone(), text)], |kind| kind == target.channel.kind());
    templates.map_err(|error| {
        let line = error.line.map_or_else(String::new, |line| format!(", line {line}"));
        anyhow::anyhow!("{}{line}: {}", file.display(), error.problem)
    })
}

/// What a message is about.
fn facts(args: &Args) -> anyhow::Result<Facts> {
    if let Some(facts) = sample_facts(&args.sample, args.kind) {
        return Ok(facts);
    }
    let project = ProjectId::new("sample")?;
    let alerts = payload::alerts(Path::new(&args.sample), args.provider.as_deref(), &project)
        .with_context(|| format!("name {} or a file with a payload", SAMPLES.join(", ")))?;
    let mut facts = alerts.into_iter().next().context("it says nothing")?;
    if args.kind == SendKind::Resolve {
        facts.status = Status::Resolved;
    }
    Ok(facts)
}

fn notification(sample: Sample) -> Notification {
    let id = schemas::id::hash(&[b"sample"]);
    Notification {
        key: JobId(id),
        kind: sample.kind,
        attempted_at: Clock::system().now(),
        planned_at: sample.told_at,
        project: sample.project,
        incident: IncidentId(id),
        number: Some("INC-20251120-001".to_owned()),
        risk: Level::risk(sample.facts.level),
        facts: sample.facts,
        analysis: sample.analysis,
        frequency: sample.frequency,
        cause: sample.cause,
        standing: sample.standing,
        summary: sample.summary,
        reply: sample.reply,
        tags: sample.tags,
        first: None,
        buttons: Vec::new(),
        text: String::new(),
        zone: sample.zone,
        language: None,
        written: None,
    }
}

fn kind(word: &str) -> Result<SendKind, String> {
    let known = SendKind::ALL.map(SendKind::word);
    let found = SendKind::ALL.into_iter().find(|kind| kind.word() == word);
    found.ok_or_else(|| format!("there are {}", known.join(", ")))
}

fn language(tag: &str) -> Result<Language, String> {
    Language::from_tag(tag).ok_or_else(|| {
        let known = Language::ALL.map(Language::tag);
        format!("there are {}", known.join(", "))
    })
}
