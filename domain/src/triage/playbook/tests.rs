mod list;

use std::sync::Arc;

use schemas::{
    Facts, ProjectId, Time,
    job::{Analysis, Similar},
};

use super::*;
use crate::triage::tests::facts;

fn project() -> ProjectId {
    ProjectId::new("shop").unwrap()
}

/// A layer of these entries.
fn layer(text: &str) -> Result<Layer, String> {
    let document: Document = toml::from_str(text).map_err(|e| e.to_string())?;
    Layer::new(document.entry)
}

/// Only these entries.
fn only(text: &str) -> Playbook {
    let entries = Entries::default().with(Arc::new(layer(text).unwrap())).unwrap();
    Playbook(Whose::Own(Arc::new(entries)))
}

/// An entry of which only the conditions matter.
fn entry(id: &str, when: &str) -> String {
    format!(
        "[[entry]]\nid = \"{id}\"\nwhen = [{when}]\ncause = \"c\"\nimpact = \"i\"\nchecks = []\n\
         fix = \"f\"\nprevention = \"p\"\n"
    )
}

fn ids(playbook: &Playbook, facts: &Facts) -> Vec<String> {
    let project = project();
    let chosen = playbook.choose(&Subject { project: &project, facts });
    chosen.into_iter().map(|chosen| chosen.entry.id.clone()).collect()
}

/// The id of the entry that comes first.
#[track_caller]
fn check(alertname: Option<&str>, title: &str, want: Option<&str>) {
    let facts = Facts { alertname: alertname.map(str::to_owned), ..facts(title) };
    let got = ids(Playbook::builtin(), &facts);
    assert_eq!(got.first().map(String::as_str), want, "{alertname:?} {title}: {got:?}");
}

#[test]
fn r29_alerts_by_names_of_their_own_are_known_too() {
    check(Some("KubePodCrashLooping"), "Pod is crash looping", Some("kubernetes-crash-loop"));
    check(Some("ContainerOOMKilled"), "x", Some("kubernetes-oom-killed"));
    check(None, "java.lang.OutOfMemoryError: Java heap space", Some("jvm-heap"));
    check(Some("KubeNodeNotReady"), "x", Some("kubernetes-node-not-ready"));
    check(Some("NodeFilesystemAlmostOutOfSpace"), "x", Some("node-disk-space"));
    check(None, "OSError: [Errno 28] No space left on device", Some("node-disk-space"));
    check(Some("High CPU Temperature"), "x", Some("node-temperature"));
    check(Some("HighCPUUsage"), "x", Some("node-cpu"));
    check(Some("HostHighMemory"), "x", Some("node-memory"));
    check(Some("InstanceDown"), "Instance localhost:8081 down", Some("prometheus-target-down"));
    check(Some("HighErrorRate"), "5xx above 5%", Some("web-5xx"));
    check(Some("high_request_latency"), "x", Some("web-latency"));
    check(
        None,
        "OperationalError: FATAL: sorry, too many clients already",
        Some("postgres-connections"),
    );
    check(Some("PostgresReplicationLag"), "x", Some("postgres-replication"));
    check(
        None,
        "ConnectionError: Error 111 connecting to redis:6379. Connection refused.",
        Some("redis-connections"),
    );
    check(None, "Error: connect ECONNREFUSED 10.0.0.3:6379", Some("redis-connections"));
    check(Some("RedisMemoryHigh"), "x", Some("redis-memory"));
    check(Some("SSLCertExpiringSoon"), "x", Some("web-certificate-expiry"));
    check(None, "KeyError: 'user'", Some("python-key-error"));
    check(
        None,
        "Uncaught ReferenceError: blooopy is not defined",
        Some("javascript-reference-error"),
    );
    check(None, "java.lang.NullPointerException", Some("jvm-null-pointer"));
    check(
        None,
        "System.NullReferenceException: Object reference not set",
        Some("dotnet-null-reference"),
    );
    check(None, "panic: all goroutines are asleep - deadlock!", Some("go-deadlock"));
    check(None, "TimeoutError: timed out", Some("dependency-timeout"));
    check(None, "TypeError: items.map is not a function", Some("javascript-not-a-function"));
    check(None, "AttributeError: 'NoneType' object has no attribute 'id'", Some("python-none"));
    check(
        None,
        "TypeError: Cannot read properties of undefined (reading 'x')",
        Some("javascript-undefined-property"),
    );
    check(Some("failedConnect"), "x", Some("dependency-connection-refused"));
    check(None, "Agent on db-1 is unreachable for 5 minutes", Some("prometheus-target-down"));
    check(None, "ValueError in calculate_score", None);
    check(None, "", None);
}

#[test]
fn what_ships_is_plain_bounded_and_modest() {
    let entries: Vec<Known<'_>> = Playbook::builtin().entries().collect();
    assert!(entries.len() >= 150, "{}", entries.len());
    for known in entries {
        let RunbookEntry { id, cause, fix, checks, owner, link, .. } = known.entry;
        assert!((30..=60).contains(&known.entry.confidence_percent), "{id}");
        // Messages show so much of them.
        assert!(cause.chars().count() <= 120 && fix.chars().count() <= 120, "{id}");
        assert!(checks.len() >= 3, "{id}");
        assert_eq!((owner, link), (&None, &None), "{id}");
    }
    for (file, text) in FAMILIES {
        assert!(text.lines().count() < 500, "{file}");
    }
}

#[test]
fn the_closest_entry_comes_first_whatever_the_order() {
    let entries = [
        entry("named", "{ alertname = [\"DiskFull\"] }"),
        entry("said", "{ text = [\"disk full\"] }"),
        entry("loosely", "{ alertname = [\"*disk*\"] }"),
        entry("labelled", "{ alertname = [\"DiskFull\"], matchers = ['env=\"prod\"'] }"),
        entry("other", "{ alertname = [\"DiskFullOfJoy\"] }"),
    ];
    let facts = Facts {
        alertname: Some("disk_full".into()),
        labels: vec![("env".into(), "prod".into())],
        ..facts("Disk  FULL on db-1")
    };
    let want = ["labelled", "named", "loosely"];
    assert_eq!(ids(&only(&entries.concat()), &facts), want);
    let reversed: String = entries.iter().rev().map(String::as_str).collect();
    assert_eq!(ids(&only(&reversed), &facts), want);
    // What fits as closely: by id.
    let same = [
        entry("b", "{ text = [\"disk full\"] }"),
        entry("a", "{ text = [\"on db-1\", \"disk full\"] }"),
    ];
    assert_eq!(ids(&only(&same.concat()), &facts), ["a", "b"]);
}

#[test]
fn every_condition_that_is_stated_has_to_hold() {
    let conditions = "{ alertname = [\"A B C*\"], exception = [\"KeyError\"], culprit = [\"cart\"], \
                      text = [\"no user\"], regex = 'user \\d+', matchers = ['env!=\"test\"'] }";
    let playbook = only(&entry("all", conditions));
    let fits = Facts {
        alertname: Some("a-b-c-d".into()),
        culprit: Some("shop.Cart in total".into()),
        labels: vec![("env".into(), "prod".into())],
        message: Some("there is NO\n user 12".into()),
        ..facts("app.KeyError: x")
    };
    assert_eq!(ids(&playbook, &fits), ["all"]);
    for wrong in [
        Facts { alertname: Some("c-a-b".into()), ..fits.clone() },
        Facts { alertname: None, ..fits.clone() },
        Facts { title: "KeyErrors: x".into(), ..fits.clone() },
        Facts { culprit: Some("shop.pay".into()), ..fits.clone() },
        Facts { message: Some("there is no user x".into()), ..fits.clone() },
        Facts { message: Some("there is no users 12".into()), ..fits.clone() },
        Facts { labels: vec![("env".into(), "test".into())], ..fits.clone() },
    ] {
        assert_eq!(ids(&playbook, &wrong), [""; 0], "{wrong:?}");
    }
}

#[test]
fn long_texts_are_looked_at_no_further_than_needed() {
    let playbook = only(&entry("end", "{ text = [\"the end\"] }"));
    let long = "長".repeat(200_000);
    let at_the_end = Facts { message: Some(format!("{long} the end")), ..facts("x") };
    assert_eq!(ids(&playbook, &at_the_end), [""; 0]);
    let before = Facts { message: Some(format!("the end {long}")), ..facts("x") };
    assert_eq!(ids(&playbook, &before), ["end"]);
    let playbook = only(&entry("end", "{ alertname = [\"*the end\"] }"));
    for (name, want) in [(format!("{long} the end"), &[][..]), ("xthe end".into(), &["end"])] {
        let named = Facts { alertname: Some(name), ..facts("x") };
        assert_eq!(ids(&playbook, &named), want);
    }
}

/// A document over what ships with the binary.
fn over(text: &str) -> Result<Playbook, String> {
    let layer = Arc::new(layer(text)?);
    Playbook::builtin().with(layer).map_err(|misplaced| misplaced.problem)
}

#[test]
fn r29_a_document_adds_changes_and_disables_entries_by_id() {
    let of_keys = facts("KeyError: 'user'");
    let own =
        entry("shop-keys", "{ exception = [\"KeyError\"], matchers = ['title=~\".*user.*\"'] }");
    assert_eq!(ids(&over(&own).unwrap(), &of_keys), ["shop-keys", "python-key-error"]);

    let changed = over(
        "[[entry]]\nid = \"python-key-error\"\nfix = \"ask Ada\"\nowner = \"team-sre\"\n\
         link = \"https://wiki.shop.test/keys\"",
    );
    let changed = changed.unwrap();
    let known = changed.entry("python-key-error").unwrap();
    let shipped = Playbook::builtin().entry("python-key-error").unwrap();
    assert_eq!((known.entry.fix.as_str(), known.family), ("ask Ada", "python"));
    assert_eq!(known.entry.cause, shipped.entry.cause);
    assert_eq!(known.when, shipped.when);
    assert_eq!(ids(&changed, &of_keys), ["python-key-error"]);

    let disabled = over("[[entry]]\nid = \"python-key-error\"\ndisabled = true").unwrap();
    assert_eq!(ids(&disabled, &of_keys), [""; 0]);
    let again = layer("[[entry]]\nid = \"python-key-error\"\ndisabled = false").unwrap();
    assert_eq!(ids(&disabled.with(Arc::new(again)).unwrap(), &of_keys), ["python-key-error"]);

    // One that fits as closely as what ships comes before it.
    let same = over(&entry("zz-keys", "{ exception = [\"KeyError\"] }")).unwrap();
    assert_eq!(ids(&same, &of_keys), ["zz-keys", "python-key-error"]);
    // Other conditions take the place of those that ship.
    let other =
        over("[[entry]]\nid = \"python-key-error\"\nwhen = [{ text = [\"other\"] }]").unwrap();
    assert_eq!(ids(&other, &of_keys), [""; 0]);
}

#[test]
fn what_is_no_entry_is_refused_with_its_reason() {
    let with = |line: &str| format!("{}{line}\n", entry("a", "{ text = [\"boom\"] }"));
    for (text, want) in [
        (with("colour = \"red\""), "unknown field `colour`"),
        (with("confidence_percent = 101"), "entry \"a\": confidence_percent is more than 100"),
        (with("link = \"http://wiki.test\""), "link is no address"),
        (with("link = \"https://\""), "link is no address"),
        (with("link = \"https://ada:secret@wiki.test/\""), "link is no address"),
        (with("link = \"https://wiki.test/) and more\""), "link is no address"),
        (with("owner = \"<!channel>\""), "owner holds an address, a mention"),
        (with("owner = \"see https://evil.test\""), "owner holds an address"),
        (with(&format!("owner = \"{}\"", "x".repeat(101))), "use at most 100"),
        (entry("a b", "{ text = [\"boom\"] }"), "more than letters"),
        (entry("a", ""), "when is empty"),
        (entry("a", "{}"), "states nothing"),
        (entry("a", "{ text = [\"a\"] }"), "at least 3 letters"),
        (entry("a", "{ alertname = [\"*\"] }"), "at least 3 letters"),
        (entry("a", "{ regex = '(' }"), "regex \"(\": unclosed group"),
        (entry("a", "{ regex = 'x*' }"), "fits every text"),
        (entry("a", "{ regex = '(\\w{500}){500}' }"), "takes more than"),
        (entry("a", "{ matchers = ['x'] }"), "matcher \"x\""),
        (entry("a", "{ text = [\"boom\"] }").repeat(2), "entry \"a\" stands there twice"),
        (entry("a", "{ text = [\"boom\"] }").replace("\"f\"", "\" \""), "fix is empty"),
        (
            "[[entry]]\nid = \"new\"\nfix = \"f\"".to_owned(),
            "\"new\" is not known, so it is a new one, and lacks when",
        ),
        ("[[entry]]\nid = \"new\"\ndisabled = true".to_owned(), "lacks when"),
        (entry("a", "{ text = [\"boom\"] }").replace("cause = \"c\"\n", ""), "lacks cause"),
    ] {
        let got = over(&text).unwrap_err();
        assert!(got.contains(want), "{text}\n{got}");
    }
    let many: String =
        (0..=ENTRIES_MAX).map(|n| entry(&format!("e{n}"), "{ text = [\"boom\"] }")).collect();
    assert!(over(&many).unwrap_err().contains("201 entries: use at most 200"));
}

#[test]
fn r29_an_answer_says_that_it_is_the_playbook_and_which_entry() {
    let (project, facts) = (project(), facts("KeyError: 'user'"));
    let runbook = Playbook::builtin().runbook(&Subject { project: &project, facts: &facts });
    let got = answer(&runbook, None).unwrap();
    assert_eq!(got.analyzed_by, "playbook");
    assert_eq!(got.model, None);
    assert_eq!(got.evidence, ["playbook:python-key-error"]);
    assert!(got.confidence <= 0.6);
    let golden = include_str!("../../../fixtures/triage/playbook-keyerror.txt");
    let text =
        format!("{}\n{}\n{}\n{}\n", got.root_cause, got.impact, got.fix_suggestion, got.prevention);
    assert_eq!(text, golden);
    assert_eq!(answer(&[], None), None);
}

#[test]
fn owner_and_link_of_an_entry_stand_in_the_fix() {
    let mut entry = Playbook::builtin().entry("redis-down").unwrap().entry.clone();
    entry.owner = Some("team-cache".into());
    entry.link = Some("https://wiki.shop.test/redis".into());
    let fix = answer(&[entry.clone()], None).unwrap().fix_suggestion;
    assert!(fix.ends_with("\n負責：team-cache\n手冊：https://wiki.shop.test/redis"), "{fix}");
    // Nothing but what a document may say is shown, wherever it comes from.
    entry.link = Some("javascript:alert(1)".into());
    assert!(!answer(&[entry], None).unwrap().fix_suggestion.contains("javascript"));
}

#[test]
fn r29_an_earlier_diagnosis_of_the_same_problem_counts_for_less() {
    let earlier = Similar {
        diagnosis: Analysis {
            root_cause: "連線洩漏".into(),
            impact: "結帳失敗".into(),
            fix_suggestion: "重啟 cart".into(),
            prevention: "修正連線池".into(),
            confidence: 0.9,
            analyzed_by: "openclaw".into(),
            ..Analysis::default()
        },
        ..similar()
    };
    let alone = answer(&[], Some(&earlier)).unwrap();
    assert_eq!((alone.analyzed_by.as_str(), alone.confidence), ("playbook", 0.6));
    assert_eq!(alone.evidence, ["similar:INC-20251120-001"]);
    assert!(alone.root_cause.contains("INC-20251120-001") && alone.root_cause.contains("連線洩漏"));
    let entry = Playbook::builtin().entry("redis-connections").unwrap().entry;
    let both = answer(std::slice::from_ref(entry), Some(&earlier)).unwrap();
    assert!(both.root_cause.starts_with(&entry.cause) && both.root_cause.contains("連線洩漏"));
    assert_eq!(both.evidence, ["playbook:redis-connections", "similar:INC-20251120-001"]);
    assert_eq!(both.confidence, f64::from(entry.confidence_percent) / 100.0);
}

fn similar() -> Similar {
    Similar {
        number: "INC-20251120-001".into(),
        title: "x".into(),
        opened: Time::from_micros(0),
        ended: None,
        same_problem: true,
        diagnosis: Analysis::default(),
    }
}
