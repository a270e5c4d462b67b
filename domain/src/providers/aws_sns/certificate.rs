//! As much of an X.509 certificate (RFC 5280, 4.1) as a signature is checked with: the key, and when
//! it holds.

use base64::{Engine, prelude::BASE64_STANDARD};
use schemas::Time;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Longest text that is read, in bytes.
const MAX_PEM: usize = 16 * 1024;

// Tags of DER (X.690).
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// See the module.
pub(super) struct Certificate {
    not_before: Time,
    not_after: Time,
    /// The `SubjectPublicKeyInfo`, DER.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// The first certificate of a PEM text.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(pem).ok().filter(|text| text.len() <= MAX_PEM)?;
        let (_, rest) = text.split_once(BEGIN)?;
        let (inside, _) = rest.split_once(END)?;
        let packed: String = inside.split_ascii_whitespace().collect();
        Self::from_der(&BASE64_STANDARD.decode(packed).ok()?)
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let certificate = Reader(der).take(SEQUENCE)?;
        let mut fields = Reader(Reader(certificate.content).take(SEQUENCE)?.content);
        if fields.tag() == Some(VERSION) {
            fields.take(VERSION)?;
        }
        fields.take(INTEGER)?; // serial number
        fields.take(SEQUENCE)?; // algorithm of the issuer's signature
        fields.take(SEQUENCE)?; // issuer
        let mut validity = Reader(fields.take(SEQUENCE)?.content);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        fields.take(SEQUENCE)?; // subject
        let public_key = fields.take(SEQUENCE)?.whole.to_vec();
        Some(Self { not_before, not_after, public_key })
    }

    /// Whether it holds at that time.
    pub fn is_valid_at(&self, time: Time) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }
}

/// What is still to be read of a sequence.
struct Reader<'a>(&'a [u8]);

struct Element<'a> {
    content: &'a [u8],
    /// The content, and the tag and the length before it.
    whole: &'a [u8],
}

impl<'a> Reader<'a> {
    fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, which has to have that tag.
    fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        let input = self.0;
        let first = *input.get(1).filter(|_| self.tag() == Some(tag))?;
        // Short form, or one or two bytes of length; more cannot be within `MAX_PEM`.
        let (header, length) = match first {
            0..=0x7F => (2, usize::from(first)),
            0x81 => (3, usize::from(*input.get(2)?)),
            0x82 => (4, usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?]))),
            _ => return None,
        };
        let whole = input.get(..header + length)?;
        self.0 = input.get(whole.len()..)?;
        Some(Element { content: whole.get(header..)?, whole })
    }

    /// `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` from then on.
    fn time(&mut self) -> Option<Time> {
        let tag = self.tag()?;
        let text = std::str::from_utf8(self.take(tag)?.content).ok()?;
        let text = match tag {
            UTC_TIME if text < "50" => format!("20{text}"),
            UTC_TIME => format!("19{text}"),
            GENERALIZED_TIME => text.to_owned(),
            _ => return None,
        };
        let digits = text.strip_suffix('Z')?;
        if digits.len() != 14 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (date, clock) = digits.split_at(8);
        let (year, month, day) = (&date[..4], &date[4..6], &date[6..]);
        let (hour, minute, second) = (&clock[..2], &clock[2..4], &clock[4..]);
        format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
    }
}
