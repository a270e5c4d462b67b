//! One normalised, redacted occurrence: what a provider's body says, in our words.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{SourceId, Time};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $n:literal $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize,
            Deserialize,
        )]
        #[cbor(index_only)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* #[n($n)] $variant,)* }

        impl $name {
            /// The word in tables, messages and pages.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value of that name.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// How bad, mapped from the sender's word (R67).
    Level {
        Info = 0 "info",
        Warning = 1 "warning",
        Error = 2 "error",
        Fatal = 3 "fatal",
    }
}

words! {
    /// What the sender says of the problem.
    Status {
        Firing = 0 "firing",
        Resolved = 1 "resolved",
        /// Ignored, archived or silenced at the sender until it reappears.
        Suppressed = 2 "suppressed",
    }
}

words! {
    /// What kind of occurrence a dossier row is (R50).
    Stage {
        Received = 0 "received",
        Resolved = 1 "resolved",
        Heartbeat = 2 "heartbeat",
        Test = 3 "test",
    }
}

words! {
    /// Risk of an incident (R25).
    Risk {
        Low = 0 "LOW",
        Medium = 1 "MEDIUM",
        High = 2 "HIGH",
        Critical = 3 "CRITICAL",
    }
}

impl Stage {
    /// An occurrence the sender reports by itself: heartbeats and tests are asked for, so they
    /// neither recur nor prove that a sender is alive.
    pub const fn is_real(self) -> bool {
        match self {
            Self::Received | Self::Resolved => true,
            Self::Heartbeat | Self::Test => false,
        }
    }
}

impl Level {
    /// R25: fatal CRITICAL, error HIGH, warning MEDIUM, info LOW; none is MEDIUM.
    pub const fn risk(level: Option<Self>) -> Risk {
        match level {
            Some(Self::Fatal) => Risk::Critical,
            Some(Self::Error) => Risk::High,
            Some(Self::Warning) | None => Risk::Medium,
            Some(Self::Info) => Risk::Low,
        }
    }
}

/// The facts of an alert that messages, decisions and triage are made of. All text is redacted.
///
/// Absent means the payload does not state it: nothing here is invented.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Facts {
    /// Registry name of the provider.
    #[n(0)]
    pub provider: String,
    #[n(1)]
    pub source: SourceId,
    /// One line that says what is wrong.
    #[n(2)]
    pub title: String,
    #[n(3)]
    pub status: Status,
    #[n(4)]
    pub level: Option<Level>,
    /// The sender's own word for severity.
    #[n(5)]
    pub severity_raw: Option<String>,
    /// Name of the alert rule or exception.
    #[n(6)]
    pub alertname: Option<String>,
    #[n(7)]
    pub message: Option<String>,
    #[n(8)]
    pub culprit: Option<String>,
    #[n(9)]
    pub environment: Option<String>,
    #[n(10)]
    pub service: Option<String>,
    #[n(11)]
    pub namespace: Option<String>,
    /// What it is about: pod, instance, host, culprit.
    #[n(12)]
    pub target: Option<String>,
    /// The sender's own project (Sentry slug).
    #[n(13)]
    pub sender_project: Option<String>,
    #[n(14)]
    pub platform: Option<String>,
    /// The sender's id of the problem (Sentry issue id, Alertmanager fingerprint).
    #[n(15)]
    pub issue_id: Option<String>,
    /// Link to the sender's page; http(s) only.
    #[n(16)]
    pub url: Option<String>,
    #[n(17)]
    pub started_at: Option<Time>,
    /// When it ended; only of a resolved alert.
    #[n(18)]
    pub ended_at: Option<Time>,
    #[n(19)]
    pub first_seen: Option<Time>,
    /// How often, as the sender counts.
    #[n(20)]
    pub count: Option<u64>,
    #[n(21)]
    pub user_count: Option<u64>,
    /// Labels or tags, in the sender's order.
    #[n(22)]
    pub labels: Vec<(String, String)>,
    #[n(23)]
    pub annotations: Vec<(String, String)>,
    /// Last 5 frames of the first exception, outermost first (R24).
    #[n(24)]
    pub stack: Vec<StackFrame>,
}

impl Facts {
    /// Facts of which only this is known; the rest is absent.
    pub fn new(
        provider: impl Into<String>,
        source: SourceId,
        title: impl Into<String>,
        status: Status,
    ) -> Self {
        Self {
            provider: provider.into(),
            source,
            title: title.into(),
            status,
            level: None,
            severity_raw: None,
            alertname: None,
            message: None,
            culprit: None,
            environment: None,
            service: None,
            namespace: None,
            target: None,
            sender_project: None,
            platform: None,
            issue_id: None,
            url: None,
            started_at: None,
            ended_at: None,
            first_seen: None,
            count: None,
            user_count: None,
            labels: Vec::new(),
            annotations: Vec::new(),
            stack: Vec::new(),
        }
    }

    /// The label `name`.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The annotation `name`.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// One frame of a stack trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct StackFrame {
    #[n(0)]
    pub filename: Option<String>,
    #[n(1)]
    pub function: Option<String>,
    #[n(2)]
    pub lineno: Option<i64>,
    #[n(3)]
    pub context_line: Option<String>,
}

/// References into the systems that know more (R51); the count is all entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct SourceRefs {
    #[n(0)]
    pub sentry: Vec<String>,
    #[n(1)]
    pub signoz: Vec<String>,
    #[n(2)]
    pub alert: Vec<String>,
}

impl SourceRefs {
    /// All entries.
    pub fn count(&self) -> usize {
        self.sentry.len() + self.signoz.len() + self.alert.len()
    }
}

/// Keys that lead from the alert to logs and traces (R51).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct LogCorrelation {
    #[n(0)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[n(1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    #[n(2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[n(3)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    #[n(4)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentry_event_id: Option<String>,
    #[n(5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related_logs_url: Option<String>,
    #[n(6)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related_traces_url: Option<String>,
    /// Where in time to look.
    #[n(7)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// A stretch of time that a payload names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Window {
    #[n(0)]
    pub from: Time,
    #[n(1)]
    pub to: Time,
}

impl Window {
    /// Both ends, when both are known and in order.
    pub fn between(from: Option<Time>, to: Option<Time>) -> Option<Self> {
        let window = Self { from: from?, to: to? };
        (window.from <= window.to).then_some(window)
    }
}

/// One normalised occurrence inside a delivery, redacted.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Alert {
    #[n(0)]
    pub facts: Facts,
    #[n(1)]
    pub stage: Stage,
    /// The sender's id of this occurrence, unique enough to search by.
    #[n(2)]
    pub provider_event_id: String,
    /// The sender's time of this occurrence.
    #[n(3)]
    pub provider_ts: Option<Time>,
    /// When the status changed, as the sender says; decides which of two changes is stale.
    #[n(4)]
    pub status_at: Option<Time>,
    /// What makes it the same problem again; the fingerprint's input besides project, provider
    /// and environment.
    #[n(5)]
    pub identity: Vec<String>,
    /// One occurrence reported several ways (Sentry error, issue and event_alert) carries the same
    /// key and is counted once.
    #[n(6)]
    pub occurrence: Option<String>,
    #[n(7)]
    pub refs: SourceRefs,
    #[n(8)]
    pub correlation: LogCorrelation,
    /// The alert's part of the body, redacted, capped.
    #[n(9)]
    pub content: Content,
    /// What was odd about the payload, for people.
    #[n(10)]
    pub notes: Vec<String>,
}

/// Redacted content and what redaction did.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Content {
    #[n(0)]
    pub text: String,
    /// The first line or so, for lists.
    #[n(1)]
    pub preview: String,
    /// Id of the redaction rule set.
    #[n(2)]
    pub redaction: String,
    /// How many values were replaced.
    #[n(3)]
    pub replaced: u32,
    /// The text was longer than what may be stored; `text` is its head.
    #[n(4)]
    pub truncated: bool,
}
