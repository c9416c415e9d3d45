//! Questions to a DNS stub (RFC 1035), and what it answers. Pure.

use std::net::IpAddr;

use placet_types::HostName;

const HEADER_BYTES: usize = 12;
/// What a datagram may hold without further agreement.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// Addresses in one answer: with the longest name they fit.
const ADDRESSES_MAX: usize = 8;
/// How long an answer may be kept, in seconds. Shorter than a pin.
const TTL_SECS: u32 = 60;

const INTERNET: u16 = 1;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    id: u16,
    recursion_desired: bool,
    /// Name, type and class as they came: an answer repeats them.
    asked: Vec<u8>,
    /// Whose; `None` for what is no host name.
    pub name: Option<HostName>,
    /// For what.
    pub kind: Kind,
}

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Something that a stub for connects does not know.
    Other,
}

/// How a question went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Here are the addresses, if there are any of this kind.
    Found = 0,
    /// It could not be found out.
    Failed = 2,
    /// There is no such name.
    NoName = 3,
    /// It is not answered.
    Refused = 5,
}

/// Reads a query with one question; `None` for everything else, which gets no answer.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Question> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let [id0, id1, flags, _, counts @ ..] = *header;
    let [0, 1, 0, 0, 0, 0, 0, 0 | 1] = counts else {
        return None;
    };
    // A query (0), of the standard kind (0), not cut off.
    if flags & 0b1111_1010 != 0 || bytes.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let (labels, len) = labels(rest)?;
    let [kind0, kind1, class0, class1] = *rest.get(len..)?.first_chunk::<4>()?;
    let is_internet = u16::from_be_bytes([class0, class1]) == INTERNET;
    Some(Question {
        id: u16::from_be_bytes([id0, id1]),
        recursion_desired: flags & 1 == 1,
        asked: rest.get(..len.checked_add(4)?)?.to_vec(),
        name: HostName::parse(&labels.to_ascii_lowercase()).ok(),
        kind: match u16::from_be_bytes([kind0, kind1]) {
            1 if is_internet => Kind::A,
            28 if is_internet => Kind::Aaaa,
            _ => Kind::Other,
        },
    })
}

/// The name at the beginning of `bytes`, with dots, and its length there. Nothing refers back: there is
/// nothing before it.
fn labels(bytes: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at: usize = 0;
    loop {
        let len = usize::from(*bytes.get(at)?);
        at = at.checked_add(1)?;
        if len == 0 {
            return Some((name, at));
        }
        let label = bytes.get(at..at.checked_add(len)?)?;
        at = at.checked_add(len)?;
        if len > 63 || at > 254 {
            return None;
        }
        // What is no text, and a dot inside of a label, is no host name.
        let text = std::str::from_utf8(label)
            .ok()
            .filter(|text| !text.contains('.'));
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(text.unwrap_or("\u{0}"));
    }
}

impl Question {
    /// The answer, with those of the addresses that were asked for.
    #[must_use]
    pub fn answer(&self, code: Code, addresses: &[IpAddr]) -> Vec<u8> {
        let asked_for = |address: &&IpAddr| match self.kind {
            Kind::A => address.is_ipv4(),
            Kind::Aaaa => address.is_ipv6(),
            Kind::Other => false,
        };
        let found: Vec<&IpAddr> = addresses
            .iter()
            .filter(asked_for)
            .take(ADDRESSES_MAX)
            .collect();
        let count = u8::try_from(found.len()).unwrap_or(0);
        let [id0, id1] = self.id.to_be_bytes();
        // A response, of an authority on nothing, that does recursion.
        let flags = [0x80 | u8::from(self.recursion_desired), 0x80 | code as u8];
        let mut message = vec![id0, id1, flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0];
        message.extend(&self.asked);
        for address in found {
            message.extend(record(*address));
        }
        message
    }
}

/// A resource record about the name of the question.
fn record(address: IpAddr) -> Vec<u8> {
    let (kind, data) = match address {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (28, address.octets().to_vec()),
    };
    let len = u8::try_from(data.len()).unwrap_or(0);
    let mut record = vec![0xc0, 12, 0, kind, 0, 1];
    record.extend(TTL_SECS.to_be_bytes());
    record.extend([0, len]);
    record.extend(data);
    record
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut bytes = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, kind, 0, 1]);
        bytes
    }

    #[test]
    fn a_question_is_answered_with_the_addresses_of_its_kind() {
        let question = read(&query("eXample.org", 1)).unwrap();
        assert_eq!(question.name.as_ref().unwrap().as_str(), "example.org");
        let addresses = ["1.2.3.4".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let answer = question.answer(Code::Found, &addresses);
        assert_eq!(answer[..12], [7, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(answer[12..29], query("eXample.org", 1)[12..]);
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4];
        assert_eq!(answer[29..], record);
        let other = read(&query("example.org", 65)).unwrap();
        assert_eq!(other.kind, Kind::Other);
        assert_eq!(other.answer(Code::Found, &addresses)[7], 0);
        assert_eq!(other.answer(Code::Refused, &[])[3], 0x85);
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let good = query("example.org", 1);
        for len in 0..good.len() {
            assert_eq!(read(&good[..len]), None, "{len}");
        }
        // Flags, counts, a name that refers elsewhere.
        for (at, byte) in [
            (2, 0x81),
            (2, 0x09),
            (2, 0x03),
            (5, 2),
            (7, 1),
            (9, 1),
            (12, 0xc0),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(read(&bad), None, "{at}");
        }
    }

    #[test]
    fn names_that_are_no_hosts_have_no_name() {
        for name in [
            "localhost",
            "exam\u{e4}ple.org",
            "127.0.0.1",
            "_x.example.org",
        ] {
            assert_eq!(read(&query(name, 1)).unwrap().name, None, "{name}");
        }
        let mut dotted = query("example.org", 1);
        dotted[15] = b'.';
        assert_eq!(read(&dotted).unwrap().name, None);
        assert_eq!(read(&query(&"a.".repeat(130), 1)), None);
    }

    proptest! {
        #[test]
        fn an_answer_fits_a_datagram(name in "([a-z0-9]{1,60}\\.){1,4}[a-z]{1,9}", many in 0_u8..40) {
            let Some(question) = read(&query(&name, 28)) else { return Ok(()) };
            let addresses: Vec<IpAddr> = (0..many)
                .map(|n| IpAddr::from([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]))
                .collect();
            prop_assert!(question.answer(Code::Found, &addresses).len() <= MESSAGE_BYTES_MAX);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(question) = read(&bytes) {
                prop_assert!(question.answer(Code::Refused, &[]).len() <= bytes.len());
            }
        }
    }
}
