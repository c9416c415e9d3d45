//! Addresses that names have led to, which a broker lets be reached besides its list.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rules::{is_special, plain};
use crate::sys;

/// Addresses that are kept; the oldest makes room.
const PINS_MAX: usize = 4096;
/// How long one is kept since it was pinned last. Whoever rents the address afterwards is not meant.
const PIN_NS: u64 = 3_600_000_000_000;

/// Addresses of the public internet with the ports at which each may be reached. Clones share them.
///
/// They only add to [`super::EgressRules::peers`]. An address of a special-purpose network is never
/// pinned.
#[derive(Clone, Debug, Default)]
pub struct Resolved(Arc<Mutex<VecDeque<Pin>>>);

#[derive(Debug)]
struct Pin {
    address: IpAddr,
    ports: Vec<RangeInclusive<u16>>,
    until_ns: u64,
}

impl Resolved {
    /// Lets an address be reached at these ports, for an hour, besides those of an earlier pin.
    pub fn pin(&self, address: IpAddr, ports: &[RangeInclusive<u16>]) {
        let address = plain(address);
        if is_special(address) {
            return;
        }
        let mut resolved = self.resolved();
        let known = resolved.iter().position(|pin| pin.address == address);
        let before = known.and_then(|at| resolved.remove(at));
        let mut all = before.map_or_else(Vec::new, |pin| pin.ports);
        for range in ports {
            if !all.contains(range) {
                all.push(range.clone());
            }
        }
        if resolved.len() >= PINS_MAX {
            resolved.pop_front();
        }
        resolved.push_back(Pin {
            address,
            ports: all,
            until_ns: sys::boot_time_ns().saturating_add(PIN_NS),
        });
    }

    /// Whether `peer` may be reached.
    pub(super) fn cover(&self, peer: SocketAddr) -> bool {
        let address = plain(peer.ip());
        let covers = |pin: &Pin| {
            pin.address == address && pin.ports.iter().any(|range| range.contains(&peer.port()))
        };
        let resolved = self.resolved();
        let found = resolved.iter().find(|pin| covers(pin));
        found.is_some_and(|pin| sys::boot_time_ns() < pin.until_ns)
    }

    fn resolved(&self) -> MutexGuard<'_, VecDeque<Pin>> {
        // Every change is complete before anything could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(resolved: &Resolved, peer: &str) -> bool {
        resolved.cover(peer.parse().unwrap())
    }

    #[test]
    fn a_pin_is_for_its_address_and_its_ports() {
        let resolved = Resolved::default();
        resolved.pin("1.1.1.1".parse().unwrap(), &[443..=443]);
        resolved.pin("1.1.1.1".parse().unwrap(), &[80..=81]);
        for peer in ["1.1.1.1:443", "1.1.1.1:81", "[::ffff:1.1.1.1]:80"] {
            assert!(covers(&resolved, peer), "{peer}");
        }
        for peer in ["1.1.1.1:82", "1.1.1.2:443", "[2606:4700::1111]:443"] {
            assert!(!covers(&resolved, peer), "{peer}");
        }
    }

    #[test]
    fn private_addresses_are_never_pinned() {
        let resolved = Resolved::default();
        for address in ["10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fd00::1"] {
            let address: IpAddr = address.parse().unwrap();
            resolved.pin(address, &[1..=65535]);
            assert!(!resolved.cover(SocketAddr::new(address, 80)), "{address}");
        }
    }

    #[test]
    fn the_oldest_pin_makes_room() {
        let resolved = Resolved::default();
        for number in 0..=u32::try_from(PINS_MAX).unwrap() {
            let address = std::net::Ipv4Addr::from_bits(0x0101_0101 + number);
            resolved.pin(address.into(), &[443..=443]);
        }
        assert!(!covers(&resolved, "1.1.1.1:443"));
        assert!(covers(&resolved, "1.1.1.2:443") && covers(&resolved, "1.1.17.1:443"));
    }
}
