//! What can be said of servers, logs and analysts before anything is connected.

use runtime::{ConfigError, http_client, telemetry};
use secrecy::ExposeSecret;

use super::{Config, LOG_DAYS};

impl Config {
    /// Checks every section that is otherwise read only once something is connected.
    ///
    /// # Errors
    /// The first problem.
    pub(super) fn check_sections(&self) -> Result<(), ConfigError> {
        let fail =
            |key: &str, problem: String, remedy: &str| Err(ConfigError::new(key, problem, remedy));
        if let Err(error) = telemetry::check_filter(&self.log.filter) {
            return fail("log.filter", error.to_string(), "use a level, or target=level,...");
        }
        self.sentry.check()?;
        if let Err((key, problem)) = self.nats.check() {
            return fail(&format!("nats.{key}"), problem, "correct the value");
        }
        if let Err(error) = store::Store::check_url(self.postgres.url.expose_secret()) {
            let remedy = "use postgres://user:password@host:port/database";
            return fail("postgres.url", error.to_string(), remedy);
        }
        if self.postgres.connections == 0 {
            let problem = "is 0: nothing could be read".to_owned();
            return fail("postgres.connections", problem, "use at least 1");
        }
        if self.postgres.keep_days < LOG_DAYS {
            let problem = format!("is less than the {LOG_DAYS} days the log can be folded again");
            return fail("postgres.keep_days", problem, "use at least as many days");
        }
        if self.observe.tick_seconds == 0 {
            let problem = "is 0: the log would hold nothing but ticks".to_owned();
            return fail("observe.tick_seconds", problem, "use at least 1");
        }
        if self.triage.concurrency == 0 {
            let problem = "is 0: nothing would be analysed".to_owned();
            return fail("triage.concurrency", problem, "use at least 1");
        }
        // With a client that asks nobody.
        let client = match http_client::build(&http_client::ClientConfig::default()) {
            Ok(client) => client,
            Err(error) => return fail("triage.analysts", error.to_string(), "correct the system"),
        };
        match self.triage.check(&client) {
            Ok(_) => Ok(()),
            Err(error) => fail(error.key(), error.to_string(), "correct the value"),
        }
    }
}
