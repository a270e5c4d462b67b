//! What a message is to the cursor: a run of entries, each one step forward.

use minicbor::{Decode, Decoder, Encode};
use schemas::{CodecError, InputPosition, Time};
use store::lane::ProducerMark;

use crate::Item;

/// One step of the cursor.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the cursor stands once this is applied, in the stream that is read.
    pub at: InputPosition,
    /// The input position this belongs to; no batch takes it across the generation's frozen
    /// position.
    pub input: InputPosition,
    /// How far the input log is covered once this is applied, when that changes.
    pub through: Option<InputPosition>,
    pub stored_at: Time,
    /// Records of frame headers this stands for (I2).
    pub records: u64,
    /// The last frame of a producer, as of this entry.
    pub producer: Option<ProducerMark>,
    /// The last part of a writing stage, as of this entry.
    pub mark: Option<Mark>,
    pub content: Content,
}

/// What an entry holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Handed to the stage.
    Item(Item),
    /// A frame that stood in the log already. Never split: a later part of it could not be told
    /// from the rest of a frame that is applied for the first time.
    Repeated,
    /// Given up without showing it to the stage.
    GivenUp(String),
    /// A frame or part without content.
    Nothing,
}

impl Entry {
    /// Bytes it weighs against a batch's limit.
    pub fn weight(&self) -> usize {
        match &self.content {
            Content::Item(item) => item.bytes.len(),
            Content::Repeated | Content::GivenUp(_) | Content::Nothing => 0,
        }
    }
}

/// The last part read of one writing stage.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Mark {
    #[n(0)]
    pub stage: String,
    #[n(1)]
    pub batch: u64,
    #[n(2)]
    pub part: u32,
    /// Parts of that batch on the channels the reader reads.
    #[n(3)]
    pub of: u32,
}

/// What a reader of events remembers of each stage it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Marks {
    #[n(0)]
    marks: Vec<Mark>,
}

impl Marks {
    /// From the cursor row; empty bytes are the row's default.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        schemas::codec::decode("marks of a cursor", bytes)
    }

    /// For the cursor row.
    pub fn encode(&self) -> Vec<u8> {
        schemas::codec::encode(self)
    }

    /// The last part of `stage`.
    pub fn of(&self, stage: &str) -> Option<&Mark> {
        self.marks.iter().find(|m| m.stage == stage)
    }

    /// Notes a later part.
    pub fn set(&mut self, mark: Mark) {
        match self.marks.iter_mut().find(|m| m.stage == mark.stage) {
            Some(old) => *old = mark,
            None => self.marks.push(mark),
        }
    }
}

/// The boundaries of the items in a CBOR sequence.
pub(super) fn items_of(bytes: &[u8]) -> Result<Vec<std::ops::Range<usize>>, String> {
    let mut d = Decoder::new(bytes);
    let mut items = Vec::new();
    while d.position() < bytes.len() {
        let start = d.position();
        d.skip().map_err(|e| e.to_string())?;
        items.push(start..d.position());
    }
    Ok(items)
}
