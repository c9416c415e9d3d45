//! `bundle.toml`: what the bundle says of itself.

use std::collections::BTreeSet;

use placet_types::ProfileName;
use serde::Deserialize;

use super::Validity;
use crate::problem::Problem;
use crate::strict::{self, Instant};

pub(super) const FILE: &str = "bundle.toml";

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Profile of a permit that names none.
    pub default_profile: ProfileName,
    /// What the bundle is for.
    pub description: String,
    /// Name: lower-case letters, digits, `.`, `_` and `-`, at most 64.
    pub name: String,
    /// Grows with every published change, from 1.
    pub revision: u64,
    /// Vocabularies beside the core one that its policies speak.
    #[serde(default)]
    pub vocabularies: BTreeSet<Vocabulary>,
    not_before: Option<Instant>,
    expires: Option<Instant>,
}

/// A vocabulary that a bundle may speak. Policies are checked against every action that they can be
/// about, so one that is not asked for is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vocabulary {
    /// Administration: a bundle that speaks it governs it.
    Admin,
    /// The Model Context Protocol.
    Mcp,
    /// Connections, one by one.
    Network,
}

impl About {
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        let about: Self = strict::read(FILE, text)?;
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let bad = |message: &str| Err(Problem::error(FILE, "bundle", message));
        if !(1..=64).contains(&about.name.len()) || !about.name.bytes().all(allowed) {
            return bad("name: lower-case letters, digits, `.`, `_` and `-`, at most 64");
        }
        // Canonical JSON holds integers exactly up to 2^53 - 1.
        if about.revision == 0 || about.revision >= 1 << 53 {
            return bad("revision: counts from 1, below 2^53");
        }
        let validity = about.validity();
        if let (Some(begin), Some(end)) = (validity.not_before, validity.expires)
            && end <= begin
        {
            return bad("the bundle expires before it begins");
        }
        Ok(about)
    }

    /// When the bundle counts.
    #[must_use]
    pub fn validity(&self) -> Validity {
        Validity {
            expires: self.expires.map(|instant| instant.0),
            not_before: self.not_before.map(|instant| instant.0),
        }
    }
}
