//! A file with what a sender sends, read as the pipeline reads it.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use domain::{
    providers::{self, Normalised, Reading},
    redact::Redactor,
};
use schemas::{
    Facts, ProjectId, SourceId,
    record::{Auth, Delivery},
};

/// The alerts of the file, in its order; at least one. Whose payload it is, is found out where no
/// provider is named.
///
/// # Errors
/// When it cannot be read, nobody is known to send it, or no alert is made of it.
pub fn alerts(
    file: &Path,
    provider: Option<&str>,
    project: &ProjectId,
) -> anyhow::Result<Vec<Facts>> {
    let name = file.display();
    let raw = fs::read(file).with_context(|| format!("read {name}"))?;
    let provider = match provider {
        Some(name) => providers::by_name(name),
        None => providers::detect(&raw, |_| true),
    };
    let provider = provider.with_context(|| {
        let known: Vec<&str> = providers::all().iter().map(|provider| provider.name()).collect();
        format!("name whose payload it is with --provider: {}", known.join(", "))
    })?;
    let delivery = Delivery {
        provider: provider.name().to_owned(),
        source: SourceId::new("sample")?,
        route: "/webhook".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        remote: None,
        auth: Auth { method: "none".to_owned(), credential: None },
        sha256: [0; 32],
        raw,
        content_type: Some("application/json".to_owned()),
        channel: None,
        recorded: None,
    };
    let reading = Reading { project, redactor: Redactor::builtin(), fields: None };
    match providers::normalise(provider, &delivery, &reading) {
        Normalised::Alerts { alerts, .. } if !alerts.is_empty() => {
            Ok(alerts.into_iter().map(|alert| alert.facts).collect())
        }
        Normalised::Rejected { reason } => bail!("{} rejects {name}: {reason}", provider.name()),
        Normalised::Alerts { .. }
        | Normalised::Recorded { .. }
        | Normalised::Interaction { .. } => {
            bail!("{} makes no alert of {name}", provider.name())
        }
    }
}
