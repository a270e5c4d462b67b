//! A field of a `multipart/form-data` body (RFC 7578), as much of it as one text field needs.

use schemas::record::Delivery;

/// Longest boundary there may be, in bytes (RFC 2046, 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// The bytes of the first field of that name; `None` when the body is no such form or has no such
/// field.
pub(super) fn field<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a [u8]> {
    let boundary = boundary(delivery.content_type.as_deref()?)?;
    let delimiter = format!("--{boundary}");
    let wanted = format!("name=\"{name}\"");
    let mut rest = &delivery.raw[find(&delivery.raw, delimiter.as_bytes())? + delimiter.len()..];
    loop {
        // Behind the last part stands `--` instead of a line's end.
        let part = rest.strip_prefix(b"\r\n")?;
        let end = find(part, format!("\r\n{delimiter}").as_bytes())?;
        let split = find(&part[..end], b"\r\n\r\n")?;
        let headers = String::from_utf8_lossy(&part[..split]);
        let is_wanted = headers.lines().any(|line| {
            let mut parameters = line.split(';').map(str::trim);
            let disposition = parameters.next().unwrap_or_default().to_ascii_lowercase();
            disposition.starts_with("content-disposition:") && parameters.any(|p| p == wanted)
        });
        if is_wanted {
            return Some(&part[split + 4..end]);
        }
        rest = &part[end + 2 + delimiter.len()..];
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    let form = parts.next()?.eq_ignore_ascii_case("multipart/form-data");
    let named = |part: &'_ str| part.len() > 9 && part[..9].eq_ignore_ascii_case("boundary=");
    let boundary =
        parts.filter(|part| part.is_ascii()).find(|part| named(part))?[9..].trim_matches('"');
    (form && (1..=MAX_BOUNDARY).contains(&boundary.len())).then_some(boundary)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
