//! Which attributes of the context a set of policies can look at.
//!
//! Making a context costs more than evaluating a slice, and most policies look at few attributes.
//! What no policy of a slice names cannot change its answer, so it is not made.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::pst::{Clause, Expr, Var};
use cedar_policy::{Policy, PolicySet};

/// Attributes of the context that can matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mentions {
    /// Every one: the context is used as a whole, or nothing is known.
    All,
    /// These.
    Some(BTreeMap<String, Parts>),
}

/// Which parts of one attribute, which is a record, can matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// Every one: the attribute is used as a whole.
    All,
    /// These.
    Some(BTreeSet<String>),
}

impl Mentions {
    /// What the policies of a set mention.
    pub(super) fn of(set: &PolicySet) -> Self {
        let found = RefCell::new(Self::Some(BTreeMap::new()));
        set.policies().for_each(|policy| look(policy, &found));
        found.into_inner()
    }

    /// What one policy mentions.
    pub(crate) fn of_policy(policy: &Policy) -> Self {
        let found = RefCell::new(Self::Some(BTreeMap::new()));
        look(policy, &found);
        found.into_inner()
    }

    /// Whether the attribute can matter.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains_key(name),
        }
    }

    /// Whether this part of the attribute can matter.
    pub(crate) fn has_part(&self, name: &str, part: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.get(name).is_some_and(|parts| match parts {
                Parts::All => true,
                Parts::Some(parts) => parts.contains(part),
            }),
        }
    }

    fn add(&mut self, name: &str, part: Option<&str>) {
        let Self::Some(names) = self else { return };
        let parts = names
            .entry(name.to_owned())
            .or_insert_with(|| Parts::Some(BTreeSet::new()));
        match (parts, part) {
            (Parts::Some(parts), Some(part)) => {
                parts.insert(part.to_owned());
            }
            (parts @ Parts::Some(_), None) => *parts = Parts::All,
            (Parts::All, _) => {}
        }
    }
}

fn look(policy: &Policy, found: &RefCell<Mentions>) {
    let Ok(tree) = policy.to_pst() else {
        found.replace(Mentions::All);
        return;
    };
    for clause in tree.body().clauses() {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        expr.reduce(&|node| note(node, found), &|(), ()| (), ());
    }
}

/// Notes what one node says of the context; `Some` where its children need no look.
fn note(node: &Expr, found: &RefCell<Mentions>) -> Option<()> {
    if is_context(node) {
        found.replace(Mentions::All);
        return Some(());
    }
    let (outer, name) = step(node)?;
    if is_context(outer) {
        found.borrow_mut().add(name, None);
        return Some(());
    }
    let (base, attribute) = step(outer).filter(|_| matches!(outer, Expr::GetAttr { .. }))?;
    is_context(base).then(|| found.borrow_mut().add(attribute, Some(name)))
}

/// `e.name` and `e has name` as e and the name.
fn step(node: &Expr) -> Option<(&Expr, &str)> {
    if let Expr::GetAttr { expr, attr } = node {
        return Some((expr, attr));
    }
    if let Expr::HasAttr { expr, attrs } = node {
        // `e has a.b` looks at `e.a` as a whole.
        return Some((expr, &attrs.head));
    }
    None
}

fn is_context(expr: &Expr) -> bool {
    matches!(expr, Expr::Var(Var::Context))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(condition: &str) -> Mentions {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        Mentions::of(&text.parse().unwrap())
    }

    fn some(names: &[(&str, &[&str])]) -> Mentions {
        let parts = |parts: &[&str]| match parts {
            ["*"] => Parts::All,
            parts => Parts::Some(parts.iter().map(|part| (*part).to_owned()).collect()),
        };
        let names = names
            .iter()
            .map(|(name, of)| ((*name).to_owned(), parts(of)));
        Mentions::Some(names.collect())
    }

    #[test]
    fn attributes_are_found_wherever_they_stand() {
        let condition = "context.risk.score < 3 && (if context has depth then [context.line] else \
                         []).contains(context[\"odd name\"]) || context has history.running";
        let all: &[&str] = &["*"];
        let expected = [
            ("depth", all),
            ("history", all),
            ("line", all),
            ("odd name", all),
            ("risk", &["score"]),
        ];
        assert_eq!(of(condition), some(&expected));
        assert_eq!(of("principal == resource"), some(&[]));
    }

    #[test]
    fn parts_of_attributes_are_told_apart_unless_the_whole_is_used() {
        let both = "context.risk.score < 3 && context.risk.factors.isEmpty() && context.a.b.c";
        let expected = [("a", &["b"] as &[&str]), ("risk", &["factors", "score"])];
        assert_eq!(of(both), some(&expected));
        for whole in [
            "context.risk.score < 3 && context.risk == {score: 1}",
            "context.risk == {score: 1} && context.risk.score < 3",
        ] {
            assert_eq!(of(whole), some(&[("risk", &["*"])]));
        }
        assert_eq!(of("context.risk has score"), some(&[("risk", &["score"])]));
        let mentions = of("context.risk.score < 3");
        assert!(mentions.has("risk") && mentions.has_part("risk", "score"));
        assert!(!mentions.has_part("risk", "factors") && !mentions.has_part("depth", "x"));
    }

    #[test]
    fn a_context_that_is_used_as_a_whole_is_made_as_a_whole() {
        assert_eq!(of("context.a && context == {a: true}"), Mentions::All);
        assert_eq!(of("[context].contains({}) && context.a"), Mentions::All);
    }
}
