//! Who is at the other end: the address of the connection, or the one that trusted proxies name.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Names the client before the first of our own proxies, the nearest one last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Whether one of the networks has the address.
pub fn listed(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The address of whoever sent the request.
///
/// What `X-Forwarded-For` says is believed from right to left, for as long as a trusted proxy says
/// it: each proxy appends the address it was called from, and what stands left of the first address
/// that is no proxy of ours is whatever that address wrote. `None`: a proxy named somebody, and
/// nobody can read whom; that is not the proxy itself, which may be on lists that its clients are
/// not on.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = peer.to_canonical();
    if trusted.is_empty() {
        return Some(client);
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    // Piece by piece: what a client wrote on the left must not hide what our proxy appended.
    let mut named = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    while listed(trusted, client) {
        let Some(address) = named.next().map(address) else { break };
        client = address?;
    }
    Some(client)
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let alone = bare.parse::<IpAddr>().ok();
    alone.or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip())).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(peer: &str, forwarded: &[&str], trusted: &[&str], expect: &str) {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let found = client(peer.parse().unwrap(), &headers, &trusted);
        let found = found.map_or("unknown".to_owned(), |found| found.to_string());
        assert_eq!(found, expect, "{peer} {forwarded:?} {trusted:?}");
    }

    #[test]
    fn r12_a_forwarded_address_is_believed_from_listed_proxies_alone() {
        let ours = ["10.0.0.0/8", "2001:db8::/32"];
        check("192.0.2.1", &["198.51.100.7"], &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.7"], &ours, "192.0.2.1");
        check("10.0.0.1", &[], &ours, "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7"], &ours, "198.51.100.7");
        // What the client itself wrote stands on the left.
        check("10.0.0.1", &["10.9.9.9, 198.51.100.7"], &ours, "198.51.100.7");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.7 , 10.0.0.2"], &ours, "198.51.100.7");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.7"], &ours, "198.51.100.7");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &ours, "10.0.0.3");
        // Nobody knows who that was: not the proxy, whose address may be on a list.
        check("10.0.0.1", &["198.51.100.7, unknown"], &ours, "unknown");
        check("10.0.0.1", &["198.51.100.7, 10.0.0.2, "], &ours, "unknown");
        check("10.0.0.1", &["x, 10.0.0.2"], &ours, "unknown");
        check("10.0.0.1", &["\u{e9}"], &ours, "unknown");
        // What is no text on the left hides nothing on the right.
        check("10.0.0.1", &["\u{e9}, 198.51.100.7"], &ours, "198.51.100.7");
        check("10.0.0.1", &["\u{e9}", "198.51.100.7, 10.0.0.2"], &ours, "198.51.100.7");
        // Ports, brackets, and IPv4 in IPv6.
        check("::ffff:10.0.0.1", &["198.51.100.7:4711"], &ours, "198.51.100.7");
        check("2001:db8::1", &["[2001:4860::1]:443"], &ours, "2001:4860::1");
        check("2001:db8::1", &["[2001:4860::1]"], &ours, "2001:4860::1");
        check("10.0.0.1", &["::ffff:198.51.100.7"], &ours, "198.51.100.7");
    }
}
