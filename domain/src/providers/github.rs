//! GitHub's webhooks (docs.github.com, "Webhook events and payloads"): of everything that happens
//! in a repository, what went wrong in it, and that it is right again.
//!
//! The signature covers the body alone, not the header that names the event: the body's own shape
//! says which event it is, and a header that says another is refused.

use schemas::{
    Alert,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, Normalised, Outgoing, Proof, Provider, Reading, Refused, Request, Secret, Silence,
    auth,
    json::{at, text},
    sign,
    single::{self, Single, rejected},
};

mod checks;
mod security;
#[cfg(test)]
mod tests;

const MISSING: Refused =
    Refused { code: "signature_missing", detail: "Missing x-hub-signature-256 header" };
const INVALID: Refused =
    Refused { code: "signature_invalid", detail: "Invalid x-hub-signature-256" };

/// See the module.
pub struct Github;

impl Provider for Github {
    fn name(&self) -> &'static str {
        "github"
    }

    fn title(&self) -> &'static str {
        "GitHub"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["user-agent", "x-github-event", "x-github-delivery", "x-github-hook-id"]
    }

    fn accepts(&self, credential: &Credential) -> bool {
        match credential {
            Credential::Hmac { .. }
            | Credential::Basic { .. }
            | Credential::Bearer { .. }
            | Credential::Token { .. } => true,
            Credential::Entra { .. } => false,
        }
    }

    fn missing_secret_detail(&self) -> &'static str {
        "GitHub webhook secret, basic, bearer or token credentials missing in production \
         environment"
    }

    /// `sha256=` and the hexadecimal HMAC-SHA256 of the body, of the form's bytes where it is a
    /// form. The older SHA-1 header proves nothing.
    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let signature = request.header("x-hub-signature-256").unwrap_or_default().trim();
        let (by_signature, by_authorization) = auth::kinds(credentials);
        let asks = signature.is_empty() && request.shows_credential();
        if by_authorization && (asks || !by_signature) {
            return auth::authorization(request, credentials);
        }
        if signature.is_empty() {
            return Err(MISSING);
        }
        let hex = signature.strip_prefix("sha256=").ok_or(INVALID)?;
        auth::hmac_hex(hex, &[request.body], credentials).ok_or(INVALID)
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        let Secret::Signing(secret) = secret else { return sign::shown(secret) };
        let signature = sign::hmac_hex(secret, &[outgoing.body])?;
        Some(Proof::headers([("x-hub-signature-256", format!("sha256={signature}"))]))
    }

    /// What failed on a branch that nobody builds again is never followed by what does not; the
    /// default branch is built again. Nor does an advisory end, if it was none to begin with.
    fn silence(&self, alert: &Alert) -> Silence {
        let facts = &alert.facts;
        let aside = facts.label("branch").is_some_and(|branch| {
            facts.environment.is_none() && facts.label("default_branch") != Some(branch)
        });
        let once = |part: &String| part.starts_with("commit:") || part.starts_with("advisory:");
        match aside || alert.identity.iter().any(once) {
            true => Silence::Over,
            false => Silence::Nothing,
        }
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let form = form(&delivery.raw);
        let raw = form.as_deref().map_or(&delivery.raw[..], str::as_bytes);
        let mut single = match Single::parse(raw, delivery, reading) {
            Ok(single) => single,
            Err(outcome) => return outcome,
        };
        let stated = delivery.header("x-github-event").map(str::trim).unwrap_or_default();
        let kind = match (stated, Kind::named(stated), Kind::of(&single.body)) {
            ("", _, None) => return rejected("unknown_event"),
            ("", _, Some(kind)) => kind,
            // Some of the others carry the run they belong to.
            (other, None, _) => return single.recorded("event", other),
            (_, Some(named), Some(kind)) if named == kind => kind,
            (_, Some(_), _) => {
                return rejected("event_mismatch: the body is not what its header says");
            }
        };
        let identity = kind.identity(&single.body);
        let key = single::key_header(delivery, "x-github-delivery");
        single.redact();
        let Some(identity) = identity else { return rejected("missing_id") };
        let alert = match kind {
            Kind::WorkflowRun => checks::workflow_run(&single, identity),
            Kind::CheckRun => checks::check_run(&single, identity),
            Kind::DeploymentStatus => checks::deployment_status(&single, identity),
            Kind::CodeScanning | Kind::SecretScanning | Kind::Dependabot => {
                security::alert(&single, kind, identity)
            }
            Kind::Advisory => security::advisory(&single, identity),
        };
        match alert {
            Ok(alert) => single.told(alert, key),
            Err(word) => single.recorded(kind.event(), &word),
        }
    }
}

/// The JSON of a webhook whose content type is a form.
fn form(raw: &[u8]) -> Option<String> {
    let form = std::str::from_utf8(raw.strip_prefix(b"payload=").map(|_| raw)?).ok()?;
    Request { query: form, ..Request::default() }.parameter("payload")
}

/// The events that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    WorkflowRun,
    CheckRun,
    DeploymentStatus,
    CodeScanning,
    SecretScanning,
    Dependabot,
    Advisory,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::WorkflowRun,
        Self::CheckRun,
        Self::DeploymentStatus,
        Self::CodeScanning,
        Self::SecretScanning,
        Self::Dependabot,
        Self::Advisory,
    ];

    /// As `X-GitHub-Event` has it.
    const fn event(self) -> &'static str {
        match self {
            Self::WorkflowRun => "workflow_run",
            Self::CheckRun => "check_run",
            Self::DeploymentStatus => "deployment_status",
            Self::CodeScanning => "code_scanning_alert",
            Self::SecretScanning => "secret_scanning_alert",
            Self::Dependabot => "dependabot_alert",
            Self::Advisory => "security_advisory",
        }
    }

    fn named(event: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.event() == event)
    }

    /// The event whose shape a body has. The alerts of the three scans differ in what they found.
    fn of(body: &Value) -> Option<Self> {
        let has = |path: &[&str]| at(body, path).is_some_and(Value::is_object);
        let shapes = [
            // A deployment's status names the run and the check that made it.
            (Self::DeploymentStatus, &["deployment_status"][..]),
            (Self::CheckRun, &["check_run"]),
            (Self::WorkflowRun, &["workflow_run"]),
            (Self::CodeScanning, &["alert", "rule"]),
            (Self::Dependabot, &["alert", "security_advisory"]),
            (Self::Advisory, &["security_advisory"]),
        ];
        if let Some((kind, _)) = shapes.into_iter().find(|(_, path)| has(path)) {
            return Some(kind);
        }
        text(body, &["alert", "secret_type"]).map(|_| Self::SecretScanning)
    }

    /// Which problem it is, over the body as received.
    fn identity(self, body: &Value) -> Option<Vec<String>> {
        let part = super::build::identity_part;
        let stated = |path: &[&str]| single::scalar(body, path);
        let repository =
            stated(&["repository", "id"]).or_else(|| stated(&["repository", "full_name"]));
        let repository = part("repository", &repository.unwrap_or_default());
        let of = |path: &[&str], name: &str| stated(path).map(|value| part(name, &value));
        let own = match self {
            Self::WorkflowRun => {
                let workflow = of(&["workflow_run", "workflow_id"], "workflow")
                    .or_else(|| of(&["workflow_run", "name"], "workflow"))?;
                let branch = of(&["workflow_run", "head_branch"], "branch");
                let fork = of(&["workflow_run", "head_repository", "id"], "head");
                [Some(workflow), branch, fork].into_iter().flatten().collect()
            }
            Self::CheckRun => {
                let name = of(&["check_run", "name"], "check")?;
                let app = of(&["check_run", "app", "id"], "app");
                // A check of a fork's commit has no branch.
                let on = of(&["check_run", "check_suite", "head_branch"], "branch")
                    .or_else(|| of(&["check_run", "head_sha"], "commit"));
                [Some(name), app, on].into_iter().flatten().collect()
            }
            Self::DeploymentStatus => {
                let environment = of(&["deployment_status", "environment"], "environment")
                    .or_else(|| of(&["deployment", "environment"], "environment"))?;
                let task = of(&["deployment", "task"], "task");
                [Some(environment), task].into_iter().flatten().collect()
            }
            Self::CodeScanning | Self::SecretScanning | Self::Dependabot => {
                vec![self.event().to_owned(), of(&["alert", "number"], "alert")?]
            }
            Self::Advisory => {
                // The same one everywhere: no repository is named beside it.
                return Some(vec![of(&["security_advisory", "ghsa_id"], "advisory")?]);
            }
        };
        Some([vec![repository], own].concat())
    }
}
