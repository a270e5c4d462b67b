use schemas::{ProjectId, SourceId, Status};

use super::*;

const ROUTE: &str = "[[defaults.routes]]\nname = \"a\"\nreceivers = ";

fn project(id: &str) -> ProjectId {
    ProjectId::new(id).unwrap()
}

fn route(rules: &Rules, of: &str) -> Routed {
    let source = SourceId::new("main").unwrap();
    rules.route(&project(of), &Facts::new("sentry", source, "boom", Status::Firing))
}

fn check(text: &str, expect: Result<&str, &str>) {
    let got = Rules::parse(text)
        .map(|rules| route(&rules, "any").receivers.join(","))
        .map_err(|e| e.to_string());
    match (got, expect) {
        (Ok(got), Ok(want)) => assert_eq!(got, want),
        (Err(got), Err(want)) => assert!(got.contains(want), "{got:?} lacks {want:?}"),
        (got, want) => panic!("{text:?} gave {got:?}, not {want:?}"),
    }
}

#[test]
fn documents_are_checked() {
    check(&format!("{ROUTE}[\"x\", \"y\"]"), Ok("x,y"));
    check(&format!("{ROUTE}[]"), Ok(""));
    check(&format!("{ROUTE}[\"x\", \"x\"]"), Err("named twice"));
    check(&format!("{ROUTE}[\"\"]"), Err("receiver is empty"));
    check(&format!("{ROUTE}[\"x\"]\n{ROUTE}[\"y\"]"), Err("never reached"));
    check(&format!("{ROUTE}[\"x\"]\nmute = true"), Err("unknown field `mute`"));
    check("[defaults]\nroutes = []", Err("no route"));
    check("[defaults]", Err("no route"));
    let stale = |text: &str| format!("[defaults.stale]\n{text}\n{ROUTE}[\"x\"]");
    check(&stale("id = \"s\"\nminutes = 1440"), Ok("x"));
    check(&stale("id = \"s\"\nminutes = 1441"), Err("more than a day"));
    check(&stale("id = \"s\"\nminutes = -1"), Err("parse rules"));
    check(&stale("id = \"\"\nminutes = 1"), Err("id is empty"));
    check(&stale("id = \"a b\"\nminutes = 1"), Err("more than letters"));
    check(&stale("minutes = 1"), Err("missing field `id`"));
    check("", Err("missing field `defaults`"));
    check("{", Err("parse rules"));
    check(&format!("{ROUTE}[\"x\"]\n#{}", "x".repeat(MAX_TEXT)), Err("longer than"));
}

#[test]
fn what_is_wrong_is_said_with_line_and_column() {
    let section = |table: &str| format!("{ROUTE}[\"x\"]\n{table}\n");
    for (text, at, problem) in [
        (section("[defaults.stail]\nminutes = 1"), "line 4, column 11", "unknown field `stail`"),
        (section("[defaults.stale]\nid = \"s\"\nminuts = 1"), "line 6, column 1", "`minuts`"),
        (section("[defaults.stale]\nid = \"s\"\nminutes = 9999"), "line 6, column", "than a day"),
        (section("[project.Shop.stale]"), "line 4, column 10", "is not an id"),
        (section("[project.shop]\nrouts = []"), "line 5, column 1", "`routs`"),
        (
            section("[defaults.flapping]\nid = \"f\"\nchanges = 1\nwindow_minutes = 5"),
            "line 4",
            "2",
        ),
        (section("[projects.shop]"), "line 4, column 2", "unknown field `projects`"),
    ] {
        let error = Rules::parse(&text).unwrap_err().to_string();
        assert!(error.contains(at) && error.contains(problem), "{text}\n{error}");
    }
}

#[test]
fn the_builtin_document_is_named_by_its_hash() {
    let rules = Rules::builtin();
    assert_eq!(rules.hash().len(), HASH_DIGITS);
    assert_eq!(rules, &Rules::parse(rules.text()).unwrap());
    assert_ne!(rules.hash(), Rules::parse(&format!("{BUILTIN}#")).unwrap().hash());
    assert_eq!(route(rules, "shop").rule, "everything");
    let shop = project("shop");
    assert_eq!(rules.stale(&shop).id, "stale-firing-10m");
    assert_eq!(rules.stale(&shop).seconds(), 600);
    assert_eq!(rules.fingerprint(&shop, "sentry"), None);
    assert_eq!(rules.severity(&shop).level("sev1"), None);
}
