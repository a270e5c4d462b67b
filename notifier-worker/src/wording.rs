//! How a notification is put into words: its text, as it is built in or as an operator's template has
//! it, and the keys below it.

use std::{fs, path::Path};

use domain::notify::{Key, KeyName, Language, Templates, keyboard};
use schemas::{Lane, Position, job::SendKind};

use crate::{
    channels::{self, Button, Notification},
    config::{Error, Target},
};

/// The longest file that is read as a template, in bytes.
const MAX_TEMPLATE: u64 = 64 * 1024;

/// Writes the notification's text for that target. A template that fails is counted, and the text
/// that is built in stands in for it: nobody goes untold because of a template.
pub fn put_into_words(n: &mut Notification, target: &Target, templates: &Templates) {
    let channel = target.channel;
    let number = n.shown_number();
    let message = n.message(&number);
    let own = channel.text(&message);
    match templates.text(channel.kind(), &message, (&own, channel.language())) {
        None => n.text = own,
        Some(Ok(text)) => {
            n.written = Some(text.clone());
            n.text = text;
        }
        Some(Err(error)) => {
            metrics::counter!("bellwether_templates_failed_total", "channel" => channel.kind())
                .increment(1);
            tracing::warn!(
                incident = %n.incident, target = target.id, template = error.name,
                "template failed with a {} of incident {}, the built-in text is told: {error}",
                n.kind.word(), n.incident,
            );
            n.text = own;
        }
    }
}

/// The keys below a message about an incident that somebody may have to do something about; none
/// below others. `shown` says which, in order.
pub fn buttons(
    n: &Notification,
    target: &Target,
    shown: &[KeyName],
    (lane, opening): (Lane, Position),
) -> Vec<Button> {
    match n.kind {
        SendKind::Fire | SendKind::Update | SendKind::Remind => {}
        SendKind::Resolve | SendKind::Summary | SendKind::Test | SendKind::Reply => {
            return Vec::new();
        }
    }
    let language: Language = n.language.unwrap_or(target.channel.language());
    let keys = keyboard(shown, n.standing.as_ref(), language);
    let button = |key: Key| {
        let data = domain::button::Button::new(key.verb, lane, opening)?.to_string();
        Some(Button { verb: key.verb, label: key.label.to_owned(), data })
    };
    keys.into_iter().flatten().filter_map(button).collect()
}

/// The templates of a folder: `<kind of channel, or any>/<kind of message>[.<language>].txt`. What
/// begins with a dot is left alone.
///
/// # Errors
/// The first file that is no template, or does not work as one.
pub fn templates(folder: &Path) -> Result<Templates, Error> {
    let error = |problem: String| Error {
        key: "deliver.templates".to_owned(),
        problem: format!("{}: {problem}", folder.display()),
        remedy: "correct it, or move it away; docs/templates.md says what a template may be"
            .to_owned(),
    };
    let files = files(folder).map_err(error)?;
    let is_channel = |kind: &str| channels::by_kind(kind).is_some();
    Templates::read(files, is_channel).map_err(|failed| error(failed.to_string()))
}

/// Names from the folder, and texts, in the order of the names.
fn files(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    for (name, path) in entries(folder)? {
        if !path.is_dir() {
            return Err(format!("{name} is not in a folder named after a kind of channel"));
        }
        for (file, path) in entries(&path)? {
            let name = format!("{name}/{file}");
            let told = |error| format!("read {name}: {error}");
            let meta = fs::metadata(&path).map_err(told)?;
            if !meta.is_file() {
                return Err(format!("{name} is no file"));
            }
            if meta.len() > MAX_TEMPLATE {
                return Err(format!("{name} has more than {MAX_TEMPLATE} bytes"));
            }
            files.push((name.clone(), fs::read_to_string(&path).map_err(told)?));
        }
    }
    Ok(files)
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<(String, std::path::PathBuf)>, String> {
    let told = |error: std::io::Error| format!("read the folder: {error}");
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(told)? {
        let entry = entry.map_err(told)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or("a name in it is no text")?;
        if !name.starts_with('.') {
            entries.push((name.to_owned(), entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use domain::notify::{Sample, render_text, sample_facts};
    use schemas::InputPosition;
    use serde_json::json;

    use super::*;
    use crate::{channels::tests::notification, config::tests::target_of};

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn r35_a_template_is_told_in_every_form_and_the_rest_as_it_is_built_in() {
        let folder = folder(&[
            ("any/fire.txt", "ours\n{{ text }}"),
            ("feishu/fire.en.txt", "ours in English"),
            (".git/notes", "{{"),
        ]);
        let templates = templates(folder.path()).unwrap();
        let log = target_of(json!({"kind": "log"})).unwrap();
        let mut n = notification();
        let own = render_text(&n.message("INC-20260102-007"));
        put_into_words(&mut n, &log, &templates);
        assert_eq!(n.text, format!("ours\n{own}"));

        let feishu = target_of(json!({"kind": "feishu", "url": "https://a.example/b"})).unwrap();
        let mut n = Notification { language: Some(Language::English), ..notification() };
        put_into_words(&mut n, &feishu, &templates);
        let (_, _, body) = channels::tests::parts(feishu.channel.request(&n, &feishu).unwrap());
        assert_eq!(body["card"]["header"]["title"]["content"], "ours in English");

        let mut n = Notification { kind: SendKind::Resolve, ..notification() };
        put_into_words(&mut n, &log, &templates);
        assert_eq!((n.text.contains("已恢復"), &n.written), (true, &None));
    }

    #[test]
    fn a_template_that_fails_with_a_message_leaves_the_built_in_text() {
        let folder =
            folder(&[("any/fire.txt", "{% if place == 'here' %}{{ labels.gone }}{% endif %}ours")]);
        let templates = templates(folder.path()).unwrap();
        let log = target_of(json!({"kind": "log"})).unwrap();
        let mut n = notification();
        n.facts.culprit = Some("here".into());
        put_into_words(&mut n, &log, &templates);
        assert!(n.text.contains("📍 here") && n.written.is_none(), "{}", n.text);
    }

    #[test]
    fn what_is_no_template_is_refused_with_folder_file_and_remedy() {
        for (name, text, named) in [
            ("fire.txt", "x", "not in a folder"),
            ("any/fire.txt", "a\n{{ b", "line 2"),
            ("pigeon/fire.txt", "x", "pigeon"),
            ("any/sub/fire.txt", "x", "any/sub is no file"),
        ] {
            let folder = folder(&[(name, text)]);
            let error = templates(folder.path()).unwrap_err();
            assert_eq!(error.key, "deliver.templates");
            let shown = error.to_string();
            assert!(shown.contains(named) && shown.contains("docs/templates.md"), "{shown}");
            assert!(shown.contains(folder.path().to_str().unwrap()), "{shown}");
        }
        assert!(templates(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn every_channel_shows_every_kind_in_every_language_without_a_credential() {
        for channel in channels::all() {
            let target = Target::of_kind(*channel);
            for kind in SendKind::ALL {
                for language in Language::ALL {
                    let facts = sample_facts("error", kind).unwrap();
                    let sample = Sample::new(kind, facts, notification().project);
                    let mut n = Notification {
                        kind,
                        facts: sample.facts,
                        analysis: sample.analysis,
                        frequency: sample.frequency,
                        standing: sample.standing,
                        summary: sample.summary,
                        reply: sample.reply,
                        language: Some(language),
                        ..notification()
                    };
                    put_into_words(&mut n, &target, &Templates::default());
                    assert!(!n.text.trim().is_empty());
                    let told = channel.request(&n, &target);
                    let why = || format!("{} {}", channel.kind(), kind.word());
                    // Some have no message of some kinds, and say so.
                    let Ok(told) = told else { continue };
                    if let channels::Request::Http { body, .. } = told {
                        let body = String::from_utf8(body).unwrap();
                        assert!(
                            !body.contains("no-credential") || channel.kind() == "pagerduty",
                            "{}",
                            why()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn r36_keys_are_below_what_somebody_may_have_to_act_on() {
        let at = InputPosition { incarnation: 7, sequence: 1, record: 0 }.alert(0);
        let log = target_of(json!({"kind": "log"})).unwrap();
        let pressed = |kind, shown: &[KeyName]| -> Vec<&'static str> {
            let n = Notification { kind, ..notification() };
            buttons(&n, &log, shown, (Lane(3), at)).iter().map(|button| button.verb).collect()
        };
        for kind in [SendKind::Fire, SendKind::Update, SendKind::Remind] {
            assert_eq!(
                pressed(kind, &KeyName::ALL),
                ["ack", "resolve", "silence", "confirm", "reject", "handoff"]
            );
        }
        for kind in [SendKind::Resolve, SendKind::Summary, SendKind::Test, SendKind::Reply] {
            assert!(pressed(kind, &KeyName::ALL).is_empty(), "{kind:?}");
        }
        assert_eq!(pressed(SendKind::Fire, &[KeyName::Silence, KeyName::Ack]), ["silence", "ack"]);
        let n = Notification { language: Some(Language::English), ..notification() };
        let [ack] = buttons(&n, &log, &[KeyName::Ack], (Lane(3), at)).try_into().unwrap();
        assert_eq!(ack.label, "✋ Ack");
        let data: domain::button::Button = ack.data.parse().unwrap();
        assert_eq!((data.verb(), data.lane, data.opening), ("ack", Lane(3), at));
    }
}
