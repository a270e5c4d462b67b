//! docker-compose.yml without Docker: its services start with what their environment says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use crate::newcomer::bellwether;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The services and their environments; `${NAME:…}` is filled in. Reads the shape this file has:
/// two spaces a level, one anchored environment that others merge.
fn services() -> BTreeMap<String, BTreeMap<String, String>> {
    let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let body = text.split("\nservices:\n").nth(1).unwrap().split("\nconfigs:\n").next().unwrap();
    let mut services: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut shared = BTreeMap::new();
    let (mut service, mut inside, mut anchored) = (String::new(), false, false);
    for line in body.lines().filter(|l| !l.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        let word = line.trim();
        match depth {
            2 => {
                service = word.trim_end_matches(':').to_owned();
                services.entry(service.clone()).or_default();
            }
            4 => {
                inside = word.starts_with("environment:");
                anchored = word.ends_with("&servers");
            }
            6 if inside && word == "<<: *servers" => {
                services.entry(service.clone()).or_default().extend(shared.clone());
            }
            6 if inside => {
                let (name, value) = word.split_once(": ").unwrap();
                let value = fill(value.trim_matches('\''));
                if anchored {
                    shared.insert(name.to_owned(), value.clone());
                }
                services.entry(service.clone()).or_default().insert(name.to_owned(), value);
            }
            _ => {}
        }
    }
    services
}

/// `${NAME:?…}` and `${NAME:-…}` become a value, as an .env would give one.
fn fill(value: &str) -> String {
    let Some((before, rest)) = value.split_once("${") else { return value.to_owned() };
    let (inside, after) = rest.split_once('}').unwrap();
    let name = inside.split(':').next().unwrap();
    let filled = match name {
        "OPERATOR_KEY_SHA256" => "ab".repeat(32),
        "ENVIRONMENT" => "production".into(),
        "ALLOWED_IPS" => "10.0.0.0/8, 192.168.0.0/16".into(),
        "WEIXIN_AGENT_ID" => "1000002".into(),
        "SENTRY_DSN" => "https://key@sentry.example/7".into(),
        _ => "filled-in".into(),
    };
    format!("{before}{filled}{after}")
}

/// Every environment name of our services is a key `check-config` knows, and the configuration is
/// usable with it.
#[test]
fn every_service_has_a_usable_configuration() {
    let services = services();
    let ours = ["migrate", "ingest", "triage-worker", "notifier-worker", "projector", "console"];
    for service in ours {
        let environment = &services[service];
        assert!(environment.contains_key("BELLWETHER__POSTGRES__URL"), "{environment:?}");
        let checked = Command::new(bellwether())
            .args(["check-config", "--config"])
            .arg(root().join("config/compose.toml"))
            .env_clear()
            .envs(environment)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{service}: {said}");
    }
    // A name nobody knows is refused, so the above means something.
    let checked = Command::new(bellwether())
        .args(["check-config", "--config"])
        .arg(root().join("config/compose.toml"))
        .env_clear()
        .envs(&services["ingest"])
        .env("BELLWETHER__INGEST__LISTENN", "x")
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(64));
}

/// No secret has a default, two of each worker run, and everything is told of its health.
#[test]
fn the_file_keeps_its_promises() {
    let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    for secret in ["PASSWORD", "SECRET", "KEY_SHA256"] {
        for line in text.lines().filter(|l| l.contains("${") && l.contains(secret)) {
            // An empty one is none: what it is for is then not there.
            assert!(line.contains(":?") || line.contains(":-}"), "{line}");
        }
    }
    assert_eq!(text.matches("replicas: 2").count(), 3);
    let services: BTreeSet<String> = services().into_keys().collect();
    assert!(services.len() >= 8, "{services:?}");
    assert!(text.matches("healthcheck:").count() >= 7);
}

/// What ingest spools is in a volume that outlives the container and that its user may write.
#[test]
fn the_spool_outlives_the_container() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let (compose, docker) = (read("docker-compose.yml"), read("Dockerfile"));
    let settings = read("config/compose.toml");
    let dir = settings.split("spool = { dir = \"").nth(1).unwrap().split('"').next().unwrap();
    let ingest = compose.split("\n  ingest:\n").nth(1).unwrap();
    let ingest = ingest.split("\n\n").next().unwrap();
    assert!(ingest.contains(&format!("\"spool:{dir}\"")), "{ingest}");
    assert!(compose.split("\nvolumes:\n").nth(1).unwrap().contains("  spool:\n"));
    let user = docker.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(docker.contains(&format!("install -d -o {user} -g {user} -m 0700 {dir}\n")));
}

/// Where a Docker client with compose is there, it must understand the file.
#[test]
fn docker_understands_the_file() {
    let client = Command::new("docker").args(["compose", "version"]).output();
    if !client.is_ok_and(|o| o.status.success()) {
        println!("skipped: no docker client with compose on this machine");
        return;
    }
    let names = [
        "POSTGRES_PASSWORD",
        "NATS_PASSWORD",
        "SENTRY_WEBHOOK_SECRET",
        "ALERTMANAGER_PASSWORD",
        "OPERATOR_KEY_SHA256",
    ];
    let understood = Command::new("docker")
        .args(["compose", "config", "--quiet"])
        .current_dir(root())
        .envs(names.map(|n| (n, "x")))
        .output()
        .unwrap();
    assert!(understood.status.success(), "{}", String::from_utf8_lossy(&understood.stderr));
}
