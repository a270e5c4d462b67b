use domain::providers::{Credential, Senders};
use schemas::SourceId;

use super::*;
use crate::{
    config::{BasicConfig, BearerConfig, EntraConfig, LimitsConfig, Require},
    credentials::Valid,
    source::Issued,
};

fn production() -> Environment {
    Environment::Production
}

fn development() -> Environment {
    Environment::from("development".to_owned())
}

fn build(
    configured: &[(&str, SourceConfig)],
    environment: &Environment,
) -> Result<Sources, ConfigError> {
    let configured = configured.iter().map(|(id, c)| ((*id).to_owned(), c.clone())).collect();
    let lanes = NonZeroU16::new(4).unwrap();
    Sources::build(&Config::default(), &configured, environment, lanes)
}

/// The source at a path.
fn at<'s>(sources: &'s Sources, path: &str) -> Option<&'s Source> {
    match sources.at(path) {
        Place::Of(source, None) => Some(source),
        Place::Of(_, Some(token)) => panic!("a token: {token}"),
        Place::Shared | Place::Nowhere => None,
    }
}

fn check_error(id: &str, config: SourceConfig, expect: &str) {
    let Err(error) = build(&[(id, config)], &production()) else {
        panic!("source {id} is accepted, expected {expect}");
    };
    assert_eq!(error.to_string(), expect);
}

fn secret(text: &str) -> SourceConfig {
    SourceConfig { secret: Some(text.into()), ..SourceConfig::default() }
}

fn of(provider: &str) -> SourceConfig {
    SourceConfig { provider: Some(provider.to_owned()), ..SourceConfig::default() }
}

fn ids(source: &Source) -> Vec<String> {
    ids_at(source, Time::default())
}

/// What lets a request of this time in.
fn ids_at(source: &Source, now: Time) -> Vec<String> {
    match source.gate(now) {
        Gate::Verify(shown) => shown.iter().map(|c| c.id().to_owned()).collect(),
        Gate::Address => vec!["address".to_owned()],
        Gate::Closed(_) => vec!["closed".to_owned()],
        Gate::Unread => vec!["unread".to_owned()],
        Gate::Open => vec!["open".to_owned()],
    }
}

#[test]
fn a_source_is_found_by_provider_and_id_and_by_provider_alone_when_that_is_unambiguous() {
    let named = build(
        &[
            ("sentry", secret("a")),
            ("web", SourceConfig { secret: Some("b".into()), ..of("sentry") }),
        ],
        &production(),
    )
    .unwrap();
    let id = |sources: &Sources, path: &str| at(sources, path).map(|s| s.id.to_string());
    assert_eq!(id(&named, "/webhook/sentry"), Some("sentry".to_owned()));
    assert_eq!(id(&named, "/webhook/sentry/web"), Some("web".to_owned()));
    for nowhere in ["/webhook/web", "/webhook/sentry/", "/webhook/sentry/x", "/webhook/", "/"] {
        assert_eq!(id(&named, nowhere), None, "{nowhere}");
    }
    let only = build(&[("prometheus", of("alertmanager"))], &production()).unwrap();
    assert_eq!(id(&only, "/webhook/alertmanager"), Some("prometheus".to_owned()));
    assert_eq!(id(&only, "/webhook/sentry"), None);
    let two = build(&[("a", of("sentry")), ("b", of("sentry"))], &production()).unwrap();
    assert_eq!(id(&two, "/webhook/sentry"), None);
}

#[test]
fn r3_without_any_configuration_the_environments_source_exists_and_fails_closed() {
    let sources = build(&[], &production()).unwrap();
    let source = at(&sources, "/webhook/sentry").unwrap();
    let Gate::Closed(detail) = source.gate(Time::default()) else {
        panic!("the source is not closed")
    };
    assert_eq!(detail, "SENTRY_WEBHOOK_SECRET missing in production environment");
}

#[test]
fn r3_an_empty_secret_is_a_missing_one() {
    for config in [
        secret(""),
        SourceConfig { secret: Some("".into()), previous_secret: Some("x".into()), ..of("sentry") },
    ] {
        let closed = build(&[("sentry", config.clone())], &production()).unwrap();
        assert_eq!(ids(at(&closed, "/webhook/sentry").unwrap()), ["closed"]);
        let open = build(&[("sentry", config)], &development()).unwrap();
        assert_eq!(ids(at(&open, "/webhook/sentry").unwrap()), ["open"]);
    }
}

#[test]
fn r3_a_closed_source_makes_the_process_not_ready_and_an_open_one_is_degraded() {
    let health = Health::default();
    build(&[], &production()).unwrap().announce(&health);
    assert!(!health.report().ready);
    let health = Health::default();
    build(&[], &development()).unwrap().announce(&health);
    let report = health.report();
    assert!(report.ready);
    // Elsewhere than in production everybody may be tried out.
    let parts: Vec<_> = report.degraded.iter().map(|d| d.part.clone()).collect();
    for provider in providers::all().iter().filter(|p| p.needs_credential()) {
        assert!(parts.contains(&format!("source {}", provider.name())), "{}", provider.name());
    }
}

#[test]
fn r11_two_credentials_are_valid_during_a_rotation() {
    let rotating = SourceConfig { previous_secret: Some("old".into()), ..secret("new") };
    let sources = build(&[("sentry", rotating)], &production()).unwrap();
    assert_eq!(ids(at(&sources, "/webhook/sentry").unwrap()), ["current", "previous"]);
    let key = |id: Option<&str>, key: &str| BearerConfig {
        id: id.map(str::to_owned),
        key: Some(key.into()),
        ..BearerConfig::default()
    };
    let hashed = BearerConfig { sha256: Some("ab".repeat(32)), ..BearerConfig::default() };
    let config = SourceConfig {
        basic: Some(BasicConfig {
            user: "am".to_owned(),
            password: "new".into(),
            previous_password: Some("old".into()),
        }),
        bearer: vec![key(Some("a"), "x"), key(None, "y"), key(None, ""), hashed],
        ..SourceConfig::default()
    };
    let sources = build(&[("alertmanager", config)], &production()).unwrap();
    let source = at(&sources, "/webhook/alertmanager").unwrap();
    assert_eq!(ids(source), ["current", "previous", "a", "1", "3"]);
    let Gate::Verify(shown) = source.gate(Time::default()) else { panic!("not verified") };
    assert_eq!(shown.challenge().unwrap(), r#"Basic realm="bellwether", Bearer"#);
}

#[test]
fn a_disabled_source_is_checked_and_absent() {
    let off = SourceConfig { enabled: false, ..SourceConfig::default() };
    let sources = build(&[("sentry", off)], &production()).unwrap();
    assert!(at(&sources, "/webhook/sentry").is_none());
    let off = SourceConfig { enabled: false, ..of("nobody") };
    assert!(build(&[("x", off)], &production()).is_err());
}

#[test]
fn unusable_sources_name_key_problem_and_remedy() {
    let known: Vec<_> = providers::all().iter().map(|p| p.name()).collect();
    check_error(
        "Bad_Id",
        of("sentry"),
        "file: configuration\nkey: sources.Bad_Id\nproblem: \"Bad_Id\" is not an id: use 1 to 64 \
         of a-z, 0-9 and -\nremedy: rename the source",
    );
    check_error(
        "sentry",
        SourceConfig { project: "A B".to_owned(), ..SourceConfig::default() },
        "file: configuration\nkey: sources.sentry.project\nproblem: \"A B\" is not an id: use 1 \
         to 64 of a-z, 0-9 and -\nremedy: correct the project's id",
    );
    check_error(
        "pager",
        SourceConfig::default(),
        "file: configuration\nkey: sources.pager.provider\nproblem: there is no provider \
         \"pager\"\nremedy: set it to one of: KNOWN"
            .replace("KNOWN", &known.join(", "))
            .as_str(),
    );
    check_error(
        "alertmanager",
        secret("s"),
        "file: configuration\nkey: sources.alertmanager.secret\nproblem: provider alertmanager \
         cannot use it\nremedy: remove it and set basic or bearer or token",
    );
    check_error(
        "alertmanager",
        SourceConfig {
            bearer: vec![BearerConfig { sha256: Some("zz".into()), ..BearerConfig::default() }],
            ..SourceConfig::default()
        },
        "file: configuration\nkey: sources.alertmanager.bearer[0]\nproblem: sha256 is not 64 hex \
         digits\nremedy: set either key, or sha256 to the 64 hex digits of the key's SHA-256",
    );
    check_error(
        "alertmanager",
        SourceConfig {
            basic: Some(BasicConfig {
                user: "a:b".to_owned(),
                password: "p".into(),
                previous_password: None,
            }),
            ..SourceConfig::default()
        },
        "file: configuration\nkey: sources.alertmanager.basic.user\nproblem: is empty or holds a \
         colon\nremedy: use the user name the sender sends",
    );
}

#[test]
fn r10_who_may_send_is_listed_and_in_production_nobody_is_nobody() {
    let senders = |listed: &[&str], environment: &Environment| {
        let senders = listed.iter().map(|s| (*s).to_owned()).collect();
        let key = BearerConfig { key: Some("k".into()), ..BearerConfig::default() };
        let config = SourceConfig { bearer: vec![key], senders, ..of("custom") };
        let sources = build(&[("scripts", config)], environment).unwrap();
        let source = at(&sources, "/webhook/custom").unwrap();
        (source.senders.clone(), source.warning())
    };
    let listed = |all: &[&str]| Senders::Listed(all.iter().map(|s| (*s).to_owned()).collect());
    assert_eq!(senders(&["a", "b"], &production()), (listed(&["a", "b"]), None));
    assert_eq!(senders(&["*"], &production()), (Senders::Anybody, None));
    assert_eq!(senders(&[], &production()), (listed(&[]), Some(NOBODY.to_owned())));
    assert_eq!(senders(&["a"], &development()), (listed(&["a"]), None));
    assert_eq!(senders(&[], &development()), (Senders::Named, None));

    let with = |provider: &str, senders: &[&str]| SourceConfig {
        senders: senders.iter().map(|s| (*s).to_owned()).collect(),
        ..of(provider)
    };
    check_error(
        "scripts",
        with("custom", &["a", "*"]),
        "file: configuration\nkey: sources.scripts.senders\nproblem: lists senders beside \
         \"*\"\nremedy: name them, or \"*\" alone",
    );
    check_error(
        "scripts",
        with("custom", &[" "]),
        "file: configuration\nkey: sources.scripts.senders\nproblem: names nobody\nremedy: \
         remove the empty text",
    );
    check_error(
        "scripts",
        with("sentry", &["a"]),
        "file: configuration\nkey: sources.scripts.senders\nproblem: provider sentry cannot use \
         it\nremedy: remove it",
    );
}

#[test]
fn r54_no_source_is_called_as_tests_and_heartbeats_are() {
    for id in ["test", "heartbeat"] {
        check_error(
            id,
            of("sentry"),
            &format!(
                "file: configuration\nkey: sources.{id}\nproblem: is the id of deliveries that \
                 are never incidents\nremedy: rename the source"
            ),
        );
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    assert!(!format!("{:?}", secret("hush-hush")).contains("hush-hush"));
}

#[test]
fn r3_a_blank_secret_is_none() {
    for blank in ["", " ", "\n", " \t"] {
        let sources = build(&[("sentry", secret(blank))], &production()).unwrap();
        assert_eq!(ids(at(&sources, "/webhook/sentry").unwrap()), ["closed"], "{blank:?}");
    }
}

#[test]
fn r11_the_hash_of_an_empty_key_is_refused() {
    // What `printf %s "$KEY" | sha256sum` says when KEY is not set: no request could match it.
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let bearer = vec![BearerConfig { sha256: Some(empty.into()), ..BearerConfig::default() }];
    let config = SourceConfig { bearer, ..of("alertmanager") };
    let error = build(&[("am", config)], &production()).map(drop).unwrap_err();
    assert_eq!(error.problem, "sha256 is that of an empty key");
}

#[test]
fn r11_what_was_before_is_over_when_it_is_said_to_be() {
    let until = Time::default().plus_seconds(60);
    let rotating = SourceConfig {
        previous_secret: Some("old".into()),
        previous_until: Some(until),
        ..secret("new")
    };
    let key = |id: &str, until| BearerConfig {
        id: Some(id.to_owned()),
        key: Some(id.into()),
        until,
        ..BearerConfig::default()
    };
    let bearer = vec![key("a", Some(until)), key("b", None)];
    let basic = BasicConfig {
        user: "u".to_owned(),
        password: "new".into(),
        previous_password: Some("old".into()),
    };
    let config = SourceConfig {
        basic: Some(basic),
        bearer,
        token: Some("t".into()),
        previous_token: Some("s".into()),
        ..rotating
    };
    let sources = build(&[("sentry", config)], &production()).unwrap();
    let source = at(&sources, "/webhook/sentry").unwrap();
    let all = ["current", "previous", "current", "previous", "current", "previous", "a", "b"];
    assert_eq!(ids_at(source, until.plus_seconds(-1)), all);
    assert_eq!(ids_at(source, until), ["current", "current", "current", "b"]);
    // Where nothing is left, nobody gets in: also where nothing was ever asked for.
    let bearer = vec![key("a", Some(until))];
    let only = build(&[("am", SourceConfig { bearer, ..of("alertmanager") })], &development());
    let only = only.unwrap();
    let source = at(&only, "/webhook/alertmanager").unwrap();
    assert_eq!(ids_at(source, until.plus_seconds(-1)), ["a"]);
    assert!(ids_at(source, until).is_empty());
}

#[test]
fn r11_keys_that_are_issued_join_those_that_are_configured() {
    let sources = build(&[("sentry", secret("s"))], &production()).unwrap();
    let source = at(&sources, "/webhook/sentry").unwrap();
    let key = |id: &str, until| Valid {
        credential: Credential::Bearer { id: id.to_owned(), sha256: [7; 32] },
        until,
    };
    let until = Time::default().plus_seconds(60);
    let keys = vec![key("k1", None), key("k2", Some(until))];
    source.issue(Issued { keys, guarded: true, ..Issued::default() });
    assert_eq!(ids(source), ["current", "k1", "k2"]);
    assert_eq!(ids_at(source, until), ["current", "k1"]);
    source.issue(Issued { guarded: true, ..Issued::default() });
    assert_eq!(ids(source), ["current"]);
    source.issue(Issued { off: true, ..Issued::default() });
    assert!(at(&sources, "/webhook/sentry").is_none() && at(&sources, "/hook").is_none());

    // A source that had a key is not open because it was revoked.
    let open = build(&[("am", of("alertmanager"))], &development()).unwrap();
    let source = at(&open, "/webhook/alertmanager").unwrap();
    assert_eq!(ids(source), ["open"]);
    source.issue(Issued { keys: vec![key("k1", None)], guarded: true, ..Issued::default() });
    assert_eq!(ids(source), ["k1"]);
    source.issue(Issued { guarded: true, ..Issued::default() });
    assert!(ids(source).is_empty());
    // In production a key opens what was closed.
    let closed = build(&[("am", of("alertmanager"))], &production()).unwrap();
    let source = at(&closed, "/webhook/alertmanager").unwrap();
    assert_eq!(ids(source), ["closed"]);
    source.issue(Issued { keys: vec![key("k1", None)], guarded: true, ..Issued::default() });
    assert_eq!(ids(source), ["k1"]);
}

#[test]
fn r5_r6_the_senders_own_paths_lead_to_the_source_of_their_provider() {
    let sources = build(
        &[("web", secret_of("sentry", "a")), ("am", of("alertmanager")), ("other", of("sentry"))],
        &production(),
    )
    .unwrap();
    // Two sources, and none has the provider's name: nobody can say which.
    assert!(at(&sources, "/hook").is_none());
    assert!(matches!(sources.at("/api/alert"), Place::Shared));
    let alerts = br#"{"alerts":[{"labels":{"ruleId":"7"}}]}"#;
    // No source of SigNoz: whoever reads that shape.
    assert_eq!(sources.of_body(alerts).unwrap().id.as_str(), "am");
    assert!(sources.of_body(b"not JSON").is_none(), "nobody takes anything");
    let only = build(&[("web", secret_of("sentry", "a"))], &production()).unwrap();
    assert_eq!(at(&only, "/hook").unwrap().id.as_str(), "web");
    assert_eq!(at(&only, "/test").unwrap().id, SourceId::new("test").unwrap());
    match only.at("/webhook/sentry/web/sesame") {
        Place::Of(source, Some(token)) => {
            assert_eq!((source.id.as_str(), token), ("web", "sesame"))
        }
        _ => panic!("no token"),
    }
}

fn secret_of(provider: &str, secret: &str) -> SourceConfig {
    SourceConfig { secret: Some(secret.into()), ..of(provider) }
}

#[test]
fn bounds_that_mean_nothing_are_refused() {
    let check = |config: SourceConfig, key: &str| {
        let error = build(&[("sentry", config)], &production()).map(drop).unwrap_err();
        assert_eq!(error.key, format!("sources.sentry.{key}"), "{error}");
    };
    let rate = |per_second, burst| Some(crate::config::RateConfig { per_second, burst });
    check(SourceConfig { rate: rate(0.0, None), ..secret("s") }, "rate.per_second");
    check(SourceConfig { rate: rate(f64::NAN, None), ..secret("s") }, "rate.per_second");
    check(SourceConfig { rate: rate(1.0, Some(0)), ..secret("s") }, "rate.burst");
    check(SourceConfig { max_concurrent: Some(0), ..secret("s") }, "max_concurrent");
    check(SourceConfig { max_body_bytes: Some(0), ..secret("s") }, "max_body_bytes");
    check(SourceConfig { max_body_bytes: Some(1 << 30), ..secret("s") }, "max_body_bytes");
    check(SourceConfig { require: Require::Address, ..secret("s") }, "require");
}

#[test]
fn a_project_takes_no_larger_bodies_than_ingest_does() {
    let limits = |bytes| LimitsConfig { max_body_bytes: Some(bytes), ..LimitsConfig::default() };
    let of_project = |bytes| Config {
        max_body_bytes: 1000,
        projects: BTreeMap::from([("default".to_owned(), limits(bytes))]),
        ..Config::default()
    };
    assert!(of_project(1000).validate().is_ok());
    let error = of_project(1001).validate().unwrap_err().to_string();
    assert!(error.contains("ingest.projects.default.max_body_bytes"), "{error}");
    for (project, own, expect) in [(1001, None, 1000), (900, None, 900), (900, Some(800), 800)] {
        let source = SourceConfig { max_body_bytes: own, ..secret("s") };
        let configured = BTreeMap::from([("sentry".to_owned(), source)]);
        let config = of_project(project);
        let sources = Sources::build(&config, &configured, &production(), NonZeroU16::MIN).unwrap();
        assert_eq!(at(&sources, "/webhook/sentry").unwrap().max_body_bytes, expect);
    }
}

#[test]
fn r11_what_a_token_has_to_say_is_checked_at_start() {
    let good = || EntraConfig {
        tenant: "72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned(),
        audience: vec!["api://bellwether".to_owned()],
        ..EntraConfig::default()
    };
    let check = |provider: &str, entra: EntraConfig, key: &str| {
        let config = SourceConfig { entra: Some(entra), ..of(provider) };
        let error = build(&[("x", config)], &production()).map(drop).unwrap_err();
        assert_eq!(error.key, key, "{error}");
    };
    let azure = "azure-monitor";
    for tenant in ["", "contoso.com", "common", "72f988bf-86f1-41af-91ab-2d7cd011db4/", "../"] {
        check(azure, EntraConfig { tenant: tenant.to_owned(), ..good() }, "sources.x.entra.tenant");
    }
    check(azure, EntraConfig { audience: vec![], ..good() }, "sources.x.entra.audience");
    check(azure, EntraConfig { audience: vec![" ".into()], ..good() }, "sources.x.entra.audience");
    let application = Some("me".to_owned());
    check(azure, EntraConfig { application, ..good() }, "sources.x.entra.application");
    check(azure, EntraConfig { role: Some(String::new()), ..good() }, "sources.x.entra.role");
    check("grafana", good(), "sources.x.entra");
    check("sentry", good(), "sources.x.entra");
    let config = SourceConfig { entra: Some(good()), ..of(azure) };
    let sources = build(&[("x", config)], &production()).unwrap();
    assert_eq!(ids(at(&sources, "/webhook/azure-monitor/x").unwrap()), ["entra"]);
}
