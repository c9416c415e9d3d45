//! Which contents programs may have that are started.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// Which program images may start, by their contents, beside where they stand. Programs of a writable tree, where
/// those may start, are not meant: they come into being while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Images {
    /// Each that stands in the right place.
    #[default]
    Any,
    /// Those with one of these digests.
    Listed(BTreeSet<Digest>),
}

impl Images {
    /// Digests in one list.
    pub const COUNT_MAX: usize = 128;

    pub(crate) fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// Whether an image with these contents may start.
    #[must_use]
    pub fn allow(&self, digest: &Digest) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(digests) => digests.contains(digest),
        }
    }

    /// What both allow.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Any, images) | (images, Self::Any) => images.clone(),
            (Self::Listed(ours), Self::Listed(theirs)) => {
                Self::Listed(ours.intersection(theirs).copied().collect())
            }
        }
    }

    /// Whether it allows what `outer` does not.
    #[must_use]
    pub fn exceed(&self, outer: &Self) -> bool {
        match (self, outer) {
            (_, Self::Any) => false,
            (Self::Any, Self::Listed(_)) => true,
            (Self::Listed(ours), Self::Listed(theirs)) => !ours.is_subset(theirs),
        }
    }
}

impl Serialize for Images {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Where it is a member it is left out.
            Self::Any => serializer.serialize_none(),
            Self::Listed(digests) => digests.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Images {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeSet::deserialize(deserializer).map(Self::Listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(bytes: &[u8]) -> Images {
        Images::Listed(bytes.iter().map(|byte| Digest::new([*byte; 32])).collect())
    }

    #[test]
    fn a_list_allows_what_is_on_it_and_an_empty_one_nothing() {
        let digest = Digest::new([1; 32]);
        assert!(Images::Any.allow(&digest) && listed(&[1, 2]).allow(&digest));
        assert!(!listed(&[2]).allow(&digest) && !listed(&[]).allow(&digest));
    }

    #[test]
    fn a_list_is_within_none_and_within_a_longer_one() {
        assert!(!listed(&[1]).exceed(&Images::Any) && !listed(&[1]).exceed(&listed(&[1, 2])));
        assert!(Images::Any.exceed(&listed(&[1])) && listed(&[1, 3]).exceed(&listed(&[1, 2])));
        assert_eq!(listed(&[1, 3]).intersect(&listed(&[1, 2])), listed(&[1]));
        assert_eq!(listed(&[1]).intersect(&Images::Any), listed(&[1]));
    }
}
