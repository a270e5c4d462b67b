//! Production or not: the one switch that may loosen a check.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Values of `environment` that are not production. Anything else is, a typing error included.
const NOT_PRODUCTION: [&str; 5] = ["dev", "development", "local", "test", "testing"];

/// Where this process runs. Fails closed: unset or unknown is production.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Environment {
    #[default]
    Production,
    /// One of `dev`, `development`, `local`, `test`, `testing`; the word as it was given.
    Development(String),
}

impl Environment {
    /// Whether every source must have its credentials.
    pub const fn is_production(&self) -> bool {
        matches!(self, Self::Production)
    }
}

impl From<String> for Environment {
    fn from(word: String) -> Self {
        if NOT_PRODUCTION.contains(&word.as_str()) {
            Self::Development(word)
        } else {
            Self::Production
        }
    }
}

impl From<Environment> for String {
    fn from(environment: Environment) -> String {
        environment.to_string()
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Production => "production",
            Self::Development(word) => word,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r3_only_five_words_are_not_production() {
        for word in ["dev", "development", "local", "test", "testing"] {
            assert!(!Environment::from(word.to_owned()).is_production(), "{word}");
        }
        for word in ["", "prod", "production", "staging", "Dev", "dev ", "tests", "developement"] {
            assert!(Environment::from(word.to_owned()).is_production(), "{word:?}");
        }
        assert!(Environment::default().is_production());
    }
}
