//! Who is asking: operator keys, and the projects each key opens (R47).

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use schemas::ProjectId;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use store::read::Visible;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tracing::Instrument;

use crate::problem::Problem;

/// One operator, as configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// SHA-256 of the operator's key, in hex. The key itself stands nowhere.
    pub key_sha256: KeyHash,
    pub role: Role,
    /// `["*"]`, or the ids of the projects this operator may see.
    pub projects: Projects,
}

/// What an operator may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Acts on incidents.
    Operator,
    /// Changes rules and generations.
    Admin,
}

/// SHA-256 of a key.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Of a key in the clear.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// The text is no key's hash.
#[derive(Debug, thiserror::Error)]
pub enum NotAKeyHash {
    #[error("a key hash is the SHA-256 of the key as 64 hex digits (printf %s KEY | sha256sum)")]
    Text,
    /// Of a variable that was not set: everybody has that key.
    #[error("this is the hash of an empty key; make one with `openssl rand -hex 32`")]
    Empty,
}

impl TryFrom<String> for KeyHash {
    type Error = NotAKeyHash;

    fn try_from(text: String) -> Result<Self, NotAKeyHash> {
        let hash = const_hex::decode_to_array(text).map(Self).map_err(|_| NotAKeyHash::Text)?;
        if hash == Self::of("") { Err(NotAKeyHash::Empty) } else { Ok(hash) }
    }
}

/// The projects an operator may see.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Projects(pub Visible);

/// The list names no project, or something that is none.
#[derive(Debug, thiserror::Error)]
pub enum NotProjects {
    #[error("an operator needs at least one project; [\"*\"] stands for all")]
    None,
    #[error("\"*\" stands for all projects and stands alone")]
    StarAmongOthers,
    #[error(transparent)]
    Id(#[from] schemas::id::NotAToken),
}

impl TryFrom<Vec<String>> for Projects {
    type Error = NotProjects;

    fn try_from(names: Vec<String>) -> Result<Self, NotProjects> {
        match names.as_slice() {
            [] => Err(NotProjects::None),
            [star] if star == "*" => Ok(Self(Visible::Everything)),
            _ if names.iter().any(|name| name == "*") => Err(NotProjects::StarAmongOthers),
            _ => {
                let ids = names.into_iter().map(ProjectId::new).collect::<Result<_, _>>()?;
                Ok(Self(Visible::Projects(ids)))
            }
        }
    }
}

/// Whoever sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub operator_id: String,
    /// How the request proved it: `bearer`, or `session` for the pages.
    pub auth_method: &'static str,
    pub role: Role,
    pub visible: Visible,
}

/// The keys of all operators.
#[derive(Debug)]
pub struct Keys(Vec<(KeyHash, Arc<Principal>)>);

impl Keys {
    /// Of the configured operators, by id.
    pub fn new(operators: BTreeMap<String, Operator>) -> Self {
        let key = |(id, operator): (String, Operator)| {
            let principal = Principal {
                operator_id: id,
                auth_method: "bearer",
                role: operator.role,
                visible: operator.projects.0,
            };
            (operator.key_sha256, Arc::new(principal))
        };
        Self(operators.into_iter().map(key).collect())
    }

    /// Whose key the request carries.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Problem> {
        let missing = || Problem::unauthorised("missing operator key: Authorization: Bearer <key>");
        let value = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        let (scheme, key) =
            value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        self.holder(key.trim()).ok_or_else(|| Problem::unauthorised("invalid operator key"))
    }

    /// Whose key this is. Takes the same time whichever key matches, or none.
    pub fn holder(&self, key: &str) -> Option<Arc<Principal>> {
        let presented = KeyHash::of(key);
        let mut found = u32::MAX;
        for (index, (hash, _)) in (0u32..).zip(&self.0) {
            found.conditional_assign(&index, hash.0.ct_eq(&presented.0));
        }
        self.0.get(found as usize).map(|(_, principal)| Arc::clone(principal))
    }
}

/// Lets only operators through, and names the operator in the span of the request.
pub async fn guard(State(keys): State<Arc<Keys>>, mut request: Request, next: Next) -> Response {
    let principal = match keys.authenticate(request.headers()) {
        Ok(principal) => principal,
        Err(problem) => {
            metrics::counter!("bellwether_console_unauthorised_total").increment(1);
            return problem.into_response();
        }
    };
    let span = tracing::info_span!(
        "console request",
        method = %request.method(),
        path = request.uri().path(),
        operator_id = principal.operator_id,
        auth_method = principal.auth_method,
    );
    request.extensions_mut().insert(principal);
    next.run(request).instrument(span).await
}

/// The principal that [`guard`] found.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<Principal>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Arc<Principal>>();
        principal.cloned().map(Self).ok_or_else(|| Problem::unauthorised("no operator"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let operator = |key: &str, projects: &[&str]| Operator {
            key_sha256: KeyHash::of(key),
            role: Role::Viewer,
            projects: Projects::try_from(
                projects.iter().map(ToString::to_string).collect::<Vec<_>>(),
            )
            .unwrap(),
        };
        Keys::new(BTreeMap::from([
            ("ann".to_owned(), operator("key-a", &["*"])),
            ("ben".to_owned(), operator("key-b", &["payments"])),
        ]))
    }

    fn check(authorization: Option<&str>, expect: Result<&str, &str>) {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let got = keys().authenticate(&headers);
        match (got, expect) {
            (Ok(principal), Ok(id)) => assert_eq!(principal.operator_id, id),
            (Err(problem), Err(detail)) => {
                assert_eq!(problem.status, 401);
                assert!(problem.detail.contains(detail), "{authorization:?}: {problem:?}");
            }
            (got, _) => panic!("{authorization:?}: {got:?}"),
        }
    }

    #[test]
    fn r47_a_key_names_its_operator() {
        check(Some("Bearer key-a"), Ok("ann"));
        check(Some("bearer key-b"), Ok("ben"));
        check(None, Err("missing"));
        check(Some("Bearer"), Err("missing"));
        check(Some("Basic key-a"), Err("missing"));
        check(Some("Bearer "), Err("invalid"));
        check(Some("Bearer key-c"), Err("invalid"));
    }

    #[test]
    fn operators_are_read_strictly() {
        let hash = "00".repeat(32);
        let read = |key: &str, projects: serde_json::Value| {
            serde_json::from_value::<Operator>(
                serde_json::json!({"key_sha256": key, "role": "viewer", "projects": projects}),
            )
            .map_err(|e| e.to_string())
        };
        assert!(read(&hash, serde_json::json!(["a", "b"])).is_ok());
        assert_eq!(read(&hash, serde_json::json!(["*"])).unwrap().projects.0, Visible::Everything);
        for (key, projects, problem) in [
            ("abc", serde_json::json!(["a"]), "64 hex digits"),
            // What `printf %s "$KEY" | sha256sum` says when KEY is not set.
            (
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                serde_json::json!(["a"]),
                "of an empty key",
            ),
            (hash.as_str(), serde_json::json!([]), "at least one"),
            (hash.as_str(), serde_json::json!(["*", "a"]), "stands alone"),
            (hash.as_str(), serde_json::json!(["A"]), "is not an id"),
        ] {
            let error = read(key, projects).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
