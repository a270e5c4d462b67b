//! Making the streams, and refusing those that cannot be used.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    Context,
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};

use super::{JetStreamConfig, is_stream_missing};
use crate::{
    Error,
    topology::{LANES_KEY, StreamSpec},
};

/// Makes the stream of `spec`, or checks the one that exists and brings its limits up to date.
pub(super) async fn ensure(
    context: &Context,
    config: &JetStreamConfig,
    spec: &StreamSpec,
) -> Result<(), Error> {
    let fail = |what, reason: String| Error::Stream { what, stream: spec.name.clone(), reason };
    let wanted = wanted(config, spec);
    let found = match context.get_stream(&spec.name).await {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(e) if is_stream_missing(&e.kind()) => {
            let made = match context.create_stream(wanted.clone()).await {
                Ok(_) => return Ok(()),
                Err(e) => fail("creation", e.to_string()),
            };
            // Another process may have made it meanwhile, with its own idea of it.
            match context.get_stream(&spec.name).await {
                Ok(stream) => stream.cached_info().config.clone(),
                Err(_) => return Err(made),
            }
        }
        Err(e) => return Err(fail("info", e.to_string())),
    };
    check(spec, &found)?;
    let Some(update) = update(&found, &wanted) else { return Ok(()) };
    tracing::info!(stream = %spec.name, "stream {} gets new limits", spec.name);
    context.update_stream(&update).await.map_err(|e| fail("update", e.to_string()))?;
    Ok(())
}

fn wanted(config: &JetStreamConfig, spec: &StreamSpec) -> Config {
    let metadata: HashMap<_, _> =
        spec.lanes.iter().map(|lanes| (LANES_KEY.to_owned(), lanes.to_string())).collect();
    Config {
        name: spec.name.clone(),
        subjects: spec.subjects.clone(),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_age: spec.max_age.unwrap_or(Duration::ZERO),
        max_bytes: spec.max_bytes.unwrap_or(config.max_bytes),
        num_replicas: config.replicas,
        duplicate_window: spec.duplicate_window,
        allow_direct: true,
        allow_message_ttl: true,
        metadata,
        ..Config::default()
    }
}

/// What no update can mend.
fn check(spec: &StreamSpec, found: &Config) -> Result<(), Error> {
    let mismatch = |found: String, wanted: String, remedy: String| {
        Err(Error::Mismatch { stream: spec.name.clone(), found, wanted, remedy })
    };
    let anew = || format!("remove stream {} or use another namespace", spec.name);
    if let Some(lanes) = spec.lanes {
        let wanted = lanes.to_string();
        match found.metadata.get(LANES_KEY) {
            Some(text) if *text == wanted => {}
            Some(text) => {
                let remedy = format!("set lanes = {text}: the number is fixed with the stream");
                return mismatch(format!("{text} lanes"), format!("{wanted} lanes"), remedy);
            }
            None => {
                return mismatch("no number of lanes".into(), format!("{wanted} lanes"), anew());
            }
        }
    }
    let mut subjects = found.subjects.clone();
    subjects.sort_unstable();
    let mut expected = spec.subjects.clone();
    expected.sort_unstable();
    if subjects != expected {
        return mismatch(
            format!("subjects {}", subjects.join(" ")),
            format!("subjects {}", expected.join(" ")),
            anew(),
        );
    }
    // With any other setting the server may drop what it has acknowledged.
    if found.retention != RetentionPolicy::Limits {
        let found = format!("retention {:?}", found.retention);
        return mismatch(found, "retention Limits".into(), anew());
    }
    if found.discard != DiscardPolicy::New {
        let remedy = "set its discard policy to new".into();
        return mismatch("discard Old".into(), "discard New".into(), remedy);
    }
    if found.storage != StorageType::File {
        return mismatch("memory storage".into(), "file storage".into(), anew());
    }
    Ok(())
}

/// The found configuration with the limits that may be changed in place; none when all are right.
fn update(found: &Config, wanted: &Config) -> Option<Config> {
    let updated = Config {
        max_age: wanted.max_age,
        max_bytes: wanted.max_bytes,
        num_replicas: wanted.num_replicas,
        duplicate_window: wanted.duplicate_window,
        allow_direct: true,
        allow_message_ttl: true,
        ..found.clone()
    };
    (updated != *found).then_some(updated)
}
