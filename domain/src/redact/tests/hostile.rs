//! Text that is made to cost. Nothing here depends on how fast a machine is: at full size, what took
//! more than linear time would not end before the runner's limit.

use super::*;

/// As much as the largest body holds.
const FULL: usize = 896 * 1024;

/// Every keyword of the rules, so that all of them run.
fn all_keywords() -> String {
    let document: toml::Value = toml::from_str(include_str!("../rules.toml")).unwrap();
    let rules = document["rules"].as_array().unwrap().iter();
    let keywords = rules.flat_map(|rule| rule["keywords"].as_array().unwrap());
    keywords.map(|keyword| keyword.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

fn texts(size: usize) -> Vec<(String, String)> {
    let fill = |unit: &str| unit.repeat(size / unit.len());
    let mut texts = vec![];
    let mut add = |what: &str, text: String| texts.push((what.to_owned(), text));
    add("all keywords", fill(&format!("{} ", all_keywords())));
    add("all keywords, then one long word", format!("{} {}", all_keywords(), fill("aB3")));
    add("all keywords, then hex", format!("{} {}", all_keywords(), fill("0f1e2d3c")));
    add("all keywords, then blanks", format!("{} {}", all_keywords(), fill(" ")));
    for unit in [
        // Names without values, values without ends.
        "password",
        "password=",
        "password==",
        "password: ",
        "password:",
        "key=",
        "key==",
        "key: ",
        "token(\"",
        "token\"",
        "token\",\"",
        "token = token.",
        "secret=\"",
        "secret='a",
        "secret: \"a\n",
        "secret:\n",
        "--token ",
        "<token>",
        "<token>a",
        "<key>",
        "<key>aB3dE5fG7hJ9kL1",
        "auth=a;",
        "sig=a&",
        "authorization: ",
        "authorization: denied ",
        "authorization: bearer ",
        "authorization: digest a, ",
        "'authorization: basic ",
        "cookie: ",
        "cookie: a ",
        "cookie: a=1 ",
        "\ncookie: a=1",
        "name: password\nvalue: ",
        "password\nvalue",
        "token: a-",
        "token: a: ",
        "password: a = \"",
        "password: a<b>",
        "key=aB3dE5fG7h",
        "token==a",
        "密码：",
        "密码，",
        "**token** ",
        "token*]*]*]",
        "password=Some(",
        "password=b'",
        "password=((((",
        "password=))))",
        "password=a,b,c,d,",
        "password=a&b;c,",
        "password=${",
        "password={{",
        // Rules that look far.
        "://",
        "a://b:",
        "a://b:c@",
        "a://b@",
        "https://a@b@",
        "mysql://a:b/",
        "mysql://a:/@/",
        "eyJ",
        "eyJaaaaaa.aaaaaa.",
        "a.eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "-----END PRIVATE KEY-----",
        "Private-Lines: 1 ",
        "MIIEIBAAKCA",
        "private key",
        "curl -u ",
        "curl ",
        "curl -u a:b ",
        "aws key ",
        "aws_key=",
        "aws",
        "heroku_",
        "datadog ",
        "vault ",
        "cf_",
        "lark ",
        "twilio ",
        "xoxb-",
        "sk-",
        "AKIA",
        "hooks.slack.com/a/",
        "/hooks/a",
        "1234567890:AA",
        ":AA",
        "SECa",
        "SK0",
        "a@tcp(",
        "a:b@tcp(",
        "@//",
        "identified by '",
        "password '",
        "bearer ",
        "Basic aaaaaaaa ",
        "q~",
        "AzFu",
        "key-0",
        "-us1",
        "pk.eyJ",
        "secret_",
        // Escapes within escapes, and what is not shown.
        "%",
        "%2",
        "%25",
        "%2525",
        "%3D",
        "token%3D",
        "\\",
        "\\\\\\\\\"",
        "\\\"token\\\":\\\"",
        "\\u0070",
        "&",
        "&amp;",
        "&#",
        "&#x41;",
        "&quot;",
        "\u{200b}",
        "\u{1b}[",
        "\u{1b}[0m",
        "\u{fffd}",
        "token\u{200b}=",
        "\0",
        "token\0",
        // JSON that is none, or too deep.
        "[",
        "{\"a\":",
        "[\"token\",",
        "{\"token\":[",
        "]",
        "}",
    ] {
        add(&format!("{unit:?} repeated"), fill(unit));
        add(&format!("{unit:?} with blanks"), fill(&format!("{unit}{}", " ".repeat(40))));
        add(&format!("all keywords, then {unit:?}"), format!("{} {}", all_keywords(), fill(unit)));
    }
    let mut nested = "password=hunter2".to_owned();
    while nested.len() < size / 2 {
        nested = json!([nested]).to_string();
    }
    add("texts in texts", nested);
    add("brackets in brackets", format!("{}\"token: x1y2\"{}", "[".repeat(120), "]".repeat(120)));
    texts
}

#[test]
fn r51_hostile_text_does_no_harm() {
    redact_all(16 * 1024);
}

#[test]
#[ignore = "takes minutes without optimisation: run with --release"]
fn r51_hostile_text_costs_no_more_than_its_length() {
    redact_all(FULL);
}

fn redact_all(size: usize) {
    for (what, text) in texts(size) {
        let start = std::time::Instant::now();
        let (after, _) = Redactor::builtin().text(&text);
        println!("{:>8.1} ms {what}", start.elapsed().as_secs_f64() * 1e3);
        assert!(after.len() <= 20 * text.len());
    }
}

#[test]
fn r51_hostile_json_costs_no_more_than_its_length() {
    let many = |name: &dyn Fn(usize) -> String, value: &str| {
        let fields: Vec<_> = (0..40_000).map(|n| format!("{:?}:{value}", name(n))).collect();
        format!("{{{}}}", fields.join(","))
    };
    for (what, body) in [
        ("many secret fields", many(&|n| format!("token{n}_secret"), "\"x\"")),
        ("many fields whose names become the same", many(&|n| format!("x ghp_{:036}", n), "1")),
        ("many pairs", format!("[{}]", vec!["[\"token\",\"x\"]"; 60_000].join(","))),
        ("many options", format!("[{}]", vec!["\"--token\""; 80_000].join(","))),
        (
            "many named values",
            format!("[{}]", vec![r#"{"name":"token","value":"x"}"#; 30_000].join(",")),
        ),
        ("deep", format!("{}1{}", "[".repeat(100), "]".repeat(100))),
    ] {
        let mut value: Value = serde_json::from_str(&body).unwrap();
        let start = std::time::Instant::now();
        Redactor::builtin().value(&mut value);
        println!("{:>8.1} ms {what}", start.elapsed().as_secs_f64() * 1e3);
        assert!(value.to_string().len() <= 20 * body.len());
    }
}
