//! SPIFFE ids: names of workloads within a trust domain (SPIFFE-ID standard, section 2).
//!
//! Read strictly: one id has one spelling, so comparing texts compares ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::as_text::as_text;

/// Longest id, in bytes.
const BYTES_MAX: usize = 2048;
/// Longest trust domain, in bytes.
const DOMAIN_BYTES_MAX: usize = 255;
const SCHEME: &str = "spiffe://";

/// A workload: `spiffe://trust.domain/path`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(String);

/// The name of a trust domain, such as `example.org`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

/// A text that is no SPIFFE id, or no trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeSyntax {
    /// No id.
    #[error(
        "a SPIFFE id is spiffe://trust.domain/path, at most {BYTES_MAX} bytes, with parts of letters, digits, `.`, `_` and `-`"
    )]
    Id,
    /// No trust domain.
    #[error(
        "a trust domain is lower-case letters, digits, `.`, `_` and `-`, at most {DOMAIN_BYTES_MAX} bytes"
    )]
    Domain,
}

impl SpiffeId {
    /// Reads an id that names a workload: one without a path names a trust domain, and nobody in it.
    ///
    /// # Errors
    ///
    /// [`SpiffeSyntax`] for any other text.
    pub fn parse(text: &str) -> Result<Self, SpiffeSyntax> {
        if text.len() > BYTES_MAX {
            return Err(SpiffeSyntax::Id);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeSyntax::Id)?;
        let (domain, path) = rest.split_once('/').ok_or(SpiffeSyntax::Id)?;
        TrustDomain::parse(domain)?;
        if path.split('/').all(is_segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpiffeSyntax::Id)
        }
    }

    /// The trust domain that it belongs to.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        // INVARIANT: `parse` found the domain to be one, and a `/` behind it.
        TrustDomain(rest.split('/').next().unwrap_or_default().to_owned())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TrustDomain {
    /// Reads the name of a trust domain.
    ///
    /// # Errors
    ///
    /// [`SpiffeSyntax::Domain`] for any other text.
    pub fn parse(text: &str) -> Result<Self, SpiffeSyntax> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if (1..=DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpiffeSyntax::Domain)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text can be one part of a path.
#[must_use]
pub fn is_segment(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(allowed)
}

as_text!(SpiffeId, SpiffeSyntax);
as_text!(TrustDomain, SpiffeSyntax);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_one_spelling() {
        let id = SpiffeId::parse("spiffe://example.org/ns/ci/Build_1.x-y").unwrap();
        assert_eq!(
            id.trust_domain(),
            TrustDomain::parse("example.org").unwrap()
        );
        for text in [
            "",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org//a",
            "spiffe://example.org/a/",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/./a",
            "spiffe://Example.org/a",
            "SPIFFE://example.org/a",
            "spiffe:///a",
            "spiffe://example.org:443/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/%61",
            "spiffe://example.org/a b",
            "https://example.org/a",
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text}");
        }
        let long = format!("spiffe://example.org/{}", "a".repeat(BYTES_MAX));
        assert!(SpiffeId::parse(&long).is_err());
    }
}
