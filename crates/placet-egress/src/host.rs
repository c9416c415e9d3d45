//! A host and port as a program writes them. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use placet_types::HostName;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By name, in its one spelling.
    Name(HostName),
    /// By address; an IPv4 address that was written as IPv6 is given as what it means.
    Address(IpAddr),
}

/// `host:port`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Who.
    pub host: Host,
    /// From 1 on.
    pub port: u16,
}

impl Host {
    /// Reads a name in any case, a dotted IPv4 address, or an IPv6 address in brackets.
    ///
    /// `None` for everything else: closing dots, percent signs, numbers that only some readers take
    /// for an address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            return Self::bare_v6(rest.strip_suffix(']')?);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let name = text.to_ascii_lowercase();
        HostName::parse(&name).ok().map(Self::Name)
    }

    /// As [`Self::parse`], with an IPv6 address bare, as SOCKS has them.
    #[must_use]
    pub fn parse_bare(text: &str) -> Option<Self> {
        Self::bare_v6(text).or_else(|| Self::parse(text).filter(|_| !text.starts_with('[')))
    }

    fn bare_v6(text: &str) -> Option<Self> {
        let address = text.parse::<Ipv6Addr>().ok()?;
        Some(Self::Address(IpAddr::V6(address).to_canonical()))
    }
}

impl Authority {
    /// Reads `host:port`; without a port it is `default_port`, where there is one.
    #[must_use]
    pub fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let inside_brackets = |(_, port): &(&str, &str)| port.ends_with(']');
        let parts = text.rsplit_once(':').filter(|it| !inside_brackets(it));
        let (host, port) = match parts {
            Some((host, port)) => (host, read_port(port)?),
            None => (text, default_port?),
        };
        let host = Host::parse(host)?;
        Some(Self { host, port })
    }
}

fn read_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| digits)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_in_between() {
        let read = |text: &str| Authority::parse(text, None).map(|it| it.to_string());
        for (text, means) in [
            ("example.org:443", "example.org:443"),
            ("EXAMPLE.org:443", "example.org:443"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[2001:DB8::1]:80", "[2001:db8::1]:80"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ] {
            assert_eq!(read(text).as_deref(), Some(means), "{text}");
        }
        for text in [
            "",
            ":80",
            "example.org",
            "example.org:",
            "example.org:0",
            "example.org:080",
            "example.org:+80",
            "example.org:65536",
            "example.org.:80",
            "example%2eorg:80",
            "ex\u{e4}mple.org:80",
            "user@example.org:80",
            "127.1:80",
            "0177.0.0.1:80",
            "0x7f.0.0.1:80",
            "2130706433:80",
            "::1:80",
            "[::1]80",
            "[::1%lo]:80",
            "[10.0.0.1]:80",
            "example.org:80:80",
            "example.org:80/",
            " example.org:80",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(Authority::parse("[::1]", Some(80)).unwrap().port, 80);
        assert_eq!(Authority::parse("a.b", Some(80)).unwrap().port, 80);
    }

    #[test]
    fn a_bare_address_has_no_brackets() {
        assert_eq!(
            Host::parse_bare("::1"),
            Some(Host::Address("::1".parse().unwrap()))
        );
        assert!(Host::parse_bare("[::1]").is_none());
        assert!(matches!(Host::parse_bare("a.b"), Some(Host::Name(_))));
    }
}
