//! What is taken out of an answer before whoever asked sees it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an answer must not show: `pattern:` and a regular expression, for whatever it matches in any text; or
/// `pointer:` and a JSON pointer (RFC 6901), for what stands there in structured content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Redaction {
    /// A regular expression. Whether it is one is found out by whoever applies it.
    Pattern(String),
    /// A JSON pointer: `/` and names, with `~0` for `~` and `~1` for `/`.
    Pointer(String),
}

/// A text that is no such rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no redaction: it must be `pattern:` or `pointer:` and at most {max} bytes", max = Redaction::BYTES_MAX)]
pub struct RedactionSyntax(String);

impl Redaction {
    /// Longest pattern or pointer, in bytes.
    pub const BYTES_MAX: usize = 512;
    /// Most rules of one profile.
    pub const COUNT_MAX: usize = 32;
}

impl FromStr for Redaction {
    type Err = RedactionSyntax;

    fn from_str(text: &str) -> Result<Self, RedactionSyntax> {
        let bad = || RedactionSyntax(text.chars().take(100).collect());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        if rest.is_empty() || rest.len() > Self::BYTES_MAX {
            return Err(bad());
        }
        match kind {
            "pattern" => Ok(Self::Pattern(rest.to_owned())),
            "pointer" if is_pointer(rest) => Ok(Self::Pointer(rest.to_owned())),
            _ => Err(bad()),
        }
    }
}

fn is_pointer(text: &str) -> bool {
    let mut parts = text.split('~');
    let starts = parts.next().is_some_and(|first| first.starts_with('/'));
    starts && parts.all(|rest| rest.starts_with(['0', '1']))
}

impl fmt::Display for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => write!(f, "pattern:{pattern}"),
            Self::Pointer(pointer) => write!(f, "pointer:{pointer}"),
        }
    }
}

impl Serialize for Redaction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Redaction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redaction_has_one_spelling() {
        for good in [
            "pattern:sk-[a-z]+",
            "pattern:a:b",
            "pointer:/user/e~0m~1ail",
            "pointer:/",
        ] {
            assert_eq!(good.parse::<Redaction>().unwrap().to_string(), good);
        }
        for bad in [
            "pattern:",
            "pointer:user",
            "pointer:/a~2",
            "pointer:/a~",
            "secret",
            "jq:.a",
        ] {
            assert!(bad.parse::<Redaction>().is_err(), "{bad}");
        }
        let long = format!("pattern:{}", "x".repeat(513));
        assert!(long.parse::<Redaction>().is_err());
    }
}
