//! Written runbook knowledge: what alerts of a kind usually mean, what to look at first, what helps.
//!
//! An entry says by conditions which alerts it is about; of those that fit, the one whose conditions
//! say it most closely comes first. The playbook that ships with this binary is read from
//! `playbook/*.toml`, a file a family; a rules document adds entries, and changes or disables those
//! that are there, by id. It does not look at anything, so its confidence is modest, and it says
//! nothing of an alert that no entry is about.
//!
//! To add a family: a file in `playbook/`, a line in `FAMILIES`, alerts in
//! `fixtures/triage/alerts.*.toml`.

mod answer;
mod entry;
#[cfg(test)]
mod tests;
mod when;

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, LazyLock},
};

use regex::{RegexSet, SetMatches};
use schemas::job::RunbookEntry;
use serde::Deserialize;

use crate::rules::Subject;

pub use answer::answer;
pub use entry::{Texts, Written};
use when::Said;
pub use when::{Fit, When};

/// What `analyzed_by` says.
pub const NAME: &str = "playbook";

/// How many entries go with a triage call.
pub const RUNBOOK_MAX: usize = 3;

/// Most entries in one section of a rules document.
const ENTRIES_MAX: usize = 200;

/// The files of the playbook that ships with this binary.
const FAMILIES: [(&str, &str); 17] = [
    ("kubernetes_workload.toml", include_str!("playbook/kubernetes_workload.toml")),
    ("kubernetes_cluster.toml", include_str!("playbook/kubernetes_cluster.toml")),
    ("node.toml", include_str!("playbook/node.toml")),
    ("prometheus.toml", include_str!("playbook/prometheus.toml")),
    ("postgres.toml", include_str!("playbook/postgres.toml")),
    ("mysql.toml", include_str!("playbook/mysql.toml")),
    ("redis.toml", include_str!("playbook/redis.toml")),
    ("kafka.toml", include_str!("playbook/kafka.toml")),
    ("rabbitmq.toml", include_str!("playbook/rabbitmq.toml")),
    ("elasticsearch.toml", include_str!("playbook/elasticsearch.toml")),
    ("etcd.toml", include_str!("playbook/etcd.toml")),
    ("web.toml", include_str!("playbook/web.toml")),
    ("dependency.toml", include_str!("playbook/dependency.toml")),
    ("python.toml", include_str!("playbook/python.toml")),
    ("javascript.toml", include_str!("playbook/javascript.toml")),
    ("jvm.toml", include_str!("playbook/jvm.toml")),
    ("go_and_others.toml", include_str!("playbook/go_and_others.toml")),
];

#[expect(clippy::expect_used, reason = "shipped with the binary; a test reads it")]
static BUILTIN: LazyLock<Arc<Entries>> = LazyLock::new(|| {
    let read = |(file, text): &(&str, &str)| {
        toml::from_str::<Document>(text).unwrap_or_else(|e| panic!("{file}: {e}")).entry
    };
    let entries = FAMILIES.iter().flat_map(read).collect();
    let layer = Layer::new(entries).expect("the built-in playbook");
    Arc::new(Entries::default().with(Arc::new(layer)).expect("the built-in playbook"))
});

/// Why an entry cannot stand where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// Where its id stands in the document, in bytes.
    pub at: Range<usize>,
    pub problem: String,
}

/// A file of the playbook.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    entry: Vec<Written>,
}

/// What one document says, its conditions ready.
#[derive(Debug)]
pub struct Layer {
    written: Vec<Written>,
    /// The phrases of all conditions, in their order.
    phrases: RegexSet,
    /// Of each entry, the place of the first phrase of each of its conditions.
    first: Vec<Vec<usize>>,
}

/// Entries by id, those of later layers instead of or over those of earlier ones. A copy shares
/// them.
#[derive(Clone, Debug)]
pub struct Playbook(Whose);

#[derive(Clone, Debug)]
enum Whose {
    /// Those that ship with this binary; they are read when first asked for.
    BuiltIn,
    Own(Arc<Entries>),
}

#[derive(Debug, Default)]
struct Entries {
    layers: Vec<Arc<Layer>>,
    by_id: BTreeMap<String, Entry>,
}

/// An entry in force.
#[derive(Clone, Debug)]
struct Entry {
    family: String,
    knowledge: Arc<RunbookEntry>,
    /// The layer, and the entry in it, that says when.
    when: (usize, usize),
    disabled: bool,
}

/// An entry in force, whole.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub family: &'a str,
    pub entry: &'a RunbookEntry,
    /// Any of them.
    pub when: &'a [When],
    pub disabled: bool,
}

/// An entry that fits an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    pub family: &'a str,
    pub entry: &'a RunbookEntry,
    pub fit: Fit,
    /// It ships with this binary and no document says otherwise when it fits.
    pub built_in: bool,
}

impl PartialEq for Playbook {
    fn eq(&self, other: &Self) -> bool {
        let written = |playbook: &Self| -> Vec<Written> {
            let layers = playbook.documents().iter();
            layers.flat_map(|layer| layer.written.clone()).collect()
        };
        written(self) == written(other)
    }
}

impl Eq for Playbook {}

impl Layer {
    /// Entries of one document.
    ///
    /// # Errors
    /// When there are too many, two have one id, or their phrases are too much together.
    pub fn new(written: Vec<Written>) -> Result<Self, String> {
        if written.len() > ENTRIES_MAX {
            return Err(format!("{} entries: use at most {ENTRIES_MAX}", written.len()));
        }
        for (n, entry) in written.iter().enumerate() {
            if written.iter().take(n).any(|before| before.id == entry.id) {
                return Err(format!("entry {:?} stands there twice", entry.id));
            }
        }
        let conditions = |entry: &Written| entry.when.clone().unwrap_or_default();
        let all: Vec<When> = written.iter().flat_map(conditions).collect();
        let phrases = when::set(all.iter().flat_map(When::phrases))?;
        let mut next = 0;
        let mut place = |when: &When| {
            let first = next;
            next += when.phrases().len();
            first
        };
        let first =
            written.iter().map(|entry| entry.when.iter().flatten().map(&mut place).collect());
        let first = first.collect();
        Ok(Self { written, phrases, first })
    }

    /// What is written, in the document's order.
    pub fn written(&self) -> &[Written] {
        &self.written
    }

    /// How closely the closest of an entry's conditions fits.
    fn fits(&self, entry: usize, said: &Said<'_>, found: &OnceCell<SetMatches>) -> Option<Fit> {
        let found = || found.get_or_init(|| self.phrases.matches(said.text()));
        let whens = self.written.get(entry)?.when.iter().flatten();
        let fits = whens
            .zip(self.first.get(entry)?)
            .filter_map(|(when, first)| when.fits(said, |phrase| found().matched(first + phrase)));
        // Of those that fit as closely the first.
        fits.reduce(|best, fit| if fit.specificity > best.specificity { fit } else { best })
    }
}

impl Entries {
    fn with(&self, layer: Arc<Layer>) -> Result<Self, Misplaced> {
        let (mut layers, mut by_id) = (self.layers.clone(), self.by_id.clone());
        let wrong = |written: &Written, problem| Misplaced { at: written.at.clone(), problem };
        for (n, written) in layer.written.iter().enumerate() {
            let here = (layers.len(), n);
            let entry = match by_id.remove(&written.id) {
                Some(known) => Entry {
                    family: written.family.clone().unwrap_or(known.family),
                    knowledge: Arc::new(written.texts.over(&known.knowledge)),
                    when: if written.when.is_some() { here } else { known.when },
                    disabled: written.disabled.unwrap_or(known.disabled),
                },
                None => Entry {
                    family: written.family().to_owned(),
                    knowledge: Arc::new(
                        written.new_entry().map_err(|problem| wrong(written, problem))?,
                    ),
                    when: here,
                    disabled: written.disabled.unwrap_or_default(),
                },
            };
            by_id.insert(written.id.clone(), entry);
        }
        layers.push(layer);
        Ok(Self { layers, by_id })
    }
}

impl Playbook {
    /// The playbook that ships with this binary.
    pub const fn builtin() -> &'static Self {
        &Self(Whose::BuiltIn)
    }

    /// This, with what `layer` says instead.
    ///
    /// # Errors
    /// When an entry is not known and does not say all of itself.
    pub fn with(&self, layer: Arc<Layer>) -> Result<Self, Misplaced> {
        let entries = self.in_force().with(layer)?;
        Ok(Self(Whose::Own(Arc::new(entries))))
    }

    fn in_force(&self) -> &Entries {
        match &self.0 {
            Whose::BuiltIn => &BUILTIN,
            Whose::Own(entries) => entries,
        }
    }

    /// The entries about an alert, the closest first; of those that fit as closely, those a rules
    /// document says, then by id. At most [`RUNBOOK_MAX`].
    pub fn choose(&self, subject: &Subject<'_>) -> Vec<Chosen<'_>> {
        let Entries { layers, by_id } = self.in_force();
        let said = Said::of(*subject);
        let found: Vec<OnceCell<SetMatches>> = vec![OnceCell::new(); layers.len()];
        let mut chosen: Vec<Chosen<'_>> = Vec::new();
        for entry in by_id.values().filter(|entry| !entry.disabled) {
            let (layer, place) = entry.when;
            let Some((layer_of, found)) = layers.get(layer).zip(found.get(layer)) else {
                continue;
            };
            let Some(fit) = layer_of.fits(place, &said, found) else { continue };
            let built_in = layer == 0;
            chosen.push(Chosen { family: &entry.family, entry: &entry.knowledge, fit, built_in });
        }
        // Stable: what is equal stays in the order of the ids.
        chosen.sort_by_key(|chosen| (std::cmp::Reverse(chosen.fit.specificity), chosen.built_in));
        chosen.truncate(RUNBOOK_MAX);
        chosen
    }

    /// What goes with a triage call about an alert: the entries about it, the closest first.
    pub fn runbook(&self, subject: &Subject<'_>) -> Vec<RunbookEntry> {
        self.choose(subject).into_iter().map(|chosen| chosen.entry.clone()).collect()
    }

    /// Every entry, by id.
    pub fn entries(&self) -> impl Iterator<Item = Known<'_>> {
        self.in_force().by_id.values().map(|entry| self.known(entry))
    }

    /// The entry of that id.
    pub fn entry(&self, id: &str) -> Option<Known<'_>> {
        self.in_force().by_id.get(id).map(|entry| self.known(entry))
    }

    fn known<'a>(&'a self, entry: &'a Entry) -> Known<'a> {
        let (layer, place) = entry.when;
        let written = self.in_force().layers.get(layer).and_then(|layer| layer.written.get(place));
        Known {
            family: &entry.family,
            entry: &entry.knowledge,
            when: written.and_then(|written| written.when.as_deref()).unwrap_or_default(),
            disabled: entry.disabled,
        }
    }

    /// The layers over the one that ships with this binary.
    pub fn documents(&self) -> &[Arc<Layer>] {
        match &self.0 {
            Whose::BuiltIn => &[],
            Whose::Own(entries) => entries.layers.get(1..).unwrap_or_default(),
        }
    }
}
