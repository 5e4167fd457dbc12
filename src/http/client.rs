//! Finds the address of the client that sent a request.
//!
//! Anybody can send `X-Forwarded-For` and `Forwarded`. Only entries that a trusted proxy appended are used.
//! The search begins at the address of the connection and continues to the left while the current address is
//! a trusted proxy.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use actix_web::http::header::HeaderMap;

use crate::base::network::{Networks, masked};

/// The number of entries of a header that are read. No real chain of proxies is longer.
const MAX: usize = 32;

/// The source of a request: an IPv4 address, or the /64 network of an IPv6 address, because one subscriber
/// has at least that many addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Source(v4),
            v6 @ IpAddr::V6(_) => Source(masked(v6, 64)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// Returns the address of the client. This is `peer`, unless it is a trusted proxy that names its client.
///
/// If both headers exist and differ, the proxy passed on one of them without knowing it. Then neither is
/// used, and the result is the address of the proxy.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contain(peer) {
        return peer;
    }
    let address = |name: &str, parse: fn(&str) -> Vec<Option<IpAddr>>| {
        let lines: Option<Vec<&str>> = headers.get_all(name).map(|value| value.to_str().ok()).collect();
        match lines {
            // A header that is not text is ignored.
            None => Some(peer),
            Some(lines) if lines.is_empty() => None,
            Some(lines) => Some(walk(peer, &parse(&lines.join(",")), trusted)),
        }
    };
    match (
        address("x-forwarded-for", x_forwarded_for),
        address("forwarded", forwarded),
    ) {
        (None, None) => peer,
        (Some(one), None) | (None, Some(one)) => one,
        (Some(one), Some(other)) if one == other => one,
        (Some(_), Some(_)) => peer,
    }
}

/// Goes from the right to the first address that is not trusted. An entry that cannot be parsed ends the
/// search at the proxy that sent it.
fn walk(peer: IpAddr, chain: &[Option<IpAddr>], trusted: &Networks) -> IpAddr {
    let mut at = peer;
    for entry in chain.iter().rev().take(MAX) {
        match entry {
            Some(address) if trusted.contain(at) => at = *address,
            _ => break,
        }
    }
    at
}

fn x_forwarded_for(text: &str) -> Vec<Option<IpAddr>> {
    text.split(',').map(address).collect()
}

/// Returns the `for` of each element (RFC 7239). An element without it contains no address.
fn forwarded(text: &str) -> Vec<Option<IpAddr>> {
    split(text, ',')
        .into_iter()
        .map(|element| {
            split(element, ';').into_iter().find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then(|| address(value))?
            })
        })
        .collect()
}

/// Splits a text at a separator that is not within quotation marks.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// Parses an address with or without a port: `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`,
/// `[2001:db8::7]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    let port = |text: &str| {
        text.is_empty()
            || text
                .strip_prefix(':')
                .is_some_and(|port| port.parse::<u16>().is_ok())
    };
    let parsed = if let Some(rest) = text.strip_prefix('[') {
        let (inside, behind) = rest.split_once(']')?;
        let address: Ipv6Addr = inside.parse().ok().filter(|_| port(behind))?;
        IpAddr::V6(address)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        let (before, behind) = text.split_at(text.find(':')?);
        let address: Ipv4Addr = before.parse().ok().filter(|_| port(behind))?;
        IpAddr::V4(address)
    };
    Some(parsed.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn found(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted = Networks::parse("10.0.0.0/8, 2001:db8:1::/48").unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_what_a_trusted_proxy_appended_is_believed() {
        for (peer, value, client) in [
            // The peer is not a trusted proxy.
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
            // The entries of the client itself are on the left.
            ("10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "192.0.2.66, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("10.0.0.1", "2a00::7", "2a00::7"),
            ("10.0.0.1", "[2a00::7]:4711", "2a00::7"),
            ("10.0.0.1", "[2a00::7]", "2a00::7"),
            ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
            ("2001:db8:1::5", "198.51.100.1 , 2001:db8:1::6", "198.51.100.1"),
            // The header is malformed, so only the proxy that passed it on is known.
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, nonsense, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "198.51.100.1,", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1:99999", "10.0.0.1"),
            ("10.0.0.1", "[198.51.100.1]", "10.0.0.1"),
            ("10.0.0.1", "fe80::1%eth0", "10.0.0.1"),
            ("10.0.0.1", "\u{e9}", "10.0.0.1"),
        ] {
            assert_eq!(
                found(peer, &[("x-forwarded-for", value)]),
                client,
                "{peer} {value}"
            );
        }
        // Several header lines are one list.
        let lines = [
            ("x-forwarded-for", "192.0.2.66"),
            ("x-forwarded-for", "198.51.100.1"),
        ];
        assert_eq!(found("10.0.0.1", &lines), "198.51.100.1");
    }

    #[test]
    fn rfc_7239_is_read_as_it_is_written() {
        for (value, client) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("For=\"[2a00::7]:4711\";proto=https;by=10.0.0.1", "2a00::7"),
            (
                "for=192.0.2.66, proto=https; FOR=\"198.51.100.1:80\"",
                "198.51.100.1",
            ),
            ("for=198.51.100.1;host=\"a,b;c\", for=10.0.0.2", "198.51.100.1"),
            ("for=_hidden", "10.0.0.1"),
            ("for=unknown, for=10.0.0.2", "10.0.0.2"),
            ("proto=https", "10.0.0.1"),
            ("for=\"198.51.100.1", "10.0.0.1"),
            ("for=198.51.100.1, \"", "10.0.0.1"),
        ] {
            assert_eq!(found("10.0.0.1", &[("forwarded", value)]), client, "{value}");
        }
        let both = |one, other| found("10.0.0.1", &[("forwarded", one), ("x-forwarded-for", other)]);
        assert_eq!(both("for=198.51.100.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(both("for=192.0.2.66", "198.51.100.1"), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_subscriber_is_one_source() {
        let address = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(address("2a00:1:2:3::1"), address("2a00:1:2:3:ffff::2"));
        assert_ne!(address("2a00:1:2:3::1"), address("2a00:1:2:4::1"));
        assert_ne!(address("198.51.100.1"), address("198.51.100.2"));
        assert_eq!(address("::ffff:198.51.100.1"), address("198.51.100.1"));
        assert_eq!(address("2a00:1:2:3::1").to_string(), "2a00:1:2:3::/64");
    }
}
