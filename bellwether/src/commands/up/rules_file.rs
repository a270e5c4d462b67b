//! The rules file of an `up`: applied when it changed, and never in the way of a start.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::rules::Rules;
use eventlog::Log;
use runtime::{Clock, Health, Shutdown};

use crate::{
    commands::rules::told,
    rules::{self, History, Refused, Verdict},
};

/// The operator of documents that come from the file.
const OPERATOR: &str = "up";

/// The part of the process's health that tells of the file.
const PART: &str = "rules file";

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// The file, as far as it was dealt with.
#[derive(Debug)]
pub struct RulesFile {
    path: PathBuf,
    /// The configuration names it, so it has to be there.
    named: bool,
    /// The text that was dealt with last; none: there was no file.
    done: Option<String>,
    /// What was last said to be wrong with it.
    problem: Option<String>,
}

impl RulesFile {
    /// The file to follow. `named` is what the configuration says, relative to its own folder;
    /// without a word it is `rules.toml` there, else `config/rules.toml` here.
    pub fn find(named: Option<&Path>, configuration: &Path) -> Self {
        let folder = configuration.parent().unwrap_or(Path::new(""));
        let beside = folder.join("rules.toml");
        let path = match named {
            Some(named) => folder.join(named),
            None if beside.exists() => beside,
            None => PathBuf::from("config/rules.toml"),
        };
        Self { path, named: named.is_some(), done: None, problem: None }
    }

    /// Applies the file if it changed, and tells people what came of it.
    pub async fn look(&mut self, log: &dyn Log, clock: &Clock) {
        match self.apply(log, clock).await {
            Ok(None) => {}
            Ok(Some(said)) => {
                self.problem = None;
                if !said.is_empty() {
                    println!("rules: {said}\n");
                }
            }
            Err(error) => {
                let problem = format!("{}: {error:#}", self.path.display());
                if self.problem.as_ref() != Some(&problem) {
                    tracing::error!("the rules in force stay: {problem}");
                    self.problem = Some(problem);
                }
            }
        }
    }

    /// Tells probes.
    fn show(&self, health: &Health) {
        match (&self.problem, &self.done) {
            (Some(problem), _) => health.degraded(PART, problem.as_str()),
            (None, Some(_)) => health.ready(PART),
            (None, None) => health.forget(PART),
        }
    }

    /// Looks again and again, until told to stop.
    pub async fn follow(
        mut self,
        log: Arc<dyn Log>,
        clock: Clock,
        health: Health,
        shutdown: Shutdown,
    ) {
        loop {
            self.show(&health);
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            self.look(&*log, &clock).await;
        }
    }

    /// Applies the file if it changed since it was last dealt with; what there is to say of it, or
    /// none when it did not change.
    ///
    /// A file that is refused is dealt with; one that the log could not be asked about is not.
    async fn apply(&mut self, log: &dyn Log, clock: &Clock) -> anyhow::Result<Option<String>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.named => {
                // What was wrong with it is gone with it.
                return Ok(self.done.take().map(|_| String::new()));
            }
            Err(error) => return Err(error.into()),
        };
        if self.done.as_ref() == Some(&text) {
            return Ok(None);
        }
        let first = self.done.is_none();
        let rules = match Rules::parse(&text) {
            Ok(rules) => rules,
            Err(error) => {
                self.done = Some(text);
                return Err(error.into());
            }
        };
        let file = self.path.display();
        if first {
            let history = History::read(log).await?;
            let in_force = history.in_force().hash();
            let ours = history.applied.iter().rfind(|applied| applied.operator == OPERATOR);
            let unchanged = ours.is_some_and(|ours| ours.rules.hash() == rules.hash());
            if unchanged && in_force != rules.hash() {
                self.done = Some(text);
                // Somebody applied another document since, and meant it.
                return Ok(Some(format!(
                    "{in_force} stays in force: {file} did not change since it was applied; \
                     `bellwether rules apply {file}` goes back to it"
                )));
            }
        }
        let applied = rules::apply(log, clock, &rules, OPERATOR).await;
        if applied.as_ref().map_or_else(|error| error.is::<Refused>(), |_| true) {
            self.done = Some(text);
        }
        Ok(Some(match applied? {
            Verdict::Already(_) => String::new(),
            Verdict::Applied { position, changes } => format!(
                "{} of {file} is in force from position {position}\n{}",
                rules.hash(),
                told(&changes).trim_end(),
            ),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use eventlog::MemoryLog;
    use schemas::Namespace;

    use super::*;

    fn text(name: &str) -> String {
        format!("[[defaults.routes]]\nname = \"{name}\"\nreceivers = [\"default\"]\n")
    }

    /// A file, whoever follows it, and a log.
    struct Desk {
        dir: tempfile::TempDir,
        log: MemoryLog,
        file: RulesFile,
    }

    impl Desk {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log = MemoryLog::new(Namespace::default(), NonZeroU16::MIN);
            let file = Self::start(&dir);
            Self { dir, log, file }
        }

        fn start(dir: &tempfile::TempDir) -> RulesFile {
            RulesFile::find(Some(Path::new("rules.toml")), &dir.path().join("bellwether.toml"))
        }

        fn restart(&mut self) {
            self.file = Self::start(&self.dir);
        }

        fn write(&self, text: &str) {
            fs::write(self.dir.path().join("rules.toml"), text).unwrap();
        }

        async fn look(&mut self) -> (Option<String>, bool) {
            self.file.look(&self.log, &Clock::system()).await;
            let history = History::read(&self.log).await.unwrap();
            let of = |name: &str| Rules::parse(&text(name)).unwrap();
            let name = ["a", "b", "c"].into_iter().find(|n| of(n) == *history.in_force());
            (name.map(str::to_owned), self.file.problem.is_some())
        }
    }

    #[tokio::test]
    async fn the_file_is_applied_when_it_changed_and_a_broken_one_changes_nothing() {
        let mut desk = Desk::new();
        let in_force = |name: &str| Some(name.to_owned());
        assert_eq!(desk.look().await, (None, true), "the configuration names a file");
        desk.write(&text("a"));
        assert_eq!(desk.look().await, (in_force("a"), false));
        desk.write("nonsense");
        assert_eq!(desk.look().await, (in_force("a"), true));
        desk.restart();
        assert_eq!(desk.look().await, (in_force("a"), true));
        desk.write(&text("b"));
        assert_eq!(desk.look().await, (in_force("b"), false));
        desk.write(&text("a"));
        assert_eq!(desk.look().await, (in_force("a"), false));
    }

    #[tokio::test]
    async fn what_somebody_applied_since_stays_until_the_file_changes() {
        let mut desk = Desk::new();
        desk.write(&text("a"));
        desk.look().await;
        let theirs = Rules::parse(&text("b")).unwrap();
        rules::apply(&desk.log, &Clock::system(), &theirs, "ada").await.unwrap();
        for _ in 0..2 {
            assert_eq!(desk.look().await.0.as_deref(), Some("b"));
            desk.restart();
        }
        desk.write(&text("c"));
        assert_eq!(desk.look().await.0.as_deref(), Some("c"));
        assert_eq!(History::read(&desk.log).await.unwrap().applied.len(), 3);
    }

    #[test]
    fn the_file_of_the_source_tree_is_the_builtin_document() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/rules.toml");
        assert_eq!(fs::read_to_string(file).unwrap(), Rules::builtin().text());
    }
}
