//! Given a document with entries of the playbook, then they hold where it says, and a difference
//! names them by id.

use super::*;

/// An entry of this section in full.
fn entry(section: &str, id: &str, tables: &str) -> String {
    format!(
        "[[{section}.playbook]]\nid = \"{id}\"\nfamily = \"shop\"\n\
         when = [{{ alertname = [\"CheckoutSlow\"] }}]\ncause = \"cause of {id}\"\nimpact = \"i\"\n\
         checks = [\"look\"]\nfix = \"f\"\nprevention = \"p\"\n{tables}\n"
    )
}

fn runbook(rules: &Rules, of: &str, alertname: &str) -> Vec<String> {
    let source = SourceId::new("main").unwrap();
    let mut facts = Facts::new("alertmanager", source, alertname, Status::Firing);
    facts.alertname = Some(alertname.to_owned());
    let project = project(of);
    let runbook = rules.runbook(&Subject { project: &project, facts: &facts });
    runbook.into_iter().map(|entry| format!("{}: {}", entry.id, entry.fix)).collect()
}

#[test]
fn r29_entries_of_a_project_stand_over_the_defaults_and_these_over_what_ships() {
    let rules = document(&format!(
        "{}{}{}",
        entry("defaults", "checkout", ""),
        "[[project.shop.playbook]]\nid = \"checkout\"\nfix = \"ask the shop\"\n\
         [[project.shop.playbook]]\nid = \"redis-down\"\ndisabled = true\n",
        "[[defaults.playbook]]\nid = \"redis-down\"\nfix = \"call the cache team\"\n"
    ));
    assert_eq!(runbook(&rules, "shop", "CheckoutSlow"), ["checkout: ask the shop"]);
    assert_eq!(runbook(&rules, "other", "checkout_slow"), ["checkout: f"]);
    assert_eq!(runbook(&rules, "shop", "RedisDown"), [""; 0]);
    assert_eq!(runbook(&rules, "other", "RedisDown"), ["redis-down: call the cache team"]);
    // A document without any leaves what ships.
    let none = document("");
    assert_eq!(runbook(&none, "shop", "CheckoutSlow"), [""; 0]);
    assert_eq!(runbook(&none, "shop", "RedisDown"), runbook(Rules::builtin(), "x", "RedisDown"));
    assert_eq!(none.playbook(&project("shop")), Rules::builtin().playbook(&project("x")));
}

#[test]
fn what_is_wrong_with_an_entry_is_said_with_line_and_column() {
    let section = |text: &str| format!("{ROUTE}[\"x\"]\n{text}\n");
    let when = |when: &str| {
        let whole = entry("defaults", "checkout", "");
        section(&whole.replace("{ alertname = [\"CheckoutSlow\"] }", when))
    };
    for (text, at, problem) in [
        (
            section("[[defaults.playbook]]\nid = \"new\"\nfix = \"f\""),
            "line 5, column 6",
            "entry \"new\" is not known, so it is a new one, and lacks when",
        ),
        (
            section("[[project.shop.playbook]]\nfix = \"f\"\nid = \"new\""),
            "line 6, column 6",
            "lacks when",
        ),
        (
            section(&entry("defaults", "checkout", "link = \"http://wiki.test\"")),
            "line 4, column 1",
            "entry \"checkout\": link is no address",
        ),
        (when("{ regex = '(' }"), "line 7, column 8", "unclosed group"),
        (when("{ alertnam = [\"x\"] }"), "line 7, column 11", "unknown field `alertnam`"),
        (when("{ matchers = [\"a\"] }"), "line 7, column", "matcher \"a\""),
        (section(&entry("defaults", "checkout", "owners = 1")), "line 13, column 1", "`owners`"),
        (
            section(&entry("defaults", "checkout", "").repeat(2)),
            "line 4, column 1",
            "entry \"checkout\" stands there twice",
        ),
    ] {
        let error = Rules::parse(&text).unwrap_err().to_string();
        assert!(error.contains(at) && error.contains(problem), "{text}\n{error}");
    }
}

#[test]
fn b7_a_difference_names_entries_by_id_and_what_holds_of_them() {
    let told = |before: &Rules, after: &Rules| -> Vec<String> {
        diff(before, after).iter().map(Change::to_string).collect()
    };
    let plain = document("");
    let owned = document(
        "[[defaults.playbook]]\nid = \"redis-down\"\nowner = \"team-cache\"\n\
         [[project.shop.playbook]]\nid = \"redis-memory\"\ndisabled = true\n",
    );
    assert_eq!(
        told(&plain, &owned),
        [
            "defaults.playbook.redis-down.owner: nothing -> team-cache",
            "project.shop.playbook.redis-memory.disabled: false -> true",
        ]
    );
    assert_eq!(
        told(&owned, &plain),
        [
            "defaults.playbook.redis-down.owner: team-cache -> nothing",
            "project.shop.playbook.redis-memory.disabled: true -> false",
        ]
    );
    assert!(diff(&plain, &owned).iter().all(|change| !change.fingerprint));

    let new = document(&entry("defaults", "checkout", "confidence_percent = 80"));
    let said = told(&plain, &new);
    assert_eq!(said.len(), 9, "{said:#?}");
    let when = "defaults.playbook.checkout.when: nothing -> alertname CheckoutSlow";
    for line in [when, "defaults.playbook.checkout.confidence_percent: nothing -> 80"] {
        assert!(said.iter().any(|said| said == line), "{said:#?}");
    }
    let other = document(&entry("defaults", "checkout", "confidence_percent = 70"));
    assert_eq!(told(&new, &other), ["defaults.playbook.checkout.confidence_percent: 80 -> 70"]);
}

/// The example of the documentation is a document.
#[test]
fn what_is_documented_of_the_playbook_is_understood() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let example = blocks.into_iter().find(|text| text.contains("checkout-slow")).unwrap();
    let rules = document(example);
    let entry = rules.playbook(&project("shop")).entry("checkout-slow").unwrap();
    assert_eq!((entry.family, entry.when.len()), ("shop", 2));
    assert_eq!(entry.entry.owner.as_deref(), Some("team-payments"));
    assert_eq!(runbook(&rules, "shop", "HighRequestLatency"), [""; 0]);
    assert_eq!(runbook(&rules, "other", "HighRequestLatency").len(), 1);
}

#[test]
fn a_document_has_no_more_expressions_than_an_alert_can_be_compared_with() {
    // Three each: an expression and two of matchers; plain matchers are none.
    let three = "{ regex = 'user \\d+', matchers = ['env=\"prod\"', 'a=~\"x.*\"', 'b!~\"y.*\"'] }";
    let with = |section: &str, n: usize, when: &str| {
        let text = entry(section, &format!("e{n}"), "");
        text.replace("{ alertname = [\"CheckoutSlow\"] }", when)
    };
    let one = |section: &str, n: usize| with(section, n, three);
    let text = |defaults: usize, shop: usize| {
        let mut text = format!("{ROUTE}[\"x\"]\n");
        (0..defaults).for_each(|n| text.push_str(&one("defaults", n)));
        (0..shop).for_each(|n| text.push_str(&one("project.shop", n)));
        text
    };
    for (defaults, shop) in [(33, 0), (0, 33), (20, 13)] {
        assert!(Rules::parse(&text(defaults, shop)).is_ok(), "{defaults} {shop}");
    }
    for (defaults, shop, id) in [(34, 0, "e33"), (0, 34, "e33"), (20, 20, "e13")] {
        let text = text(defaults, shop);
        let error = Rules::parse(&text).unwrap_err().to_string();
        let (before, _) = text.rsplit_once(&format!("id = \"{id}\"")).unwrap();
        let at = format!("line {}, column 6", before.matches('\n').count() + 1);
        let problem = format!("with entry \"{id}\" the playbook has 102 expressions");
        assert!(error.contains(&at) && error.contains(&problem), "{at}: {error}");
        assert!(error.contains("use at most 100"), "{error}");
    }
    for large in ["{ regex = 'pool[^\\n]{0,80}full' }", "{ matchers = ['a=~\"[^x]{0,900}\"'] }"] {
        let text = format!("{ROUTE}[\"x\"]\n{}", with("defaults", 7, large));
        let error = Rules::parse(&text).unwrap_err().to_string();
        assert!(error.contains("line 5, column 6"), "{error}");
        assert!(error.contains("entry \"e7\": ") && error.contains("65536 bytes"), "{error}");
    }
}
