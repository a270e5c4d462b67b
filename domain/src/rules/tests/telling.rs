//! The tables that say when who is told of what.

use super::*;

fn names(rules: &Rules, labels: &[(&str, &str)]) -> Vec<String> {
    let source = SourceId::new("main").unwrap();
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let facts =
        Facts { labels: labels.collect(), ..Facts::new("sentry", source, "boom", Status::Firing) };
    let project = project("shop");
    let taken = rules.routes(&Subject { project: &project, facts: &facts });
    taken
        .into_iter()
        .map(|routed| format!("{}:{}", routed.rule, routed.receivers.join(",")))
        .collect()
}

/// The example of Alertmanager's documentation of routes, in our words.
const TREE: &str = r#"
[[defaults.routes]]
name = "root"
receivers = ["default"]
group_by = ["cluster", "alertname"]
group_wait_seconds = 30
group_interval_seconds = 300

[[defaults.routes.routes]]
name = "database"
matchers = ['service=~"mysql|cassandra"']
receivers = ["database-pager"]
group_wait_seconds = 10

[[defaults.routes.routes]]
name = "frontend"
matchers = ['team="frontend"']
receivers = ["frontend-pager"]
group_by = ["product", "environment"]
continue = true

[[defaults.routes.routes]]
name = "wake"
matchers = ['severity="critical"', 'team!=""']
"#;

#[test]
fn a3_routes_are_taken_as_alertmanager_documents() {
    let rules = Rules::parse(TREE).unwrap();
    for (labels, expect) in [
        // No child fits: the route itself.
        (vec![], vec!["root:default"]),
        (vec![("service", "mysql")], vec!["database:database-pager"]),
        // Expressions match the whole value.
        (vec![("service", "mysql2")], vec!["root:default"]),
        // The first that fits takes it, and stops there.
        (vec![("service", "mysql"), ("team", "frontend")], vec!["database:database-pager"]),
        // One that continues lets the next have it as well; what it does not say is from above.
        (
            vec![("team", "frontend"), ("severity", "critical")],
            vec!["frontend:frontend-pager", "wake:default"],
        ),
        (vec![("team", "x"), ("severity", "critical")], vec!["wake:default"]),
        // A label that is not there is an empty one.
        (vec![("severity", "critical")], vec!["root:default"]),
    ] {
        assert_eq!(names(&rules, &labels), expect, "{labels:?}");
    }
    let source = SourceId::new("main").unwrap();
    let mut facts = Facts::new("sentry", source, "boom", Status::Firing);
    facts.service = Some("mysql".into());
    let project = project("shop");
    let subject = Subject { project: &project, facts: &facts };
    let routed = rules.routes(&subject).remove(0);
    // A field is found by its name as well; groups come from above but for what a route says.
    assert_eq!(routed.rule, "database");
    let Group { by, wait_seconds, interval_seconds } = &routed.group;
    assert_eq!((by.len(), *wait_seconds, *interval_seconds), (2, 10, 300));
    assert_eq!(
        routed.group.of(&subject),
        [("cluster".to_owned(), String::new()), ("alertname".to_owned(), String::new())]
    );
}

#[test]
fn a10_a_group_may_be_of_all_labels_or_of_none() {
    let rules = |by: &str| Rules::parse(&format!("{ROUTE}[\"x\"]\ngroup_by = {by}")).unwrap();
    let source = SourceId::new("main").unwrap();
    let facts = Facts {
        labels: vec![("b".into(), "2".into()), ("a".into(), "1".into())],
        ..Facts::new("sentry", source, "boom", Status::Firing)
    };
    let project = project("shop");
    let subject = Subject { project: &project, facts: &facts };
    let group = |by: &str| rules(by).routes(&subject).remove(0).group.of(&subject);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(group("[\"...\"]"), [pair("a", "1"), pair("b", "2")]);
    assert_eq!(group("[]"), []);
}

#[test]
fn trees_of_routes_are_checked() {
    let nested = |text: &str| format!("{ROUTE}[\"x\"]\n{text}");
    let below = "[[defaults.routes.routes]]\nname = \"b\"\n";
    check(&nested(below), Ok("x"));
    check(&nested(&format!("{below}{below}")), Err("never reached"));
    check(&nested("[[defaults.routes.routes]]\nname = \"a\""), Err("the same name"));
    check(&format!("{ROUTE}[\"x\"]\ncontinue = true\n{ROUTE}[\"y\"]"), Err("the same name"));
    check(&nested("matchers = ['team']"), Err("matcher \"team\""));
    check(&nested("matchers = ['team=~\"(\"']"), Err("team"));
    check(&nested("group_wait_seconds = 90000"), Err("more than a day"));
    check("[[defaults.routes]]\nname = \"a\"", Err("missing field `receivers`"));
    let many = "'a=\"b\"', ".repeat(40);
    check(&nested(&format!("matchers = [{many}]")), Err("use at most 32"));
}

#[test]
fn tables_of_telling_are_checked() {
    let with = |table: &str| format!("{table}\n{ROUTE}[\"x\"]");
    let once = |minutes: i64| {
        with(&format!(
            "[defaults.once]\nid = \"o\"\nminutes = {minutes}\nregression_bypass = false"
        ))
    };
    check(&once(1), Ok("x"));
    check(&once(0), Err("use 1 to 10080"));
    let storm = "[defaults.storm]\nid = \"s\"\nproblems_per_minute = 0\nsummary_seconds = 9";
    check(&with(storm), Err("use at least 1"));
    let quiet = |zone: &str, range: &str| {
        with(&format!(
            "[defaults.quiet_hours]\nid = \"q\"\nzone = \"{zone}\"\nranges = [\"{range}\"]\nwakes = []"
        ))
    };
    for (zone, range) in [
        ("+08:00", "22:00-07:00"),
        ("Europe/Berlin", "sat,sun 00:00-24:00"),
        ("-03:30", "mon 09:00-17:30"),
    ] {
        check(&quiet(zone, range), Ok("x"));
    }
    for (zone, range, problem) in [
        ("Mars/Olympus", "22:00-07:00", "is no time zone"),
        ("8", "22:00-07:00", "is no time zone"),
        ("+08:00", "22-7", "is no range"),
        ("+08:00", "09:00-09:00", "is no range"),
        ("+08:00", "someday 09:00-10:00", "is no range"),
        ("+08:00", "09:00-24:01", "is no range"),
    ] {
        check(&quiet(zone, range), Err(problem));
    }
    let digest = |hourly: u32, daily: &str| {
        with(&format!(
            "[defaults.digest]\nid = \"d\"\nzone = \"+08:00\"\nhourly = {hourly}\ndaily = \"{daily}\""
        ))
    };
    check(&digest(59, "23:59"), Ok("x"));
    check(&digest(60, "09:00"), Err("use 0 to 59"));
    check(&digest(0, "24:00"), Err("is no time of day"));
    let inhibit = |source: &str| {
        format!(
            "[[defaults.inhibit]]\nid = \"i\"\nsource = [{source}]\ntarget = ['a=\"b\"']\n\
             {ROUTE}[\"x\"]"
        )
    };
    check(&inhibit("'a=\"c\"'"), Ok("x"));
    check(&inhibit(""), Err("without matchers"));
}

#[test]
fn r41_r42_r43_the_builtin_tables_are_those_decided() {
    let (rules, shop) = (Rules::builtin(), project("shop"));
    assert_eq!((rules.once(&shop).seconds(), rules.once(&shop).regression_bypass), (3600, false));
    assert_eq!(rules.once(&shop).reason(), "once_per_60m");
    let policy = rules.policy(&shop);
    assert_eq!(
        policy.production.to_string(),
        "fatal now, error now, warning hourly, info daily, performance daily, unknown now"
    );
    assert_eq!(
        policy.repeats.to_string(),
        "fatal now, error hourly, warning hourly, info daily, performance daily, unknown hourly"
    );
    assert_eq!(policy.class(None), Class::Production);
    assert_eq!(policy.class(Some(" Testing ")), Class::Testing);
    assert!(rules.inhibitions(&shop).is_empty());
    assert_eq!(rules.reminder(&shop).next(Some(Level::Fatal), 0), None);
}

#[test]
fn what_tells_otherwise_is_named_in_the_difference() {
    let text = |table: &str| document(table);
    let shown = |after: &Rules| -> Vec<String> {
        diff(&text(""), after).iter().map(ToString::to_string).collect()
    };
    let inhibit = "[[defaults.inhibit]]\nid = \"down\"\nsource = ['a=\"1\"']\n\
        target = ['b=~\"2|3\"']\nequal = [\"cluster\"]\n";
    assert_eq!(
        shown(&text(inhibit)),
        [
            "defaults.inhibit.down: nothing -> down: {a=\"1\"} inhibits {b=~\"2|3\"} where [cluster] are equal"
        ]
    );
    let quiet = "[defaults.quiet_hours]\nid = \"quiet-hours\"\nzone = \"+08:00\"\n\
        ranges = [\"22:00-07:00\"]\nwakes = [\"fatal\"]\n";
    assert_eq!(
        shown(&text(quiet)),
        ["defaults.quiet_hours: [] +08:00, woken by [fatal] -> \
          [22:00-07:00] +08:00, woken by [fatal]"]
    );
    let once = "[defaults.once]\nid = \"once-per-hour\"\nminutes = 30\nregression_bypass = true\n";
    assert_eq!(
        shown(&text(once)),
        [
            "defaults.once.minutes: 60 min -> 30 min",
            "defaults.once.regression_bypass: false -> true",
        ]
    );
    let routes = Rules::parse(
        "[[defaults.routes]]\nname = \"a\"\nreceivers = []\nmatchers = ['team=\"x\"']\n\
         continue = true\ngroup_by = [\"team\"]\ngroup_wait_seconds = 30\n\
         [[defaults.routes.routes]]\nname = \"b\"\nreceivers = [\"y\"]",
    );
    assert_eq!(
        shown(&routes.unwrap()),
        ["defaults.routes: a to x -> a of {team=\"x\"} to nobody in groups by [team] after 30 s, \
          then every 0 s and on (b to y in groups by [team] after 30 s, then every 0 s)"]
    );
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

#[test]
fn summaries_come_at_their_minute_whatever_the_clocks_do() {
    let times = |zone: &str, hourly: u32, daily: &str| {
        let table = format!(
            "[defaults.digest]\nid = \"d\"\nzone = \"{zone}\"\nhourly = {hourly}\ndaily = \"{daily}\""
        );
        document(&table).digest(&project("shop")).clone()
    };
    for (zone, hourly, now, expect) in [
        ("+08:00", 0, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        ("+08:00", 0, "2026-01-01T00:59:59.999999Z", "2026-01-01T01:00:00Z"),
        ("+08:00", 15, "2026-01-01T00:14:00Z", "2026-01-01T00:15:00Z"),
        ("Asia/Kolkata", 0, "2026-01-01T00:00:00Z", "2026-01-01T00:30:00Z"),
    ] {
        assert_eq!(times(zone, hourly, "09:00").next_hourly(time(now)), time(expect), "{zone}");
    }
    for (zone, now, expect) in [
        ("+08:00", "2026-01-01T00:59:00Z", "2026-01-01T01:00:00Z"),
        ("+08:00", "2026-01-01T01:00:00Z", "2026-01-02T01:00:00Z"),
        // Clocks are put forward on 2026-03-29: that day is an hour shorter.
        ("Europe/Berlin", "2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"),
        ("Europe/Berlin", "2026-10-24T07:00:00Z", "2026-10-25T08:00:00Z"),
    ] {
        assert_eq!(times(zone, 0, "09:00").next_daily(time(now)), time(expect), "{zone} {now}");
    }
}

#[test]
fn quiet_hours_end_where_the_last_range_does() {
    let table = "[defaults.quiet_hours]\nid = \"q\"\nzone = \"Europe/Berlin\"\n\
        ranges = [\"22:00-07:00\", \"sat,sun 00:00-24:00\"]\nwakes = [\"fatal\"]";
    let rules = document(table);
    let quiet = rules.quiet_hours(&project("shop"));
    let until = |now: &str, level| quiet.until(time(now), level).map(|end| end.to_string());
    let error = Some(Level::Error);
    // 2026-01-01 is a Thursday; Berlin is at +01:00.
    assert_eq!(until("2026-01-01T20:59:59Z", error), None);
    assert_eq!(until("2026-01-01T21:00:00Z", error).as_deref(), Some("2026-01-02T06:00:00Z"));
    assert_eq!(until("2026-01-02T05:59:59Z", error).as_deref(), Some("2026-01-02T06:00:00Z"));
    assert_eq!(until("2026-01-02T06:00:00Z", error), None);
    // From Friday night through the weekend to Monday morning.
    assert_eq!(until("2026-01-02T21:00:00Z", error).as_deref(), Some("2026-01-05T06:00:00Z"));
    assert_eq!(until("2026-01-02T21:00:00Z", Some(Level::Fatal)), None);
    assert_eq!(until("2026-01-02T21:00:00Z", None), None);
}

/// The example of the documentation is a document.
#[test]
fn what_is_documented_is_understood() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let page = std::fs::read_to_string(page).unwrap();
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let example = examples.iter().find(|text| text.contains("nights-and-weekends")).unwrap();
    let rules = Rules::parse(example).unwrap();
    let of = |labels: &[(&str, &str)]| names(&rules, labels);
    assert_eq!(of(&[("team", "payments")]), ["payments:payments-team"]);
    assert_eq!(of(&[("team", "payments"), ("namespace", "demo")]), ["everything:default"]);
    assert_eq!(rules.inhibitions(&project("shop")).len(), 1);
}
