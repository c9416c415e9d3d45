//! How much work an evaluation may be: a bound in steps, not in time, so that every machine denies the same.
//!
//! Cedar always ends, but not always soon: `like` tries its pattern again at each character of a text, and a text
//! may have a megabyte. Decisions are made one after the other, so a request that takes a minute would be a minute in which
//! nothing else is decided. What the policies of a slice can cost at most is counted once, for each byte that the caller
//! gives; a request for which that is too much is denied without being evaluated.

use std::cell::Cell;

use cedar_policy::pst::{Clause, Expr, PatternElem};
use cedar_policy::{Policy, PolicySet};
use placet_types::canonical::Json;

use super::Asked;
use crate::request::{Given, Unusable};

/// Steps that one evaluation may take, as they are counted here: a second on slow machines, were all of them taken.
pub(crate) const STEPS_MAX: u64 = 1 << 29;
/// Bytes that every request has: names, and what the node knows of the moment.
const FACTS_BYTES: u64 = 16 << 10;
/// What a value has beside its own text.
const VALUE_BYTES: u64 = 16;
/// Bytes that are compared in one step where no pattern is looked for.
const BYTES_A_STEP: u64 = 16;
/// What is counted for a policy whose tree is not to be had.
const UNKNOWN: Effort = Effort {
    nodes: 1000,
    scans: 1000,
};

/// What a set of policies can cost at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Expressions.
    nodes: u64,
    /// Steps for each byte of the texts that patterns are looked for in.
    scans: u64,
}

impl Effort {
    /// Of all policies of a set.
    pub(super) fn of(set: &PolicySet) -> Self {
        set.policies()
            .map(of_policy)
            .fold(Self::default(), Self::and)
    }

    const fn and(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            scans: self.scans.saturating_add(other.scans),
        }
    }

    /// Whether it may be spent on a request in which the caller gives so many bytes.
    pub(super) fn check(self, bytes: u64) -> Result<(), Unusable> {
        let bytes = bytes.saturating_add(FACTS_BYTES);
        let steps = self
            .nodes
            .saturating_mul(1 + bytes / BYTES_A_STEP)
            .saturating_add(self.scans.saturating_mul(bytes));
        if steps <= STEPS_MAX {
            Ok(())
        } else {
            Err(Unusable::Effort)
        }
    }
}

fn of_policy(policy: &Policy) -> Effort {
    let Ok(tree) = policy.to_pst() else {
        return UNKNOWN;
    };
    let found = Cell::new(Effort::default());
    for clause in tree.body().clauses() {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        let note = |node: &Expr| {
            found.set(found.get().and(of_node(node)));
            None
        };
        expr.reduce(&note, &|(), ()| (), ());
    }
    found.get()
}

fn of_node(node: &Expr) -> Effort {
    let scans = if let Expr::Like { pattern, .. } = node {
        scans(pattern)
    } else {
        0
    };
    Effort { nodes: 1, scans }
}

/// Each character is copied once. Behind a wildcard it is tried as the begin of what follows, up to the next one.
fn scans(pattern: &[PatternElem]) -> u64 {
    let runs = pattern.split(|one| matches!(one, PatternElem::Wildcard));
    let longest = runs.skip(1).map(<[_]>::len).max().unwrap_or_default();
    u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(2)
}

/// Bytes that the caller of a request gives.
pub(super) fn given(params: Given<'_>) -> u64 {
    match params {
        Given::Process(json) => weight(json),
        Given::Call(params) => {
            let some = [&params.arguments, &params.meta].into_iter().flatten();
            some.chain([&params.context, &params.resource])
                .flat_map(|members| members.iter())
                .fold(0, add_member)
        }
    }
}

/// Bytes that a question gives.
pub(super) fn asked(asked: &Asked<'_>) -> u64 {
    [
        asked.action_properties,
        asked.context,
        asked.subject.given,
        asked.resource.given,
    ]
    .into_iter()
    .flat_map(|members| members.iter())
    .fold(0, add_member)
}

fn add_member(sum: u64, (name, value): (&String, &Json)) -> u64 {
    sum.saturating_add(text(name)).saturating_add(weight(value))
}

fn text(text: &str) -> u64 {
    u64::try_from(text.len())
        .unwrap_or(u64::MAX)
        .saturating_add(VALUE_BYTES)
}

fn weight(json: &Json) -> u64 {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => VALUE_BYTES,
        Json::String(value) => text(value),
        Json::Array(items) => items
            .iter()
            .fold(VALUE_BYTES, |sum, one| sum.saturating_add(weight(one))),
        Json::Object(members) => members.iter().fold(VALUE_BYTES, add_member),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Effect;
    use crate::testing;

    fn effort(condition: &str) -> Effort {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        Effort::of(&text.parse().unwrap())
    }

    #[test]
    fn a_pattern_costs_what_may_be_tried_again_behind_a_wildcard() {
        assert_eq!(effort("true").scans, 0);
        assert_eq!(effort("context.line like \"git status\"").scans, 2);
        assert_eq!(effort("context.line like \"git *\"").scans, 2);
        assert_eq!(effort("context.line like \"*abc*de\"").scans, 5);
        let two = "context.line like \"*a\" && !(context.cwd like \"*bc\")";
        assert_eq!(effort(two).scans, 7);
        assert!(effort(two).nodes >= 6);
    }

    /// Forty policies that each look for a long pattern which nearly matches everywhere.
    fn laborious() -> String {
        let pattern = format!("*{}b*", "a".repeat(500));
        let policies = (0..40).map(|number| {
            format!(
                "@id(\"f{number}\") forbid(principal, action, resource) when {{ context.line like \"{pattern}{number}\" }};\n"
            )
        });
        let permit = "@id(\"p\") permit(principal, action, resource);\n".to_owned();
        policies.chain([permit]).collect()
    }

    #[test]
    fn what_would_take_policies_too_long_is_denied_at_once_and_alike_by_index_and_full_set() {
        let policy = testing::policy(&laborious());
        let long = "a".repeat(900_000);
        let asked = testing::Asked::of("/usr/bin/cat", &["cat", &long]);
        let evaluation = policy.evaluate(&asked.request());
        // Evaluated, it would be some twenty thousand million steps.
        assert_eq!(evaluation.effect, Effect::TooMuch);
        let code = evaluation.effect.denial_code();
        assert_eq!(code, Some(placet_types::DenialCode::PolicyError));
        let [fault] = evaluation.errors.as_slice() else {
            panic!("{evaluation:?}")
        };
        assert!(fault.message.contains("more steps"), "{fault:?}");
        assert_eq!(policy.shadow_check(&asked.request()), Ok(()));
        let asked = testing::Asked::of("/usr/bin/cat", &["cat", "a"]);
        assert_eq!(policy.evaluate(&asked.request()).effect, Effect::Permit);
    }
}
