//! The bytes of a segment: entries one behind the other, each of which proves itself.
//!
//! ```text
//! entry = "bwsp" | length u32 | !length u32 | check [16] | body [length]
//! body  = class u8 | lane key u16 | message id length u16 | message id | frame
//! ```
//!
//! Numbers are little-endian. `check` is the head of SHA-256 over the segment's salt and number, the
//! entry's offset and the body, so that an entry holds at its own place only: a sender cannot put
//! into its body what would be taken for an entry, because it does not know the salt.

use bytes::Bytes;
use schemas::{Lane, LaneKey, subject::Class};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 4] = b"bwsp";
const CHECK: usize = 16;
/// Bytes in front of an entry's body.
pub(super) const HEADER: usize = MAGIC.len() + 8 + CHECK;
/// Bytes of a body that are neither message id nor frame.
const FIXED: usize = 5;
/// The lane key `all`, which no lane has as its number.
const ALL: u16 = u16::MAX;

/// A closed frame as it goes into a spool, and as it is published from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: LaneKey,
    pub(crate) class: Class,
    /// Under which every try of this frame is published.
    pub(crate) message_id: String,
    pub(crate) frame: Bytes,
}

/// Which segment an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Known to nobody who sends.
    pub(super) salt: [u8; 16],
    pub(super) number: u64,
}

impl Entry {
    /// Size on disk in bytes.
    pub(super) fn size(&self) -> u64 {
        (HEADER + FIXED + self.message_id.len() + self.frame.len()) as u64
    }

    /// Appends the entry to `out`, the first byte of which is at `base` in the segment.
    pub(super) fn write(&self, place: Place, base: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEADER, 0);
        out.push(matches!(self.class, Class::Control) as u8);
        let key = match self.key {
            LaneKey::Lane(Lane(lane)) => lane,
            LaneKey::All => ALL,
        };
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&(self.message_id.len() as u16).to_le_bytes());
        out.extend_from_slice(self.message_id.as_bytes());
        out.extend_from_slice(&self.frame);
        let length = (out.len() - start - HEADER) as u32;
        let check = check(place, base + start as u64, &out[start + HEADER..]);
        let header = &mut out[start..start + HEADER];
        header[..4].copy_from_slice(MAGIC);
        header[4..8].copy_from_slice(&length.to_le_bytes());
        header[8..12].copy_from_slice(&(!length).to_le_bytes());
        header[12..].copy_from_slice(&check);
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (fixed, rest) = body.split_at_checked(FIXED)?;
        let class = match fixed[0] {
            0 => Class::Data,
            1 => Class::Control,
            _ => return None,
        };
        let key = match u16::from_le_bytes([fixed[1], fixed[2]]) {
            ALL => LaneKey::All,
            lane => LaneKey::Lane(Lane(lane)),
        };
        let id = usize::from(u16::from_le_bytes([fixed[3], fixed[4]]));
        let (id, frame) = rest.split_at_checked(id)?;
        let message_id = std::str::from_utf8(id).ok()?.to_owned();
        Some(Self { key, class, message_id, frame: Bytes::copy_from_slice(frame) })
    }
}

fn check(place: Place, offset: u64, body: &[u8]) -> [u8; CHECK] {
    let mut hash = Sha256::new();
    hash.update(place.salt);
    hash.update(place.number.to_le_bytes());
    hash.update(offset.to_le_bytes());
    hash.update(body);
    let mut head = [0; CHECK];
    head.copy_from_slice(&hash.finalize()[..CHECK]);
    head
}

/// What stands at some place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Entry(Entry),
    /// Bytes that were whole once, or should have been: something else than a cut write happened.
    Damaged {
        bytes: usize,
    },
    /// The segment ends within an entry: a write that was cut, which nobody was told of.
    Torn {
        bytes: usize,
    },
}

/// Everything in `bytes`, which begin at offset `base` of the segment: each whole entry, whatever
/// stands before, between and behind them.
pub(super) fn scan(place: Place, base: u64, bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if let Some((entry, size)) = entry_at(place, base, bytes, at) {
            found.push(Found::Entry(entry));
            at += size;
            continue;
        }
        let next = (at + 1..bytes.len())
            .filter(|next| bytes[*next..].starts_with(MAGIC))
            .find(|next| entry_at(place, base, bytes, *next).is_some());
        let end = next.unwrap_or(bytes.len());
        found.push(match next.is_none() && is_cut(&bytes[at..]) {
            true => Found::Torn { bytes: end - at },
            false => Found::Damaged { bytes: end - at },
        });
        at = end;
    }
    found
}

fn entry_at(place: Place, base: u64, bytes: &[u8], at: usize) -> Option<(Entry, usize)> {
    let (header, rest) = bytes[at..].split_at_checked(HEADER)?;
    let length = length_in(header)?;
    let body = rest.get(..length)?;
    if header[12..] != check(place, base + at as u64, body) {
        return None;
    }
    Some((Entry::read(body)?, HEADER + length))
}

/// The length a whole header gives; it stands there twice, so that a flipped bit is no length.
fn length_in(header: &[u8]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let (length, inverse) = (number(4)?, number(8)?);
    (header.starts_with(MAGIC) && length == !inverse).then_some(length as usize)
}

/// Whether `rest`, the end of a segment, is what a write leaves that was not finished: the head of
/// an entry, or room that was taken and never filled.
fn is_cut(rest: &[u8]) -> bool {
    let announced = || length_in(rest).is_some_and(|length| rest.len() < HEADER + length);
    let short = rest.len() < 12 && MAGIC.starts_with(&rest[..rest.len().min(MAGIC.len())]);
    short || announced() || rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { salt: *b"0123456789abcdef", number: 7 };

    fn entries() -> Vec<Entry> {
        let entry = |key, class, id: &str, frame: &[u8]| Entry {
            key,
            class,
            message_id: id.to_owned(),
            frame: Bytes::copy_from_slice(frame),
        };
        vec![
            entry(LaneKey::Lane(Lane(0)), Class::Data, "p:0:1", b"a frame"),
            entry(LaneKey::All, Class::Data, "p:all:1", b""),
            entry(LaneKey::Lane(Lane(300)), Class::Control, "p:300:1", b"bwsp bwsp\0\0\0!"),
        ]
    }

    fn segment(entries: &[Entry], base: u64) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for entry in entries {
            entry.write(PLACE, base, &mut bytes);
            ends.push(bytes.len());
        }
        assert_eq!(bytes.len() as u64, entries.iter().map(Entry::size).sum::<u64>());
        (bytes, ends)
    }

    fn whole(found: &[Found]) -> Vec<Entry> {
        let entry = |f: &Found| if let Found::Entry(e) = f { Some(e.clone()) } else { None };
        found.iter().filter_map(entry).collect()
    }

    #[test]
    fn every_prefix_gives_exactly_the_entries_that_are_whole_in_it() {
        let entries = entries();
        let (bytes, ends) = segment(&entries, 0);
        for cut in 0..=bytes.len() {
            let count = ends.iter().filter(|end| **end <= cut).count() - 1;
            let mut expected: Vec<_> = entries[..count].iter().cloned().map(Found::Entry).collect();
            if cut > ends[count] {
                expected.push(Found::Torn { bytes: cut - ends[count] });
            }
            assert_eq!(scan(PLACE, 0, &bytes[..cut]), expected, "cut at {cut}");
            // Room taken on disk but never written reads as zeros.
            let mut zeros = bytes[..cut].to_vec();
            zeros.resize(cut + 40, 0);
            assert_eq!(whole(&scan(PLACE, 0, &zeros)), entries[..count], "zeros from {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_costs_the_entry_it_is_in_and_is_seen() {
        let entries = entries();
        let (bytes, ends) = segment(&entries, 0);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hit = ends.iter().filter(|end| **end <= bit / 8).count() - 1;
            let found = scan(PLACE, 0, &bytes);
            let mut expected = entries.clone();
            expected.remove(hit);
            assert_eq!(whole(&found), expected, "bit {bit}");
            assert!(found.iter().any(|f| matches!(f, Found::Damaged { .. })), "bit {bit}");
        }
    }

    #[test]
    fn an_entry_holds_at_its_own_place_only() {
        let entries = entries();
        let (bytes, ends) = segment(&entries, 100);
        assert_eq!(whole(&scan(PLACE, 100, &bytes)), entries);
        assert_eq!(whole(&scan(PLACE, 100 + ends[1] as u64, &bytes[ends[1]..])), entries[1..]);
        assert_eq!(whole(&scan(PLACE, 0, &bytes)), []);
        for other in [Place { number: 8, ..PLACE }, Place { salt: [0; 16], ..PLACE }] {
            assert_eq!(whole(&scan(other, 100, &bytes)), []);
        }
    }
}
