//! Credentials as they are configured, checked once at start.

use domain::providers::{Credential, Provider};
use runtime::ConfigError;
use schemas::Time;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::{BasicConfig, BearerConfig, EntraConfig, SourceConfig};

/// A credential, and how long it is accepted.
#[derive(Clone, Debug)]
pub struct Valid {
    pub credential: Credential,
    /// Not from here on; absent: for good.
    pub until: Option<Time>,
}

/// Everything that lets a request in; blank texts count as absent.
pub fn configured(
    id: &str,
    provider: &dyn Provider,
    config: &SourceConfig,
) -> Result<Vec<Valid>, ConfigError> {
    let previously = config.previous_until;
    let mut all: Vec<(&str, Valid)> = Vec::new();
    if let Some(secret) = given(config.secret.as_ref()) {
        all.push(("secret", valid(hmac("current", secret), None)));
        if let Some(previous) = given(config.previous_secret.as_ref()) {
            all.push(("previous_secret", valid(hmac("previous", previous), previously)));
        }
    }
    if let Some(text) = given(config.token.as_ref()) {
        all.push(("token", valid(token("current", text), None)));
        if let Some(previous) = given(config.previous_token.as_ref()) {
            all.push(("previous_token", valid(token("previous", previous), previously)));
        }
    }
    if let Some(basic) = &config.basic {
        let credentials = basic_credentials(id, basic, previously)?;
        all.extend(credentials.into_iter().map(|c| ("basic", c)));
    }
    let at = format!("sources.{id}.bearer");
    all.extend(bearer(&at, &config.bearer)?.into_iter().map(|c| ("bearer", c)));
    if let Some(entra) = &config.entra {
        all.push(("entra", valid(entra_credential(id, entra)?, None)));
    }
    for (field, valid) in &all {
        if !provider.accepts(&valid.credential) {
            return Err(ConfigError::new(
                format!("sources.{id}.{field}"),
                format!("provider {} cannot use it", provider.name()),
                format!("remove it and set {}", usable(provider)),
            ));
        }
    }
    Ok(all.into_iter().map(|(_, valid)| valid).collect())
}

/// Keys sent as `Authorization: Bearer`; `at` is the list's place in the configuration.
pub fn bearer(at: &str, keys: &[BearerConfig]) -> Result<Vec<Valid>, ConfigError> {
    let mut all = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let credential = bearer_credential(at, number, key)?;
        all.extend(credential.map(|credential| valid(credential, key.until)));
    }
    Ok(all)
}

fn valid(credential: Credential, until: Option<Time>) -> Valid {
    Valid { credential, until }
}

fn given(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(ExposeSecret::expose_secret).filter(|text| !text.trim().is_empty())
}

fn hmac(id: &str, secret: &str) -> Credential {
    Credential::Hmac { id: id.to_owned(), secret: secret.as_bytes().to_vec() }
}

fn token(id: &str, text: &str) -> Credential {
    Credential::Token { id: id.to_owned(), token: text.as_bytes().to_vec() }
}

fn basic_credentials(
    id: &str,
    config: &BasicConfig,
    previously: Option<Time>,
) -> Result<Vec<Valid>, ConfigError> {
    // RFC 7617: the first colon ends the user.
    if config.user.is_empty() || config.user.contains(':') {
        return Err(ConfigError::new(
            format!("sources.{id}.basic.user"),
            "is empty or holds a colon",
            "use the user name the sender sends",
        ));
    }
    let basic = |name: &str, password: &str| Credential::Basic {
        id: name.to_owned(),
        user: config.user.clone(),
        password: password.to_owned(),
    };
    let Some(password) = given(Some(&config.password)) else { return Ok(Vec::new()) };
    let mut all = vec![valid(basic("current", password), None)];
    let previous = given(config.previous_password.as_ref());
    all.extend(previous.map(|password| valid(basic("previous", password), previously)));
    Ok(all)
}

fn bearer_credential(
    at: &str,
    number: usize,
    config: &BearerConfig,
) -> Result<Option<Credential>, ConfigError> {
    let fail = |problem: &str| {
        Err(ConfigError::new(
            format!("{at}[{number}]"),
            problem,
            "set either key, or sha256 to the 64 hex digits of the key's SHA-256",
        ))
    };
    let name = config.id.clone().unwrap_or_else(|| number.to_string());
    let sha256 = match (given(config.key.as_ref()), config.sha256.as_deref()) {
        (Some(_), Some(_)) => return fail("has both key and sha256"),
        (Some(key), None) => Sha256::digest(key.as_bytes()).into(),
        (None, Some(hex)) => match const_hex::decode_to_array::<_, 32>(hex) {
            Ok(sha256) if sha256 == <[u8; 32]>::from(Sha256::digest("")) => {
                return fail("sha256 is that of an empty key");
            }
            Ok(sha256) => sha256,
            Err(_) => return fail("sha256 is not 64 hex digits"),
        },
        (None, None) => return Ok(None),
    };
    Ok(Some(Credential::Bearer { id: name, sha256 }))
}

fn entra_credential(id: &str, config: &EntraConfig) -> Result<Credential, ConfigError> {
    let fail = |field: &str, problem: &str, remedy: &str| {
        Err(ConfigError::new(format!("sources.{id}.entra.{field}"), problem, remedy))
    };
    // It becomes a part of the address where the keys are.
    if !is_guid(&config.tenant) {
        return fail("tenant", "is no GUID", "use the tenant's id, not its domain");
    }
    if config.application.as_ref().is_some_and(|application| !is_guid(application)) {
        return fail("application", "is no GUID", "use the calling application's id, or remove it");
    }
    // Tokens for others are shown to whoever they are for.
    if config.audience.is_empty() || config.audience.iter().any(|one| one.trim().is_empty()) {
        let remedy = "name the id or the URI of the application that stands for this receiver";
        return fail("audience", "is empty", remedy);
    }
    if config.role.as_ref().is_some_and(|role| role.trim().is_empty()) {
        return fail("role", "is empty", "name the role, or remove it");
    }
    Ok(Credential::Entra {
        id: "entra".to_owned(),
        tenant: config.tenant.to_ascii_lowercase(),
        audiences: config.audience.clone(),
        application: config.application.clone(),
        role: config.role.clone(),
    })
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// The keys a provider can use, for remedies.
fn usable(provider: &dyn Provider) -> String {
    let text = String::new;
    let kinds = [
        ("secret", Credential::Hmac { id: text(), secret: Vec::new() }),
        ("basic", Credential::Basic { id: text(), user: text(), password: text() }),
        ("bearer", Credential::Bearer { id: text(), sha256: [0; 32] }),
        ("token", Credential::Token { id: text(), token: Vec::new() }),
        (
            "entra",
            Credential::Entra {
                id: text(),
                tenant: text(),
                audiences: Vec::new(),
                application: None,
                role: None,
            },
        ),
    ];
    let usable: Vec<_> =
        kinds.iter().filter(|(_, c)| provider.accepts(c)).map(|(name, _)| *name).collect();
    usable.join(" or ")
}
