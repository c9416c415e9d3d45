//! Ids and names as types of their own, each with one grammar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::as_text::as_text;
use crate::digest::{decode_hex, encode_hex};

/// Position of a record in the evidence log, from 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Index(u64);

/// One execution: `exec_` and 32 hex digits. Its artifact is named `art_` and the same digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId([u8; 16]);

/// A text that does not follow the grammar of the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {grammar}")]
pub struct NameSyntax {
    what: &'static str,
    grammar: &'static str,
}

impl Index {
    /// The record at `position`.
    #[must_use]
    pub const fn new(position: u64) -> Self {
        Self(position)
    }

    /// The position.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl FromStr for Index {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl ExecutionId {
    /// Takes 16 bytes that the authority drew at random.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Name of this execution's artifact, the `jti` claim.
    #[must_use]
    pub fn artifact_id(&self) -> String {
        format!("art_{}", encode_hex(&self.0))
    }

    /// Reads an execution or the name of its artifact.
    #[must_use]
    pub fn parse_artifact_id(text: &str) -> Option<Self> {
        decode_hex(text.strip_prefix("art_")?)?
            .try_into()
            .ok()
            .map(Self)
    }

    /// `exec_` and the first ten digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(15).collect()
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec_{}", encode_hex(&self.0))
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ExecutionId {
    type Err = NameSyntax;

    fn from_str(text: &str) -> Result<Self, NameSyntax> {
        let error = NameSyntax {
            what: "execution id",
            grammar: "exec_ and 32 lower-case hex digits",
        };
        let bytes = text
            .strip_prefix("exec_")
            .and_then(decode_hex)
            .ok_or(error.clone())?;
        bytes.try_into().map(Self).map_err(|_| error)
    }
}

impl Serialize for ExecutionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExecutionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Defines a name: a checked string with its grammar in words and as a predicate.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $grammar:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Reads the name.
            ///
            /// # Errors
            ///
            /// [`NameSyntax`] says what the grammar is.
            pub fn parse(text: &str) -> Result<Self, NameSyntax> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameSyntax { what: $what, grammar: $grammar })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        as_text!($name, NameSyntax);
    };
}

name!(
    /// Who asks: `kind:name`, such as `user:alice`, `agent:coder`, `ci:release`.
    PrincipalId,
    "principal",
    "kind:name, where kind is lower-case letters and name is letters, digits and ._@/- (at most 128 bytes)",
    |text| text.split_once(':').is_some_and(|(kind, name)| {
        within(kind, 1, 32, |b| b.is_ascii_lowercase()) && within(name, 1, 96, is_name_byte)
    })
);
name!(
    /// What is to be done: `kind:verb`, such as `process:run`.
    ActionName,
    "action",
    "kind:verb in lower-case letters, digits, _ and -",
    |text| text.split_once(':').is_some_and(|(kind, verb)| {
        within(kind, 1, 32, is_word_byte) && within(verb, 1, 64, is_word_byte)
    })
);
name!(
    /// Which gateway carries out: the artifact's audience.
    GatewayName,
    "gateway",
    "lower-case letters, digits, _ and - (at most 64 bytes)",
    |text| within(text, 1, 64, is_word_byte)
);
name!(
    /// A confinement profile of a policy bundle.
    ProfileName,
    "profile",
    "lower-case letters, digits, _ and - (at most 64 bytes)",
    |text| within(text, 1, 64, is_word_byte)
);
name!(
    /// The domain: a schema-less URL, also the log's origin and the artifact's issuer.
    DomainName,
    "domain",
    "a schema-less URL such as placet.example/laptop (letters, digits, . - _ /; at most 128 bytes)",
    |text| {
        within(text, 1, 128, |b| b.is_ascii_alphanumeric() || b".-_/".contains(&b))
            && !text.starts_with('/')
            && !text.ends_with('/')
            && !text.contains("//")
    }
);

name!(
    /// A region or a zone that a machine stands in.
    PlaceName,
    "place",
    "lower-case letters, digits, . _ and -, beginning with a letter or digit (at most 64 bytes)",
    |text| {
        within(text, 1, 64, |b| is_word_byte(b) || b == b'.')
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
    }
);
name!(
    /// A secret of the domain's store.
    SecretName,
    "secret",
    "lower-case letters, digits, . _ and -, beginning with a letter or digit (at most 64 bytes)",
    |text| {
        within(text, 1, 64, |b| is_word_byte(b) || b == b'.')
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
    }
);
name!(
    /// An environment variable that a credential takes.
    VariableName,
    "environment variable",
    "letters, digits and _, not beginning with a digit (at most 128 bytes), and none that the loader, the shell or Placet reads",
    |text| {
        within(text, 1, 128, |b| b.is_ascii_alphanumeric() || b == b'_')
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && !["LD_", "PLACET_"].iter().any(|prefix| text.starts_with(prefix))
            && !["BASH_ENV", "ENV", "HOME", "IFS", "PATH"].contains(&text)
    }
);
name!(
    /// Where a credential lies below the directory of the credentials.
    CredentialPath,
    "credential file",
    "one to four names of letters, digits, . _ and - (at most 64 bytes each), with / between them",
    |text| {
        text.split('/').count() <= 4
            && text.split('/').all(|part| {
                within(part, 1, 64, |b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                    && part != "."
                    && part != ".."
            })
    }
);

fn within(text: &str, min: usize, max: usize, allowed: fn(u8) -> bool) -> bool {
    (min..=max).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._@/-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_and_its_artifact_share_their_digits() {
        let id = ExecutionId::new([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ExecutionId::parse_artifact_id(&id.artifact_id()), Some(id));
        assert_eq!(ExecutionId::parse_artifact_id(&id.to_string()), None);
        assert_eq!(id.short(), "exec_ababababab");
    }

    #[test]
    fn names_outside_their_grammar_are_refused() {
        for text in [
            "",
            "alice",
            "user:",
            ":alice",
            "User:alice",
            "user:a b",
            "user:a\n",
            "u:é",
        ] {
            assert!(PrincipalId::parse(text).is_err(), "{text:?}");
        }
        for text in ["/a", "a/", "a//b", "a b", "https://a"] {
            assert!(DomainName::parse(text).is_err(), "{text:?}");
        }
        assert!(PrincipalId::parse("agent:coder.v2@host/1").is_ok());
        assert!(DomainName::parse("placet.example/laptop").is_ok());
    }
}
