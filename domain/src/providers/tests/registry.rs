//! A provider is one file, one line in the registry, and a folder of samples: nothing is missing,
//! and nothing outside names it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;

/// The packages whose sources are the product.
const PRODUCT: &[&str] = &[
    "schemas",
    "domain",
    "eventlog",
    "store",
    "runtime",
    "lanes",
    "ingest",
    "triage-worker",
    "notifier-worker",
    "projector",
    "console",
    "servers",
    "bellwether",
];

/// Where a name may stand all the same, and why. Paths below the project, or their beginnings.
const MAY_NAME: &[(&str, &str)] = &[
    ("domain/src/providers/", "the providers themselves"),
    ("notifier-worker/src/channels/", "channels of the same names, with a registry of their own"),
    ("bellwether/src/local", "the configuration that `up` writes for a newcomer"),
    ("bellwether/src/commands/up", "what `up` tells of that configuration"),
    ("bellwether/src/commands/demo/", "speaks as two senders do"),
    ("runtime/src/config/overlay.rs", "environment names of the sources (R3)"),
];

/// Words of others that begin like a name.
const OTHER_WORDS: &[&str] = &[
    // A tag of cards (R40).
    "lark_md",
    // Fields of the dossier, which have counted these two systems from the beginning (R51).
    "sentry_refs",
    "signoz_refs",
    "sentry_ref_count",
    "signoz_ref_count",
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_provider_has_samples_and_all_samples_a_provider() {
    let folder = project().join("schemas/fixtures/providers");
    let folders: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = all().iter().map(|p| p.name().to_owned()).collect();
    assert_eq!(folders, names);
    for name in &names {
        let samples = fixtures(name);
        assert!(!samples.is_empty(), "no samples of {name}");
        let outcomes: BTreeSet<&str> =
            samples.iter().map(|(_, _, expect)| expect["outcome"].as_str().unwrap()).collect();
        assert!(outcomes.len() > 1, "all samples of {name} are {outcomes:?}");
        // A registry name is spelt as routes and tables spell it.
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
    }
}

#[test]
fn nothing_outside_knows_a_provider_by_name() {
    let mut named = vec![];
    let mut read = 0;
    for package in PRODUCT {
        let mut files = vec![];
        sources(&project().join(package).join("src"), &mut files);
        for file in files {
            let path = file.strip_prefix(project()).unwrap().to_str().unwrap().to_owned();
            if MAY_NAME.iter().any(|(allowed, _)| path.starts_with(allowed)) {
                continue;
            }
            read += 1;
            let text = fs::read_to_string(&file).unwrap();
            for literal in literals(without_tests(&text)) {
                let known = all().iter().map(|p| p.name()).find(|name| names(&literal, name));
                named.extend(known.map(|name| format!("{path}: {name} in {literal:?}")));
            }
        }
    }
    assert!(read > 200, "{read} files");
    assert!(named.is_empty(), "{named:#?}");
}

/// A text that is the name, leads to it, or begins with it.
fn names(literal: &str, name: &str) -> bool {
    if OTHER_WORDS.contains(&literal) {
        return false;
    }
    literal == name
        || literal.starts_with(&format!("{name}_"))
        || literal.split('/').skip(1).any(|part| {
            part.strip_prefix(name).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        })
}

/// The source files below a folder, without those that only tests see.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if ["tests", "golden", "samples"].contains(&stem) {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A source file up to the tests in it, which come last.
fn without_tests(text: &str) -> &str {
    let mut from = 0;
    while let Some(at) = text[from..].find("#[cfg(test)]") {
        let at = from + at;
        let what = text[at + "#[cfg(test)]".len()..].trim_start();
        let line = what.lines().next().unwrap_or_default();
        if line.contains("mod ") && line.ends_with('{') {
            return &text[..at];
        }
        from = at + 1;
    }
    text
}

/// The string literals of a source file, without what stands in comments.
fn literals(text: &str) -> Vec<String> {
    let mut found = vec![];
    let mut rest = text;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let after = &rest[at + 1..];
        rest = match rest.as_bytes()[at] {
            b'/' if after.starts_with('/') => after.split_once('\n').map_or("", |(_, rest)| rest),
            b'/' => after,
            // A character, and no lifetime.
            b'\'' if after.starts_with("\"'") => &after[2..],
            b'\'' if after.starts_with("\\\"'") => &after[3..],
            b'\'' => after,
            _ => {
                let hashes = rest[..at].bytes().rev().take_while(|b| *b == b'#').count();
                let raw = rest[..at - hashes].ends_with('r');
                let (inside, rest) = match raw {
                    true => after.split_once(&format!("\"{}", "#".repeat(hashes))).unwrap(),
                    false => quoted(after),
                };
                found.push(inside.to_owned());
                rest
            }
        };
    }
    found
}

/// The text up to the quote that ends it, and what follows.
fn quoted(text: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return (&text[..at], &text[at + 1..]),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    (text, "")
}

#[test]
fn names_are_found_in_source_files() {
    let text = r##"
        // "grafana" in a comment
        let a = "sentry"; let b = '"'; let c = r#"say "signoz""#;
        let d = "/webhook/custom/x"; let e = "a \" b"; let f = "https://x/customers";
        #[cfg(test)]
        mod tests;
        let g = "g";
        #[cfg(test)]
        mod tests {
            let h = "alertmanager";
        }
    "##;
    let found = literals(without_tests(text));
    let expected =
        ["sentry", "say \"signoz\"", "/webhook/custom/x", "a \\\" b", "https://x/customers", "g"];
    assert_eq!(found, expected);
    assert!(names("sentry", "sentry") && names("sentry_failed", "sentry"));
    assert!(names("/webhook/custom/x", "custom") && names("/lark/event", "lark"));
    assert!(!names("https://x/customers", "custom") && !names("customers", "custom"));
}
