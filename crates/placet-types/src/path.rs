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
        Self::from_text(text.to_owned())
    }

    fn from_text(text: String) -> Result<Self, PathSyntax> {
        let normal = text == "/"
            || text.strip_prefix('/').is_some_and(|rest| {
                rest.split('/')
                    .all(|part| !part.is_empty() && part != "." && part != "..")
            });
        if normal && text.len() <= Self::BYTES_MAX && !text.contains('\0') {
            Ok(Self(text))
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
        let mut sorted: BTreeSet<AbsPath> = roots.into_iter().collect();
        let below: Vec<AbsPath> = below_another(&sorted).cloned().collect();
        for path in &below {
            sorted.remove(path);
        }
        Self(sorted)
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

/// Those that lie below another one. In order, a root comes before all below it; what stands between them, as `/a-b` does between
/// `/a` and `/a/b`, begins with its text.
fn below_another(sorted: &BTreeSet<AbsPath>) -> impl Iterator<Item = &AbsPath> {
    let mut above: Vec<&AbsPath> = Vec::new();
    sorted.iter().filter(move |path| {
        while above
            .pop_if(|root| !path.0.starts_with(root.0.as_str()))
            .is_some()
        {}
        let is_below = above.iter().any(|root| path.is_within(root));
        if !is_below {
            above.push(path);
        }
        is_below
    })
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
        Self::from_text(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for PathSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let roots = BTreeSet::<AbsPath>::deserialize(deserializer)?;
        if below_another(&roots).next().is_some() {
            return Err(serde::de::Error::custom(
                "a path set lists a root below another root",
            ));
        }
        Ok(Self(roots))
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
        // `a-` and `a` are where the order of texts is not that of trees.
        prop::collection::vec("a|b|a-", 0..4)
            .prop_map(|parts| path(&format!("/{}", parts.join("/"))))
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
        fn no_root_lies_below_another_and_no_path_is_lost(
            paths in prop::collection::vec(any_path(), 0..8), p in any_path(),
        ) {
            let set = PathSet::new(paths.iter().cloned());
            prop_assert_eq!(set.contains(&p), paths.iter().any(|root| p.is_within(root)));
            let within = |root: &AbsPath| set.iter().filter(|other| root.is_within(other)).count();
            prop_assert!(set.iter().all(|root| within(root) == 1));
            let listed: BTreeSet<AbsPath> = paths.into_iter().collect();
            let text = serde_json::to_string(&listed).unwrap();
            let read = serde_json::from_str::<PathSet>(&text).ok();
            prop_assert_eq!(read.is_some(), listed == set.0);
        }

        #[test]
        fn sets_survive_json(a in any_set()) {
            let text = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<PathSet>(&text).unwrap(), a);
        }
    }
}
