//! Preparing a batch in parallel.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_util::future::join_all;

use super::{
    entry::{Content, Entry},
    stop::{Stop, panic_text},
};
use crate::{Item, Stage};

/// This many items of together this many bytes are prepared where they are; handing them to other
/// threads costs more.
const INLINE: usize = 8;
const INLINE_BYTES: usize = 64 * 1024;

/// A batch ready to be folded.
pub(super) struct Batch<P> {
    pub entries: Vec<Entry>,
    pub items: Vec<(Item, P)>,
    /// What follows is to be prepared only after this is folded.
    pub ends: bool,
}

struct Chunk<P> {
    done: Vec<(Item, P)>,
    /// The last one done ends the batch.
    ends: bool,
    failed: Option<Stop>,
}

/// Prepares a batch, cut behind the first item that has to be its last; what was cut off comes back.
pub(super) async fn prepare<S: Stage>(
    stage: &Arc<S>,
    context: &S::Context,
    mut entries: Vec<Entry>,
    threads: usize,
) -> Result<(Batch<S::Prepared>, Vec<Entry>), Stop> {
    let items: Vec<Item> = entries
        .iter()
        .filter_map(|entry| match &entry.content {
            Content::Item(item) => Some(item.clone()),
            Content::Repeated | Content::GivenUp(_) | Content::Nothing => None,
        })
        .collect();
    let bytes: usize = items.iter().map(|item| item.bytes.len()).sum();
    let chunks = if items.len() <= INLINE && bytes <= INLINE_BYTES {
        vec![prepare_chunk(&**stage, context, items)]
    } else {
        in_parallel(stage, context, items, threads).await?
    };

    let mut batch = Batch { entries: Vec::new(), items: Vec::new(), ends: false };
    for mut chunk in chunks {
        batch.items.append(&mut chunk.done);
        if chunk.ends {
            // What stands behind it was prepared too early, and its errors mean nothing yet.
            batch.ends = true;
            break;
        }
        if let Some(stop) = chunk.failed {
            return Err(stop);
        }
    }
    let left = if batch.ends {
        let mut items = batch.items.len();
        let cut = entries.iter().position(|entry| {
            items -= usize::from(matches!(entry.content, Content::Item(_)));
            items == 0
        });
        entries.split_off(cut.map_or(entries.len(), |last| last + 1))
    } else {
        Vec::new()
    };
    batch.entries = entries;
    Ok((batch, left))
}

async fn in_parallel<S: Stage>(
    stage: &Arc<S>,
    context: &S::Context,
    mut items: Vec<Item>,
    threads: usize,
) -> Result<Vec<Chunk<S::Prepared>>, Stop> {
    let size = items.len().div_ceil(threads.max(1));
    let mut parts = Vec::new();
    while !items.is_empty() {
        let rest = items.split_off(size.min(items.len()));
        parts.push(std::mem::replace(&mut items, rest));
    }
    let chunks = join_all(parts.into_iter().map(|part| {
        let (stage, context) = (Arc::clone(stage), context.clone());
        tokio::task::spawn_blocking(move || prepare_chunk(&*stage, &context, part))
    }))
    .await;
    // Panics are caught inside; this only fails while the runtime shuts down.
    chunks.into_iter().map(|c| c.map_err(|_| Stop::Asked)).collect()
}

fn prepare_chunk<S: Stage>(
    stage: &S,
    context: &S::Context,
    items: Vec<Item>,
) -> Chunk<S::Prepared> {
    let mut chunk = Chunk { done: Vec::with_capacity(items.len()), ends: false, failed: None };
    for item in items {
        let prepared = catch_unwind(AssertUnwindSafe(|| {
            stage.prepare(context, &item).map(|prepared| (stage.ends_batch(&prepared), prepared))
        }));
        match prepared {
            Ok(Ok((ends, prepared))) => {
                chunk.done.push((item, prepared));
                if ends {
                    chunk.ends = true;
                    break;
                }
            }
            Ok(Err(halt)) => {
                chunk.failed = Some(Stop::Halt(halt.reason));
                break;
            }
            Err(panic) => {
                chunk.failed = Some(Stop::Poison {
                    at: item.at,
                    reason: format!("prepare {}", panic_text(&*panic)),
                });
                break;
            }
        }
    }
    chunk
}
