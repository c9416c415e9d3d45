//! Peers by address: a network and a range of ports.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::ops::RangeInclusive;

use super::Ports;

/// Addresses that share a prefix, at a range of ports, over TCP.
///
/// Written `address:port`, `address/prefix:port` or with `port-port`; an IPv6 address stands in
/// brackets. One spelling each: no bits behind the prefix, no prefix that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRule {
    address: IpAddr,
    prefix: u8,
    ports: Ports,
}

impl AddressRule {
    /// The address, or the network's.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits of the address count.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.range()
    }

    /// Whether every peer of `other` is one of this rule.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix
            && masked(other.address, self.prefix) == self.address
            && self.ports.cover(other.ports)
    }

    /// The peers of both; two networks are either apart or one lies in the other.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let (outer, inner) = if self.prefix <= other.prefix {
            (self, other)
        } else {
            (other, self)
        };
        let meets = masked(inner.address, outer.prefix) == outer.address;
        let ports = self.ports.intersect(other.ports).filter(|_| meets)?;
        Some(Self { ports, ..*inner })
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let drop = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(drop).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(drop).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

pub(super) fn parse(text: &str) -> Option<AddressRule> {
    let (host, ports) = text.rsplit_once(':')?;
    let (address, prefix) = match host.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
        None => (host, None),
    };
    let address: IpAddr = match address.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => address.parse::<Ipv4Addr>().ok()?.into(),
    };
    let prefix = prefix.unwrap_or_else(|| bits(address));
    let rule = AddressRule {
        address,
        prefix,
        ports: Ports::parse(ports)?,
    };
    (prefix <= bits(address) && masked(address, prefix) == address).then_some(rule)
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}")?,
            IpAddr::V6(address) => write!(f, "[{address}]")?,
        }
        if self.prefix < bits(self.address) {
            write!(f, "/{}", self.prefix)?;
        }
        write!(f, ":{}", self.ports)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer::PeerRule;

    #[test]
    fn a_peer_has_one_spelling() {
        for text in [
            "10.0.0.1:443",
            "10.0.0.0/8:443",
            "0.0.0.0/0:1-65535",
            "[2001:db8::1]:80-81",
            "[2001:db8::]/32:443",
        ] {
            assert_eq!(text.parse::<PeerRule>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:443-80",
            "10.0.0.1/8:443",
            "10.0.0.1/32:443",
            "10.0.0.1/33:443",
            "10.0.0.01:443",
            "10.0.0.1:0443",
            "2001:db8::1:80",
            "[2001:0db8::1]:80",
            "[10.0.0.1]:80",
            "10.0.0.1:80-80",
        ] {
            assert!(text.parse::<PeerRule>().is_err(), "{text}");
        }
    }

    fn rule() -> impl Strategy<Value = AddressRule> {
        (0_u8..4, 28_u8..=32, 1_u16..4, 0_u16..3).prop_map(|(last, prefix, first_port, more)| {
            let address = masked(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last * 5)), prefix);
            AddressRule {
                address,
                prefix,
                ports: Ports {
                    first: first_port,
                    last: first_port + more,
                },
            }
        })
    }

    fn single(last: u8, port: u16) -> AddressRule {
        AddressRule {
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
            prefix: 32,
            ports: Ports {
                first: port,
                last: port,
            },
        }
    }

    proptest! {
        #[test]
        fn an_intersection_holds_the_peers_of_both(a in rule(), b in rule(), last in 0_u8..20, port in 1_u16..7) {
            let peer = single(last, port);
            let both = a.intersect(&b).is_some_and(|both| both.covers(&peer));
            prop_assert_eq!(both, a.covers(&peer) && b.covers(&peer));
            prop_assert_eq!(a.intersect(&b), b.intersect(&a));
        }
    }
}
