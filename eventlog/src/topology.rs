//! The streams as data: what exists, under which subjects, and what each keeps.
//!
//! [`crate::Log::ensure`] turns this into streams. To add one: a function here that returns its
//! [`StreamSpec`]; names and subjects come from [`schemas::subject`].

use std::{num::NonZeroU16, time::Duration};

use schemas::{
    Generation, Namespace,
    subject::{deliveries_all, deliveries_stream, events_all, events_stream},
};

use crate::JetStreamConfig;

/// Key of the stream metadata that holds the number of lanes.
pub const LANES_KEY: &str = "lanes";

/// How long the input log keeps a record of class `d`: 35 days.
pub const RETENTION: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// How long a server remembers message ids. A frame whose publish has an unknown outcome is sent
/// again well within it; beyond it, frame numbers still tell a reader what stands twice.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A stream as it must be. All are kept on disk with limits retention and refuse new messages when
/// full (discard new): what was acknowledged is never pushed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    pub name: String,
    /// Subject filters it takes.
    pub subjects: Vec<String>,
    /// Messages older than this go, except those stored with [`crate::Publish::keep_forever`];
    /// none: age alone removes nothing.
    pub max_age: Option<Duration>,
    /// Size in bytes at which it refuses new messages; none: the limit of the connection's
    /// configuration.
    pub max_bytes: Option<i64>,
    /// Number of lanes its subjects were laid out for; fixed when it is made.
    pub lanes: Option<NonZeroU16>,
    /// How long message ids are remembered.
    pub duplicate_window: Duration,
}

/// The one input stream. Its number of lanes is kept in its metadata and cannot be changed in
/// place, because the lane of a project is part of every position behind it.
pub fn deliveries(config: &JetStreamConfig) -> StreamSpec {
    StreamSpec {
        name: deliveries_stream(&config.namespace),
        subjects: vec![deliveries_all(&config.namespace)],
        max_age: Some(RETENTION),
        max_bytes: Some(config.max_bytes),
        lanes: Some(config.lanes),
        duplicate_window: DUPLICATE_WINDOW,
    }
}

/// The derived events of one generation. They do not age: a subject's last frame carries the fence
/// and the `through` of its writer, so whoever purges leaves that one.
pub fn events(namespace: &Namespace, generation: Generation) -> StreamSpec {
    StreamSpec {
        name: events_stream(namespace, generation),
        subjects: vec![events_all(namespace, generation)],
        max_age: None,
        max_bytes: None,
        lanes: None,
        duplicate_window: DUPLICATE_WINDOW,
    }
}

/// Whether a subject falls under a filter with NATS's wildcards: `*` is one token, a final `>` one
/// or more.
pub fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in filter.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_server_matches() {
        let check = |filter, subject, expected| {
            assert_eq!(matches(filter, subject), expected, "{filter} over {subject}");
        };
        check("a.b.c", "a.b.c", true);
        check("a.*.c", "a.b.c", true);
        check("a.*", "a.b.c", false);
        check("a.>", "a.b.c", true);
        check("a.>", "a", false);
        check("a.b.*", "a.b", false);
        check("a.b", "a.bc", false);
    }
}
