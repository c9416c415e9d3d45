//! Which peers a list covers. Pure.
//!
//! Addresses that are not of the public internet, a cloud's metadata service among them, are only
//! covered by entries that are about them: `0.0.0.0/0` covers the internet and not the network it
//! is used in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Hosts and ports outside that may be reached over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    net: Net,
    ports: RangeInclusive<u16>,
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Net {
    address: IpAddr,
    prefix: u8,
}

impl Peers {
    /// One address, one port.
    #[must_use]
    pub fn one(peer: SocketAddr) -> Self {
        let address = plain(peer.ip());
        Self {
            net: Net {
                address,
                prefix: bits(address),
            },
            ports: peer.port()..=peer.port(),
        }
    }

    /// A network and a range of ports. `None` when the prefix is longer than the address. The bits
    /// of the address behind the prefix do not matter; v4-mapped addresses count as IPv4 ones, and
    /// have to be written so.
    ///
    /// It covers the public internet. A special-purpose block (RFC 6890: private, loopback,
    /// link-local, multicast and so on) is covered only by entries that lie within it, and the
    /// address of a metadata service only by an entry that is that address.
    #[must_use]
    pub fn network(address: IpAddr, prefix: u8, ports: RangeInclusive<u16>) -> Option<Self> {
        let net = Net { address, prefix };
        let written_plainly = plain(address) == address;
        (prefix <= bits(address) && written_plainly).then_some(Self { net, ports })
    }

    /// Whether this entry lets `peer` be reached.
    #[must_use]
    pub fn cover(&self, peer: SocketAddr) -> bool {
        let address = plain(peer.ip());
        self.ports.contains(&peer.port())
            && self.net.contains(address)
            && special(address).is_none_or(|block| block.holds(self.net))
    }
}

impl Net {
    fn contains(self, address: IpAddr) -> bool {
        let shift = u32::from(bits(self.address).saturating_sub(self.prefix));
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let different = net.to_bits() ^ address.to_bits();
                different.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let different = net.to_bits() ^ address.to_bits();
                different.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    fn holds(self, other: Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.address)
    }
}

fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address that is meant: IPv4 written as IPv6 reaches the same host.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether it means the own host: the loopback, and the unspecified address, which connects there.
pub(super) fn is_own_host(address: IpAddr) -> bool {
    let address = plain(address);
    address.is_loopback() || address.is_unspecified()
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Net {
    Net {
        address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        prefix,
    }
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Net {
    Net {
        address: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)),
        prefix,
    }
}

const fn v6_host(segments: [u16; 8]) -> Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Net {
        address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)),
        prefix: 128,
    }
}

/// The addresses at which clouds tell a machine its secrets, each a block of its own and first: one of
/// them is covered only by the entry that is it. Then the special-purpose registries of IANA (RFC
/// 6890), with multicast, and with the blocks of IPv6 that carry IPv4 addresses.
const SPECIAL: &[Net] = &[
    v4(169, 254, 169, 254, 32),
    v4(169, 254, 169, 253, 32),
    v4(169, 254, 170, 2, 32),
    v4(169, 254, 170, 23, 32),
    v4(100, 100, 100, 200, 32),
    v4(168, 63, 129, 16, 32),
    v4(192, 0, 0, 192, 32),
    v6_host([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),
    v6_host([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253]),
    v6_host([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]),
    v6_host([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    v6(0, 0, 0, 8),
    v6(0x64, 0xff9b, 0, 96),
    v6(0x64, 0xff9b, 1, 48),
    v6(0x100, 0, 0, 64),
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x3fff, 0, 0, 20),
    v6(0x5f00, 0, 0, 16),
    v6(0xfc00, 0, 0, 7),
    v6(0xfe80, 0, 0, 10),
    v6(0xfec0, 0, 0, 10),
    v6(0xff00, 0, 0, 8),
];

/// Whether an address is of no public network, or a cloud's metadata service.
#[must_use]
pub fn is_special(address: IpAddr) -> bool {
    special(plain(address)).is_some()
}

fn special(address: IpAddr) -> Option<Net> {
    SPECIAL
        .iter()
        .copied()
        .find(|block| block.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str, ports: RangeInclusive<u16>) -> Peers {
        let (address, prefix) = text.split_once('/').unwrap();
        Peers::network(address.parse().unwrap(), prefix.parse().unwrap(), ports).unwrap()
    }

    fn covers(peers: &Peers, peer: &str) -> bool {
        peers.cover(peer.parse().unwrap())
    }

    #[test]
    fn the_internet_is_not_the_private_network() {
        let internet = net("0.0.0.0/0", 443..=443);
        assert!(covers(&internet, "1.1.1.1:443"));
        assert!(covers(&internet, "[::ffff:1.1.1.1]:443"));
        for inside in [
            "10.0.0.1:443",
            "127.0.0.1:443",
            "0.0.0.0:443",
            "169.254.169.254:443",
            "172.31.255.255:443",
            "192.168.1.1:443",
            "100.100.100.200:443",
            "255.255.255.255:443",
            "224.0.0.1:443",
            "[::ffff:169.254.169.254]:443",
            "1.1.1.1:80",
            "[2606:4700::1111]:443",
        ] {
            assert!(!covers(&internet, inside), "{inside}");
        }
        let internet = net("::/0", 0..=65535);
        assert!(covers(&internet, "[2606:4700::1111]:443"));
        for inside in [
            "[::1]:443",
            "[::]:443",
            "[fe80::1]:443",
            "[fd00:ec2::254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[2002:a9fe:a9fe::1]:80",
            "[ff02::1]:80",
            "[::10.0.0.1]:80",
            "1.1.1.1:443",
        ] {
            assert!(!covers(&internet, inside), "{inside}");
        }
    }

    #[test]
    fn an_entry_within_a_special_block_covers_it() {
        assert!(covers(&net("10.1.0.0/16", 5432..=5432), "10.1.2.3:5432"));
        assert!(!covers(&net("10.1.0.0/16", 5432..=5432), "10.2.2.3:5432"));
        assert!(!covers(&net("8.0.0.0/5", 5432..=5432), "10.2.2.3:5432"));
        let one = Peers::one("[::ffff:127.0.0.1]:9443".parse().unwrap());
        assert!(covers(&one, "127.0.0.1:9443"));
        assert!(!covers(&one, "127.0.0.2:9443"));
    }

    #[test]
    fn a_metadata_service_is_covered_by_its_own_address_only() {
        for metadata in [
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            let address: IpAddr = metadata.parse().unwrap();
            let peer = SocketAddr::new(address, 80);
            for prefix in 0..bits(address) {
                assert!(
                    !Peers::network(address, prefix, 80..=80)
                        .unwrap()
                        .cover(peer)
                );
            }
            assert!(Peers::one(peer).cover(peer));
            assert!(is_special(address));
        }
        assert!(covers(&net("169.254.0.0/16", 80..=80), "169.254.1.1:80"));
        assert!(covers(&net("0.0.0.0/0", 80..=80), "168.63.129.17:80"));
    }

    #[test]
    fn impossible_networks_are_none() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(Peers::network(parse("1.1.1.1"), 33, 1..=1).is_none());
        assert!(Peers::network(parse("::ffff:1.1.1.1"), 128, 1..=1).is_none());
        assert!(Peers::network(parse("::"), 129, 1..=1).is_none());
    }
}
