//! What of a certificate is read here: its names of kind URI, and when it ends. Nothing is verified.
//!
//! A walk over DER (X.690) that takes lengths in their one spelling and never looks beyond its bytes.

use placet_types::Millis;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const URI: u8 = 0x86;
/// 2.5.29.17
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];
/// Names that a certificate may have.
const NAMES_MAX: usize = 64;

/// What is read of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Its names of kind URI; one that is no text is an empty one.
    pub(super) uris: Vec<String>,
    /// It does not count from then on.
    pub(super) until: Millis,
}

struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and contents.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if !(1..=3).contains(&count) {
                return None;
            }
            let (bytes, rest) = rest.split_at_checked(count)?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, contents)| contents)
    }
}

impl Leaf {
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let mut outer = Der(Der(certificate).expect(SEQUENCE)?);
        let mut body = Der(outer.expect(SEQUENCE)?);
        // Version, serial number, algorithm, issuer.
        body.expect(VERSION)?;
        for _ in 0..3 {
            body.next()?;
        }
        let mut validity = Der(body.expect(SEQUENCE)?);
        validity.next()?;
        let (tag, text) = validity.next()?;
        let until = instant(tag, text)?;
        let mut uris = Vec::new();
        while let Some((tag, contents)) = body.next() {
            if tag == EXTENSIONS {
                uris.extend(names(contents)?);
            }
        }
        Some(Self { uris, until })
    }
}

/// The URIs among the subject's alternative names.
fn names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut all = Der(Der(extensions).expect(SEQUENCE)?);
    let mut found = Vec::new();
    while !all.0.is_empty() {
        let mut extension = Der(all.expect(SEQUENCE)?);
        if extension.expect(OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        let (mut tag, mut value) = extension.next()?;
        if tag == BOOLEAN {
            (tag, value) = extension.next()?;
        }
        if tag != OCTETS {
            return None;
        }
        let mut names = Der(Der(value).expect(SEQUENCE)?);
        while !names.0.is_empty() {
            let (tag, name) = names.next()?;
            if tag == URI {
                found.push(std::str::from_utf8(name).unwrap_or_default().to_owned());
            }
            if found.len() > NAMES_MAX {
                return None;
            }
        }
    }
    Some(found)
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` (RFC 5280, section 4.1.2.5).
fn instant(tag: u8, text: &[u8]) -> Option<Millis> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: i32 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 } else { 1900 } + year, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(part(0)?).ok()?, part(2)?).ok()?;
    let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
    let instant: OffsetDateTime = PrimitiveDateTime::new(date, time).assume_utc();
    let secs = u64::try_from(instant.unix_timestamp()).ok()?;
    Some(Millis::new(secs.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        for uri in uris {
            let name = SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names.push(name);
        }
        params.not_after = OffsetDateTime::from_unix_timestamp(2_000_000_000).unwrap();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_and_end_are_read() {
        let leaf = Leaf::read(&certificate(&["spiffe://a/b", "https://c"])).unwrap();
        assert_eq!(leaf.uris, ["spiffe://a/b", "https://c"]);
        assert_eq!(leaf.until, Millis::new(2_000_000_000_000));
        assert!(Leaf::read(&certificate(&[])).unwrap().uris.is_empty());
        assert_eq!(
            instant(GENERALIZED_TIME, b"20330518033320Z"),
            Some(leaf.until)
        );
        assert_eq!(instant(UTC_TIME, b"330518033320"), None);
    }

    #[test]
    fn what_is_cut_or_bent_never_panics() {
        let whole = certificate(&["spiffe://a/b"]);
        for end in 0..whole.len() {
            assert!(Leaf::read(&whole[..end]).is_none(), "{end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0x80, 0x83, 0xff] {
                let mut bent = whole.clone();
                bent[at] = byte;
                let _ = Leaf::read(&bent);
            }
        }
    }
}
