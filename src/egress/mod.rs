//! Decides which addresses this process may connect to for a URL that somebody else chose: addresses on the
//! public internet, and no internal ones.
//!
//! A customer chooses the URL of an endpoint, and also the addresses that its name resolves to. Without this
//! check the URL could name a database in the same network, a router, or the metadata service of a cloud, and
//! Candor would connect to it.
//!
//! An address is never allowed because of its notation. The check is made on the resolved address, and the
//! connection uses this address without resolving the name again.

pub mod client;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// The largest length of the URL of an endpoint, in bytes.
pub const MAX_URL: usize = 2_000;

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Only `https` to public addresses is allowed.
    Public,
    /// `http` and private and loopback addresses are also allowed, for an intranet and for tests. Addresses
    /// that can never be an endpoint of a customer, such as a metadata service, stay refused.
    Private,
}

/// The reason why an address is refused. It contains the kind of the address and not the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is {0}")]
pub struct Refused(pub &'static str);

/// The metadata services of Alibaba, AWS, Google and Azure whose addresses look like private or public ones.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// A block of addresses: the first address, the number of bits of the prefix, and the kind.
type Block<A> = (A, u32, &'static str);

/// The blocks that [`Policy::Private`] allows.
const PRIVATE_V4: [Block<Ipv4Addr>; 5] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a shared address of a carrier"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
];

/// The blocks that never contain an endpoint (from IANA's registry of special-purpose addresses).
const NEVER_V4: [Block<Ipv4Addr>; 10] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of this network"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "reserved for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a relay between IPv4 and IPv6"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "reserved for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "reserved for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "reserved for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The blocks of IPv6 that are refused although they are global unicast. All addresses that are not global
/// unicast are refused too, except those that [`Policy::Private`] allows.
const NEVER_V6: [Block<Ipv6Addr>; 4] = [
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "reserved for protocols",
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "reserved for documentation",
    ),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        "a relay between IPv4 and IPv6",
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "reserved for documentation",
    ),
];

fn in_v4(address: Ipv4Addr, (first, bits, _): &Block<Ipv4Addr>) -> bool {
    (address.to_bits() ^ first.to_bits()) >> (32 - bits) == 0
}

fn in_v6(address: Ipv6Addr, (first, bits, _): &Block<Ipv6Addr>) -> bool {
    (address.to_bits() ^ first.to_bits()) >> (128 - bits) == 0
}

/// Checks whether an address may be connected to.
///
/// # Errors
/// The kind of the address, if it is refused.
pub fn check(address: IpAddr, policy: Policy) -> Result<(), Refused> {
    if METADATA.contains(&address) {
        return Err(Refused("the metadata service of a cloud"));
    }
    match address {
        IpAddr::V4(v4) => check_v4(v4, policy),
        IpAddr::V6(v6) => check_v6(v6, policy),
    }
}

fn check_v4(address: Ipv4Addr, policy: Policy) -> Result<(), Refused> {
    let within = |block: &&Block<Ipv4Addr>| in_v4(address, block);
    if let Some((_, _, kind)) = NEVER_V4.iter().find(within) {
        return Err(Refused(kind));
    }
    match PRIVATE_V4.iter().find(within) {
        Some((_, _, kind)) if policy == Policy::Public => Err(Refused(kind)),
        _ => Ok(()),
    }
}

fn check_v6(address: Ipv6Addr, policy: Policy) -> Result<(), Refused> {
    let own = |allowed: bool, kind| {
        if allowed && policy == Policy::Private {
            Ok(())
        } else {
            Err(Refused(kind))
        }
    };
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => own(false, "the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => own(true, "a loopback address"),
        [0, 0, 0, 0, 0, 0xffff, _, _] => own(false, "an IPv4 address written as IPv6"),
        // Networks without IPv4 use this prefix to reach IPv4 addresses, so the IPv4 address inside is
        // checked.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => check(
            IpAddr::V4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))),
            policy,
        ),
        [first, ..] if first & 0xfe00 == 0xfc00 => own(true, "a private address"),
        [first, ..] if first & 0xffc0 == 0xfe80 => own(false, "a link-local address"),
        [first, ..] if first & 0xff00 == 0xff00 => own(false, "a multicast address"),
        [first, ..] if first & 0xe000 != 0x2000 => own(false, "not an address of the public internet"),
        _ => match NEVER_V6.iter().find(|block| in_v6(address, block)) {
            Some((_, _, kind)) => Err(Refused(kind)),
            None => Ok(()),
        },
    }
}

/// Checks the URL of an endpoint and returns its normal form, which has a scheme and a host, and no
/// credentials and no fragment. An address in the URL is checked in any notation. A name can be checked only
/// when a connection is made.
///
/// # Errors
/// A sentence for the caller, which does not repeat the URL.
pub fn check_url(text: &str, policy: Policy) -> Result<Url, String> {
    if text.len() > MAX_URL {
        return Err(format!("is longer than {MAX_URL} bytes"));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("contains a space or a control character".to_owned());
    }
    let url = Url::parse(text).map_err(|_| "must be a URL such as https://example.com/hooks/candor")?;
    match (url.scheme(), policy) {
        ("https", _) | ("http", Policy::Private) => {}
        ("http", Policy::Public) => return Err("must begin with https://".to_owned()),
        (_, Policy::Private) => return Err("must be an http or https URL".to_owned()),
        (_, Policy::Public) => return Err("must be an https URL".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "contains a user or a password; leave them out, because Candor signs its requests".to_owned(),
        );
    }
    if url.fragment().is_some() {
        return Err("has a fragment (#…), which is never sent; leave it out".to_owned());
    }
    if url.port() == Some(0) {
        return Err("has the port 0".to_owned());
    }
    if let Some(address) = literal(&url) {
        check(address, policy).map_err(|refused| format!("is not allowed: {refused}"))?;
    }
    Ok(url)
}

/// Returns the address in a URL, or `None` if the URL has a name. The URL parser has already turned notations
/// such as `0x7f.1` into an address.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(_) => None,
    }
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// No address of the host may be connected to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The name has no address at the moment.
    #[error("the host name cannot be resolved")]
    Unknown,
}

/// Resolves the host of a URL and returns the addresses that may be connected to, in the order that the
/// system prefers. The caller must connect to these addresses and must not resolve the name again.
///
/// # Errors
/// The reason why there are none.
pub async fn resolve(url: &Url, policy: Policy) -> Result<Vec<SocketAddr>, Unresolved> {
    let port = url.port_or_known_default().ok_or(Unresolved::Unknown)?;
    let found: Vec<SocketAddr> = match literal(url) {
        Some(address) => vec![SocketAddr::new(address, port)],
        None => tokio::net::lookup_host((url.host_str().unwrap_or_default(), port))
            .await
            .map_err(|_| Unresolved::Unknown)?
            .collect(),
    };
    let mut refused = None;
    let mut allowed = Vec::with_capacity(found.len());
    for address in found {
        match check(address.ip(), policy) {
            Ok(()) => allowed.push(address),
            Err(reason) => refused = Some(reason),
        }
    }
    match (allowed.is_empty(), refused) {
        (false, _) => Ok(allowed),
        (true, Some(reason)) => Err(reason.into()),
        (true, None) => Err(Unresolved::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str, policy: Policy) -> bool {
        check(text.parse().unwrap(), policy).is_ok()
    }

    #[test]
    fn the_edges_of_the_blocks_are_where_the_registry_has_them() {
        for (inside, outside) in [
            ("9.255.255.255", "10.0.0.0"),
            ("11.0.0.0", "10.255.255.255"),
            ("100.63.255.255", "100.64.0.0"),
            ("100.128.0.0", "100.127.255.255"),
            ("126.255.255.255", "127.0.0.0"),
            ("128.0.0.0", "127.255.255.255"),
            ("172.15.255.255", "172.16.0.0"),
            ("172.32.0.0", "172.31.255.255"),
            ("192.167.255.255", "192.168.0.0"),
            ("192.169.0.0", "192.168.255.255"),
            ("169.253.255.255", "169.254.169.254"),
            ("198.17.255.255", "198.18.0.0"),
            ("198.20.0.0", "198.19.255.255"),
            ("223.255.255.255", "224.0.0.1"),
            ("1.0.0.0", "0.255.255.255"),
            ("168.63.129.17", "168.63.129.16"),
            ("2606:4700::1111", "fc00::1"),
            ("2001:200::1", "2001:1ff::1"),
            ("2001:db9::1", "2001:db8::1"),
            ("2003::1", "2002:c0a8:1::1"),
            ("64:ff9b::808:808", "64:ff9b::a00:1"),
            ("2a00::1", "::ffff:8.8.8.8"),
            ("3ffe::1", "3fff::1"),
            ("2000::1", "1fff::1"),
            ("3ffe:ffff::1", "4000::1"),
        ] {
            assert!(verdict(inside, Policy::Public), "{inside}");
            assert!(!verdict(outside, Policy::Public), "{outside}");
        }
    }

    #[test]
    fn an_intranet_may_be_allowed_and_metadata_never() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "100.64.0.1",
            "::1",
            "fd12::1",
        ] {
            assert!(verdict(private, Policy::Private), "{private}");
        }
        for never in [
            "169.254.169.254",
            "100.100.100.200",
            "fd00:ec2::254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(!verdict(never, Policy::Private), "{never}");
        }
    }
}
