//! What a change must pass besides the tests.

use std::path::Path;

use crate::{cargo, run};

/// Runs every check in turn and stops at the first that fails.
pub fn all(root: &Path) -> anyhow::Result<()> {
    let steps: &[(&str, &[&str])] = &[
        ("format", &["fmt", "--all", "--check"]),
        ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        ("schemas builds alone", &["check", "--package", "schemas"]),
        ("domain builds alone", &["check", "--package", "domain"]),
    ];
    for (name, words) in steps {
        println!("check: {name}");
        run(&mut cargo(root, words))?;
    }
    println!("check: documentation");
    run(cargo(root, &["doc", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    println!("check: dependencies");
    deny(root)?;
    println!("check: all passed");
    Ok(())
}

/// cargo-deny holds the boundaries that Cargo cannot: which crate may use which package. Without
/// it on the machine the check says so; CI installs it.
fn deny(root: &Path) -> anyhow::Result<()> {
    let installed = cargo(root, &["deny", "--version"]).output()?.status.success();
    if !installed {
        println!("check: cargo-deny is not installed (cargo install --locked cargo-deny): skipped");
        return Ok(());
    }
    run(&mut cargo(root, &["deny", "--offline", "check", "bans", "licenses", "sources"]))
}
