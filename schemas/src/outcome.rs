//! The named outcomes of a record (invariant I2): each record of the log ends in exactly one.

use serde::{Deserialize, Serialize};

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $word:literal)*) => {
        /// What became of a record. The ledger counts them per lane, and their sum equals the sum
        /// of the record counts in the frame headers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Outcome { $($(#[$doc])* $name,)* }

        impl Outcome {
            /// All of them, in ledger order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word in tables, metrics and pages.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// The outcome of that name.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }
        }
    };
}

outcomes! {
    /// A delivery whose alerts were folded.
    Observed = "observed"
    /// Authentic, but no alert: undetected text, comment, unmapped reaction.
    Recorded = "recorded"
    /// Authentic, but not parseable as its provider's payload.
    Rejected = "rejected"
    /// Could not be applied; the bytes stay in the log, a row says why.
    Parked = "parked"
    /// The sender sent it again; its first copy was applied.
    Redelivered = "redelivered"
    /// A record of a frame that stood in the log already.
    RepeatedFrame = "repeated_frame"
    /// Concerns another lane.
    Elsewhere = "elsewhere"
    Command = "command"
    Answer = "answer"
    Outcome = "outcome"
    Tick = "tick"
    Redrive = "redrive"
    Control = "control"
}

impl<C> minicbor::Encode<C> for Outcome {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(self.word())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Outcome {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::from_word(d.str()?)
            .ok_or_else(|| minicbor::decode::Error::message("unknown outcome").at(at))
    }
}
