//! Absolute paths in normal form, and sets of path trees.
//!
//! A path here is text: it names nothing on a disk. Gateways resolve symbolic links before they
//! make one, and open what they use without following any.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An absolute UTF-8 path without `.`, `..`, empty parts or a closing slash; `/` itself is allowed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsPath(String);

/// A set of trees: a path is in it when it is one of the roots or below one.
///
/// Kept in normal form: no root lies below another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PathSet(BTreeSet<AbsPath>);

/// Why a text is not an [`AbsPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an absolute path in normal form (no `.`, `..`, `//`, closing `/` or NUL; at most 4096 bytes)"
)]
pub struct PathSyntax(String);

impl AbsPath {
    /// Longest path, as Linux has it.
    pub const BYTES_MAX: usize = 4096;

    /// Reads a path that is in normal form already.
    ///
    /// # Errors
    ///
    /// [`PathSyntax`] holds the text.
    pub fn parse(text: &str) -> Result<Self, PathSyntax> {
        let normal = text == "/"
            || text.strip_prefix('/').is_some_and(|rest| {
                rest.split('/')
                    .all(|part| !part.is_empty() && part != "." && part != "..")
            });
        if normal && text.len() <= Self::BYTES_MAX && !text.contains('\0') {
            Ok(Self(text.to_owned()))
        } else {
            Err(PathSyntax(text.chars().take(200).collect()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this path is `root` or below it.
    #[must_use]
    pub fn is_within(&self, root: &Self) -> bool {
        self.0
            .strip_prefix(&root.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || root.0 == "/")
    }

    /// `/`, every directory on the way, and the path itself.
    fn with_ancestors(&self) -> impl Iterator<Item = &str> {
        let slashes = self.0.match_indices('/').map(|(at, _)| at.max(1));
        slashes
            .chain([self.0.len()])
            .filter_map(|end| self.0.get(..end))
    }

    /// The last part; empty for `/`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// This path and `relative` below it.
    ///
    /// # Errors
    ///
    /// [`PathSyntax`] when the result is not in normal form.
    pub fn join(&self, relative: &str) -> Result<Self, PathSyntax> {
        if relative.is_empty() {
            return Ok(self.clone());
        }
        let base = if self.0 == "/" { "" } else { &self.0 };
        Self::parse(&format!("{base}/{relative}"))
    }
}

impl PathSet {
    /// The trees below `roots`, in normal form.
    #[must_use]
    pub fn new(roots: impl IntoIterator<Item = AbsPath>) -> Self {
        // In order a root comes before everything below it, so nothing is taken out again.
        let sorted: BTreeSet<AbsPath> = roots.into_iter().collect();
        let mut set = Self::default();
        for root in sorted {
            if !set.contains(&root) {
                set.0.insert(root);
            }
        }
        set
    }

    /// Adds the tree below `root`.
    pub fn insert(&mut self, root: AbsPath) {
        if !self.contains(&root) {
            self.0.retain(|other| !other.is_within(&root));
            self.0.insert(root);
        }
    }

    /// Whether `path` lies in one of the trees.
    #[must_use]
    pub fn contains(&self, path: &AbsPath) -> bool {
        path.with_ancestors().any(|root| self.0.contains(root))
    }

    /// Whether every tree of this set lies in `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|root| other.contains(root))
    }

    /// The paths that lie in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let ours = self.0.iter().filter(|root| other.contains(root));
        let theirs = other.0.iter().filter(|root| self.contains(root));
        Self::new(ours.chain(theirs).cloned())
    }

    /// The paths that lie in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).cloned())
    }

    /// The roots, in order.
    pub fn iter(&self) -> impl Iterator<Item = &AbsPath> {
        self.0.iter()
    }

    /// Whether there is no path in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Paths are ordered as their texts are.
impl Borrow<str> for AbsPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for AbsPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AbsPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for PathSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let roots = BTreeSet::<AbsPath>::deserialize(deserializer)?;
        let set = Self::new(roots.iter().cloned());
        if set.0 == roots {
            Ok(set)
        } else {
            Err(serde::de::Error::custom(
                "a path set lists a root below another root",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> AbsPath {
        AbsPath::parse(text).unwrap()
    }

    #[test]
    fn only_normal_absolute_paths_are_read() {
        for text in [
            "", "a", "/a/", "//a", "/a//b", "/a/../b", "/./a", "/a\0b", "/..",
        ] {
            assert!(AbsPath::parse(text).is_err(), "{text:?}");
        }
        for text in ["/", "/a", "/a/..b", "/a/b.c", "/é"] {
            assert!(AbsPath::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_sibling_with_the_same_beginning_is_not_within() {
        assert!(path("/home/a/x").is_within(&path("/home/a")));
        assert!(!path("/home/ab").is_within(&path("/home/a")));
        assert!(path("/home").is_within(&path("/")));
    }

    fn any_path() -> impl Strategy<Value = AbsPath> {
        prop::collection::vec("[ab]", 0..4).prop_map(|parts| path(&format!("/{}", parts.join("/"))))
    }

    fn any_set() -> impl Strategy<Value = PathSet> {
        prop::collection::vec(any_path(), 0..4).prop_map(PathSet::new)
    }

    proptest! {
        #[test]
        fn intersection_and_union_agree_with_membership(a in any_set(), b in any_set(), p in any_path()) {
            prop_assert_eq!(a.intersect(&b).contains(&p), a.contains(&p) && b.contains(&p));
            prop_assert_eq!(a.union(&b).contains(&p), a.contains(&p) || b.contains(&p));
            prop_assert!(a.intersect(&b).is_within(&a));
            prop_assert!(a.is_within(&a.union(&b)));
        }

        #[test]
        fn sets_survive_json(a in any_set()) {
            let text = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<PathSet>(&text).unwrap(), a);
        }
    }
}
