//! What operators do with an incident. Every verb may be said again: it then finds its work done.

use schemas::{Time, event::IncidentState, id};
use serde_json::Value;

use super::{FOLD_VERSION, Incident, opinion::Says};
use crate::providers::SILENCE_MINUTES;

/// How often operators may ask for triage of one incident.
const MOST_TRIAGE: u32 = 50;

/// A silence that would end less than this later is the one there is: a button pressed twice, or by
/// two people at once, says the same. In microseconds of lane time.
const SAME_SILENCE: i64 = 60_000_000;

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// I have it.
    Ack,
    /// Nobody has it any more.
    Unack,
    /// Its episode is over.
    Resolve,
    /// Its episode is not over.
    Reopen,
    /// The diagnosis is right.
    Confirm,
    /// The diagnosis is wrong; look again.
    Reject,
    /// Look again.
    RequestTriage,
    /// Others have it now.
    Handoff,
    /// A remark.
    Note,
    /// Tell nobody of it for a while.
    Silence,
    /// Tell of it again.
    Unsilence,
    /// What was told of it was of use.
    Useful,
    /// It was not.
    NotUseful,
    /// There was nothing to tell of.
    Noise,
}

impl Verb {
    /// All of them.
    const ALL: [Self; 14] = [
        Self::Ack,
        Self::Unack,
        Self::Resolve,
        Self::Reopen,
        Self::Confirm,
        Self::Reject,
        Self::RequestTriage,
        Self::Handoff,
        Self::Note,
        Self::Silence,
        Self::Unsilence,
        Self::Useful,
        Self::NotUseful,
        Self::Noise,
    ];

    /// The word in commands, events and pages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Unack => "unack",
            Self::Resolve => "resolve",
            Self::Reopen => "reopen",
            Self::Confirm => "confirm",
            Self::Reject => "reject",
            Self::RequestTriage => "request_triage",
            Self::Handoff => "handoff",
            Self::Note => "note",
            Self::Silence => "silence",
            Self::Unsilence => "unsilence",
            Self::Useful => "useful",
            Self::NotUseful => "not_useful",
            Self::Noise => "noise",
        }
    }

    /// The verb of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }
}

/// How long the arguments of `silence` ask for, in minutes: an hour unless they say otherwise.
///
/// # Errors
/// `bad_duration` when it is none, or longer than a week.
pub fn silence_minutes(arguments: &str) -> Result<u32, &'static str> {
    let (usual, most) = SILENCE_MINUTES;
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    match arguments.get("minutes") {
        None => Ok(usual),
        Some(minutes) => minutes
            .as_u64()
            .and_then(|minutes| u32::try_from(minutes).ok())
            .filter(|minutes| (1..=most).contains(minutes))
            .ok_or("bad_duration"),
    }
}

/// What somebody wrote with a verb.
pub fn remark(arguments: &str) -> Option<String> {
    let arguments: Value = serde_json::from_str(arguments).ok()?;
    Some(arguments.get("text")?.as_str()?.to_owned())
}

/// What a verb does to the episode of the incident's problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Episode {
    End,
    GoOn,
}

/// What came of a verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// False where it found its work done.
    pub changed: bool,
    pub episode: Option<Episode>,
    /// Reason of the triage call it asks for.
    pub triage: Option<String>,
}

impl Asked {
    fn changed(changed: bool) -> Self {
        Self { changed, ..Self::default() }
    }

    fn triage(reason: String) -> Self {
        Self { changed: true, triage: Some(reason), ..Self::default() }
    }

    fn episode(changed: bool, episode: Episode) -> Self {
        Self { changed, episode: changed.then_some(episode), ..Self::default() }
    }
}

impl Incident {
    /// Does what `actor` asks for at lane time `now`, given how the incident's episode ended, if it
    /// did.
    ///
    /// # Errors
    /// Why it cannot be done, in one word.
    pub fn apply(
        &mut self,
        verb: Verb,
        actor: &str,
        arguments: &str,
        over: Option<IncidentState>,
        now: Time,
    ) -> Result<Asked, &'static str> {
        self.fold = FOLD_VERSION;
        match verb {
            Verb::Ack | Verb::Unack | Verb::Handoff | Verb::Silence if over.is_some() => {
                Err("not_open")
            }
            Verb::Ack => {
                // Whoever it was handed to has it.
                let handed_off = self.handed_off.take().is_some();
                let acknowledged = !std::mem::replace(&mut self.acknowledged, true);
                Ok(Asked::changed(handed_off || acknowledged))
            }
            Verb::Unack => Ok(Asked::changed(std::mem::take(&mut self.acknowledged))),
            Verb::Handoff => {
                let said = Some(said(&[arguments]));
                Ok(Asked::changed(std::mem::replace(&mut self.handed_off, said) != said))
            }
            Verb::Resolve => Ok(Asked::episode(over.is_none(), Episode::End)),
            Verb::Reopen => match over {
                Some(IncidentState::Superseded) => Err("superseded"),
                Some(_) => {
                    self.reopened = true;
                    self.acknowledged = false;
                    (self.handed_off, self.confirmed) = (None, None);
                    self.silenced_until = None;
                    Ok(Asked::episode(true, Episode::GoOn))
                }
                None => Ok(Asked::default()),
            },
            Verb::Confirm => {
                let diagnosis = Some(self.diagnosis.clone().ok_or("no_diagnosis")?);
                if self.rejected == diagnosis {
                    self.rejected = None;
                }
                let changed = self.confirmed != diagnosis;
                self.confirmed = diagnosis;
                Ok(Asked::changed(changed))
            }
            Verb::Reject => {
                let diagnosis = Some(self.diagnosis.clone().ok_or("no_diagnosis")?);
                if self.rejected == diagnosis {
                    return Ok(Asked::default());
                }
                self.may_ask()?;
                self.rejected = diagnosis;
                self.confirmed = None;
                self.rejects += 1;
                Ok(Asked::triage(format!("reject {}", self.rejects)))
            }
            Verb::RequestTriage => {
                let last = format!("request {}", self.requests);
                if self.requests > 0 && !self.answered.contains(&last) {
                    return Ok(Asked::default());
                }
                self.may_ask()?;
                self.requests += 1;
                Ok(Asked::triage(format!("request {}", self.requests)))
            }
            Verb::Note => {
                let said = Some(said(&[actor, arguments]));
                Ok(Asked::changed(std::mem::replace(&mut self.noted, said) != said))
            }
            Verb::Silence => {
                let minutes = silence_minutes(arguments)?;
                let until = now.plus_seconds(i64::from(minutes) * 60);
                let later = self
                    .silence_at(now)
                    .is_none_or(|before| until.micros_since(before) >= SAME_SILENCE);
                if later {
                    self.silenced_until = Some(until);
                }
                Ok(Asked::changed(later))
            }
            Verb::Unsilence => {
                let silenced = self.silence_at(now).is_some();
                self.silenced_until = None;
                Ok(Asked::changed(silenced))
            }
            Verb::Useful => Ok(Asked::changed(self.opine(actor, Says::Useful))),
            Verb::NotUseful => Ok(Asked::changed(self.opine(actor, Says::NotUseful))),
            Verb::Noise => Ok(Asked::changed(self.opine(actor, Says::Noise))),
        }
    }

    /// Until when nobody is told of it, where that is so at lane time `now`.
    fn silence_at(&self, now: Time) -> Option<Time> {
        self.silenced_until.filter(|until| *until > now)
    }

    fn may_ask(&self) -> Result<(), &'static str> {
        if self.rejects + self.requests < MOST_TRIAGE { Ok(()) } else { Err("too_many_triage") }
    }
}

fn said(parts: &[&str]) -> u64 {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    id::hash(&parts).as_u64_pair().0
}

#[cfg(test)]
mod tests {
    use IncidentState::{
        Acknowledged, Confirmed, Expired, HandedOff, Open, Reopened, Resolved, Superseded,
        Suppressed,
    };
    use schemas::{Fingerprint, job::Analysis};

    use super::*;

    fn diagnosis() -> Analysis {
        Analysis { root_cause: "the pool is used up".into(), ..Analysis::default() }
    }

    /// Given an incident with a diagnosis, whose episode follows what its operators say, when these
    /// verbs are said, then it stands so after each; `=` before a word: nothing changed.
    #[track_caller]
    fn check(steps: &[(&str, &str)]) -> Incident {
        let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
        assert!(incident.answer("open", Some(&diagnosis())));
        let mut over = None;
        for (verb, expect) in steps {
            let verb_of = Verb::from_word(verb).unwrap();
            let got = match incident.apply(verb_of, "ada", "{}", over, Time::default()) {
                Ok(asked) => {
                    match asked.episode {
                        Some(Episode::End) => over = Some(Resolved),
                        Some(Episode::GoOn) => over = None,
                        None => {}
                    }
                    let triage = asked.triage.map(|t| format!(" asks {t}")).unwrap_or_default();
                    let same = if asked.changed { "" } else { "=" };
                    format!("{same}{}{triage}", incident.state(over).word())
                }
                Err(reason) => format!("! {reason}"),
            };
            assert_eq!(got, *expect, "{verb} in {steps:?}");
        }
        incident
    }

    #[test]
    fn every_verb_said_twice_is_said_once() {
        check(&[("ack", "acknowledged"), ("ack", "=acknowledged")]);
        check(&[
            ("unack", "=open"),
            ("ack", "acknowledged"),
            ("unack", "open"),
            ("unack", "=open"),
        ]);
        check(&[("resolve", "resolved"), ("resolve", "=resolved")]);
        check(&[("reopen", "=open"), ("resolve", "resolved"), ("reopen", "reopened")]);
        check(&[("confirm", "confirmed"), ("confirm", "=confirmed")]);
        check(&[("reject", "open asks reject 1"), ("reject", "=open")]);
        check(&[("request_triage", "open asks request 1"), ("request_triage", "=open")]);
        check(&[("handoff", "handed_off"), ("handoff", "=handed_off")]);
        check(&[("note", "open"), ("note", "=open")]);
        check(&[("silence", "open"), ("silence", "=open")]);
        check(&[("unsilence", "=open"), ("silence", "open"), ("unsilence", "open")]);
    }

    #[test]
    fn what_operators_do_changes_the_state_in_order() {
        check(&[
            ("ack", "acknowledged"),
            ("confirm", "confirmed"),
            ("handoff", "handed_off"),
            // Whoever it was handed to has it.
            ("ack", "confirmed"),
            ("reject", "acknowledged asks reject 1"),
            ("resolve", "resolved"),
            ("note", "resolved"),
            ("ack", "! not_open"),
            ("unack", "! not_open"),
            ("handoff", "! not_open"),
            ("silence", "! not_open"),
            ("unsilence", "=resolved"),
            ("reopen", "reopened"),
            ("ack", "acknowledged"),
            ("unack", "reopened"),
        ]);
    }

    #[test]
    fn r29_a_diagnosis_is_rejected_once_and_the_next_one_again() {
        let mut incident = check(&[("reject", "open asks reject 1")]);
        let reject = |incident: &mut Incident| {
            incident
                .apply(Verb::Reject, "ada", "{}", None, Time::default())
                .map(|asked| asked.triage)
        };
        // Nobody had another diagnosis: there is nothing more to reject.
        assert!(incident.answer("reject 1", None));
        assert_eq!(reject(&mut incident), Ok(None));
        assert!(incident.answer("request 1", Some(&diagnosis())));
        assert_eq!(reject(&mut incident), Ok(Some("reject 2".into())));
        assert!(!incident.answer("request 1", Some(&diagnosis())));
    }

    #[test]
    fn without_a_diagnosis_there_is_nothing_to_confirm_or_reject() {
        let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
        assert!(incident.answer("open", None));
        for verb in [Verb::Confirm, Verb::Reject] {
            let asked = incident.apply(verb, "ada", "{}", None, Time::default());
            assert_eq!(asked, Err("no_diagnosis"));
        }
    }

    #[test]
    fn triage_is_asked_for_so_often_and_no_more() {
        let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
        for n in 1..=MOST_TRIAGE {
            let asked =
                incident.apply(Verb::RequestTriage, "ada", "{}", None, Time::default()).unwrap();
            let reason = format!("request {n}");
            assert_eq!(asked.triage.as_deref(), Some(reason.as_str()));
            incident.answer(&reason, Some(&diagnosis()));
        }
        let more = incident.apply(Verb::RequestTriage, "ada", "{}", None, Time::default());
        assert_eq!(more, Err("too_many_triage"));
    }

    #[test]
    fn an_end_is_what_the_problem_says_and_only_the_latest_can_be_undone() {
        for over in [Resolved, Suppressed, Expired, Superseded] {
            let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
            assert_eq!(incident.state(Some(over)), over);
            let now = Time::default();
            let resolve = incident.apply(Verb::Resolve, "ada", "{}", Some(over), now).unwrap();
            assert_eq!(resolve, Asked::default());
            let reopen = incident.apply(Verb::Reopen, "ada", "{}", Some(over), now);
            if over == Superseded {
                assert_eq!(reopen, Err("superseded"));
            } else {
                assert_eq!(reopen.unwrap().episode, Some(Episode::GoOn));
                assert_eq!(incident.state(None), Reopened);
            }
        }
        for state in [Open, Acknowledged, Confirmed, HandedOff, Reopened] {
            assert!(!state.is_over());
        }
    }

    #[test]
    fn another_hand_over_and_another_note_are_new() {
        let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
        let mut say = |verb, actor, text| {
            incident.apply(verb, actor, text, None, Time::default()).unwrap().changed
        };
        assert!(say(Verb::Handoff, "ada", r#"{"to":"dba"}"#));
        assert!(!say(Verb::Handoff, "bob", r#"{"to":"dba"}"#));
        assert!(say(Verb::Handoff, "ada", r#"{"to":"net"}"#));
        assert!(say(Verb::Note, "ada", r#"{"text":"pool?"}"#));
        assert!(say(Verb::Note, "bob", r#"{"text":"pool?"}"#));
        assert!(!say(Verb::Note, "bob", r#"{"text":"pool?"}"#));
    }

    #[test]
    fn every_verb_has_a_word_of_its_own() {
        for verb in Verb::ALL {
            assert_eq!(Verb::from_word(verb.word()), Some(verb));
        }
        assert_eq!(Verb::from_word("why"), None);
    }

    #[test]
    fn r36_a_silence_ends_and_only_a_later_end_is_another() {
        let mut incident = Incident::new(Fingerprint(uuid::Uuid::nil()));
        let mut say = |minute: i64, verb, arguments| {
            let now = Time::from_micros(minute * 60_000_000);
            incident.apply(verb, "ada", arguments, None, now).map(|asked| asked.changed)
        };
        assert_eq!(say(0, Verb::Silence, "{}"), Ok(true));
        assert_eq!(say(0, Verb::Silence, r#"{"minutes":30}"#), Ok(false), "it ends later already");
        assert_eq!(say(0, Verb::Silence, r#"{"minutes":120}"#), Ok(true));
        assert_eq!(say(119, Verb::Silence, r#"{"minutes":1}"#), Ok(false));
        assert_eq!(say(120, Verb::Unsilence, "{}"), Ok(false), "it is over");
        assert_eq!(say(120, Verb::Silence, r#"{"minutes":1}"#), Ok(true));
        assert_eq!(say(120, Verb::Unsilence, "{}"), Ok(true));
        for bad in [r#"{"minutes":0}"#, r#"{"minutes":10081}"#, r#"{"minutes":"1h"}"#] {
            assert_eq!(say(200, Verb::Silence, bad), Err("bad_duration"));
        }
        // The same minute, by two people.
        let at = |seconds: i64| Time::from_micros(seconds * 1_000_000);
        let mut press = |seconds| incident.apply(Verb::Silence, "ada", "{}", None, at(seconds));
        assert!(press(20_000).unwrap().changed);
        assert!(!press(20_059).unwrap().changed);
        assert!(press(20_060).unwrap().changed);
    }
}
