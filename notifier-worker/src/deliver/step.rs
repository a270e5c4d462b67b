//! What a job comes down to, given what its target was told before: a message of its own, a change
//! of one that is there, or nothing. Pure.
//!
//! One incident is one message in a chat (A8): where the channel can, an update changes it, so that
//! whoever looks sees where it stands, and nobody is rung for it. Where it cannot, an update is told
//! as a message of its own only if it brings the analysis of something grave that the first one had
//! to go without; everything else would ring people for what does not ask them to do anything.
//!
//! That it is over people want both to see and to hear: the message is changed, so that nobody finds
//! an alarm in the chat that is none any more, and the end is told as a message of its own, below
//! the first where the channel can. A change alone would ring nobody who waits for it. The change
//! goes first: should the end be told and the worker be lost, nothing is left to do.
//!
//! No end without a beginning: when its beginning was definitely refused, the end is not told. When
//! nobody knows whether it arrived, the end goes: somebody may wait for it.

use schemas::{
    alert::Risk,
    job::{SendJob, SendKind, SummaryReason},
};
use store::job::History;
use uuid::Uuid;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Tell it as a message of its own.
    Send,
    /// Change the message of that name.
    Edit(String),
    /// Change the message of that name if that can be done, and tell it as a message of its own.
    EditAndSend(String),
    /// Nothing, and why.
    Nothing(&'static str),
}

/// What it depends on besides the job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// What the target was told before.
    pub history: &'a History,
    pub can_edit: bool,
    /// What it is told takes the place of what it was told before.
    pub replaces: bool,
    /// What the message would show now.
    pub shown: Uuid,
    /// It would carry an analysis.
    pub analysed: bool,
    /// The incident is over.
    pub over: bool,
    /// A newer job that says it all waits behind this one.
    pub newer: bool,
}

/// Why an update is not told; shown to operators.
const NEWER: &str = "a newer one waits";
const SHOWN: &str = "the message shows it already";
const CANNOT: &str = "the channel cannot change its messages";
const REFUSED: &str = "its message was refused";
const GREW: &str = "what the storm grew to says it all";
const OVER: &str = "it was never told, and is over";

/// Whether [`step`] looks at what was told before.
pub(super) fn looks_back(send: &SendJob) -> bool {
    match send.kind {
        SendKind::Resolve | SendKind::Update | SendKind::Remind => true,
        SendKind::Summary => grows(send),
        SendKind::Fire | SendKind::Test | SendKind::Reply => false,
    }
}

/// Whether a newer job makes this one needless.
pub(super) fn collapses(send: &SendJob) -> bool {
    send.kind == SendKind::Update || grows(send)
}

/// Whether `later` says all that `send` says.
pub(super) fn says_all(later: &SendJob, send: &SendJob) -> bool {
    let kind = match send.kind {
        // The end of a storm is told to those alone who know it by a key.
        SendKind::Update if of_storm(send) => later.kind == SendKind::Update,
        SendKind::Update => matches!(later.kind, SendKind::Update | SendKind::Resolve),
        SendKind::Summary => grows(later),
        SendKind::Fire
        | SendKind::Resolve
        | SendKind::Remind
        | SendKind::Test
        | SendKind::Reply => false,
    };
    kind && later.subject == send.subject
}

/// One message that is changed while what it is about grows.
fn grows(send: &SendJob) -> bool {
    of_storm(send) && send.kind == SendKind::Summary
}

fn of_storm(send: &SendJob) -> bool {
    send.summary.as_ref().is_some_and(|summary| summary.reason == SummaryReason::Storm)
}

/// What `send` comes down to.
pub(super) fn step(send: &SendJob, given: Given<'_>) -> Step {
    let named = || given.history.message.as_ref().and_then(|message| message.name.clone());
    let editable = || named().filter(|_| given.can_edit);
    match send.kind {
        SendKind::Fire | SendKind::Remind | SendKind::Test | SendKind::Reply => Step::Send,
        SendKind::Summary if !grows(send) => Step::Send,
        SendKind::Summary => match (&given.history.message, editable()) {
            _ if given.newer => Step::Nothing(NEWER),
            (Some(message), name)
                if message.shown == given.shown && (given.replaces || name.is_some()) =>
            {
                Step::Nothing(SHOWN)
            }
            _ if given.replaces => Step::Send,
            (Some(_), Some(name)) => Step::Edit(name),
            (Some(_), None) => Step::Nothing(CANNOT),
            (None, _) => Step::Send,
        },
        SendKind::Resolve if given.history.refused && !given.history.told() => {
            Step::Nothing(REFUSED)
        }
        SendKind::Resolve if given.replaces => Step::Send,
        SendKind::Resolve if of_storm(send) => Step::Nothing(GREW),
        SendKind::Resolve => match (&given.history.message, editable()) {
            (Some(message), Some(name)) if message.shown != given.shown => Step::EditAndSend(name),
            _ => Step::Send,
        },
        SendKind::Update => match (&given.history.message, editable()) {
            _ if given.newer => Step::Nothing(NEWER),
            (Some(message), name)
                if message.shown == given.shown && (given.replaces || name.is_some()) =>
            {
                Step::Nothing(SHOWN)
            }
            (Some(_), Some(name)) if !given.replaces => Step::Edit(name),
            (None, _) if !given.history.told() && given.over => Step::Nothing(OVER),
            _ if given.replaces => Step::Send,
            (None, _) if !given.history.told() => Step::Send,
            // What a storm grew to stands nowhere else; it is told no more often than it is changed.
            _ if of_storm(send) || follows_up(send, given) => Step::Send,
            _ => Step::Nothing(CANNOT),
        },
    }
}

/// Whether an update of what cannot be changed is worth a message of its own.
pub(super) fn follows_up(send: &SendJob, given: Given<'_>) -> bool {
    let grave = match send.risk {
        Risk::High | Risk::Critical => true,
        Risk::Low | Risk::Medium => false,
    };
    grave && given.analysed && !given.history.analysed && !given.over
}

#[cfg(test)]
mod tests {
    use schemas::{
        Facts, IncidentId, InputPosition, ProjectId, SourceId, Status, Time, job::Summary,
    };
    use store::job::Message;

    use super::*;

    fn job(kind: SendKind, risk: Risk) -> SendJob {
        let opening = InputPosition { incarnation: 7, sequence: 1, record: 0 }.alert(0);
        SendJob {
            project: ProjectId::new("shop").unwrap(),
            incident: IncidentId(Uuid::from_u128(1)),
            subject: opening.to_string(),
            opening,
            kind,
            target: "chat".into(),
            facts: Facts::new("sentry", SourceId::new("main").unwrap(), "boom", Status::Firing),
            risk,
            rule: "everything".into(),
            rules: "0123".into(),
            planned_at: Time::from_micros(5),
            frequency: None,
            cause: None,
            standing: None,
            summary: None,
            reply: None,
            tags: Vec::new(),
        }
    }

    fn summary(reason: SummaryReason) -> SendJob {
        let summary = Summary {
            reason,
            key: "k".into(),
            since: Time::from_micros(1),
            until: Time::from_micros(2),
            incidents: 2,
            alerts: 3,
            group: Vec::new(),
            items: Vec::new(),
        };
        SendJob { summary: Some(Box::new(summary)), ..job(SendKind::Summary, Risk::Low) }
    }

    const OLD: Uuid = Uuid::from_u128(1);
    const NEW: Uuid = Uuid::from_u128(2);

    fn told(name: Option<&str>, analysed: bool) -> History {
        let message = Message { name: name.map(str::to_owned), shown: OLD, analysed };
        History { message: Some(message), analysed, ..History::default() }
    }

    fn given(history: &History, can_edit: bool) -> Given<'_> {
        let replaces = false;
        Given { history, can_edit, replaces, shown: NEW, analysed: true, over: false, newer: false }
    }

    #[track_caller]
    fn check(send: &SendJob, given: Given<'_>, expect: Step) {
        assert_eq!(step(send, given), expect, "{:?} {given:?}", send.kind);
    }

    #[test]
    fn a8_an_update_changes_the_message_there_is() {
        let (update, edit) = (job(SendKind::Update, Risk::Low), || Step::Edit("m".into()));
        let history = told(Some("m"), false);
        check(&update, given(&history, true), edit());
        check(&update, Given { shown: OLD, ..given(&history, true) }, Step::Nothing(SHOWN));
        check(&update, Given { newer: true, ..given(&history, true) }, Step::Nothing(NEWER));
        check(&update, Given { over: true, ..given(&history, true) }, edit());
    }

    #[test]
    fn a8_an_update_of_what_was_never_sent_sends_it() {
        let update = job(SendKind::Update, Risk::Low);
        let refused = History { refused: true, ..History::default() };
        for history in [&History::default(), &refused] {
            for can_edit in [true, false] {
                check(&update, given(history, can_edit), Step::Send);
                let over = Given { over: true, ..given(history, can_edit) };
                check(&update, over, Step::Nothing(OVER));
            }
        }
    }

    #[test]
    fn a8_what_takes_the_place_of_what_was_there_is_sent_as_it_is() {
        let (update, resolve) =
            (job(SendKind::Update, Risk::Low), job(SendKind::Resolve, Risk::Low));
        let storm = summary(SummaryReason::Storm);
        for history in [told(Some("m"), true), told(None, true)] {
            let given = Given { replaces: true, ..given(&history, true) };
            for send in [&update, &resolve, &storm] {
                check(send, given, Step::Send);
            }
            for send in [&update, &storm] {
                check(send, Given { shown: OLD, ..given }, Step::Nothing(SHOWN));
                check(send, Given { newer: true, ..given }, Step::Nothing(NEWER));
            }
        }
        let (never, refused) =
            (History::default(), History { refused: true, ..History::default() });
        let given = |history| Given { replaces: true, ..given(history, false) };
        check(&update, given(&never), Step::Send);
        check(&update, Given { over: true, ..given(&never) }, Step::Nothing(OVER));
        check(&resolve, given(&refused), Step::Nothing(REFUSED));
    }

    #[test]
    fn a_follow_up_brings_the_analysis_of_something_grave_once() {
        let doubtful = History { doubtful: true, ..History::default() };
        for (risk, history, analysed, expect) in [
            (Risk::Critical, told(None, false), true, Step::Send),
            (Risk::High, told(Some("m"), false), true, Step::Send),
            (Risk::High, doubtful.clone(), true, Step::Send),
            (Risk::High, told(None, true), true, Step::Nothing(CANNOT)),
            (Risk::High, told(None, false), false, Step::Nothing(CANNOT)),
            (Risk::Medium, told(None, false), true, Step::Nothing(CANNOT)),
            (Risk::Low, doubtful, true, Step::Nothing(CANNOT)),
        ] {
            let update = job(SendKind::Update, risk);
            check(&update, Given { analysed, ..given(&history, false) }, expect);
        }
        let update = job(SendKind::Update, Risk::High);
        let history = told(None, false);
        check(&update, Given { over: true, ..given(&history, false) }, Step::Nothing(CANNOT));
        // It could change it, but does not know what it is called.
        check(&update, given(&history, true), Step::Send);
    }

    #[test]
    fn a8_an_end_is_shown_and_told_and_never_without_a_beginning() {
        let resolve = job(SendKind::Resolve, Risk::High);
        let refused = History { refused: true, ..History::default() };
        let doubtful = History { doubtful: true, refused: true, ..History::default() };
        // An attempt before this one changed it, and came no further.
        let mut shown = told(Some("m"), false);
        shown.message.as_mut().unwrap().shown = NEW;
        for (history, can_edit, expect) in [
            (told(Some("m"), false), true, Step::EditAndSend("m".into())),
            (told(Some("m"), false), false, Step::Send),
            (told(None, false), true, Step::Send),
            (shown, true, Step::Send),
            // A storm's message told it, which is another subject.
            (History::default(), true, Step::Send),
            (doubtful, true, Step::Send),
            (refused, true, Step::Nothing(REFUSED)),
        ] {
            check(&resolve, given(&history, can_edit), expect);
        }
    }

    #[test]
    fn a_storm_is_one_message() {
        let storm = summary(SummaryReason::Storm);
        let history = told(Some("m"), false);
        check(&storm, given(&History::default(), true), Step::Send);
        check(&storm, given(&history, true), Step::Edit("m".into()));
        check(&storm, given(&history, false), Step::Nothing(CANNOT));
        check(&storm, Given { newer: true, ..given(&history, true) }, Step::Nothing(NEWER));
        let grown = SendJob { kind: SendKind::Update, ..storm.clone() };
        check(&grown, given(&history, true), Step::Edit("m".into()));
        // Where it cannot be changed, what it grew to would be told nowhere.
        check(&grown, given(&history, false), Step::Send);
        // Its end is for those alone who know it by its key.
        let end = SendJob { kind: SendKind::Resolve, ..storm.clone() };
        for can_edit in [true, false] {
            check(&end, given(&history, can_edit), Step::Nothing(GREW));
        }
        check(&end, Given { replaces: true, ..given(&history, true) }, Step::Send);
        assert!(!says_all(&end, &grown) && says_all(&grown, &grown));
        let hourly = summary(SummaryReason::Hourly);
        check(&hourly, given(&history, true), Step::Send);
        assert!(says_all(&storm, &storm) && !says_all(&hourly, &storm));
        assert!(collapses(&storm) && !collapses(&hourly));
    }

    #[test]
    fn a_newer_update_or_the_end_says_all() {
        let of = |kind| job(kind, Risk::High);
        let update = of(SendKind::Update);
        assert!(says_all(&update, &update) && says_all(&of(SendKind::Resolve), &update));
        assert!(!says_all(&of(SendKind::Remind), &update));
        let other = SendJob { subject: "other".into(), ..update.clone() };
        assert!(!says_all(&other, &update));
        assert!(!says_all(&update, &of(SendKind::Fire)));
    }
}
