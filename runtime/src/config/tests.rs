use std::io::Write;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::*;
use crate::Environment;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    environment: Environment,
    ingest: Ingest,
    sources: BTreeMap<String, Source>,
    triage: Triage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Triage {
    #[serde(rename = "analysts")]
    _analysts: Vec<Analyst>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Analyst {
    Openai {
        #[serde(rename = "url")]
        _url: String,
        #[serde(rename = "api_key")]
        _api_key: Option<SecretString>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ingest {
    max_body_bytes: usize,
    listen: std::net::SocketAddr,
    strict: bool,
    names: Vec<String>,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            max_body_bytes: 7,
            listen: ([127, 0, 0, 1], 9000).into(),
            strict: false,
            names: Vec::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Source {
    secret: Option<SecretString>,
    weight: u8,
}

fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Sample, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let env: Vec<_> = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    load(Some(file.path()), &env).map_err(|mut e| {
        if e.file == file.path().display().to_string() {
            e.file = "bellwether.toml".to_owned();
        }
        e
    })
}

fn check_error(text: &str, env: &[(&str, &str)], expect: &str) {
    assert_eq!(load_text(text, env).unwrap_err().to_string(), expect);
}

#[test]
fn defaults_hold_where_no_layer_speaks() {
    let config: Sample = load(None, &[]).unwrap();
    assert!(config.environment.is_production());
    assert_eq!(config.ingest.max_body_bytes, 7);
}

#[test]
fn later_layers_win_and_texts_take_the_type_that_is_wanted() {
    let config = load_text(
        "[ingest]\nmax_body_bytes = 1\nlisten = \"127.0.0.1:1\"\n[sources.my-app]\nweight = 3",
        &[
            ("BELLWETHER__INGEST__MAX_BODY_BYTES", "2"),
            ("BELLWETHER__INGEST__LISTEN", "[::1]:2"),
            ("BELLWETHER__INGEST__STRICT", "true"),
            ("BELLWETHER__INGEST__NAMES", r#"["a", "b"]"#),
            ("BELLWETHER__SOURCES__MY_APP__SECRET", "12345"),
            ("UNRELATED", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.ingest.max_body_bytes, 2);
    assert_eq!(config.ingest.listen, "[::1]:2".parse().unwrap());
    assert!(config.ingest.strict);
    assert_eq!(config.ingest.names, ["a", "b"]);
    let source = &config.sources["my-app"];
    assert_eq!(source.secret.as_ref().unwrap().expose_secret(), "12345");
    assert_eq!(source.weight, 3);
}

#[test]
fn environment_names_of_sources_reach_their_keys_and_win() {
    let config = load_text(
        "environment = \"production\"\n[sources.sentry]\nsecret = \"from the file\"",
        &[
            ("SENTRY_WEBHOOK_SECRET", "from the environment"),
            ("BELLWETHER__SOURCES__SENTRY__SECRET", "overlaid"),
            ("ENVIRONMENT", "dev"),
        ],
    )
    .unwrap();
    assert_eq!(config.environment, Environment::Development("dev".to_owned()));
    let secret = config.sources["sentry"].secret.as_ref().unwrap();
    assert_eq!(secret.expose_secret(), "from the environment");
}

#[test]
fn an_empty_list_of_the_environment_says_nothing() {
    let overlay = |value: &str| {
        let env = [("ALERT_BOT_IDS", value), ("ALLOWED_IPS", value)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut table = Table::new();
        overlay::apply(&mut table, &env).unwrap();
        table.to_string()
    };
    assert_eq!(overlay(""), "");
    assert_eq!(overlay(" "), "");
    let said = overlay("a, b");
    assert!(said.contains("[sources.custom]") && said.contains("senders = \"a, b\""), "{said}");
    assert!(said.contains("allowed_ips = \"a, b\""), "{said}");
}

#[test]
fn r74_the_names_of_wecom_make_a_channel() {
    let overlay = |file: &str, env: &[(&str, &str)]| {
        let env: Vec<_> = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut table: Table = file.parse().unwrap();
        overlay::apply(&mut table, &env).unwrap();
        table
    };
    let names = [
        ("WEIXIN_CORP_ID", "ww1"),
        ("WEIXIN_CORP_SECRET", "hush"),
        ("WEIXIN_AGENT_ID", "1000002"),
        ("WEIXIN_TO_USER", "ada|bob"),
    ];
    let expect = "[channels.wecom]\nkind = \"wecom-app\"\ncorp_id = \"ww1\"\n\
                  corp_secret = \"hush\"\nagent_id = \"1000002\"\nto_user = \"ada|bob\"";
    assert_eq!(overlay("", &names), expect.parse::<Table>().unwrap());
    // What the file says of it stays; an empty name says nothing.
    let file = "[channels.wecom]\nkind = \"wecom-robot\"\nreceivers = [\"ops\"]";
    let both = overlay(file, &names[3..]);
    let expect = format!("{file}\nto_user = \"ada|bob\"");
    assert_eq!(both, expect.parse::<Table>().unwrap());
    let empty = names.map(|(name, _)| (name, ""));
    assert_eq!(overlay("", &empty), Table::new());
}

#[test]
fn an_unknown_key_names_file_key_problem_and_remedy() {
    check_error(
        "[ingest]\nmax_body = 1",
        &[],
        "file: bellwether.toml\nkey: ingest.max_body\nproblem: unknown field `max_body`, expected \
         one of `max_body_bytes`, `listen`, `strict`, `names`\nremedy: remove the key or correct \
         its name",
    );
}

#[test]
fn an_unknown_key_of_the_environment_names_the_variable() {
    check_error(
        "",
        &[("BELLWETHER__INGEST__MAX_BODY", "1")],
        "file: environment variable BELLWETHER__INGEST__MAX_BODY\nkey: ingest.max_body\n\
         problem: unknown field `max_body`, expected one of `max_body_bytes`, `listen`, `strict`, \
         `names`\nremedy: remove the key or correct its name",
    );
}

#[test]
fn a_wrong_type_names_what_was_expected() {
    check_error(
        "",
        &[("BELLWETHER__INGEST__MAX_BODY_BYTES", "many")],
        "file: environment variable BELLWETHER__INGEST__MAX_BODY_BYTES\n\
         key: ingest.max_body_bytes\n\
         problem: invalid type: string \"many\", expected usize\nremedy: correct the value",
    );
}

#[test]
fn a_secret_is_never_shown() {
    let error = load_text("[sources.a]\nsecret = 4711", &[]).unwrap_err();
    assert_eq!(error.key, "sources.a.secret");
    assert!(!error.to_string().contains("4711"), "{error}");
    let error = load_text("[sources.a]\nsecret = \"hush", &[]).unwrap_err();
    assert!(error.problem.starts_with("line 2 is not TOML"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
    // Of an analyst, whose error has no key of its own.
    for wrong in ["url = 4711", "url = \"u\"\napi_key = 4711", "url = [\"4711\"]"] {
        let text = format!("[[triage.analysts]]\nkind = \"openai\"\n{wrong}");
        let error = load_text(&text, &[]).unwrap_err();
        assert!(error.key.starts_with("triage.analysts"), "{error}");
        assert!(!error.to_string().contains("4711"), "{error}");
    }
    let error = load_text("[[triage.analysts]]\nkind = \"openai\"", &[]).unwrap_err();
    assert_eq!(error.problem, "missing field `url`");
}

#[test]
fn a_missing_file_and_a_section_that_is_a_value_are_errors() {
    let error = load::<Sample>(Some(Path::new("/nowhere/b.toml")), &[]).unwrap_err();
    assert_eq!(error.file, "/nowhere/b.toml");
    check_error(
        "environment = \"dev\"",
        &[("BELLWETHER__ENVIRONMENT__NAME", "x")],
        "file: environment variable BELLWETHER__ENVIRONMENT__NAME\nkey: environment\nproblem: is a \
         value in the file and a section in the variable's name\nremedy: correct the name of the \
         variable, or remove it",
    );
}
