//! Observe: the ordered fold of one lane of the input log.
//!
//! [`prepare`] does what needs no order and costs most (decode, normalise, redact, fingerprint) and
//! may run on any thread; [`LaneState::fold`] does the rest, strictly in log order, and says what
//! became of the record. Everything a fold may look at is in the record, in the lane's state, or in
//! the rows that [`LaneState::missing`] names beforehand: no clock, no randomness, no IO
//! (invariant I5).
//!
//! To fold another kind of record: an arm in [`prepare`] and one in `fold`.

mod counts;
mod escalation;
mod fingerprint;
mod fold;
mod handle;
mod incident;
mod incident_fields;
mod operators;
mod prepare;
mod problem;
#[cfg(test)]
pub(crate) mod samples;
mod state;
#[cfg(test)]
mod tests;
mod working;

pub use fingerprint::{
    FINGERPRINT_BY_RULE, FINGERPRINT_VERSION, Identity, Scope, identify, without_pod_suffix,
};
pub use fold::{LaneState, Verdict};
pub use handle::Named;
pub use incident::{Incident, Says, Verb, incident_id, remark, silence_minutes};
pub use incident_fields::{BlastRadius, IncidentFields};
pub use prepare::{Prepared, SeenKey, prepare};
pub use problem::{
    Change, Elsewhere, Latest, Part, Problem, Sighting, changed_at, occurrence_hash,
};
pub use state::{
    Changes, DUE_PER_TICK, Due, Found, IncidentKey, Missing, NewHandle, NewSeen, ProblemKey,
    ProblemRow, SEEN_DAYS, Unasked,
};

use schemas::{CodecError, InputPosition, Time};

/// Version of this fold. Raised whenever the same log would fold to another state or other events;
/// stored with the cursor and in every state row.
///
/// 4: names of incidents are kept as rows, and the lane's state holds who the users of chats are. No
/// earlier record comes to another outcome; but a fold of before would write that state without them.
/// 5: incidents are silenced by their operators, which is kept in their state, and who asks for what in
/// a chat is answered. A state of before has no silence, which is what it means there.
/// 6: analysts are asked with how often a problem occurred, what the playbook says of it and which
/// diagnosis was rejected; and how bad an episode was said to be is kept, so that it is told when it
/// gets worse. A state of before has the risk of its incident for that.
/// Users of chats are those of a source where their record says so, a press on what shows nothing and a
/// stranger's reaction are answered; a user of a state of before is that of every source.
/// What the last diagnosis says is kept, and what operators say of an incident's messages; of a state of
/// before neither is known.
pub const FOLD_VERSION: u32 = 6;

/// One record of the log, still as bytes.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub at: InputPosition,
    /// Exactly one CBOR item.
    pub bytes: &'a [u8],
    /// When the log stored it.
    pub stored_at: Time,
    /// It stands in the lane `all`, which every lane reads.
    pub of_all: bool,
}

/// Refuses a state row written by a later fold than this one.
fn known_fold(what: &'static str, found: u32) -> Result<(), CodecError> {
    if found > FOLD_VERSION {
        return Err(CodecError::Newer { what, found, known: FOLD_VERSION });
    }
    Ok(())
}
