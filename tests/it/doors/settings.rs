//! Bad configuration stops the start: file, key, problem and remedy on stderr, exit code 64, and no
//! socket is touched before.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// `EX_USAGE`.
const EXIT_CODE: i32 = 64;
/// Stands in every configuration of these tests, and in no message about it.
const SECRET: &str = "never-to-be-shown-4711";

/// The binary beside the test program; `cargo xtask test` builds both.
fn program() -> PathBuf {
    let program = PathBuf::from(super::WORKER).with_file_name("bellwether");
    assert!(program.exists(), "{}: cargo build -p bellwether", program.display());
    program
}

/// A configuration whose servers and address are sockets of this test, which notice a visit.
struct Setting {
    dir: TempDir,
    nats: TcpListener,
    postgres: TcpListener,
    /// Taken, so that listening there fails.
    ingest: TcpListener,
}

impl Setting {
    fn new() -> Self {
        let listen = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let dir = tempfile::tempdir().unwrap();
        Self { dir, nats: listen(), postgres: listen(), ingest: listen() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("bellwether.toml")
    }

    /// The keys every configuration here has, and those of the case.
    fn write(&self, more: &str) {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let text = format!(
            "nats.url = \"nats://127.0.0.1:{}\"\nnats.connect_patience = \"1s\"\n\
             postgres.url = \"postgres://u:{SECRET}@127.0.0.1:{}/b\"\n\
             ingest.listen = \"127.0.0.1:{}\"\nconsole.listen = \"127.0.0.1:{}\"\n{more}\n",
            port(&self.nats),
            port(&self.postgres),
            port(&self.ingest),
            port(&self.ingest)
        );
        std::fs::write(self.file(), text).unwrap();
    }

    fn run(&self, verb: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(program());
        for name in ["ENVIRONMENT", "SENTRY_WEBHOOK_SECRET", "ALLOWED_IPS", "ALERT_BOT_IDS"] {
            command.env_remove(name);
        }
        command.args(verb).arg("--config").arg(self.file()).envs(env.iter().copied());
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Both verbs refuse the configuration, and say of it exactly this.
    fn check(&self, env: &[(&str, &str)], (file, key): (&str, &str), problem: &str) {
        let file = if file.is_empty() { self.file().display().to_string() } else { file.into() };
        let every = "ingest,triage-worker,notifier-worker,projector,console";
        for verb in [&["run", "--role", every][..], &["check-config"]] {
            let output = self.run(verb, env);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(EXIT_CODE), "{verb:?} {key}: {said}");
            let lines: Vec<&str> = said.lines().collect();
            let [is_file, is_key, is_problem, is_remedy] = lines.as_slice() else {
                panic!("{verb:?} {key}: {said}")
            };
            assert_eq!((*is_file, *is_key), (&*format!("file: {file}"), &*format!("key: {key}")));
            assert!(is_problem.starts_with("problem: ") && is_problem.contains(problem), "{said}");
            assert!(is_remedy.strip_prefix("remedy: ").is_some_and(|r| r.len() > 5), "{said}");
            assert!(!said.contains(SECRET), "{said}");
            assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{verb:?} {key}");
        }
        for (name, listener) in [("nats", &self.nats), ("postgres", &self.postgres)] {
            let visit = listener.accept().map(|(_, peer)| peer);
            assert!(visit.is_err(), "{key}: {name} was visited by {visit:?}");
        }
    }
}

#[test]
fn bad_configuration_ends_with_64_before_any_socket() {
    let setting = Setting::new();
    for (text, key, problem) in [
        ("nats.lane = 4", "nats.lane", "unknown field"),
        ("[sauces.sentry]", "sauces", "unknown field `sauces`"),
        ("[log]\nfilter = \"info\"\nformat = \"xml\"", "log.format", "unknown variant"),
        ("[log]\nfilter = \"info,=,=\"", "log.filter", "info,=,="),
        ("ingest.max_body_bytes = \"many\"", "ingest.max_body_bytes", "invalid type"),
        ("ingest.max_body_bytes = 0", "ingest.max_body_bytes", "is 0"),
        ("ingest.max_connections = -1", "ingest.max_connections", "invalid value"),
        ("ingest.body_deadline = \"5\"", "ingest.body_deadline", "not a length of time"),
        ("nats.replicas = 0", "nats.replicas", "nothing would be kept"),
        ("nats.replicas = 9", "nats.replicas", "at most 5"),
        ("nats.ack_timeout = \"0s\"", "nats.ack_timeout", "no answer would be awaited"),
        ("observe.tick_seconds = 0", "observe.tick_seconds", "nothing but ticks"),
        ("triage.concurrency = 0", "triage.concurrency", "nothing would be analysed"),
        ("nats.lanes = 0", "nats.lanes", "invalid value"),
        ("nats.namespace = \"a.b\"", "nats.namespace", ""),
        ("postgres.connections = 0", "postgres.connections", "0"),
        ("[observe]\nzone = \"Nowhere/Town\"", "observe.zone", "Nowhere/Town"),
        ("[sources.x]\nprovider = \"nobody\"", "sources.x.provider", "no provider \"nobody\""),
        ("[sources.\"X Y\"]\nprovider = \"sentry\"", "sources.X Y", ""),
        ("[sources.sentry]\nproject = \"Not An Id\"", "sources.sentry.project", ""),
        ("[sources.sentry]\nsecrets = \"x\"", "sources.sentry.secrets", "unknown field"),
        (
            "[sources.alertmanager]\nsecret = \"never-to-be-shown-4711\"",
            "sources.alertmanager.secret",
            "provider alertmanager cannot use it",
        ),
        (
            "[sources.sentry]\nsecret = [\"never-to-be-shown-4711\"]",
            "sources.sentry.secret",
            "not shown",
        ),
        (
            "[[sources.alertmanager.bearer]]\nsha256 = \"never-to-be-shown-4711\"",
            "sources.alertmanager.bearer[0]",
            "sha256 is not 64 hex digits",
        ),
        (
            "ingest.allowed_ips = [\"10.0.0.0/8\", \"intranet\"]",
            "ingest.allowed_ips",
            "\"intranet\"",
        ),
        ("ingest.peer_inflight_bytes = 1", "ingest.peer_inflight_bytes", "less than one body"),
        ("ingest.projects.p.max_concurrent = 0", "ingest.projects.p.max_concurrent", "is 0"),
        (
            "[[ingest.test_keys]]\nsha256 = \"never-to-be-shown-4711\"",
            "ingest.test_keys[0]",
            "64 hex",
        ),
        ("sources.sentry.rate = { per_second = 0 }", "sources.sentry.rate.per_second", "no rate"),
        (
            "sources.sentry.require = \"address\"",
            "sources.sentry.require",
            "allowed_ips names none",
        ),
        ("sources.sentry.require = \"magic\"", "sources.sentry.require", "unknown variant"),
        ("sources.sentry.previous_until = \"soon\"", "sources.sentry.previous_until", ""),
        ("sources.sentry.trusted = 1", "sources.sentry.trusted", "unknown field"),
        ("[channels.x]\nkind = \"pigeon\"", "channels.x.kind", "no such kind of channel"),
        ("[channels.x]\nkind = \"webhook\"\nurl = \"https://x.test/\"", "channels.x.secret", ""),
        ("deliver.hold_ms = 60000", "deliver.hold_ms", "too long for a page to wait"),
        ("deliver.max_attempts = 0", "deliver.max_attempts", "nothing would be sent"),
        (
            "[[triage.analysts]]\nkind = \"openai\"\nurl = \"ftp://never-to-be-shown-4711\"\nmodel = \"m\"",
            "triage.analysts",
            "neither http nor https",
        ),
        (
            "[console.operators.a]\nkey_sha256 = \"never-to-be-shown-4711\"\nrole = \"viewer\"\nprojects = [\"*\"]",
            "console.operators.a.key_sha256",
            "",
        ),
        (
            "[console.operators.a]\nrole = \"king\"\nprojects = [\"*\"]\nkey_sha256 = \
             \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
            "console.operators.a.role",
            "unknown variant `king`",
        ),
        ("console.default_project = \"Not An Id\"", "console.default_project", ""),
        ("worker.listen = \"localhost\"", "worker.listen", ""),
        ("environment = 7", "environment", "invalid type"),
        ("nats = 7 = 8", "(whole document)", "line 6 is not TOML"),
    ] {
        setting.write(text);
        println!("{key}");
        setting.check(&[], ("", key), problem);
    }
    // The environment is named as what it is.
    setting.write("");
    let (nats, postgres) = ("BELLWETHER__NATS__URL", "BELLWETHER__POSTGRES__URL");
    let variable = |name: &str| format!("environment variable {name}");
    setting.check(&[(nats, "::::")], (&variable(nats), "nats.url"), "no address of a server");
    for url in [SECRET, "mysql://u@127.0.0.1/b"] {
        let place = (&*variable(postgres), "postgres.url");
        setting.check(&[(postgres, url)], place, "does not start with postgres://");
    }
    for (name, value, key, problem) in [
        ("BELLWETHER__INGEST__MAX_BODY_BYTES", "many", "ingest.max_body_bytes", "invalid type"),
        ("BELLWETHER__NATS__LANE", "4", "nats.lane", "unknown field"),
        ("ALLOWED_IPS", "10.0.0.0/8, home", "ingest.allowed_ips", "\"home\" is no network"),
        ("BELLWETHER__NATS__URL__HOST", "a", "nats.url", "is a value in the file"),
    ] {
        setting.check(&[(name, value)], (&variable(name), key), problem);
    }
    std::fs::remove_file(setting.file()).unwrap();
    setting.check(&[], ("", "(whole document)"), "cannot be read");
}

/// The other way round: with nothing to object to, the same process goes on to its sockets.
#[test]
fn good_configuration_goes_on_to_its_sockets() {
    let setting = Setting::new();
    setting.write("");
    let checked = setting.run(&["check-config"], &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(said.contains("usable") && !said.contains(SECRET), "{said}");
    let run = setting.run(&["run", "--role", "ingest"], &[]);
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("free the port, or set ingest.listen"), "{said}");
    let run = setting.run(&["run", "--role", "projector"], &[]);
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(setting.nats.accept().is_ok(), "{said}");
}
