//! The entry functions of the fuzz targets (`fuzz/`), on stable: over their seeds, and over seeded
//! changes of them, as many as a build has time for.

use std::{collections::BTreeSet, fs, path::PathBuf};

use domain::providers::{self, Outgoing, Secret};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use schemas::Time;
use serde_json::Value;

#[path = "../../fuzz/src/entry.rs"]
mod entry;

/// Begins the names of inputs that a fuzzer found to reach what no other did.
const FOUND: &str = "found-";
/// Changed inputs of each target.
const CASES: u32 = 10_000;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The committed inputs of a target, by name.
fn committed(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = project().join("fuzz/corpus").join(target);
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

/// What is done to an input.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// The tail of another input instead of its own.
    Splice(prop::sample::Index, prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    // Pieces that parsers care about, and any bytes.
    let pieces = prop::sample::select(vec![
        &b"null"[..],
        b"-1",
        b"0",
        b"9223372036854775808",
        b"1e400",
        b"\"\"",
        b"{}",
        b"[]",
        b"\\ud83d",
        b"\xFF",
        b"\"\\u0000\"",
        b"[[[[[[[[",
        b"{\"a\":",
        b"\r\n",
        b"--",
        b"v1=",
        b"sha256=",
        b",",
    ]);
    let piece =
        prop_oneof![pieces.prop_map(<[u8]>::to_vec), prop::collection::vec(any::<u8>(), 1..8),];
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, with)| Change::Flip(at, with)),
        place().prop_map(Change::Cut),
        (place(), piece).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), 1usize..40).prop_map(|(at, length)| Change::Remove(at, length)),
        (place(), place(), place()).prop_map(|(at, other, from)| Change::Splice(at, other, from)),
    ]
}

impl Change {
    fn of(&self, mut input: Vec<u8>, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
        if input.is_empty() {
            return input;
        }
        let length = input.len();
        match self {
            Self::Flip(at, with) => input[at.index(length)] ^= with,
            Self::Cut(at) => input.truncate(at.index(length)),
            Self::Insert(at, bytes) => {
                let at = at.index(length);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, many) => {
                let at = at.index(length);
                input.drain(at..length.min(at + many));
            }
            Self::Splice(at, other, from) => {
                let other = &seeds[other.index(seeds.len())].1;
                input.truncate(at.index(length));
                input.extend_from_slice(&other[from.index(other.len().max(1))..]);
            }
        }
        input
    }
}

/// Runs a target over its seeds and over changes of them, the same in every build.
fn run(target: &str, entry: fn(&[u8])) {
    let seeds = committed(target);
    assert!(!seeds.is_empty(), "no seeds of {target}");
    seeds.iter().for_each(|(_, seed)| entry(seed));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let inputs = (any::<prop::sample::Index>(), prop::collection::vec(change(), 1..6));
    TestRunner::new_with_rng(config, rng)
        .run(&inputs, |(pick, changes)| {
            let seed = seeds[pick.index(seeds.len())].1.clone();
            entry(&changes.iter().fold(seed, |input, change| change.of(input, &seeds)));
            Ok(())
        })
        .unwrap();
}

#[test]
fn r23_normalise_holds_for_changed_seeds() {
    run("normalise", entry::normalise);
}

#[test]
fn r11_authenticate_holds_for_changed_seeds() {
    run("authenticate", entry::authenticate);
}

#[test]
fn frames_hold_for_changed_seeds() {
    run("frame", entry::frame);
}

/// An input of the request targets.
fn input(provider: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut input = entry::number(provider).to_be_bytes().to_vec();
    for (name, value) in headers {
        input.extend_from_slice(format!("{name}: {value}\n").as_bytes());
    }
    // An empty line ends the headers, also where there are none.
    input.extend_from_slice(if headers.is_empty() { b"\n\n" } else { b"\n" });
    input.extend_from_slice(body);
    input
}

/// The seeds: the smallest sample of each outcome of each provider, each provider's ways to prove
/// itself, and a frame.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vec![];
    for provider in providers::all() {
        let name = provider.name();
        let mut smallest: Vec<Sample> = vec![];
        for sample in samples(name) {
            match smallest.iter_mut().find(|known| known.outcome == sample.outcome) {
                Some(known) if known.raw.len() <= sample.raw.len() => {}
                Some(known) => *known = sample,
                None => smallest.push(sample),
            }
        }
        let mut proven = 0;
        for Sample { outcome, headers, raw } in &smallest {
            seeds.push((format!("normalise/{name}-{outcome}"), input(name, headers, raw)));
        }
        let Sample { headers, raw, .. } = &smallest[0];
        let outgoing =
            Outgoing { sent_at: Time::from_micros(entry::NOW), id: "msg_0123456789", body: raw };
        for secret in [
            Secret::Signing(entry::SECRET.into()),
            Secret::Basic { user: entry::SECRET.into(), password: entry::SECRET.into() },
            Secret::Token(entry::SECRET.into()),
        ] {
            let Some(proof) = provider.sign(&outgoing, &secret) else { continue };
            let mut headers: Vec<_> = [headers.clone(), proof.headers].concat();
            headers.extend(proof.token.map(|token| (":token".to_owned(), token)));
            let body = proof.body.as_deref().unwrap_or(raw);
            seeds.push((format!("authenticate/{name}-{proven}"), input(name, &headers, body)));
            proven += 1;
        }
        if proven == 0 || !provider.needs_credential() {
            seeds.push((format!("authenticate/{name}-signed"), input(name, headers, raw)));
        }
    }
    let frame = fs::read_to_string(project().join("schemas/fixtures/v1/frame-tick.hex")).unwrap();
    seeds.push(("frame/tick".to_owned(), const_hex::decode(frame.trim()).unwrap()));
    seeds.push(("frame/records".to_owned(), golden_frame()));
    seeds.sort();
    let numbers: BTreeSet<u16> = providers::all().iter().map(|p| entry::number(p.name())).collect();
    assert_eq!(numbers.len(), providers::all().len(), "two providers have one number");
    seeds
}

/// One sample of a provider.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    outcome: String,
    headers: Vec<(String, String)>,
    raw: Vec<u8>,
}

fn samples(provider: &str) -> Vec<Sample> {
    let folder = project().join("schemas/fixtures/providers").join(provider);
    let mut found = vec![];
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(stem) = name.strip_suffix(".expect.json") else { continue };
        let expect: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let raw = fs::read(folder.join(format!("{stem}.json"))).unwrap();
        let headers = expect["headers"].as_object().unwrap().iter();
        let headers = headers.map(|(n, v)| (n.to_lowercase(), v.as_str().unwrap().to_owned()));
        let outcome = expect["outcome"].as_str().unwrap().to_owned();
        found.push(Sample { outcome, headers: headers.collect(), raw });
    }
    // The same in every file system.
    found.sort();
    found
}

/// A frame of the golden records that are small.
fn golden_frame() -> Vec<u8> {
    let text = fs::read_to_string(project().join("schemas/fixtures/v1/records.txt")).unwrap();
    let hex = text.lines().filter_map(|line| line.split_once(' '));
    let hex = hex.filter(|(_, hex)| hex.len() < 1000);
    let records: Vec<Vec<u8>> =
        hex.map(|(_, hex)| const_hex::decode(hex.trim()).unwrap()).collect();
    let header = schemas::FrameHeader {
        version: schemas::frame::FRAME_VERSION,
        producer: schemas::ProducerId(uuid::Uuid::from_u128(7)),
        number: 1,
        total: records.len() as u64,
        count: u32::try_from(records.len()).unwrap(),
    };
    schemas::frame::encode(&header, &records.concat())
}

#[test]
fn every_provider_has_seeds() {
    for target in ["normalise", "authenticate"] {
        let seeds = committed(target);
        assert!(seeds.iter().all(|(_, seed)| seed.len() < 16 * 1024));
        for name in providers::all().iter().map(|p| p.name()) {
            let number = entry::number(name).to_be_bytes();
            let known = seeds.iter().any(|(_, seed)| seed.starts_with(&number));
            assert!(known, "no seed of {name} for {target}: run `write_seeds` (see this file)");
        }
    }
}

/// `cargo test -p domain --test fuzz -- --ignored write_seeds` makes the seeds anew, out of our own
/// samples; those that a fuzzer found stay.
#[test]
#[ignore = "writes into the project"]
fn write_seeds() {
    for target in ["normalise", "authenticate", "frame"] {
        let folder = project().join("fuzz/corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, _) in committed(target) {
            if !name.starts_with(FOUND) {
                fs::remove_file(folder.join(name)).unwrap();
            }
        }
    }
    for (name, bytes) in seeds() {
        fs::write(project().join("fuzz/corpus").join(name), bytes).unwrap();
    }
}
