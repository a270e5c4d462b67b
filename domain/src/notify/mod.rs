//! Who is told what: planned messages and withheld ones, each with the rule that decided.
//!
//! ```text
//! decision event ──> prepare ──> decide(state, event) ──> notices (why, why not)  ──> channel `notice`
//!                                                    └──> plans   (whom, what)    ──> send job rows
//! ```
//!
//! Decisions are made on what was planned, never on what became of a send, so a replay decides the
//! same without asking any provider. Receivers are names; which channels stand behind them is
//! configuration and unknown here.

mod decide;
mod feishu;
mod format;
mod plan;
mod render;
mod reply;
mod row;
mod state;
mod summary;
#[cfg(test)]
mod tests;
mod working;

pub use decide::{Decided, Prepared, decide, prepare, reply::incident_of_test};
pub use feishu::{feishu_card, feishu_text};
pub use format::{
    ANY, Key, KeyName, Language, Message, SAMPLES, Sample, TemplateError, Templates, keyboard,
    sample_facts, wecom_text,
};
pub use plan::{Plan, Recipient};
pub use render::{render_text, severity};
pub use reply::{about, with_found};
pub use row::{Message as ToldMessage, Told};
pub use state::{DUE_PER_TICK, State};
pub use working::{Changes, Found, Key as ProblemKey, Missing, Row};

/// Version of this fold: raised whenever the same events would be decided otherwise. 2 decides by
/// the rules in force instead of the built-in ones; 3 by environment and level, once an hour, with
/// silences, inhibition, summaries and reminders, and keeps what was told of a problem as a row; 4
/// tells when a level rises and when what was folded into an earlier message still fires after its
/// hour, lets bundles sleep, and tells the ends of a storm in summaries.
pub const FOLD_VERSION: u32 = 4;
