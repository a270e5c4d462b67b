//! GitLab's webhooks (docs.gitlab.com, "Webhook events"): pipelines, jobs and deployments that
//! failed or succeeded, vulnerabilities, and issues that are incidents.
//!
//! A hook shows its secret token as it is (`X-Gitlab-Token`); newer ones sign by Standard Webhooks.

use schemas::{
    Alert,
    record::{Auth, Delivery},
};
use serde_json::Value;

use super::{
    Credential, DeliveryKey, Normalised, Outgoing, Proof, Provider, Reading, Refused, Request,
    Secret, Silence, auth, build,
    json::text,
    sign,
    single::{self, Single, rejected},
};

mod read;
#[cfg(test)]
mod tests;

/// See the module.
pub struct Gitlab;

impl Provider for Gitlab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn title(&self) -> &'static str {
        "GitLab"
    }

    fn version(&self) -> u32 {
        1
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[
            "user-agent",
            "x-gitlab-event",
            "x-gitlab-event-uuid",
            "x-gitlab-webhook-uuid",
            "x-gitlab-instance",
            "idempotency-key",
            "webhook-id",
            "webhook-timestamp",
        ]
    }

    /// Older ones switch a hook off for good after a few 4xx.
    fn retries_too_many(&self) -> bool {
        false
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
        "GitLab secret token (token), signing secret, basic or bearer credentials missing in \
         production environment"
    }

    /// A Standard Webhooks signature where there is one and the source has a secret; else the
    /// secret token, or what the URL or a header of the user's own shows.
    fn authenticate(
        &self,
        request: &Request<'_>,
        credentials: &[Credential],
    ) -> Result<Auth, Refused> {
        let (by_signature, by_what_it_shows) = auth::kinds(credentials);
        if by_signature && let Some(verdict) = auth::standard_webhooks(request, credentials) {
            return verdict;
        }
        if by_signature && !by_what_it_shows {
            return Err(Refused {
                code: "signature_missing",
                detail: "Missing webhook-id, webhook-timestamp or webhook-signature header",
            });
        }
        match request.header("x-gitlab-token").map(str::trim) {
            Some(token) => auth::token(Some(token), credentials)
                .map_err(|_| Refused { code: "token_invalid", detail: "Invalid x-gitlab-token" }),
            None if request.shows_credential() => auth::authorization(request, credentials),
            None => Err(Refused { code: "token_missing", detail: "Missing x-gitlab-token header" }),
        }
    }

    fn sign(&self, outgoing: &Outgoing<'_>, secret: &Secret) -> Option<Proof> {
        match secret {
            Secret::Signing(secret) => sign::standard_webhooks(outgoing, secret),
            Secret::Token(token) => Some(Proof::headers([("x-gitlab-token", token.clone())])),
            Secret::Basic { .. } | Secret::Bearer(_) => sign::shown(secret),
        }
    }

    /// What failed on a branch that nobody builds again is never followed by what does not; the
    /// default branch is built again.
    fn silence(&self, alert: &Alert) -> Silence {
        let facts = &alert.facts;
        let aside = facts.label("branch").is_some_and(|branch| {
            facts.environment.is_none() && facts.label("default_branch") != Some(branch)
        });
        if aside { Silence::Over } else { Silence::Nothing }
    }

    fn normalise(&self, delivery: &Delivery, reading: &Reading<'_>) -> Normalised {
        let mut single = match Single::read(delivery, reading) {
            Ok(single) => single,
            Err(outcome) => return outcome,
        };
        let kind = Kind::of(&single.body);
        let identity = kind.and_then(|kind| kind.identity(&single.body));
        let key = delivery_key(delivery)
            .or_else(|| kind.and_then(|kind| kind.fallback_key(&single.body)));
        single.redact();
        let Some(kind) = kind else {
            return match text(&single.body, &["object_kind"]) {
                Some(other) => single.recorded("object_kind", other),
                // System hooks have no other name.
                None => match text(&single.body, &["event_name"]) {
                    Some(event) => single.recorded("event_name", event),
                    None => rejected("missing_object_kind"),
                },
            };
        };
        let Some(identity) = identity else { return rejected("missing_id") };
        let alert = match kind {
            Kind::Pipeline => read::pipeline(&single, identity),
            Kind::Job => read::job(&single, identity),
            Kind::Deployment => read::deployment(&single, identity),
            Kind::Vulnerability => read::vulnerability(&single, identity),
            Kind::Incident => read::incident(&single, identity),
        };
        match alert {
            Ok(alert) => single.told(alert, key),
            Err(word) => single.recorded(kind.word(), &word),
        }
    }
}

/// `webhook-id` and `Idempotency-Key` are one id, which stays over all tries. The UUID of the event
/// does not do: events that follow from one another share it.
fn delivery_key(delivery: &Delivery) -> Option<DeliveryKey> {
    let sent = single::key_header(delivery, "webhook-id")
        .or_else(|| single::key_header(delivery, "idempotency-key"))?;
    let id = sent.key.split_once(':').map_or(sent.key.as_str(), |(_, id)| id);
    Some(DeliveryKey { key: format!("delivery:{id}"), stable: true })
}

/// The events that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pipeline,
    Job,
    Deployment,
    Vulnerability,
    Incident,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Job => "job",
            Self::Deployment => "deployment",
            Self::Vulnerability => "vulnerability",
            Self::Incident => "incident",
        }
    }

    fn of(body: &Value) -> Option<Self> {
        match text(body, &["object_kind"])?.trim() {
            "pipeline" => Some(Self::Pipeline),
            "build" | "job" => Some(Self::Job),
            "deployment" => Some(Self::Deployment),
            "vulnerability" => Some(Self::Vulnerability),
            "issue" | "work_item" => {
                let kind = text(body, &["object_attributes", "type"])?.trim();
                kind.eq_ignore_ascii_case("incident").then_some(Self::Incident)
            }
            _ => None,
        }
    }

    /// Which problem it is, over the body as received.
    fn identity(self, body: &Value) -> Option<Vec<String>> {
        let stated = |path: &[&str]| single::scalar(body, path);
        let of = |path: &[&str], name: &str| {
            stated(path).map(|value| build::identity_part(name, &value))
        };
        let project = stated(&["project", "id"])
            .or_else(|| stated(&["project_id"]))
            .or_else(|| stated(&["object_attributes", "project_id"]))
            .or_else(|| stated(&["project", "path_with_namespace"]));
        let project = build::identity_part("project", &project.unwrap_or_default());
        let own = match self {
            Self::Pipeline => {
                let branch = of(&["object_attributes", "ref"], "pipeline")?;
                let name = of(&["object_attributes", "name"], "name");
                [Some(branch), name].into_iter().flatten().collect()
            }
            Self::Job => {
                let name = of(&["build_name"], "job")?;
                [Some(name), of(&["build_stage"], "stage"), of(&["ref"], "branch")]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Self::Deployment => vec![of(&["environment"], "environment")?],
            Self::Vulnerability => vec![of(&["object_attributes", "url"], "vulnerability")?],
            Self::Incident => vec![of(&["object_attributes", "id"], "incident")?],
        };
        Some([vec![project], own].concat())
    }

    /// Where no header names the delivery: the object, its state, and since when it is in it.
    fn fallback_key(self, body: &Value) -> Option<DeliveryKey> {
        let (id, state, since) = match self {
            Self::Pipeline => (
                ["object_attributes", "id"].as_slice(),
                ["object_attributes", "status"].as_slice(),
                ["object_attributes", "finished_at"].as_slice(),
            ),
            Self::Job => (
                ["build_id"].as_slice(),
                ["build_status"].as_slice(),
                ["build_finished_at"].as_slice(),
            ),
            Self::Deployment => (
                ["deployment_id"].as_slice(),
                ["status"].as_slice(),
                ["status_changed_at"].as_slice(),
            ),
            Self::Vulnerability => (
                ["object_attributes", "url"].as_slice(),
                ["object_attributes", "state"].as_slice(),
                ["object_attributes", "updated_at"].as_slice(),
            ),
            Self::Incident => (
                ["object_attributes", "id"].as_slice(),
                ["object_attributes", "state"].as_slice(),
                ["object_attributes", "updated_at"].as_slice(),
            ),
        };
        let word = |path: &[&str]| single::scalar(body, path);
        Some(single::key(self.word(), &[&word(id)?, &word(state)?, &word(since)?], false))
    }
}
