//! Bodies that are sent compressed: read within a cap on what they become.

use std::io::Read;

use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;

/// The largest window a body may ask for, as a power of two: 8 MiB, as RFC 9659 has it.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Zstd,
}

/// Why a body could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It is not encoded as its header says, or it was cut.
    Broken,
    /// It becomes larger than the cap.
    TooLarge,
}

/// How the body is encoded; `None` where it is as it is.
///
/// # Errors
/// It is encoded in a way that is not read, or in several.
pub fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, ()> {
    let mut found = None;
    for line in headers.get_all(header::CONTENT_ENCODING) {
        for name in line.to_str().map_err(|_| ())?.split(',').map(str::trim) {
            let encoding = match name {
                name if name.is_empty() || name.eq_ignore_ascii_case("identity") => continue,
                name if name.eq_ignore_ascii_case("gzip") => Encoding::Gzip,
                name if name.eq_ignore_ascii_case("x-gzip") => Encoding::Gzip,
                name if name.eq_ignore_ascii_case("zstd") => Encoding::Zstd,
                _ => return Err(()),
            };
            if found.replace(encoding).is_some() {
                return Err(());
            }
        }
    }
    Ok(found)
}

/// What the body becomes, at most `cap` bytes.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(encoding: Encoding, body: &[u8], cap: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoded = Vec::new();
    // One byte more tells "exactly the cap" from "over it".
    let most = cap as u64 + 1;
    let read = match encoding {
        Encoding::Gzip => MultiGzDecoder::new(body).take(most).read_to_end(&mut decoded),
        Encoding::Zstd => zstd::Decoder::with_buffer(body).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            decoder.take(most).read_to_end(&mut decoded)
        }),
    };
    match read {
        _ if decoded.len() > cap => Err(DecodeError::TooLarge),
        Ok(_) => Ok(decoded),
        Err(_) => Err(DecodeError::Broken),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_cut_at_the_cap() {
        let body = vec![b'a'; 1 << 20];
        for (encoding, sent) in [
            (Encoding::Gzip, gzip(&body)),
            (Encoding::Zstd, zstd::encode_all(&body[..], 3).unwrap()),
        ] {
            assert!(sent.len() < 4096, "{encoding:?}: {} bytes", sent.len());
            assert_eq!(decode(encoding, &sent, 1 << 20).as_deref(), Ok(&body[..]));
            assert_eq!(decode(encoding, &sent, (1 << 20) - 1), Err(DecodeError::TooLarge));
            assert_eq!(decode(encoding, &sent, 0), Err(DecodeError::TooLarge));
            let cut = &sent[..sent.len() - 5];
            assert_eq!(decode(encoding, cut, 2 << 20), Err(DecodeError::Broken), "{encoding:?}");
            assert_eq!(decode(encoding, b"{}", 2 << 20), Err(DecodeError::Broken));
        }
        // Several parts are one body.
        let parts = [gzip(b"{\"a\":"), gzip(b"1}")].concat();
        assert_eq!(decode(Encoding::Gzip, &parts, 100).as_deref(), Ok(&b"{\"a\":1}"[..]));
    }

    #[test]
    fn a_window_larger_than_anybody_may_ask_for_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG + 1).unwrap();
        encoder.write_all(b"{}").unwrap();
        let sent = encoder.finish().unwrap();
        assert_eq!(decode(Encoding::Zstd, &sent, 100), Err(DecodeError::Broken));
    }

    #[test]
    fn one_encoding_is_read() {
        let check = |lines: &[&str], expect: Result<Option<Encoding>, ()>| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, line.parse().unwrap());
            }
            assert_eq!(encoding(&headers), expect, "{lines:?}");
        };
        check(&[], Ok(None));
        check(&["Identity"], Ok(None));
        check(&["GZIP"], Ok(Some(Encoding::Gzip)));
        check(&["identity, zstd"], Ok(Some(Encoding::Zstd)));
        for bad in [&["gzip, gzip"][..], &["gzip", "zstd"], &["br"], &["deflate"]] {
            check(bad, Err(()));
        }
    }
}
