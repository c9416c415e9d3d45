//! Which attributes of the context a set of policies can look at.
//!
//! Making a context costs more than evaluating a slice, and most policies look at few attributes.
//! What no policy of a slice names cannot change its answer, so it is not made.

use std::cell::RefCell;
use std::collections::BTreeSet;

use cedar_policy::pst::{Clause, Expr, Var};
use cedar_policy::{Policy, PolicySet};

/// Attributes of the context that can matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mentions {
    /// Every one: the context is used as a whole, or nothing is known.
    All,
    /// These.
    Some(BTreeSet<String>),
}

impl Mentions {
    /// What the policies of a set mention.
    pub(super) fn of(set: &PolicySet) -> Self {
        let mut all = BTreeSet::new();
        for policy in set.policies() {
            match Self::of_policy(policy) {
                Self::All => return Self::All,
                Self::Some(names) => all.extend(names),
            }
        }
        Self::Some(all)
    }

    /// What one policy mentions.
    pub(crate) fn of_policy(policy: &Policy) -> Self {
        let Ok(tree) = policy.to_pst() else {
            return Self::All;
        };
        let found = RefCell::new(Self::Some(BTreeSet::new()));
        for clause in tree.body().clauses() {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            expr.reduce(&|node| note(node, &found), &|(), ()| (), ());
        }
        found.into_inner()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(name),
        }
    }
}

/// Notes what one node says of the context; `Some` where its children need no look.
fn note(node: &Expr, found: &RefCell<Mentions>) -> Option<()> {
    let is_context = |expr: &Expr| matches!(expr, Expr::Var(Var::Context));
    let name = if let Expr::GetAttr { expr, attr } = node
        && is_context(expr)
    {
        attr.to_string()
    } else if let Expr::HasAttr { expr, attrs } = node
        && is_context(expr)
    {
        attrs.head.to_string()
    } else {
        if is_context(node) {
            found.replace(Mentions::All);
        }
        return None;
    };
    if let Mentions::Some(names) = &mut *found.borrow_mut() {
        names.insert(name);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(condition: &str) -> Mentions {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        Mentions::of(&text.parse().unwrap())
    }

    fn some(names: &[&str]) -> Mentions {
        Mentions::Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn attributes_are_found_wherever_they_stand() {
        let condition = "context.risk.score < 3 && (if context has depth then [context.line] else \
                         []).contains(context[\"odd name\"]) || context has history.running";
        assert_eq!(
            of(condition),
            some(&["depth", "history", "line", "odd name", "risk"])
        );
        assert_eq!(of("principal == resource"), some(&[]));
    }

    #[test]
    fn a_context_that_is_used_as_a_whole_is_made_as_a_whole() {
        assert_eq!(of("context.a && context == {a: true}"), Mentions::All);
        assert_eq!(of("[context].contains({}) && context.a"), Mentions::All);
    }
}
