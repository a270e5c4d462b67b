//! Who may depend on whom, read from `cargo metadata`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const ROLES: &[&str] = &["ingest", "triage-worker", "notifier-worker", "projector", "console"];

/// Workspace packages: name -> direct normal dependencies.
struct Workspace {
    root: PathBuf,
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Workspace {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
            .current_dir(&root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let dependencies = json["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                let normal = p["dependencies"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|d| d["kind"].is_null())
                    .map(|d| d["name"].as_str().unwrap().to_owned())
                    .collect();
                (p["name"].as_str().unwrap().to_owned(), normal)
            })
            .collect();
        Self { root, dependencies }
    }

    fn uses(&self, package: &str, dependency: &str) -> bool {
        self.dependencies[package].contains(dependency)
    }

    fn check_none(&self, packages: &[&str], forbidden: &[&str]) {
        for package in packages {
            for dependency in forbidden.iter().filter(|d| *d != package) {
                assert!(!self.uses(package, dependency), "{package} must not know {dependency}");
            }
        }
    }
}

#[test]
fn crates_know_only_what_they_may() {
    let ws = Workspace::read();
    ws.check_none(&["schemas"], &["domain", "eventlog", "store", "runtime", "lanes"]);
    ws.check_none(
        &["eventlog", "store", "runtime"],
        &["domain", "eventlog", "store", "runtime", "lanes"],
    );
    ws.check_none(&["lanes"], &["domain"]);
    ws.check_none(ROLES, ROLES);
    ws.check_none(ROLES, &["bellwether", "servers"]);
    ws.check_none(&["ingest"], &["store", "lanes"]);
    ws.check_none(
        &["domain"],
        &[
            "tokio",
            "sqlx",
            "async-nats",
            "reqwest",
            "rand",
            "eventlog",
            "store",
            "runtime",
            "lanes",
        ],
    );
}

#[test]
fn each_outside_world_is_known_by_one_crate() {
    let ws = Workspace::read();
    let shipped = ws.dependencies.keys().filter(|p| *p != "tests" && *p != "xtask");
    for package in shipped {
        assert!(!ws.uses(package, "sqlx") || package == "store", "{package} uses sqlx");
        assert!(!ws.uses(package, "async-nats") || package == "eventlog", "{package} uses nats");
    }
}

/// R73: the asked-for packages are direct dependencies and named in the code that declares them,
/// and the given top-level names exist.
#[test]
fn r73_asked_for_packages_are_used_and_top_level_names_exist() {
    let ws = Workspace::read();
    for asked in [
        "tokio",
        "async-nats",
        "serde",
        "serde_json",
        "hmac",
        "sha2",
        "reqwest",
        "sqlx",
        "tracing",
        "uuid",
    ] {
        let word = asked.replace('-', "_");
        let used_in: Vec<_> = ws
            .dependencies
            .iter()
            .filter(|(p, d)| *p != "tests" && *p != "xtask" && d.contains(asked))
            .filter(|(p, _)| mentions(&ws.root.join(p).join("src"), &word))
            .map(|(p, _)| p)
            .collect();
        assert!(!used_in.is_empty(), "{asked} is used by no shipped crate");
    }
    for name in [
        "Cargo.toml",
        "ingest",
        "triage-worker",
        "notifier-worker",
        "projector",
        "schemas",
        "docker-compose.yml",
        "tests",
    ] {
        assert!(ws.root.join(name).exists(), "{name} is missing");
    }
}

/// A declared dependency that no source file names is not in use.
#[test]
fn every_declared_dependency_is_named_in_the_code() {
    let ws = Workspace::read();
    for (package, dependencies) in &ws.dependencies {
        for dependency in dependencies {
            let word = dependency.replace('-', "_");
            assert!(
                mentions(&ws.root.join(package), &word),
                "{package} declares {dependency} and never names it"
            );
        }
    }
}

fn mentions(dir: &Path, word: &str) -> bool {
    std::fs::read_dir(dir).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            mentions(&path, word)
        } else {
            path.extension().is_some_and(|e| e == "rs")
                && std::fs::read_to_string(&path).unwrap().contains(word)
        }
    })
}
