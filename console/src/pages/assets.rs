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
