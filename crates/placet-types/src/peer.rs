//! Network peers that a scope lets an execution reach: by address, or by name.

mod address;
mod name;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use address::AddressRule;
pub use name::{HostName, HostSyntax, NameRule};

/// Peers at a range of ports, over TCP. One spelling each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRule {
    /// `address:port` or `address/prefix:port`.
    Address(AddressRule),
    /// `name:port` or `*.name:port`.
    Name(NameRule),
}

/// Why a text is no [`PeerRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no peer: write ADDRESS:PORT, ADDRESS/PREFIX:PORT, NAME:PORT or *.NAME:PORT, ports also as PORT-PORT; an IPv6 address in brackets, no bits behind the prefix; a name in lower case with at least two labels, without a closing dot, other alphabets as xn--"
)]
pub struct PeerSyntax(String);

impl PeerRule {
    /// The ports.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        match self {
            Self::Address(rule) => rule.ports(),
            Self::Name(rule) => rule.ports(),
        }
    }

    /// Whether every peer of `other` is one of this rule. A name is never an address: what it
    /// leads to is known only when somebody asks.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(ours), Self::Address(theirs)) => ours.covers(theirs),
            (Self::Name(ours), Self::Name(theirs)) => ours.covers(theirs),
            (Self::Address(_), Self::Name(_)) | (Self::Name(_), Self::Address(_)) => false,
        }
    }

    /// The peers of both; two rules are either apart, or but for their ports one lies in the other.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Address(ours), Self::Address(theirs)) => {
                ours.intersect(theirs).map(Self::Address)
            }
            (Self::Name(ours), Self::Name(theirs)) => ours.intersect(theirs).map(Self::Name),
            (Self::Address(_), Self::Name(_)) | (Self::Name(_), Self::Address(_)) => None,
        }
    }
}

/// The rules of a set without those that another one covers.
pub(crate) fn without_covered(rules: &BTreeSet<PeerRule>) -> BTreeSet<PeerRule> {
    let is_covered = |rule: &PeerRule| {
        rules
            .iter()
            .any(|other| other != rule && other.covers(rule))
    };
    rules
        .iter()
        .filter(|rule| !is_covered(rule))
        .cloned()
        .collect()
}

/// A range of ports, from 1 on, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (0 < first && first <= last).then_some(Self { first, last })
    }

    fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    fn cover(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    fn intersect(self, other: Self) -> Option<Self> {
        let first = self.first.max(other.first);
        let last = self.last.min(other.last);
        (first <= last).then_some(Self { first, last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first < self.last {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

impl FromStr for PeerRule {
    type Err = PeerSyntax;

    fn from_str(text: &str) -> Result<Self, PeerSyntax> {
        let address = || address::parse(text).map(Self::Address);
        let rule = address().or_else(|| name::parse(text).map(Self::Name));
        // One spelling: leading zeros, long forms and full prefixes read, and are not written so.
        rule.filter(|rule| rule.to_string() == text)
            .ok_or_else(|| PeerSyntax(text.chars().take(100).collect()))
    }
}

impl fmt::Display for PeerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(rule) => rule.fmt(f),
            Self::Name(rule) => rule.fmt(f),
        }
    }
}

impl Serialize for PeerRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
