//! SOCKS 5 (RFC 1928) as a client speaks it, without authentication, CONNECT only. Pure.

use std::net::IpAddr;

use crate::host::{Authority, Host};

/// The first byte of everything a client says.
pub const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// There has to be more.
    Incomplete,
    /// It is this, and so many bytes long.
    Complete(T, usize),
    /// It is nothing of this protocol.
    Invalid,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be connected.
    Connect(Authority),
    /// To be connected to what is no host.
    Nowhere,
    /// Anything else that the protocol has.
    Unsupported,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is connected.
    Succeeded = 0,
    /// Something else went wrong.
    Failed = 1,
    /// The rules do not allow it.
    NotAllowed = 2,
    /// There is no way to the host, or no such host.
    Unreachable = 4,
    /// Nobody listens there.
    ConnectionRefused = 5,
    /// It cannot be asked for.
    NotSupported = 7,
}

impl Reply {
    /// Its bytes; the bound address is not told.
    #[must_use]
    pub const fn bytes(self) -> [u8; 10] {
        [VERSION, self as u8, 0, 1, 0, 0, 0, 0, 0, 0]
    }
}

/// The methods that a client offers; gives whether the one without authentication is among them.
#[must_use]
pub fn greeting(bytes: &[u8]) -> Read<bool> {
    match bytes {
        [] | [VERSION] => Read::Incomplete,
        [VERSION, 0, ..] => Read::Invalid,
        [VERSION, count, methods @ ..] => match methods.get(..usize::from(*count)) {
            None => Read::Incomplete,
            Some(methods) => Read::Complete(
                methods.contains(&NO_AUTHENTICATION),
                usize::from(*count).saturating_add(2),
            ),
        },
        _ => Read::Invalid,
    }
}

/// What a client asks for.
#[must_use]
pub fn request(bytes: &[u8]) -> Read<Request> {
    let [version, command, reserved, kind, rest @ ..] = bytes else {
        return if bytes.first().is_none_or(|byte| *byte == VERSION) {
            Read::Incomplete
        } else {
            Read::Invalid
        };
    };
    if *version != VERSION || *reserved != 0 {
        return Read::Invalid;
    }
    let (at, len) = match kind {
        1 => (0, 4),
        4 => (0, 16),
        3 => match rest.first() {
            None => return Read::Incomplete,
            Some(0) => return Read::Invalid,
            Some(len) => (1, usize::from(*len)),
        },
        _ => return Read::Invalid,
    };
    let end = len.saturating_add(at);
    let (Some(host), Some(port)) = (
        rest.get(at..end),
        rest.get(end..).and_then(|rest| rest.first_chunk::<2>()),
    ) else {
        return Read::Incomplete;
    };
    let host = match kind {
        3 => std::str::from_utf8(host).ok().and_then(Host::parse_bare),
        _ => address(host),
    };
    let asked = match (*command, host, u16::from_be_bytes(*port)) {
        (CONNECT, _, 0) | (CONNECT, None, _) => Request::Nowhere,
        (CONNECT, Some(host), port) => Request::Connect(Authority { host, port }),
        _ => Request::Unsupported,
    };
    Read::Complete(asked, end.saturating_add(6))
}

fn address(bytes: &[u8]) -> Option<Host> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| v6()).ok()?;
    Some(Host::Address(address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connect(text: &str) -> Request {
        Request::Connect(Authority::parse(text, None).unwrap())
    }

    fn by_name(name: &[u8], port: u16) -> Vec<u8> {
        let len = u8::try_from(name.len()).unwrap();
        [&[5, 1, 0, 3, len], name, &port.to_be_bytes()].concat()
    }

    #[test]
    fn names_and_addresses_are_read() {
        let v4 = [5, 1, 0, 1, 10, 0, 0, 1, 1, 187];
        assert_eq!(request(&v4), Read::Complete(connect("10.0.0.1:443"), 10));
        let mut v6 = vec![5, 1, 0, 4];
        v6.extend(
            "::ffff:10.0.0.1"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        );
        v6.extend([0, 80]);
        assert_eq!(request(&v6), Read::Complete(connect("10.0.0.1:80"), 22));
        let name = by_name(b"Example.org", 443);
        let read = Read::Complete(connect("example.org:443"), name.len());
        assert_eq!(request(&name), read);
        assert_eq!(
            request(&by_name(b"10.0.0.1", 80)),
            Read::Complete(connect("10.0.0.1:80"), 15)
        );
    }

    #[test]
    fn what_is_no_host_leads_nowhere() {
        for name in [
            b"example.org.".as_slice(),
            b"127.1",
            b"exam\0ple.org",
            b"ex%41mple.org",
            b"\xff.org",
            b"localhost",
        ] {
            let bytes = by_name(name, 443);
            assert_eq!(
                request(&bytes),
                Read::Complete(Request::Nowhere, bytes.len())
            );
        }
        let bytes = by_name(b"example.org", 0);
        assert_eq!(
            request(&bytes),
            Read::Complete(Request::Nowhere, bytes.len())
        );
    }

    #[test]
    fn odd_lengths_wait_or_are_refused() {
        let whole = by_name(b"example.org", 443);
        for len in 0..whole.len() {
            assert_eq!(request(&whole[..len]), Read::Incomplete, "{len}");
        }
        assert_eq!(request(&[5, 1, 0, 3, 0, 1, 187]), Read::Invalid);
        assert_eq!(request(&[5, 1, 0, 2, 0, 0]), Read::Invalid);
        assert_eq!(request(&[5, 1, 1, 1, 10, 0, 0, 1, 0, 80]), Read::Invalid);
        assert_eq!(request(&[4, 1, 0, 80]), Read::Invalid);
        assert_eq!(greeting(&[5, 0, 1]), Read::Invalid);
        assert_eq!(greeting(&[5, 255]), Read::Incomplete);
        assert_eq!(greeting(&[5, 2, 2]), Read::Incomplete);
        assert_eq!(greeting(&[5, 2, 2, 0, 9]), Read::Complete(true, 4));
        assert_eq!(greeting(&[5, 1, 2]), Read::Complete(false, 3));
        assert_eq!(greeting(&[4, 1]), Read::Invalid);
    }

    #[test]
    fn bind_and_udp_are_not_supported() {
        for command in [2, 3, 9] {
            let bytes = [5, command, 0, 1, 10, 0, 0, 1, 0, 80];
            assert_eq!(request(&bytes), Read::Complete(Request::Unsupported, 10));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_lies_in_what_was_sent(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Read::Complete(_, len) = request(&bytes) {
                prop_assert!(len <= bytes.len());
            }
            if let Read::Complete(_, len) = greeting(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
