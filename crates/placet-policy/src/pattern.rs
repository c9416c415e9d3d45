//! What a reference value accepts: a text with `*`, or a range of versions.

use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::glob;

/// Most bounds of one range.
const BOUNDS_MAX: usize = 2;
/// Most numbers of a version that are looked at.
const NUMBERS_MAX: usize = 8;

/// One entry of a list of reference values: `6.*`, where `*` is any run of characters, or `>=6.12 <7`. A version is the
/// numbers that a text begins with; `6.12.3-amd64` is 6, 12, 3. It is below another one that it is the beginning of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    range: Vec<Bound>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Bound {
    AtLeast(Vec<u64>),
    Below(Vec<u64>),
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let range = if text.starts_with(['<', '>', '=']) {
            text.split_ascii_whitespace()
                .map(|bound| Bound::parse(bound).ok_or_else(|| wrong(text)))
                .collect::<Result<Vec<_>, _>>()?
        } else {
            Vec::new()
        };
        if text.is_empty() || range.len() > BOUNDS_MAX {
            return Err(wrong(text));
        }
        Ok(Self {
            text: text.to_owned(),
            range,
        })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        if self.range.is_empty() {
            return glob::matches(&self.text, text);
        }
        version(text).is_some_and(|version| self.range.iter().all(|bound| bound.holds(&version)))
    }
}

impl Bound {
    fn parse(text: &str) -> Option<Self> {
        let numbers = |text: &str| {
            let all: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
            all.filter(|it| it.len() <= NUMBERS_MAX)
        };
        match text.strip_prefix(">=") {
            Some(rest) => numbers(rest).map(Self::AtLeast),
            None => numbers(text.strip_prefix('<')?).map(Self::Below),
        }
    }

    fn holds(&self, version: &[u64]) -> bool {
        match self {
            Self::AtLeast(bound) => version >= bound.as_slice(),
            Self::Below(bound) => version < bound.as_slice(),
        }
    }
}

/// The numbers that a text begins with.
fn version(text: &str) -> Option<Vec<u64>> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let numbers = text.get(..end.unwrap_or(text.len()))?;
    let numbers = numbers.trim_end_matches('.').split('.').take(NUMBERS_MAX);
    numbers.map(|part| part.parse().ok()).collect()
}

fn wrong(text: &str) -> String {
    format!(
        "`{text}`: write a text, in which * is any run of characters, or a range such as `>=6.12 <7`"
    )
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_of_versions_and_a_text_is_a_text() {
        for (pattern, accepted, refused) in [
            (
                ">=6.12",
                &["6.12", "6.12.3-amd64", "6.18", "7"][..],
                &["6.9", "5.99", "six", "", "6."][..],
            ),
            (">=6.12 <7", &["6.12.0", "6.99"], &["7", "7.0", "10.1"]),
            ("<6.12", &["6.2", "5"], &["6.12", "6.12.1"]),
            ("6.1.*", &["6.1.0-x"], &["6.10.2", "6.1"]),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            for text in accepted {
                assert!(pattern.matches(text), "{pattern} {text}");
            }
            for text in refused {
                assert!(!pattern.matches(text), "{pattern} {text}");
            }
        }
        for wrong in ["", ">6", "=6", ">=", ">=6 <7 <8", ">=a", "<6,7", ">=6 6.*"] {
            Pattern::parse(wrong).unwrap_err();
        }
    }
}
