//! What a message is made from.

use jiff::tz::TimeZone;
use schemas::{
    Facts, ProjectId, Time,
    event::{Cause, Frequency},
    job::{Analysis, Reply, SendKind, Standing, Summary},
};

use super::words::{Language, Words};

/// What a message is made from: data only, none of it a credential.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub kind: SendKind,
    pub facts: &'a Facts,
    pub analysis: Option<&'a Analysis>,
    /// The incident's number (`INC-YYYYMMDD-NNN`).
    pub number: &'a str,
    /// The tenant, named where the payload names no project of its own.
    pub project: &'a ProjectId,
    /// When it was decided (lane time): shown where the payload does not say when it happened.
    pub told_at: Time,
    /// The zone that times are shown in.
    pub zone: &'a TimeZone,
    /// How often the problem occurred lately.
    pub frequency: Option<Frequency>,
    /// Why the incident was opened.
    pub cause: Option<Cause>,
    /// Where the incident stands; absent while nobody did anything with it.
    pub standing: Option<&'a Standing>,
    /// What a summary says.
    pub summary: Option<&'a Summary>,
    /// Whom a reply answers, and what.
    pub reply: Option<&'a Reply>,
    /// Marks the policy puts on it.
    pub tags: &'a [String],
    /// The language it is written in; absent: the one its format was given in.
    pub language: Option<Language>,
    /// The text of an operator's template, told as it is instead of what is built in.
    pub written: Option<&'a str>,
}

impl Message<'_> {
    /// The words of its language; `own` is the one its format was given in.
    pub(in crate::notify) fn words(&self, own: Language) -> &'static Words {
        self.language.unwrap_or(own).words()
    }

    /// A time in its zone, to the second.
    pub(in crate::notify) fn local(&self, time: Time) -> String {
        let zoned = time.timestamp().to_zoned(self.zone.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Its incident is over: the sender says so, or whoever changed it since.
    pub(in crate::notify) fn is_over(&self) -> bool {
        match self.kind {
            SendKind::Resolve => true,
            SendKind::Update => self.standing.is_some_and(|standing| standing.state.is_over()),
            SendKind::Fire
            | SendKind::Remind
            | SendKind::Summary
            | SendKind::Test
            | SendKind::Reply => false,
        }
    }

    /// The problem was over before, or ignored, and is back.
    pub(in crate::notify) fn is_back(&self) -> bool {
        match self.cause {
            Some(Cause::Regression | Cause::Reappearance) => !self.is_over(),
            Some(Cause::New) | None => false,
        }
    }
}
