//! Peers by name: a host's name in DNS, or all names below one.
//!
//! A name here says who is meant and nothing about where that is: whoever resolves it judges the
//! addresses that come back.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Ports;

/// Octets of a whole name and of one label (RFC 1035), without a closing dot.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host's full name: at least two labels of `a-z`, `0-9` and inner `-`, parted by dots.
///
/// One spelling: lower case, no closing dot, other alphabets as A-labels (`xn--`). Never an address
/// in disguise: the last label is no number in any base. `localhost` and what is below it are no
/// names of a peer: the loopback is the cell's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// Why a text is no [`HostName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no host name: at least two labels of a-z, 0-9 and inner -, the last one no number")]
pub struct HostSyntax;

/// A host name, or all names below one, at a range of ports, over TCP.
///
/// Written `name:port` or `*.name:port`, the ports also as `port-port`. `*.` stands for one label
/// or more: `*.example.org` covers `a.example.org` and `a.b.example.org`, and not `example.org`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameRule {
    name: HostName,
    below: bool,
    ports: Ports,
}

impl HostName {
    /// Reads a name in its one spelling.
    ///
    /// # Errors
    ///
    /// [`HostSyntax`] for every other text.
    pub fn parse(text: &str) -> Result<Self, HostSyntax> {
        let mut labels = text.rsplit('.');
        let last = labels.next().unwrap_or_default();
        let well_formed = text.len() <= NAME_BYTES_MAX
            && text.contains('.')
            && text.split('.').all(is_label)
            && !is_number(last)
            && last != "localhost";
        well_formed.then(|| Self(text.to_owned())).ok_or(HostSyntax)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name lies below `other`, by one label or more.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(&other.0)
            .is_some_and(|rest| rest.ends_with('.'))
    }
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    // Labels with `--` in the third place are reserved, but for A-labels (RFC 5891).
    let reserved = bytes.get(2..4) == Some(b"--");
    bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(plain)
        && edge(bytes.first())
        && edge(bytes.last())
        && (!reserved || bytes.starts_with(b"xn--") && bytes.len() > 4)
}

/// Whether readers of addresses take a last label for a number, as in `127.1` or `10.0x1`.
fn is_number(label: &str) -> bool {
    let digits = label.bytes().all(|byte| byte.is_ascii_digit());
    let hex = label.strip_prefix("0x");
    digits || hex.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl NameRule {
    /// The name, or the one that the names are below.
    #[must_use]
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// Whether it is about all names below [`Self::name`], and not about that itself.
    #[must_use]
    pub fn is_about_names_below(&self) -> bool {
        self.below
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.range()
    }

    /// Whether a host is meant, at some port.
    #[must_use]
    pub fn names(&self, host: &HostName) -> bool {
        if self.below {
            host.is_below(&self.name)
        } else {
            *host == self.name
        }
    }

    /// Whether every peer of `other` is one of this rule.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let same = self.below == other.below && self.name == other.name;
        let wider = self.below && other.name.is_below(&self.name);
        (same || wider) && self.ports.cover(other.ports)
    }

    /// The peers of both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let at_any_port = |rule: &Self| Self {
            ports: Ports {
                first: 1,
                last: u16::MAX,
            },
            ..rule.clone()
        };
        let inner = [(self, other), (other, self)]
            .into_iter()
            .find(|(outer, inner)| at_any_port(outer).covers(inner))
            .map(|(_, inner)| inner)?;
        let ports = self.ports.intersect(other.ports)?;
        Some(Self {
            ports,
            ..inner.clone()
        })
    }
}

pub(super) fn parse(text: &str) -> Option<NameRule> {
    let (host, ports) = text.rsplit_once(':')?;
    let (below, name) = match host.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, host),
    };
    Some(NameRule {
        name: HostName::parse(name).ok()?,
        below,
        ports: Ports::parse(ports)?,
    })
}

impl FromStr for HostName {
    type Err = HostSyntax;

    fn from_str(text: &str) -> Result<Self, HostSyntax> {
        Self::parse(text)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        write!(f, "{star}{}:{}", self.name, self.ports)
    }
}

impl Serialize for HostName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer::PeerRule;

    #[test]
    fn a_name_has_one_spelling() {
        let long = format!("{}.org:443", "a".repeat(63));
        for text in [
            "example.org:443",
            "*.example.org:443",
            "a-b.c--d.example.org:1-65535",
            "xn--bcher-kva.example:443",
            "1.2.3.4.in-addr.arpa:53",
            "0x7f.example:80",
            "deadbeef.example:80",
            &long,
        ] {
            assert_eq!(text.parse::<PeerRule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_in_its_one_spelling_is_refused() {
        let label = format!("{}.org:443", "a".repeat(64));
        let whole = format!("{}org:443", "a.".repeat(126));
        for text in [
            "example.org",
            "example.org:0",
            "example.org:0443",
            "example.org.:443",
            ".example.org:443",
            "example..org:443",
            "Example.org:443",
            "exämple.org:443",
            "exa_mple.org:443",
            "-a.example.org:443",
            "a-.example.org:443",
            "ab--cd.example.org:443",
            "xn--.example.org:443",
            "example%2eorg:443",
            "user@example.org:443",
            "example.org:443:443",
            "example.org/24:443",
            "*:443",
            "*.org:443",
            "**.example.org:443",
            "*a.example.org:443",
            "a.*.example.org:443",
            "*.*.example.org:443",
            "host:443",
            "localhost:443",
            "a.localhost:443",
            "127.1:443",
            "0x7f.1:443",
            "0177.0.0.01:443",
            "127.0.0.0x1:443",
            "10.0x:443",
            "2130706433:443",
            "0x7f000001:443",
            "1.2.3.4.5:443",
            "*.0.0.1:443",
            &label,
            &whole,
        ] {
            assert!(text.parse::<PeerRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_for_one_label_or_more_and_not_for_none() {
        let rule = parse("*.example.org:443").unwrap();
        let names = |text: &str| rule.names(&text.parse().unwrap());
        assert!(names("a.example.org") && names("a.b.example.org"));
        assert!(!names("example.org"));
        assert!(!names("badexample.org"));
        assert!(!names("example.org.evil.com"));
    }

    fn host() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab]", 2..5).prop_map(|labels| labels.join("."))
    }

    fn rule() -> impl Strategy<Value = NameRule> {
        (host(), any::<bool>(), 1_u16..4, 0_u16..3).prop_map(|(name, below, first, more)| {
            let star = if below { "*." } else { "" };
            let ports = Ports {
                first,
                last: first + more,
            };
            parse(&format!("{star}{name}:{ports}")).unwrap()
        })
    }

    proptest! {
        #[test]
        fn an_intersection_holds_the_names_of_both(a in rule(), b in rule(), host in host(), port in 1_u16..7) {
            let peer = parse(&format!("{host}:{port}")).unwrap();
            let both = a.intersect(&b).is_some_and(|both| both.covers(&peer));
            prop_assert_eq!(both, a.covers(&peer) && b.covers(&peer));
            prop_assert_eq!(a.covers(&peer), a.names(&peer.name) && a.ports().contains(&port));
            prop_assert_eq!(a.intersect(&b), b.intersect(&a));
        }

        #[test]
        fn what_reads_as_a_name_is_written_so(text in "[a-zA-Z0-9.*x%_-]{1,20}:[0-9-]{1,8}") {
            if let Ok(rule) = text.parse::<PeerRule>() {
                prop_assert_eq!(rule.to_string(), text);
            }
        }
    }
}
