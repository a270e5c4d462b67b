use super::*;
use crate::notify::render_text;

fn read(files: &[(&str, &str)]) -> Result<Templates, TemplateError> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Templates::read(files, |kind| ["telegram", "log"].contains(&kind))
}

fn text(templates: &Templates, channel: &str, message: &Message<'_>) -> Option<String> {
    let own = render_text(message);
    let text = templates.text(channel, message, (&own, Language::TraditionalChinese));
    text.map(|text| text.unwrap())
}

#[test]
fn r35_the_most_particular_template_is_taken() {
    let templates = read(&[
        ("any/fire.txt", "any"),
        ("any/fire.en.txt", "any in English"),
        ("telegram/fire.txt", "telegram"),
        ("telegram/fire.zh-TW.txt", "telegram in Chinese: {{ title }}"),
        ("log/resolve.txt", "over"),
    ])
    .unwrap();
    let facts = facts("sentry", "boom");
    let fire = message(SendKind::Fire, &facts);
    let english = Message { language: Some(Language::English), ..fire };
    let resolve = message(SendKind::Resolve, &facts);
    for (channel, message, expect) in [
        ("telegram", &fire, Some("telegram in Chinese: boom")),
        ("telegram", &english, Some("telegram")),
        ("log", &fire, Some("any")),
        ("log", &english, Some("any in English")),
        ("log", &resolve, Some("over")),
        ("telegram", &resolve, None),
    ] {
        assert_eq!(text(&templates, channel, message).as_deref(), expect, "{channel}");
    }
    assert_eq!(text(&Templates::default(), "log", &fire), None);
}

#[test]
fn a_template_that_cannot_work_is_refused_with_file_and_line() {
    for (name, source, line, named) in [
        ("any/fire.txt", "fine\n{% if %}", Some(2), "syntax"),
        ("any/fire.txt", "{{ title }}\n\n{{ titel }}", Some(3), "undefined"),
        ("any/fire.txt", "{{ labels.job }}", Some(1), "undefined"),
        ("any/summary.txt", "{{ analysis.root_cause }}", Some(1), "undefined"),
        ("any/fire.txt", "{% include 'any/resolve.txt' %}", Some(1), "include"),
        (
            "any/fire.txt",
            "{% for x in range(9000) %}{% for y in range(9000) %}{% endfor %}{% endfor %}",
            None,
            "fuel",
        ),
        (
            "any/fire.txt",
            "{% for x in range(9000) %}{{ title }}{{ title }}{{ title }}{% endfor %}",
            None,
            "too long",
        ),
        ("any/fire.txt", "  \n", None, "nothing"),
        ("fire.txt", "x", None, "name it"),
        ("any/fire.md", "x", None, "name it"),
        ("pigeon/fire.txt", "x", None, "pigeon"),
        ("any/burn.txt", "x", None, "burn"),
        ("any/fire.de.txt", "x", None, "\"de\""),
    ] {
        let error = read(&[(name, source)]).unwrap_err();
        assert_eq!(error.name, name);
        if line.is_some() {
            assert_eq!(error.line, line, "{error}");
        }
        assert!(error.to_string().contains(named), "{named}: {error}");
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn alert_text_is_no_template_and_forges_no_line() {
    let templates = read(&[("any/fire.txt", "A: {{ title }}\nB: {{ message }}\n")]).unwrap();
    let facts = Facts {
        message: Some("x\nA: forged\u{1b}[2J".into()),
        ..facts("sentry", "{{ 7 * 7 }} <b>\nA: forged")
    };
    let text = text(&templates, "log", &message(SendKind::Fire, &facts)).unwrap();
    check(&text, "A: {{ 7 * 7 }} <b> A: forged\nB: x A: forged[2J");
}

#[test]
fn what_is_not_said_is_empty_and_a_template_may_wrap_the_built_in_text() {
    let source = "{{ text }}{{ url }}\n{% if labels.team is defined %}\nteam {{ labels.team }}\n{% endif %}\nrunbook";
    let templates = read(&[("any/fire.txt", source)]).unwrap();
    let facts = facts("sentry", "boom");
    let fire = message(SendKind::Fire, &facts);
    check(&text(&templates, "log", &fire).unwrap(), &format!("{}\nrunbook", render_text(&fire)));
    let facts = Facts { labels: vec![("team".into(), "blue".into())], ..facts };
    let fire = message(SendKind::Fire, &facts);
    assert!(text(&templates, "log", &fire).unwrap().ends_with("\nteam blue\nrunbook"));
}

#[test]
fn a_template_that_fails_at_a_message_is_an_error_and_no_panic() {
    // Every sample has a level, or fits either way.
    let templates =
        read(&[("any/fire.txt", "{% if place == 'x' %}{{ labels.gone }}{% endif %}ok")]);
    let templates = templates.unwrap();
    let facts = Facts { culprit: Some("x".into()), ..facts("sentry", "boom") };
    let fire = message(SendKind::Fire, &facts);
    let failed = templates.text("log", &fire, ("own", Language::English)).unwrap().unwrap_err();
    assert_eq!((failed.name.as_str(), failed.line), ("any/fire.txt", Some(1)));
}

/// The files to start from say what is built in, so whoever copies one changes only what they mean
/// to; and all there is to say can be said with what a template sees.
#[test]
fn r35_the_templates_to_start_from_say_what_is_built_in() {
    let templates = read(&[
        ("telegram/fire.txt", include_str!("../../../../../config/templates/telegram/fire.txt")),
        (
            "telegram/resolve.txt",
            include_str!("../../../../../config/templates/telegram/resolve.txt"),
        ),
        (
            "telegram/summary.txt",
            include_str!("../../../../../config/templates/telegram/summary.txt"),
        ),
    ])
    .unwrap();
    let tags = ["environment:testing".to_owned()];
    let mut compared = 0;
    for sample in crate::notify::format::sample::samples() {
        for language in Language::ALL {
            for tags in [&[][..], &tags] {
                let message = Message { language: Some(language), tags, ..sample.message() };
                if let Some(said) = text(&templates, "telegram", &message) {
                    check(&said, &render_text(&message));
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 3 * 4 * 3 * 2);
    let full = include_str!("../../../../fixtures/notify/goldens/telegram.noai.txt");
    let facts = Facts {
        severity_raw: Some("error".into()),
        culprit: Some("app.main.get_recommend".into()),
        sender_project: Some("recommendation-api".into()),
        ..facts("sentry", "ValueError in calculate_score")
    };
    let fire = Message { number: "INC-20251031-001", ..message(SendKind::Fire, &facts) };
    check(&text(&templates, "telegram", &fire).unwrap(), full);
}
