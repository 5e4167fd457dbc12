//! Networks in CIDR notation, and the check whether an address belongs to one of them.

use std::net::IpAddr;
use std::str::FromStr;

/// A list of IPv4 and IPv6 networks. An empty list contains no address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    first: IpAddr,
    bits: u32,
}

impl Networks {
    /// Parses networks and single addresses, separated by commas, for example `10.0.0.0/8, 2001:db8::/32,
    /// 192.0.2.7`.
    ///
    /// # Errors
    /// A sentence with the part that is not a network and the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|part| Network::parse(part.trim()))
            .collect::<Result<_, _>>()
            .map(Networks)
    }

    /// Returns whether an address belongs to one of the networks. An IPv4 address that is written as IPv6
    /// (`::ffff:192.0.2.7`) counts as IPv4.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("'{text}' {why}; networks look like 10.0.0.0/8 or 2001:db8::/32");
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let first = IpAddr::from_str(address).map_err(|_| wrong("is not an IP address"))?;
        let most = width(first);
        let bits = match bits {
            None => most,
            Some(bits) => Some(bits)
                .filter(|bits| bits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|bits| bits.parse().ok())
                .filter(|bits| *bits <= most)
                .ok_or_else(|| wrong(&format!("needs a number from 0 to {most} behind the slash")))?,
        };
        if masked(first, bits) != first {
            let network = masked(first, bits);
            return Err(wrong(&format!(
                "is an address within a network; the network is {network}/{bits}"
            )));
        }
        if first.to_canonical() != first {
            return Err(wrong("is an IPv4 address written as IPv6; write it as IPv4"));
        }
        Ok(Network { first, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.bits) == self.first
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Returns the first address of the network with this prefix length that contains the address.
pub fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_network_and_in_no_other() {
        let networks = Networks::parse("10.0.0.0/8, 192.0.2.7,2001:db8::/32 , ::1").unwrap();
        for (address, within) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", true),
            ("::2", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), within, "{address}");
        }
        let all = Networks::parse("0.0.0.0/0,::/0").unwrap();
        assert!(all.contain("203.0.113.1".parse().unwrap()) && all.contain("2a00::1".parse().unwrap()));
        assert!(!Networks::default().contain("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "localhost",
            "10.0.0.0/8,",
            "10.0.0/8",
            "2001:db8::/129",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/8 192.0.2.0/24",
            "fe80::1%eth0",
        ] {
            assert!(Networks::parse(text).is_err(), "{text:?}");
        }
    }
}
