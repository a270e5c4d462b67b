//! CBOR to and from memory.

use minicbor::{Decode, Encode};

use crate::CodecError;

/// Appends the CBOR form of `value` to `out`.
#[expect(clippy::expect_used, reason = "a Vec takes every write, and no encoder here refuses")]
pub fn append<T: Encode<()>>(value: &T, out: &mut Vec<u8>) {
    minicbor::encode(value, out).expect("encoding into memory cannot fail");
}

/// The CBOR form of `value`.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    append(value, &mut out);
    out
}

/// Reads one value; `what` names it in the error.
pub fn decode<'b, T: Decode<'b, ()>>(what: &'static str, bytes: &'b [u8]) -> Result<T, CodecError> {
    minicbor::decode(bytes).map_err(|e| CodecError::Decode { what, detail: e.to_string() })
}
