//! Whom a scope lets the tree reach, asked one peer at a time. Pure.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use placet_sandbox::{Peers, is_special};
use placet_types::{AddressRule, HostName, NameRule, Network, PeerRule};

use crate::host::{Authority, Host};

/// The peers of a scope.
#[derive(Clone, Debug)]
pub struct Reach {
    names: Vec<NameRule>,
    addresses: Vec<(AddressRule, Peers)>,
}

/// Why a peer is not reached. The words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// No rule names the host at that port.
    UnlistedName,
    /// No rule covers the address at that port.
    UnlistedAddress,
    /// The name leads to addresses that are not of the public internet, and no rule covers them.
    LeadsInside,
    /// The request breaks a rule of its protocol.
    Malformed,
    /// Another way out than TCP.
    NotTcp,
    /// It has looked up too many names below one that the scope names.
    TooManyNames,
    /// Whoever decides has said no.
    Denied,
    /// Whoever decides has said nothing in time.
    Unanswered,
}

impl Refused {
    /// The word that a record has.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnlistedName => "unlisted_name",
            Self::UnlistedAddress => "unlisted_address",
            Self::LeadsInside => "leads_inside",
            Self::Malformed => "malformed",
            Self::NotTcp => "not_tcp",
            Self::TooManyNames => "too_many_names",
            Self::Denied => "denied",
            Self::Unanswered => "unanswered",
        }
    }

    /// The same for a person.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::UnlistedName => "this host and port are not in the scope of the execution",
            Self::UnlistedAddress => "this address and port are not in the scope of the execution",
            Self::LeadsInside => {
                "the name leads to an address that is not of the public internet; the scope would have to name that address too"
            }
            Self::Malformed => "the request is not well-formed",
            Self::NotTcp => "only TCP leads out of the cell",
            Self::TooManyNames => {
                "this execution has looked up as many names below those of its scope as it may"
            }
            Self::Denied => "policy denies this connection",
            Self::Unanswered => "no decision about this connection came in time",
        }
    }
}

impl Reach {
    /// What a scope's network says.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        let mut reach = Self {
            names: Vec::new(),
            addresses: Vec::new(),
        };
        for rule in network.rules() {
            match rule {
                PeerRule::Name(rule) => reach.names.push(rule.clone()),
                PeerRule::Address(rule) => {
                    let peers = Peers::network(rule.address(), rule.prefix(), rule.ports());
                    reach.addresses.extend(peers.map(|peers| (*rule, peers)));
                }
            }
        }
        reach
    }

    /// Whether any host is named.
    #[must_use]
    pub fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// The rule that lets a peer be reached, as it is written.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is none.
    pub fn rule(&self, peer: &Authority) -> Result<PeerRule, Refused> {
        match &peer.host {
            Host::Name(name) => self
                .names
                .iter()
                .find(|rule| rule.names(name) && rule.ports().contains(&peer.port))
                .map(|rule| PeerRule::Name(rule.clone()))
                .ok_or(Refused::UnlistedName),
            Host::Address(address) => self
                .listed(SocketAddr::new(*address, peer.port))
                .map(PeerRule::Address)
                .ok_or(Refused::UnlistedAddress),
        }
    }

    /// The address rule that covers a peer.
    #[must_use]
    pub fn listed(&self, to: SocketAddr) -> Option<AddressRule> {
        let covers = |(_, peers): &&(AddressRule, Peers)| peers.cover(to);
        self.addresses.iter().find(covers).map(|(rule, _)| *rule)
    }

    /// Whether a name may lead to this address: one of the public internet, or one that the scope
    /// covers itself.
    #[must_use]
    pub fn may_lead_to(&self, to: SocketAddr) -> bool {
        !is_special(to.ip()) || self.listed(to).is_some()
    }

    /// The ports at which a host is named.
    #[must_use]
    pub fn ports_of(&self, name: &HostName) -> Vec<RangeInclusive<u16>> {
        let rules = self.names.iter().filter(|rule| rule.names(name));
        rules.map(NameRule::ports).collect()
    }

    /// Whether a host is named itself, and not as one of all below another: those are names that the tree makes up.
    pub(crate) fn is_named_itself(&self, name: &HostName) -> bool {
        let itself = |rule: &NameRule| !rule.is_about_names_below() && rule.names(name);
        self.names.iter().any(itself)
    }

    /// Whether an address is covered at one of these ports.
    pub(crate) fn covers_at_any(&self, address: IpAddr, ports: &[RangeInclusive<u16>]) -> bool {
        let meets = |rule: &AddressRule, range: &RangeInclusive<u16>| {
            let first = *rule.ports().start().max(range.start());
            let last = *rule.ports().end().min(range.end());
            (first <= last).then_some(first)
        };
        self.addresses.iter().any(|(rule, peers)| {
            let at = ports.iter().find_map(|range| meets(rule, range));
            at.is_some_and(|port| peers.cover(SocketAddr::new(address, port)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(rules: &[&str]) -> Reach {
        Reach::new(&Network::peers(
            &rules.iter().map(|rule| rule.parse().unwrap()).collect(),
        ))
    }

    fn leads(reach: &Reach, to: &str) -> bool {
        reach.may_lead_to(to.parse().unwrap())
    }

    #[test]
    fn a_name_is_reached_at_its_ports_and_an_address_by_its_own_rule() {
        let reach = reach(&["example.org:443", "*.example.org:80-81", "1.2.3.4:443"]);
        let asked = |text: &str| {
            let rule = reach.rule(&Authority::parse(text, None).unwrap());
            rule.map(|rule| rule.to_string())
        };
        assert_eq!(asked("example.org:443").unwrap(), "example.org:443");
        assert_eq!(asked("a.Example.org:81").unwrap(), "*.example.org:80-81");
        assert_eq!(asked("1.2.3.4:443").unwrap(), "1.2.3.4:443");
        for refused in ["example.org:80", "a.example.org:443", "example.com:443"] {
            assert_eq!(asked(refused), Err(Refused::UnlistedName), "{refused}");
        }
        assert_eq!(asked("1.2.3.4:80"), Err(Refused::UnlistedAddress));
    }

    #[test]
    fn names_lead_to_the_public_internet_only() {
        let open = reach(&["example.org:443"]);
        assert!(leads(&open, "1.1.1.1:443"));
        assert!(leads(&open, "[2606:4700::1111]:443"));
        for inside in [
            "10.0.0.1:443",
            "127.0.0.1:443",
            "0.0.0.0:443",
            "100.64.0.1:443",
            "169.254.1.1:443",
            "169.254.169.254:443",
            "100.100.100.200:443",
            "168.63.129.16:443",
            "172.16.0.1:443",
            "192.168.0.1:443",
            "224.0.0.1:443",
            "240.0.0.1:443",
            "255.255.255.255:443",
            "[::1]:443",
            "[::]:443",
            "[::ffff:10.0.0.1]:443",
            "[::ffff:169.254.169.254]:443",
            "[::10.0.0.1]:443",
            "[64:ff9b::a00:1]:443",
            "[64:ff9b:1::a00:1]:443",
            "[2002:a00:1::1]:443",
            "[2001:0:a00:1::1]:443",
            "[fc00::1]:443",
            "[fd00:ec2::254]:443",
            "[fe80::1]:443",
            "[fec0::1]:443",
            "[ff02::1]:443",
        ] {
            assert!(!leads(&open, inside), "{inside}");
        }
    }

    #[test]
    fn a_name_leads_inside_where_an_address_beside_it_says_so() {
        let corp = reach(&["db.corp.example:5432", "10.0.0.0/8:5432"]);
        assert!(leads(&corp, "10.1.2.3:5432"));
        assert!(leads(&corp, "[::ffff:10.1.2.3]:5432"));
        assert!(!leads(&corp, "10.1.2.3:443"));
        assert!(!leads(&corp, "192.168.0.1:5432"));
        let link_local = reach(&["m.example:80", "169.254.0.0/16:80"]);
        assert!(leads(&link_local, "169.254.1.1:80"));
        assert!(!leads(&link_local, "169.254.169.254:80"));
        let metadata = reach(&["m.example:80", "169.254.169.254:80"]);
        assert!(leads(&metadata, "169.254.169.254:80"));
        let internet = reach(&["m.example:80", "0.0.0.0/0:80"]);
        assert!(!leads(&internet, "168.63.129.16:80"));
    }
}
