//! What differs between two bundles, by policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::Policy as CedarPolicy;
use cedar_policy::pst;

use crate::bundle::Bundle;
use crate::policy::{Rule, Sources, parse_sources};
use crate::problem::Problem;

/// What differs between two bundles. Prints as text of several lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleDiff {
    /// Policies that only the new bundle has.
    pub added: Vec<String>,
    /// Policies that only the old bundle has.
    pub removed: Vec<String>,
    /// Policies that both have, with what differs: effect, scope, conditions, annotations.
    pub changed: Vec<(String, Vec<&'static str>)>,
    /// Members other than Cedar files that were added, removed or changed, each with which.
    pub members: Vec<(String, &'static str)>,
}

/// Compares two bundles. Where a policy stands, and how it is formatted, does not matter.
///
/// # Errors
///
/// The problems of whichever bundle does not parse.
pub fn diff(old: &Bundle, new: &Bundle) -> Result<BundleDiff, Vec<Problem>> {
    let (before, after) = (parse_sources(old)?, parse_sources(new)?);
    let mut diff = BundleDiff {
        added: only_in(&after.rules, &before.rules),
        removed: only_in(&before.rules, &after.rules),
        ..BundleDiff::default()
    };
    for id in before
        .rules
        .keys()
        .filter(|id| after.rules.contains_key(*id))
    {
        let what = what_differs(policy(&before, id), policy(&after, id));
        if !what.is_empty() {
            diff.changed.push((id.clone(), what));
        }
    }
    diff.members = members(old, new);
    Ok(diff)
}

impl BundleDiff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn only_in(these: &BTreeMap<String, Rule>, those: &BTreeMap<String, Rule>) -> Vec<String> {
    these
        .keys()
        .filter(|id| !those.contains_key(*id))
        .cloned()
        .collect()
}

/// The policy as its tree, with slots filled in.
fn policy(sources: &Sources, id: &str) -> Option<pst::Template> {
    let cedar: &CedarPolicy = sources.set.policy(&cedar_policy::PolicyId::new(id))?;
    match cedar.to_pst().ok()? {
        pst::Policy::Static(policy) => Some(policy.body().clone()),
        pst::Policy::Linked(link) => Some(link.into_static_policy().ok()?.body().clone()),
    }
}

fn what_differs(old: Option<pst::Template>, new: Option<pst::Template>) -> Vec<&'static str> {
    let (Some(old), Some(new)) = (old, new) else {
        return vec!["text"];
    };
    let scopes_differ =
        old.principal != new.principal || old.action != new.action || old.resource != new.resource;
    [
        ("effect", old.effect != new.effect),
        ("scope", scopes_differ),
        ("conditions", old.clauses() != new.clauses()),
        ("annotations", old.annotations != new.annotations),
    ]
    .into_iter()
    .filter_map(|(what, differs)| differs.then_some(what))
    .collect()
}

fn members(old: &Bundle, new: &Bundle) -> Vec<(String, &'static str)> {
    let paths: BTreeSet<&String> = old.members.keys().chain(new.members.keys()).collect();
    let other = paths.into_iter().filter(|path| !path.ends_with(".cedar"));
    other
        .filter_map(|path| {
            let how = match (old.members.get(path), new.members.get(path)) {
                (None, Some(_)) => "added",
                (Some(_), None) => "removed",
                (before, after) if before != after => "changed",
                _ => return None,
            };
            Some((path.clone(), how))
        })
        .collect()
}

impl fmt::Display for BundleDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in &self.removed {
            writeln!(f, "- {id}")?;
        }
        for id in &self.added {
            writeln!(f, "+ {id}")?;
        }
        for (id, what) in &self.changed {
            writeln!(f, "~ {id} ({})", what.join(", "))?;
        }
        for (path, how) in &self.members {
            writeln!(f, "{how} {path}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bundle, files};

    const OLD: &str = "@id(\"a\") permit(principal, action, resource);
        @id(\"b\") permit(principal, action, resource) when { context.depth < 3 };
        @id(\"c\") permit(principal, action, resource);
        @id(\"d\") permit(principal, action, resource);";

    #[test]
    fn policies_are_compared_by_what_they_say() {
        let new = "// moved\n@id(\"d\")\npermit ( principal , action , resource ) ;
            @id(\"a\") @lifetime(\"1h\") permit(principal in Group::\"all\", action, resource);
            @id(\"b\") permit(principal, action, resource) when { context.depth < 4 };
            @id(\"e\") forbid(principal, action, resource);";
        let found = diff(&bundle(OLD), &bundle(new)).unwrap();
        let expected = "- c\n+ e\n~ a (scope, annotations)\n~ b (conditions)\n";
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn other_members_are_compared_by_their_text() {
        let old = bundle(OLD);
        let cedar = ("policies/a.cedar", Some(OLD));
        let changes = [cedar, ("profiles/q.toml", None), ("README.md", Some("x"))];
        let new = Bundle::read(&files(&changes)).unwrap();
        let found = diff(&old, &new).unwrap();
        assert_eq!(
            found.to_string(),
            "added README.md\nremoved profiles/q.toml\n"
        );
        assert!(diff(&old, &old).unwrap().is_empty());
    }

    #[test]
    fn links_are_compared_with_their_slots_filled() {
        let with = |group: &str| {
            let links = format!(
                "[[link]]\nid = \"l\"\ntemplate = \"t\"\nprincipal = 'Group::\"{group}\"'\n"
            );
            let template = "@id(\"t\") permit(principal in ?principal, action, resource);";
            Bundle::read(&files(&[
                ("links.toml", Some(&links)),
                ("templates/t.cedar", Some(template)),
            ]))
            .unwrap()
        };
        let found = diff(&with("agents"), &with("all")).unwrap();
        assert_eq!(found.changed, [("l".to_owned(), vec!["scope"])]);
    }
}
