//! `entities.toml`: which group stands in which, which programs form a toolset, and lists of words
//! that policies look for.
//!
//! Who is in a group is not said here: that is recorded with the principal, in the log.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{Entity, EntityUid, RestrictedExpression};
use serde::Deserialize;

use crate::glob;
use crate::problem::Problem;
use crate::request::{Unusable, uid};
use crate::strict;

pub(crate) const FILE: &str = "entities.toml";

/// Groups, toolsets and wordlists of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entities {
    /// Groups by name.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// Toolsets by name.
    #[serde(default)]
    pub toolsets: BTreeMap<String, Toolset>,
    /// Wordlists by name.
    #[serde(default)]
    pub wordlists: BTreeMap<String, Wordlist>,
}

/// A group of principals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// Who belongs in it.
    pub description: String,
    /// The groups that this one stands in.
    #[serde(default, rename = "in")]
    pub within: Vec<String>,
}

/// A set of programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Toolset {
    /// What these programs have in common.
    pub description: String,
    /// Where programs that are named without a path must stand. `*` is one part of a path.
    #[serde(default)]
    pub directories: Vec<String>,
    /// Names, or absolute paths, of programs with symbolic links resolved; `*` is any run of
    /// characters within one part.
    pub programs: Vec<String>,
    /// The toolsets that this one stands in.
    #[serde(default, rename = "in")]
    pub within: Vec<String>,
}

/// A list of words that policies look for among arguments.
///
/// A list in a policy is made anew on every evaluation; this one is made once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wordlist {
    /// What these words have in common.
    pub description: String,
    /// The words.
    pub words: BTreeSet<String>,
}

impl Entities {
    pub(crate) fn read(text: &str) -> Result<Self, Vec<Problem>> {
        let entities: Self = strict::read(FILE, text).map_err(|problem| vec![problem])?;
        let problems = entities.problems();
        if problems.is_empty() {
            Ok(entities)
        } else {
            Err(problems)
        }
    }

    /// The toolsets that hold the program at `path`, not counting those that hold these.
    pub(crate) fn toolsets_of<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        self.toolsets
            .iter()
            .filter(move |(_, toolset)| toolset.holds(path))
            .map(|(name, _)| name.as_str())
    }

    /// Whether one of these groups is one of `wanted`, or stands in one.
    pub(crate) fn stands_in<'a>(
        &'a self,
        groups: impl Iterator<Item = &'a str>,
        wanted: &[String],
    ) -> bool {
        let (mut open, mut seen): (Vec<&str>, BTreeSet<&str>) = (groups.collect(), BTreeSet::new());
        while let Some(name) = open.pop() {
            if wanted.iter().any(|group| group == name) {
                return true;
            }
            if seen.insert(name) {
                let outer = self.groups.get(name).map(|group| group.within.as_slice());
                open.extend(outer.unwrap_or_default().iter().map(String::as_str));
            }
        }
        false
    }

    /// The groups, toolsets and wordlists as Cedar entities.
    pub(crate) fn to_cedar(&self) -> Result<Vec<Entity>, Unusable> {
        let groups = self
            .groups
            .iter()
            .map(|(name, group)| ("Group", name, &group.within));
        let toolsets = self
            .toolsets
            .iter()
            .map(|(name, set)| ("Toolset", name, &set.within));
        let nested = groups.chain(toolsets).map(|(kind, name, within)| {
            let parents = within.iter().map(|outer| uid(kind, outer));
            let parents = parents.collect::<Result<_, _>>()?;
            Ok(Entity::new_no_attrs(uid(kind, name)?, parents))
        });
        let wordlists = self
            .wordlists
            .iter()
            .map(|(name, list)| wordlist(name, list));
        nested.chain(wordlists).collect()
    }

    /// Whether this is a toolset or a wordlist, which only the bundle can define, and it does not.
    pub(crate) fn lacks(&self, uid: &EntityUid) -> bool {
        let name: &str = uid.id().as_ref();
        match uid.type_name().to_string().as_str() {
            "Toolset" => !self.toolsets.contains_key(name),
            "Wordlist" => !self.wordlists.contains_key(name),
            _ => false,
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut bad = |message: String| problems.push(Problem::error(FILE, "entities", message));
        for (name, group) in &self.groups {
            for outer in group
                .within
                .iter()
                .filter(|outer| !self.groups.contains_key(*outer))
            {
                bad(format!(
                    "group `{name}` stands in `{outer}`, which is not defined"
                ));
            }
        }
        for (name, toolset) in &self.toolsets {
            for outer in toolset
                .within
                .iter()
                .filter(|outer| !self.toolsets.contains_key(*outer))
            {
                bad(format!(
                    "toolset `{name}` stands in `{outer}`, which is not defined"
                ));
            }
            if let Some(message) = toolset.problem() {
                bad(format!("toolset `{name}`: {message}"));
            }
        }
        let names = self
            .groups
            .keys()
            .chain(self.toolsets.keys())
            .chain(self.wordlists.keys());
        for name in names.filter(|name| !is_name(name)) {
            bad(format!(
                "`{name}` is no name: letters, digits, `.`, `_` and `-`, at most 64"
            ));
        }
        problems
    }
}

fn wordlist(name: &str, list: &Wordlist) -> Result<Entity, Unusable> {
    let words = list
        .words
        .iter()
        .map(|word| RestrictedExpression::new_string(word.clone()));
    let words = ("words".to_owned(), RestrictedExpression::new_set(words));
    Entity::new(
        uid("Wordlist", name)?,
        HashMap::from([words]),
        HashSet::new(),
    )
    .map_err(|error| Unusable::Value(error.to_string()))
}

impl Toolset {
    fn holds(&self, path: &str) -> bool {
        let Some((directory, name)) = path.rsplit_once('/') else {
            return false;
        };
        let stands = self
            .directories
            .iter()
            .any(|pattern| glob::matches(pattern, directory));
        self.programs.iter().any(|pattern| {
            if pattern.starts_with('/') {
                glob::matches(pattern, path)
            } else {
                stands && glob::matches(pattern, name)
            }
        })
    }

    fn problem(&self) -> Option<String> {
        let relative = |pattern: &&String| !pattern.starts_with('/');
        if let Some(pattern) = self.directories.iter().find(relative) {
            return Some(format!("directory `{pattern}` must begin with `/`"));
        }
        let bare = self.programs.iter().find(relative);
        if let (Some(name), true) = (bare, self.directories.is_empty()) {
            // A name alone would hold for a program that an agent wrote into its own workspace.
            return Some(format!(
                "`{name}` is a name alone: say in `directories` where it stands"
            ));
        }
        let nested = self
            .programs
            .iter()
            .filter(relative)
            .find(|name| name.contains('/'));
        nested.map(|name| format!("`{name}` is neither a name nor an absolute path"))
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [groups.agents]
        description = "Coding agents."
        [toolsets.python]
        description = "Python."
        directories = ["/usr/bin", "/home/*/.pyenv/versions/*/bin"]
        programs = ["python3*", "/opt/py/bin/python"]
    "#;

    #[test]
    fn a_program_is_in_a_toolset_by_name_and_place() {
        let entities = Entities::read(TEXT).unwrap();
        let sets = |path| entities.toolsets_of(path).collect::<Vec<_>>();
        assert_eq!(sets("/usr/bin/python3.11"), ["python"]);
        assert_eq!(sets("/home/a/.pyenv/versions/3.12/bin/python3"), ["python"]);
        assert_eq!(sets("/opt/py/bin/python"), ["python"]);
        for path in [
            "/home/a/project/python3",
            "/usr/bin/x/python3",
            "/usr/bin/perl",
            "python3",
        ] {
            assert!(sets(path).is_empty(), "{path}");
        }
    }

    #[test]
    fn names_without_a_place_and_unknown_parents_are_refused() {
        let read = |text: &str| Entities::read(text).unwrap_err();
        let bare = read("[toolsets.t]\ndescription = \"\"\nprograms = [\"cat\"]");
        assert!(
            bare.iter().any(|p| p.message.contains("name alone")),
            "{bare:?}"
        );
        let unknown = read("[groups.a]\ndescription = \"\"\nin = [\"b\"]");
        assert!(
            unknown
                .iter()
                .any(|p| p.message.contains("`b`, which is not defined"))
        );
        assert_eq!(
            read("[groups.a]\ndescription = \"\"\nmembers = [\"b\"]")[0].line,
            Some(3)
        );
    }
}
