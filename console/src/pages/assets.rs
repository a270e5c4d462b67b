//! The files of the pages, embedded in the binary.

use std::sync::LazyLock;

use axum::{
    extract::{Path, Query},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One file.
#[derive(Debug)]
pub struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// First 16 hex digits of the SHA-256 of the bytes.
    version: LazyLock<String>,
}

macro_rules! assets {
    ($($constant:ident = $name:literal, $kind:literal;)*) => {
        $(pub static $constant: Asset = Asset {
            name: $name,
            kind: $kind,
            bytes: include_bytes!(concat!("../../static/", $name)),
            version: LazyLock::new(|| version($constant.bytes)),
        };)*
        static ALL: &[&Asset] = &[$(&$constant),*];
    };
}

assets! {
    CSS = "console.css", "text/css; charset=utf-8";
    JS = "live.js", "text/javascript; charset=utf-8";
    ICON = "icon.svg", "image/svg+xml";
}

fn version(bytes: &[u8]) -> String {
    const_hex::encode(&Sha256::digest(bytes)[..8])
}

impl Asset {
    /// Changes when the file does; pages ask for `file?v=version`.
    pub fn version(&'static self) -> &'static str {
        &self.version
    }
}

#[derive(Debug, Deserialize)]
pub struct Versioned {
    v: Option<String>,
}

/// A file by name: for good when asked for by version, else checked each time.
pub async fn asset(
    Path(name): Path<String>,
    Query(query): Query<Versioned>,
    headers: HeaderMap,
) -> Response {
    let Some(asset) = ALL.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let version = asset.version();
    let cache = if query.v.as_deref() == Some(version) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let tag = format!("\"{version}\"");
    let told = [
        (header::CONTENT_TYPE, asset.kind.to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
        (header::ETAG, tag.clone()),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, told).into_response();
    }
    (told, asset.bytes).into_response()
}

#[cfg(test)]
mod tests {
    /// Relative luminance of `#rrggbb` (WCAG 2).
    fn luminance(hex: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    /// The token's colour in a theme: 0 light, 1 dark.
    fn colour(css: &str, token: &str, theme: usize) -> String {
        let (_, rest) = css.split_once(&format!("--{token}: ")).unwrap();
        let value = rest.split_once(';').unwrap().0;
        match value.strip_prefix("light-dark(") {
            None => value.to_owned(),
            Some(pair) => {
                let mut pair = pair.trim_end_matches(')').split(", ");
                pair.nth(theme).unwrap().to_owned()
            }
        }
    }

    fn ratio(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_edges_have_their_contrast_on_every_ground_in_both_themes() {
        let css = std::str::from_utf8(super::CSS.bytes).unwrap();
        let grounds = ["bg", "surface", "sunken", "sel"];
        let text = ["ink", "ink2", "ink3", "accent", "critical-word", "high-word"];
        let edges = ["line2", "medium-glyph", "low-edge"];
        let check = |a: &str, b: &str, least: f64| {
            for theme in [0, 1] {
                let ratio = ratio(&colour(css, a, theme), &colour(css, b, theme));
                assert!(ratio >= least, "{a} on {b} in theme {theme}: {ratio:.2}");
            }
        };
        for ground in grounds {
            text.iter().for_each(|token| check(token, ground, 4.5));
            edges.iter().for_each(|token| check(token, ground, 3.0));
        }
        check("critical-text", "critical-fill", 4.5);
        check("on-accent", "accent", 4.5);
    }
}
