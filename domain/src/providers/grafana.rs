//! Grafana: unified alerting (8 to 12), legacy alerting (to 9), and whatever a contact point's
//! template makes of the body. The shape tells them apart.

use schemas::{
    Alert, Level,
    alert::Stage,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Likeness, Normalised, Outgoing, Proof, Provider, Reading, Refused, Request, Secret,
    Silence, auth,
    build::{self, MAX_LINE},
    custom,
    group::{self, Dialect},
    json::{self, at, text},
    sign,
};
use crate::redact::Redactor;

mod legacy;
#[cfg(test)]
mod tests;

const MISSING: Refused =
    Refused { code: "signature_missing", detail: "Missing x-grafana-alerting-signature header" };
const INVALID: Refused =
    Refused { code: "signature_invalid", detail: "Invalid x-grafana-alerting-signature" };

/// See the module.
pub struct Grafana;

impl Provider for Grafana {
    fn name(&self) -> &'static str {
        "grafana"
    }

    fn title(&self) -> &'static str {
        "Grafana"
    }

    fn version(&self) -> u32 {
        2
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent", "x-grafana-alerting-timestamp"]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        !matches!(credential, Credential::Entra { .. })
    }

    /// A rule of legacy alerting, or what unified alerting writes beside the alerts.
    fn likeness(&self, body: &Value) -> Likeness {
        let unified = ["orgId", "state", "appVersion"].iter().any(|name| body.get(*name).is_some());
        match body.get("alerts") {
            Some(_) if unified => Likeness::Marks,
            None if legacy::is(body) => Likeness::Marks,
            Some(_) | None => Likeness::None,
        }
    }

    fn retries_too_many(&self) -> bool {
        false
    }

    fn missing_secret_detail(&self) -> &'static str {
        "Grafana HMAC secret, basic or bearer credentials missing in production environment"
    }

    /// The HMAC-SHA256 of the body, or of timestamp, `:` and body where the contact point names a
    /// timestamp header; the secret's text is the key.
    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let signature = request.header("x-grafana-alerting-signature").unwrap_or_default();
        let (by_signature, by_authorization) = auth::kinds(credentials);
        let asks = signature.is_empty() && request.shows_credential();
        if by_authorization && (asks || !by_signature) {
            return auth::authorization(request, credentials);
        }
        if signature.is_empty() {
            return Err(MISSING);
        }
        let Some(signed) = request.header("x-grafana-alerting-timestamp") else {
            return auth::hmac_hex(signature, &[request.body], credentials).ok_or(INVALID);
        };
        let message = [signed.as_bytes(), b":", request.body];
        let auth = auth::hmac_hex(signature, &message, credentials).ok_or(INVALID)?;
        if auth::is_fresh(signed, request) { Ok(auth) } else { Err(auth::STALE) }
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        let Secret::Signing(secret) = secret else { return sign::shown(secret) };
        let seconds = sign::unix_seconds(outgoing);
        let signature = sign::hmac_hex(secret, &[seconds.as_bytes(), b":", outgoing.body])?;
        Some(Proof::headers([
            ("x-grafana-alerting-timestamp", seconds),
            ("x-grafana-alerting-signature", signature),
        ]))
    }

    fn recurs_by_target(&self) -> bool {
        true
    }

    /// Unified alerting repeats what fires as an Alertmanager does; legacy alerting tells each state
    /// once.
    fn silence(&self, alert: &Alert) -> Silence {
        if group::told(alert) { Silence::MissedRepeat } else { Silence::Nothing }
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let (body, note) = match json::body(&delivery.raw) {
            Ok(parsed) => parsed,
            Err(reason) => return Normalised::Rejected { reason },
        };
        if body.get("alerts").is_some() {
            unified(body, note, delivery, reading.redactor)
        } else if legacy::is(&body) {
            legacy::normalise(body, note, delivery, reading.redactor)
        } else {
            custom::generic(self.name(), body, note, delivery, reading)
        }
    }
}

fn unified(
    body: Value,
    note: Option<String>,
    delivery: &Delivery,
    redactor: &Redactor,
) -> Normalised {
    let clean = |value: &str| build::cut(&redactor.text(value).0, MAX_LINE);
    let shared = ["commonLabels", "groupLabels"].iter();
    let alertname = shared
        .filter_map(|labels| text(&body, &[labels, "alertname"]))
        .chain(text(&body, &["title"]))
        .next()
        .map(clean);
    let home = text(&body, &["externalURL"]).map(clean);
    let organisation = body.get("orgId").and_then(json::scalar).unwrap_or_default();
    let dialect = Dialect {
        provider: Grafana.name(),
        // Labels that are hidden in the body are in it too.
        fingerprints_labels: false,
        alertname,
        finish: &|alert, part| finish(alert, part, &organisation, home.as_deref()),
    };
    group::normalise(body, note, delivery, redactor, &dialect)
}

fn finish(alert: &mut Alert, part: &Value, organisation: &str, home: Option<&str>) {
    // Old bodies state the organisation once for all, new ones for each alert as well.
    let own = part.get("orgId").and_then(json::scalar);
    let organisation = build::identity_part("org", own.as_deref().unwrap_or(organisation));
    alert.identity.insert(0, organisation);

    let facts = &mut alert.facts;
    let generator = text(part, &["generatorURL"]).map(str::trim);
    facts.url = generator.and_then(|url| resolved(url, home)).or_else(|| {
        let pages = ["panelURL", "dashboardURL"].iter();
        pages.filter_map(|page| text(part, &[page])).find_map(build::link)
    });
    let rule = text(part, &["ruleUID"]).or_else(|| {
        // .../alerting/grafana/<uid>/view
        let path = generator?.split(['?', '#']).next()?;
        path.split_once("/alerting/grafana/")?.1.split('/').next().filter(|uid| !uid.is_empty())
    });
    alert.refs.alert.extend(rule.map(|uid| build::bounded_id(&format!("rule:{uid}"))));

    for page in ["dashboardURL", "panelURL", "silenceURL", "imageURL"] {
        let link = text(part, &[page]).and_then(build::link);
        facts.annotations.extend(link.map(|link| (page.to_owned(), link)));
    }
    match at(part, &["values"]) {
        Some(Value::Object(values)) => {
            for (name, value) in values.iter().take(MAX_VALUES) {
                let name = build::cut(&format!("value {name}"), MAX_NAME);
                let value = json::scalar(value).unwrap_or_default();
                facts.annotations.push((name, build::cut(&value, MAX_NAME)));
            }
        }
        _ => {
            let value = text(part, &["valueString"]).map(|text| build::cut(text, MAX_LINE));
            facts.annotations.extend(value.map(|value| ("valueString".to_owned(), value)));
        }
    }

    if let Some(state @ ("DatasourceNoData" | "DatasourceError")) = facts.alertname.as_deref() {
        // These stand for a rule that could not be evaluated, and are named after what failed.
        if let Some(rule) = facts.label("rulename") {
            facts.title = build::cut(&format!("{state}: {rule}"), MAX_LINE);
        }
        if state == "DatasourceNoData" && facts.severity_raw.is_none() {
            facts.level = Some(Level::Warning);
        }
    }
    // What the button "Test" of a contact point sends.
    if facts.alertname.as_deref() == Some("TestAlert") && facts.label("instance") == Some("Grafana")
    {
        alert.stage = Stage::Test;
    }
}

/// Values of one alert that are kept, and how much of each, in bytes.
const MAX_VALUES: usize = 32;
const MAX_NAME: usize = 256;

/// A link as it stands, or what it is on the sender's own pages.
fn resolved(url: &str, home: Option<&str>) -> Option<String> {
    build::link(url).or_else(|| {
        let home = home?.trim_end_matches('/');
        let relative = url.starts_with('?') || (url.starts_with('/') && !url.starts_with("//"));
        let slash = if url.starts_with('?') { "/" } else { "" };
        relative.then(|| build::link(&format!("{home}{slash}{url}"))).flatten()
    })
}
