//! Published payloads, kept outside the project: every fact that their index states, and every
//! signature.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::*;

mod facts;
mod said;
mod signatures;
mod vectors;

/// The folders of payloads that no provider of the registry reads yet.
const TO_COME: &[&str] = &[];

/// The corpus, where it is there.
struct Corpus {
    folder: PathBuf,
    index: Value,
}

/// One payload.
struct Entry<'a> {
    file: &'a str,
    provider: &'static dyn Provider,
    index: &'a Value,
    /// The bytes that are sent.
    raw: Vec<u8>,
}

impl Corpus {
    fn open() -> Option<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
        let Ok(index) = fs::read(folder.join("index.json")) else {
            println!("the corpus {} is not present: nothing is compared", folder.display());
            return None;
        };
        Some(Self { folder, index: serde_json::from_slice(&index).unwrap() })
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.folder.join(file)).unwrap()
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = vec![];
        for index in self.index["entries"].as_array().unwrap() {
            let file = index["file"].as_str().unwrap();
            let Some(provider) = by_name(provider_of(file)) else { continue };
            // Interactive bodies of one sender are forms around the JSON of the file.
            let raw = match index["http"]["form_body"].as_str() {
                Some(form) => form.as_bytes().to_vec(),
                None => self.read(file),
            };
            entries.push(Entry { file, provider, index, raw });
        }
        entries
    }
}

impl Entry<'_> {
    fn expect(&self) -> &Value {
        &self.index["expect"]
    }

    fn http(&self) -> &Value {
        &self.index["http"]
    }

    fn name(&self) -> &'static str {
        self.provider.name()
    }

    /// The headers as they are received.
    fn headers(&self) -> Vec<(String, String)> {
        self.delivery(&self.raw).headers
    }

    fn delivery(&self, raw: &[u8]) -> Delivery {
        let mut delivery = delivery(self.name(), &self.http()["headers"], raw);
        delivery.content_type = self.http()["content_type"].as_str().map(str::to_owned);
        delivery
    }

    fn disposition(&self) -> &str {
        self.expect()["disposition"].as_str().unwrap()
    }
}

/// The provider that a folder's payloads are of.
fn provider_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches("-legacy")
}

#[test]
fn r4_r6_published_payloads_read_as_their_index_says() {
    let Some(corpus) = Corpus::open() else { return };
    let files = corpus.index["entries"].as_array().unwrap();
    let missing: Vec<_> = files
        .iter()
        .map(|entry| provider_of(entry["file"].as_str().unwrap()))
        .filter(|folder| by_name(folder).is_none() && !TO_COME.contains(folder))
        .collect();
    assert!(missing.is_empty(), "no provider reads {missing:?}");
    let on_disk: usize = fs::read_dir(&corpus.folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|folder| fs::read_dir(folder).unwrap().count())
        .sum();
    // One of them is a certificate.
    assert_eq!(on_disk, files.len() + 1, "the index names every payload");

    let entries = corpus.entries();
    let mut facts = 0;
    for entry in &entries {
        facts += facts::check(entry);
        check_secrets(entry);
    }
    let left_out = files.len() - entries.len();
    println!("corpus: {} payloads, {facts} facts; {left_out} are still to come", entries.len());
    assert!(facts > 6 * entries.len(), "{facts} facts of {} payloads", entries.len());
    assert_eq!(left_out == 0, TO_COME.is_empty());
}

/// What the index calls secret is nowhere in what is made of a payload.
fn check_secrets(entry: &Entry<'_>) {
    let names = entry.expect()["secret_fields"].as_array();
    let Ok(body) = serde_json::from_slice::<Value>(&entry.raw) else { return };
    let told = format!("{:?}", read(&entry.delivery(&entry.raw), None));
    let names: Vec<_> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    let mut rest = body.clone();
    let at = |name: &str| format!("/{}", name.replace('.', "/"));
    for name in &names {
        *rest.pointer_mut(&at(name)).unwrap() = Value::Null;
    }
    for name in names {
        let secret = body.pointer(&at(name)).unwrap().as_str().unwrap();
        // Samples say the same word of other things, too.
        let is_word = rest.to_string().contains(secret);
        assert!(is_word || !told.contains(secret), "{} shows {name}", entry.file);
    }
}
