use proptest::prelude::*;
use schemas::{SourceId, Status};

use super::*;

fn facts() -> Facts {
    let source = SourceId::new("prom").unwrap();
    let mut facts = Facts::new("alertmanager", source, "Disk full", Status::Firing);
    facts.level = Some(Level::Fatal);
    facts.severity_raw = Some("page".into());
    facts.alertname = Some("DiskFull".into());
    facts.environment = Some("production".into());
    facts.namespace = Some("shop".into());
    facts.labels = vec![
        ("job".into(), "node".into()),
        ("instance".into(), "db-1:9100".into()),
        ("empty".into(), String::new()),
        ("environment".into(), "prod".into()),
        ("k8s.pod/name".into(), "a b".into()),
    ];
    facts
}

fn matches(text: &str) -> bool {
    let matchers = Matchers::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    matchers.matches(&facts(), &ProjectId::new("acme").unwrap())
}

/// Alertmanager's documented cases: what is absent is empty, expressions match whole values.
#[test]
fn b6_matchers_mean_what_they_mean_in_alertmanager() {
    for (text, expect) in [
        (r#"job="node""#, true),
        (r#"{job="node"}"#, true),
        ("job=node", true),
        (r#"job="nod""#, false),
        (r#"job!="node""#, false),
        (r#"job!="api""#, true),
        (r#"job=~"no""#, false),
        (r#"job=~"no.*""#, true),
        (r#"job=~"api|node""#, true),
        (r#"job=~"^node$""#, true),
        (r#"job!~"api|node""#, false),
        (r#"job!~"api|web""#, true),
        // Absent is empty, and so is empty.
        (r#"team="""#, true),
        (r#"empty="""#, true),
        ("team=", true),
        (r#"team!="""#, false),
        (r#"job!="""#, true),
        (r#"team=~".*""#, true),
        (r#"team=~".+""#, false),
        (r#"team!="sre""#, true),
        (r#"team!~"sre""#, true),
        // All of them.
        (r#"job="node", instance=~"db-.*""#, true),
        (r#"{job="node",instance=~"web-.*",}"#, false),
        ("{}", true),
        ("", true),
        // Names that need quotes.
        (r#""k8s.pod/name"="a b""#, true),
        ("k8s.pod/name!=x", true),
        // Case counts, unless the expression says otherwise.
        (r#"job="Node""#, false),
        (r#"job=~"(?i)NODE""#, true),
    ] {
        assert_eq!(matches(text), expect, "{text}");
    }
}

#[test]
fn b6_fields_of_an_alert_are_matched_like_labels() {
    for (text, expect) in [
        ("alertname=DiskFull", true),
        ("severity=fatal", true),
        ("severity=page", true),
        ("severity!=page", false),
        ("severity=~\"fatal|error\"", true),
        ("risk=CRITICAL", true),
        ("environment=production", true),
        ("environment=prod", true),
        ("environment!~\"prod.*\"", false),
        ("provider=alertmanager, source=prom, project=acme", true),
        ("project=other", false),
        ("namespace=shop", true),
        ("service=\"\"", true),
        ("title=~\"Disk .*\"", true),
        ("sender_project!=web", true),
    ] {
        assert_eq!(matches(text), expect, "{text}");
    }
    let project = ProjectId::new("acme").unwrap();
    for name in FIELDS {
        let asks = Matchers::parse(&format!("{name}=~\".+\"")).unwrap();
        let mut all = facts();
        for field in [
            &mut all.service,
            &mut all.target,
            &mut all.sender_project,
            &mut all.platform,
            &mut all.culprit,
        ] {
            *field = Some("x".into());
        }
        assert!(asks.matches(&all, &project), "{name} is named as a field and never there");
    }
}

#[test]
fn b6_what_is_no_matcher_is_refused_with_where_and_why() {
    for (text, expect) in [
        ("job", "4: expected =, !=, =~ or !~, found \"\""),
        ("=x", "1: expected a name, found \"=x\""),
        ("{job=a", "7: expected a comma or a closing brace, found \"\""),
        ("job=a}", "6: expected a comma or the end, found \"}\""),
        ("job=a b", "7: expected a comma or the end, found \"b\""),
        ("job=\"a", "7: expected a closing quote, found \"\""),
        ("job=a,,b=c", "7: expected a name, found \",b=c\""),
        ("\"\"=a", "the name of a matcher is empty"),
        ("job=~\"(\"", "job: unclosed group"),
        ("job=~\"a)|(?:b\"", "job: unopened group"),
        ("job=~\"(.{1000}){1000}\"", "job: the expression takes more than 1048576 bytes"),
    ] {
        let error = Matchers::parse(text).expect_err(text).to_string();
        assert_eq!(error, expect, "{text}");
    }
    let long = "x".repeat(LONGEST + 1);
    assert!(matches!(Matchers::parse(&format!("a={long}")), Err(Error::TooLong { .. })));
    let many = vec!["a=b"; MOST_MATCHERS + 1].join(",");
    assert_eq!(Matchers::parse(&many), Err(Error::TooMany(MOST_MATCHERS + 1)));
}

#[test]
fn b6_matchers_that_ask_for_nothing_are_known() {
    for (text, expect) in [
        ("", false),
        ("job=~\".*\"", false),
        ("job=\"\"", false),
        ("job!=node", false),
        ("job!=node, team=sre", true),
        ("job!=\"\"", true),
    ] {
        assert_eq!(Matchers::parse(text).unwrap().ask_for_something(), expect, "{text}");
    }
}

proptest! {
    #[test]
    fn b6_what_is_written_reads_back(
        names in prop::collection::vec("\\PC{1,12}", 0..4), value in "\\PC{0,20}\n?",
    ) {
        let matchers = names.into_iter().map(|name| Matcher {
            name, operator: MatchOperator::NotEqual, value: value.clone(),
        });
        let matchers = Matchers::new(matchers).unwrap();
        prop_assert_eq!(Matchers::parse(&matchers.to_string()).unwrap(), matchers);
    }

    #[test]
    fn b6_no_text_breaks_the_reader(text in "[ -~]{0,60}") {
        let _ = Matchers::parse(&text);
    }
}
