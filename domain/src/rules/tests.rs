mod playbook;
mod telling;

use std::num::NonZeroU16;

use schemas::{
    Facts, InputPosition, Lane, Level, ProjectId, Record, RecordId, SourceId, Status, Time,
    alert::Risk,
    event::{FingerprintBy, Kind},
    record::{Auth, Body, Control, Delivery, RulesDocument},
};

use super::*;
use crate::{observe::Input, replay};

const ROUTE: &str = "[[defaults.routes]]\nname = \"a\"\nreceivers = ";

fn project(id: &str) -> ProjectId {
    ProjectId::new(id).unwrap()
}

fn route(rules: &Rules, of: &str) -> Routed {
    let source = SourceId::new("main").unwrap();
    let facts = Facts::new("sentry", source, "boom", Status::Firing);
    let project = project(of);
    rules.routes(&Subject { project: &project, facts: &facts }).remove(0)
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

/// A document with one route and these tables.
fn document(tables: &str) -> Rules {
    Rules::parse(&format!("{tables}\n{ROUTE}[\"x\"]")).unwrap()
}

#[test]
fn a_projects_table_replaces_that_of_the_defaults_and_nothing_else_does() {
    let rules = document(
        "[defaults.escalation]\nid = \"slow\"\nrepeat_24h = 3\nescalate_1h = 9\n\
         escalate_24h = 30\npermanent_fix_episodes_7d = 5\n\
         [project.shop.flapping]\nid = \"calm\"\nchanges = 4\nwindow_minutes = 30\n\
         [[project.shop.routes]]\nname = \"shop\"\nreceivers = [\"shop-team\"]",
    );
    let (shop, other) = (project("shop"), project("other"));
    for of in [&shop, &other] {
        assert_eq!(rules.escalation(of).id, "slow");
        assert_eq!(rules.escalation(of).escalate_24h, 30);
        assert_eq!(rules.expiry(of), Rules::builtin().expiry(of));
    }
    assert_eq!(rules.flapping(&shop).id, "calm");
    assert_eq!((rules.flapping(&shop).changes, rules.flapping(&shop).window_seconds), (4, 1800));
    assert_eq!(rules.flapping(&other), Rules::builtin().flapping(&other));
    assert_eq!(route(&rules, "shop").receivers, ["shop-team"]);
    assert_eq!(route(&rules, "other").receivers, ["x"]);
}

#[test]
fn r27_r28_the_thresholds_are_those_proposed() {
    let Escalation { id, repeat_24h, escalate_1h, escalate_24h, permanent_fix_episodes_7d } =
        Rules::builtin().escalation(&project("shop"));
    assert_eq!(id, "escalation");
    let numbers = [repeat_24h, escalate_1h, escalate_24h, permanent_fix_episodes_7d];
    assert_eq!(numbers.map(|n| *n), [2, 5, 10, 3]);
    let zero = Rules::builtin().text().replace("repeat_24h = 2 ", "repeat_24h = 0 ");
    check(&zero, Err("use at least 1"));
}

#[test]
fn r70_a_problem_is_over_after_twice_its_repeat() {
    let shop = project("shop");
    let builtin = Rules::builtin().expiry(&shop);
    for (observed, expect) in [
        (None, 7200),
        (Some(3600), 7200),
        (Some(4 * 3600), 8 * 3600),
        (Some(60), 1800),
        (Some(0), 1800),
        (Some(-5), 1800),
        (Some(30 * 24 * 3600), 7 * 24 * 3600),
        (Some(i64::MAX), 7 * 24 * 3600),
    ] {
        assert_eq!(builtin.after(observed), expect, "{observed:?}");
    }
    let expiry = |factor: u32, default: u32, minimum: u32, maximum: u32| {
        format!(
            "[defaults.expiry]\nid = \"e\"\nfactor_percent = {factor}\ndefault_minutes = {default}\n\
             minimum_minutes = {minimum}\nmaximum_minutes = {maximum}\n{ROUTE}[\"x\"]"
        )
    };
    check(&expiry(150, 60, 1, 60), Ok("x"));
    check(&expiry(99, 60, 1, 60), Err("factor_percent is 99"));
    check(&expiry(200, 61, 1, 60), Err("default_minutes is not between"));
    check(&expiry(200, 60, 0, 60), Err("minimum_minutes is 0"));
    check(&expiry(200, 60, 1, 10_081), Err("more than a week"));
    check(&expiry(200, 60, 70, 60), Err("default_minutes is not between"));
}

#[test]
fn r67_words_for_severity_can_be_added_for_a_project() {
    let words = |table: &str, words: &str| {
        format!("[{table}.severity]\nid = \"w\"\nwords = {{ {words} }}\n{ROUTE}[\"x\"]")
    };
    let rules =
        Rules::parse(&words("project.shop", "Sev1 = \"fatal\", \"p 2\" = \"error\"")).unwrap();
    let level = |of: &str, word: &str| rules.severity(&project(of)).level(word);
    assert_eq!(level("shop", " SEV1 "), Some(Level::Fatal));
    assert_eq!(level("shop", "p 2"), Some(Level::Error));
    assert_eq!(level("shop", "sev2"), None);
    assert_eq!(level("other", "sev1"), None);
    check(&words("defaults", "sev1 = \"bad\""), Err("unknown variant `bad`"));
    check(&words("defaults", "Sev1 = \"info\", sev1 = \"info\""), Err("stands there twice"));
    check(&words("defaults", "\"\" = \"info\""), Err("a word is empty"));
}

#[test]
fn what_is_between_two_documents_is_named_once_and_where_it_stands() {
    let shown = |before: &Rules, after: &Rules| -> Vec<String> {
        diff(before, after).iter().map(ToString::to_string).collect()
    };
    let calm = "[defaults.flapping]\nid = \"calm\"\nchanges = 4\nwindow_minutes = 60\n";
    let shop = "[project.shop.flapping]\nid = \"calm\"\nchanges = 4\nwindow_minutes = 60\n";
    let (plain, all, one) = (document(""), document(calm), document(shop));
    assert_eq!(shown(&plain, &document("# a remark")), [""; 0]);
    assert_eq!(
        shown(&plain, &all),
        ["defaults.flapping.changes: 6 -> 4", "defaults.flapping.id: flapping -> calm"]
    );
    assert_eq!(
        shown(&plain, &one),
        ["project.shop.flapping.changes: 6 -> 4", "project.shop.flapping.id: flapping -> calm"]
    );
    // For the shop nothing changes, and it is not said that the defaults' change is the shop's.
    assert_eq!(
        shown(&one, &all),
        ["defaults.flapping.changes: 6 -> 4", "defaults.flapping.id: flapping -> calm"]
    );
    // Their escalation comes from the defaults in both; it is named once.
    let both = document(&format!(
        "{shop}[defaults.stale]\nid = \"s\"\nminutes = 5\n[defaults.severity]\nid = \"words\"\n\
         words = {{ sev1 = \"fatal\" }}\n"
    ));
    assert_eq!(
        shown(&one, &both),
        [
            "defaults.severity.id: severity-words -> words",
            "defaults.severity.words.sev1: nothing -> fatal",
            "defaults.stale.id: stale-firing-10m -> s",
            "defaults.stale.minutes: 10 min -> 5 min",
        ]
    );
    assert_eq!(
        shown(Rules::builtin(), &plain),
        ["defaults.routes: everything to default -> a to x"]
    );
}

#[test]
fn r26_a_change_of_fingerprints_is_named_as_such() {
    let by = |table: &str, says: &str| {
        document(&format!("[{table}.fingerprint.alertmanager]\nid = \"f\"\n{says}\n"))
    };
    let include = "include = [\"alertname\"]";
    let (none, some) = (document(""), by("defaults", include));
    let prints = |before: &Rules, after: &Rules| -> Vec<String> {
        let changes = diff(before, after);
        assert!(changes.iter().all(|change| change.fingerprint));
        changes.iter().map(ToString::to_string).collect()
    };
    let at = "defaults.fingerprint.alertmanager: ";
    assert_eq!(prints(&none, &some), [format!("{at}nothing -> f: by alertname")]);
    assert_eq!(prints(&some, &none), [format!("{at}f: by alertname -> nothing")]);
    assert_eq!(
        prints(&some, &by("defaults", "exclude = [\"labels.pod\"]")),
        [format!("{at}f: by alertname -> f: by labels.* without labels.pod")]
    );
    assert_eq!(
        prints(&some, &by("defaults", "template = \"a {{alertname}}!\"")),
        [format!("{at}f: by alertname -> f: by the text a {{{{ alertname }}}}!")]
    );
    // A rule that says nothing is none, and a project's is its own even where it says the same.
    assert_eq!(prints(&none, &by("defaults", "")), [""; 0]);
    assert_eq!(
        prints(&some, &by("project.shop", include)),
        [format!("{at}f: by alertname -> nothing")]
    );
    let changes = diff(&none, &document("[defaults.stale]\nid = \"s\"\nminutes = 5"));
    assert!(changes.iter().all(|change| !change.fingerprint));
}

/// One Alertmanager alert of severity `sev1`.
fn alert_record(instance: &str) -> Body {
    let alert = format!(
        r#"{{"status":"firing","startsAt":"2026-01-01T00:00:00Z","annotations":{{}},
        "labels":{{"alertname":"Down","instance":"{instance}","severity":"sev1"}}}}"#
    );
    Body::Delivery(Box::new(Delivery {
        provider: "alertmanager".into(),
        source: SourceId::new("main").unwrap(),
        route: "/webhook/alertmanager".into(),
        headers: Vec::new(),
        remote: None,
        auth: Auth { method: "basic".into(), credential: None },
        raw: format!(r#"{{"version":"4","status":"firing","alerts":[{alert}]}}"#).into(),
        sha256: [0; 32],
        content_type: None,
        channel: None,
        recorded: None,
    }))
}

#[test]
fn r26_r67_what_follows_a_rules_record_is_read_by_it() {
    let text = format!(
        "[project.shop.severity]\nid = \"words\"\nwords = {{ sev1 = \"fatal\" }}\n\
         [project.shop.fingerprint.alertmanager]\nid = \"by-name\"\n\
         include = [\"alertname\"]\n{ROUTE}[]"
    );
    let hash = Rules::parse(&text).unwrap().hash().to_owned();
    let document = RulesDocument { hash: hash.clone(), text, operator: "ada".into() };
    let records: Vec<Vec<u8>> = [
        (Some("shop"), alert_record("a")),
        (None, Body::Control(Box::new(Control::Rules(document.clone())))),
        (Some("shop"), alert_record("a")),
        (Some("shop"), alert_record("b")),
        (Some("other"), alert_record("a")),
    ]
    .into_iter()
    .zip(1u128..)
    .map(|((of, body), n)| {
        let mut bytes = Vec::new();
        let id = RecordId(uuid::Uuid::from_u128(n));
        let at = Time::from_micros(1_767_225_600_000_000);
        Record::new(id, at, of.map(project), body).encode_into(&mut bytes);
        bytes
    })
    .collect();
    let inputs = (1u64..).zip(&records).map(|(sequence, bytes)| Input {
        at: InputPosition { incarnation: 1, sequence, record: 0 },
        bytes,
        stored_at: Time::from_micros(i64::MAX),
        of_all: false,
    });
    let folded = replay::sequential(Lane(0), NonZeroU16::MIN, inputs).unwrap();
    let (mut known_by, mut risks, mut told) = (Vec::new(), Vec::new(), None);
    for event in &folded.events {
        if let Kind::Observed(o) = &event.kind {
            let by = o.fingerprint_by.clone();
            known_by.push((o.fingerprint_version, o.alert.facts.level, by));
        } else if let Kind::Opened(opened) = &event.kind {
            risks.push((event.at.input.sequence, opened.risk));
        } else if let Kind::RulesChanged(document) = &event.kind {
            told.clone_from(document);
        }
        let in_force = if event.at.input.sequence < 2 { Rules::builtin().hash() } else { &hash };
        assert_eq!(event.rules, in_force);
    }
    assert_eq!(told.as_deref(), Some(&document));
    let by = FingerprintBy { rule: "by-name".into(), inputs: vec!["alertname=Down".into()] };
    let (plain, ruled) = ((1, None, None), (2, Some(Level::Fatal), Some(by)));
    assert_eq!(known_by, [plain.clone(), ruled.clone(), ruled, plain]);
    // The third record opens the problem of the new fingerprint, the fourth repeats it.
    assert_eq!(risks, [(1, Risk::Medium), (3, Risk::Critical), (5, Risk::Medium)]);
}

#[test]
fn a_source_has_its_field_mapping_and_a_project_may_have_another() {
    let base = format!("{ROUTE}[\"x\"]\n");
    let mapped = |table: &str| Rules::parse(&format!("{base}{table}\n")).unwrap();
    let title = |rules: &Rules, of: &str, source: &str| {
        let fields = rules.fields(&project(of), &SourceId::new(source).unwrap())?;
        fields.title.as_ref().map(|path| path.as_str().to_owned())
    };
    let first = mapped("[defaults.fields.riemann]\ntitle = \"service\"");
    assert_eq!(title(&first, "shop", "riemann").as_deref(), Some("service"));
    assert_eq!(title(&first, "shop", "other"), None);
    let both = mapped(
        "[defaults.fields.riemann]\ntitle = \"service\"\n[project.shop.fields.riemann]\n\
         title = \"check.name\"\nseverity = \"state\"\n[project.search.fields.riemann]",
    );
    assert_eq!(title(&both, "shop", "riemann").as_deref(), Some("check.name"));
    assert_eq!(title(&both, "search", "riemann"), None);
    assert_eq!(title(&both, "any", "riemann").as_deref(), Some("service"));
    check(&format!("{base}[defaults.fields.a]\ntitel = \"x\""), Err("unknown field `titel`"));
    check(&format!("{base}[defaults.fields.a]\ntitle = \"x..y\""), Err("empty step"));

    // Only a mapping that problems are known by already changes who they are.
    let renamed = |before: &Rules, after: &Rules| -> Vec<(String, bool)> {
        diff(before, after).into_iter().map(|change| (change.at, change.fingerprint)).collect()
    };
    let plain = Rules::parse(&base).unwrap();
    let title = "defaults.fields.riemann.title".to_owned();
    assert_eq!(renamed(&plain, &first), [(title.clone(), false)]);
    assert_eq!(renamed(&first, &plain), [(title.clone(), true)]);
    let other = mapped("[defaults.fields.riemann]\ntitle = \"name\"\nseverity = \"state\"");
    let severity = "defaults.fields.riemann.severity".to_owned();
    assert_eq!(renamed(&first, &other), [(severity, false), (title, true)]);
}
