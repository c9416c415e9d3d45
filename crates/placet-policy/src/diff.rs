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
