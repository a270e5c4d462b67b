//! The keys and switches in the log (R11): besides what the configuration says, a source lets in
//! whoever shows a key that `bellwether keys create` made for it, and nobody while it is switched
//! off.
//!
//! A key is a bearer key of a source, or of every source of a project; the log holds its SHA-256
//! and nothing else of it. A [`Follower`] reads the control records as they are appended, so a
//! revoked key holds no more within a second, and keeps a copy on disk, so that a start without the
//! log lets in whom it let in before.

mod copy;
mod follow;
mod held;
mod known;

use domain::providers::Credential;

use crate::{Issued, Source, Valid};

pub use copy::CopyFile;
pub use follow::Follower;
pub use held::{By, Held, Key, Scope};
pub use known::{Known, read};

/// What the control records say of a source.
fn issued(held: &Held, source: &Source) -> Issued {
    let valid = |key: &Key| {
        let (id, sha256) = (key.id.clone(), key.sha256);
        Valid { credential: Credential::Bearer { id, sha256 }, until: key.until }
    };
    let keys = held.keys().iter().filter(|key| key.is_of(&source.id, &source.project));
    let usable = keys.filter(|key| source.provider.accepts(&valid(key).credential));
    let usable: Vec<&Key> = usable.collect();
    Issued {
        guarded: !usable.is_empty(),
        keys: usable.iter().filter(|key| key.revoked.is_none()).map(|key| valid(key)).collect(),
        off: held.off(&source.id).is_some(),
        unread: false,
    }
}

#[cfg(test)]
mod tests;
