//! What notify remembers of one problem: what was told of it, to whom, and what is still to come.

use minicbor::{Decode, Encode};
use schemas::{
    CodecError, Facts, IncidentId, Level, Position, Status, Time,
    alert::Risk,
    codec,
    event::{Cause, Frequency, IncidentState, Opened, Rise},
    job::{Rose, Standing},
};

use super::{FOLD_VERSION, Recipient};

/// How long a problem that is over is remembered, in seconds of lane time: an operator may open its
/// incident again, and its message then goes on.
const KEPT: i64 = 24 * 3600;

/// A problem's latest incident, as it was told.
///
/// A field that is added gets a new number and is optional; a change of meaning raises
/// [`FOLD_VERSION`] and gets an upcaster in [`Told::decode`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Told {
    /// Version of the fold that wrote this.
    #[n(0)]
    fold: u32,
    #[n(1)]
    pub incident: IncidentId,
    #[n(2)]
    pub opening: Position,
    #[n(3)]
    pub risk: Risk,
    #[n(4)]
    pub cause: Cause,
    /// Those of its worst alert: an incident is as bad as it ever was, until its end.
    #[n(5)]
    pub facts: Box<Facts>,
    /// How often the problem occurred when its incident was opened, told or raised.
    #[n(6)]
    pub frequency: Option<Frequency>,
    /// The channel its sender asked for, in place of those the routes name.
    #[n(7)]
    pub channel: Option<String>,
    /// When people were last told of it by a message: the hour of R43 begins here.
    #[n(8)]
    pub told_at: Option<Time>,
    /// The message about it.
    #[n(9)]
    pub message: Option<Message>,
    /// The summaries it stands in that were still to be told when it was last put into one: where
    /// each is gathered, and its key.
    #[n(10)]
    #[cbor(default)]
    pub summaries: Vec<(String, String)>,
    /// It stands, or stood, in a summary.
    #[n(11)]
    #[cbor(default)]
    pub summarised: bool,
    /// It is not told because something stands in the way that may go away.
    #[n(12)]
    #[cbor(default)]
    pub waiting: bool,
    #[n(13)]
    pub state: IncidentState,
    /// The operator's last verb and name.
    #[n(14)]
    pub verb: Option<String>,
    #[n(15)]
    pub actor: Option<String>,
    /// Lane time at which that, or its end, came.
    #[n(16)]
    pub changed_at: Option<Time>,
    /// An operator silenced this incident until then.
    #[n(17)]
    pub silenced_until: Option<Time>,
    /// Times it was folded into its message.
    #[n(18)]
    #[cbor(default)]
    pub folded: u64,
    #[n(19)]
    #[cbor(default)]
    pub reminded: u32,
    /// When to remind of it, and when to look whether it may be told by now.
    #[n(20)]
    pub remind_at: Option<Time>,
    #[n(21)]
    pub look_at: Option<Time>,
    /// How many of its alerts a bundle counts that is still to be told.
    #[n(22)]
    #[cbor(default)]
    pub bundled: u64,
    /// The highest level people were told of in the hour that began with `told_at`.
    #[n(23)]
    pub told_level: Option<Level>,
    /// What is still to be said of it, although people were told of it.
    #[n(24)]
    pub owed: Option<Owed>,
    /// Its level rose; news until that is told.
    #[n(25)]
    pub rose: Option<Rose>,
    /// The alert with which it rose last.
    #[n(26)]
    pub rose_at: Option<Position>,
    /// It was told in a bundle, with others.
    #[n(27)]
    #[cbor(default)]
    pub by_bundle: bool,
}

/// What is said of an incident people know of, once nothing stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Owed {
    /// It fires: it was edited into an earlier message, which rang nobody (R43).
    #[n(0)]
    Fire,
    /// An operator's silence of it is over.
    #[n(1)]
    Voice,
}

/// A message that was planned, and stands with its receivers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Message {
    /// The incident it tells of, which an earlier episode may have opened.
    #[n(0)]
    pub incident: IncidentId,
    #[n(1)]
    pub opening: Position,
    #[n(2)]
    pub to: Vec<Recipient>,
    /// The rule by which they were told.
    #[n(3)]
    pub rule: String,
    /// Its end was told.
    #[n(4)]
    pub over: bool,
}

impl Told {
    /// An incident that was just opened, `before` being what its problem's last one left.
    pub fn opened(opened: &Opened, at: Position, before: Option<Self>) -> Self {
        let (told_at, told_level, message, folded) = before
            .map_or_else(Default::default, |before| {
                (before.told_at, before.told_level, before.message, before.folded)
            });
        Self {
            fold: FOLD_VERSION,
            incident: opened.incident,
            opening: at,
            risk: opened.risk,
            cause: opened.cause,
            facts: Box::new(opened.facts.clone()),
            frequency: opened.frequency,
            channel: opened.channel.clone(),
            told_at,
            message,
            summaries: Vec::new(),
            summarised: false,
            waiting: false,
            state: IncidentState::Open,
            verb: None,
            actor: None,
            changed_at: None,
            silenced_until: None,
            folded,
            reminded: 0,
            remind_at: None,
            look_at: None,
            bundled: 0,
            told_level,
            owed: None,
            rose: None,
            rose_at: None,
            by_bundle: false,
        }
    }

    /// An alert at that position says that it is worse than it was.
    pub fn worsen(&mut self, rise: &Rise, at: Position) {
        let Some(to) = rise.facts.level else { return };
        // People may not have heard of the rise before either.
        let from = match self.rose {
            Some(rose) if rose.news => rose.from,
            Some(_) | None => self.facts.level,
        };
        self.rose = Some(Rose { from, to, news: true });
        self.rose_at = Some(at);
        *self.facts = Facts { status: Status::Firing, ..rise.facts.clone() };
        self.risk = self.risk.max(rise.risk);
    }

    /// It rose, and that is still to be told.
    pub fn rises(&self) -> bool {
        self.rose.is_some_and(|rose| rose.news)
    }

    /// That it rose is told, as far as anybody is going to be told of it.
    pub fn settle_rise(&mut self) {
        if let Some(rose) = &mut self.rose {
            rose.news = false;
        }
    }

    /// Nothing of it is waiting to be told any more.
    pub fn settle(&mut self) {
        self.waiting = false;
        self.settle_rise();
        if self.owed == Some(Owed::Fire) {
            self.owed = None;
        }
    }

    /// The message about it told this one.
    pub fn has_told(&self, to: &Recipient) -> bool {
        let message = self.message.as_ref().filter(|m| m.incident == self.incident && !m.over);
        message.is_some_and(|message| message.to.contains(to))
    }

    /// It is worse than anything people were told of in the hour that runs.
    pub fn is_worse_than_told(&self) -> bool {
        Level::risk(self.facts.level) > Level::risk(self.told_level)
    }

    /// It is to be looked at then, if not before.
    pub fn look(&mut self, at: Time) {
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
    }

    /// Notes that it is over, or goes on.
    pub fn turn(&mut self, state: IncidentState, now: Time) {
        self.state = state;
        self.changed_at = Some(now);
        let over = state.is_over();
        self.facts.status = if over { Status::Resolved } else { Status::Firing };
        if over {
            (self.remind_at, self.look_at, self.waiting) = (None, None, false);
            self.owed = None;
            self.settle_rise();
        }
    }

    /// An operator has it, so that nobody else need be called.
    pub fn is_held(&self) -> bool {
        match self.state {
            IncidentState::Acknowledged | IncidentState::Confirmed | IncidentState::HandedOff => {
                true
            }
            IncidentState::Open
            | IncidentState::Reopened
            | IncidentState::Resolved
            | IncidentState::Suppressed
            | IncidentState::Expired
            | IncidentState::Superseded => false,
        }
    }

    /// Where it stands; none while nothing happened to it.
    pub fn standing(&self, now: Time) -> Option<Standing> {
        if self.changed_at.is_none() && self.folded == 0 && self.rose.is_none() {
            return None;
        }
        Some(Standing {
            state: self.state,
            verb: self.verb.clone(),
            actor: self.actor.clone(),
            at: self.changed_at.or(self.told_at).unwrap_or(now),
            silenced_until: self.silenced_until.filter(|until| *until > now),
            folded: self.folded,
            rose: self.rose,
        })
    }

    /// Lane time at which to look at it again.
    pub fn due(&self) -> Option<Time> {
        if self.state.is_over() {
            return self.forgotten_at();
        }
        [self.remind_at, self.look_at].into_iter().flatten().min()
    }

    /// When it may be forgotten; none while it lasts.
    pub fn forgotten_at(&self) -> Option<Time> {
        if !self.state.is_over() {
            return None;
        }
        // The hour of a message may last longer, where rules say so: it is looked at again then.
        self.changed_at.max(self.told_at).map(|at| at.plus_seconds(KEPT))
    }

    /// The row's form.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From the row's form. Rows of earlier folds are brought up to this one here.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        const WHAT: &str = "what was told of a problem";
        let mut told: Self = codec::decode(WHAT, bytes)?;
        if told.fold > FOLD_VERSION {
            return Err(CodecError::Newer { what: WHAT, found: told.fold, known: FOLD_VERSION });
        }
        if told.fold < 4 && told.told_at.is_some() {
            // Levels did not rise then: people were told of the one it has.
            told.told_level = told.facts.level;
        }
        told.fold = FOLD_VERSION;
        Ok(told)
    }
}
