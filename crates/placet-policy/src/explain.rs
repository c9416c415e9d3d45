//! Why policy answered as it did, in plain words.
//!
//! For a forbid: which policy, and what it looked at. For a denial by default: the permits that came
//! nearest, and which part of each does not hold. For the keeper of a bundle, not for whoever was
//! denied: it quotes policies.

mod condition;
mod scope;

use std::fmt;

use cedar_policy::{Entities, Request as CedarRequest};

use crate::policy::{Effect, Evaluation, Mentions, Policy, Prepared, Rule};
use crate::request::Request;

/// Most permits that an explanation shows.
const NEAR_MAX: usize = 5;
/// A permit that misses more parts of its scope than this did not come near.
const SCOPE_MISSES_MAX: usize = 1;

/// Why policy answered as it did. Prints as text of several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The answer.
    pub evaluation: Evaluation,
    /// Who asked to do what to what.
    pub question: String,
    /// The policies that determine the answer, and what they looked at.
    pub determining: Vec<Account>,
    /// For a denial by default: the permits that came nearest, the nearest first.
    pub near: Vec<Account>,
}

/// One policy in an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Id of the policy.
    pub id: String,
    /// Where it stands: `file:line`.
    pub place: String,
    /// What it says it is for.
    pub description: Option<String>,
    /// What of its scope does not match, in words.
    pub scope: Vec<String>,
    /// Its conditions, or those of them that do not hold.
    pub conditions: Vec<Condition>,
}

/// One part of a policy's conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The Cedar text.
    pub text: String,
    /// Whether it holds.
    pub holds: Holds,
    /// What it looks at: an expression and its value.
    pub seen: Vec<(String, String)>,
}

/// Whether a part of a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It is as the policy wants it.
    Yes,
    /// It is not.
    No,
    /// It could not be evaluated; the words are Cedar's.
    Failed(String),
}

/// What accounts are made from.
struct World {
    request: CedarRequest,
    entities: Entities,
}

/// Explains the answer to a request.
#[must_use]
pub fn explain(policy: &Policy, request: &Request<'_>) -> Explanation {
    let evaluation = policy.evaluate_in_full(request);
    let question = format!(
        "{} asks for {} on {} `{}`",
        request.principal, request.action, request.resource.kind, request.resource.id
    );
    let (mut determining, mut near) = (Vec::new(), Vec::new());
    if let Some(world) = World::new(policy, request) {
        let rules = evaluation
            .determining
            .iter()
            .filter_map(|id| policy.rule(id));
        determining = rules
            .filter_map(|rule| world.account(policy, rule))
            .collect();
        if evaluation.effect == Effect::NoPermit {
            near = world.near(policy);
        }
    }
    Explanation {
        evaluation,
        question,
        determining,
        near,
    }
}

impl World {
    fn new(policy: &Policy, request: &Request<'_>) -> Option<Self> {
        let prepared: Prepared = policy.prepare_afresh(request).ok()?;
        let entities = policy.with_arguments(request, &prepared).ok()?.into_owned();
        let request = policy.to_cedar(request, &prepared, &Mentions::All).ok()?;
        Some(Self { request, entities })
    }

    fn account(&self, policy: &Policy, rule: &Rule) -> Option<Account> {
        let cedar = policy.cedar(&rule.id)?;
        Some(Account {
            id: rule.id.clone(),
            place: format!("{}:{}", rule.file, rule.line),
            description: rule.description.clone(),
            scope: scope::misses(cedar, &self.request, &self.entities),
            conditions: condition::of(cedar, &self.request, &self.entities),
        })
    }

    /// The permits that came nearest: those whose scope matches first, then by what fails.
    fn near(&self, policy: &Policy) -> Vec<Account> {
        let permits = policy.rules().filter(|rule| rule.permits);
        let mut near: Vec<Account> = permits
            .filter_map(|rule| self.account(policy, rule))
            .filter(|account| account.scope.len() <= SCOPE_MISSES_MAX)
            .map(|mut account| {
                account
                    .conditions
                    .retain(|condition| condition.holds != Holds::Yes);
                account
            })
            .collect();
        near.sort_by(|a, b| {
            a.distance()
                .cmp(&b.distance())
                .then_with(|| a.id.cmp(&b.id))
        });
        near.truncate(NEAR_MAX);
        near
    }
}

impl Account {
    fn distance(&self) -> (usize, usize) {
        (self.scope.len(), self.conditions.len())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match self.evaluation.effect {
            Effect::Permit => "permit: permitted by",
            Effect::Forbid => "policy_forbids: forbidden by",
            Effect::NoPermit if self.near.is_empty() => {
                "no_permit: no policy permits it, and none comes near."
            }
            Effect::NoPermit => "no_permit: no policy permits it. The permits that come nearest:",
            Effect::Unappraised => {
                "environment_untrusted: permitted, but one of these demands more trust in the environment:"
            }
            Effect::Error => "policy_error: a policy that might have forbidden it failed:",
            Effect::TooMuch => {
                "policy_error: policies were not asked, since they could take too long:"
            }
        };
        writeln!(f, "{}.\n{answer}", self.question)?;
        for account in self.determining.iter().chain(&self.near) {
            write!(f, "{account}")?;
        }
        for fault in &self.evaluation.errors {
            let policy = fault.policy.as_deref().unwrap_or("the request itself");
            writeln!(f, "failed to evaluate: {policy}: {}", fault.message)?;
        }
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let description = self.description.as_deref().unwrap_or("(no description)");
        writeln!(f, "  {} ({}): {description}", self.id, self.place)?;
        for miss in &self.scope {
            writeln!(f, "    {miss}")?;
        }
        for condition in &self.conditions {
            let verdict = match &condition.holds {
                Holds::Yes => "holds".to_owned(),
                Holds::No => "does not hold".to_owned(),
                Holds::Failed(message) => format!("fails: {message}"),
            };
            writeln!(f, "    `{}` {verdict}", condition.text)?;
            for (expression, value) in &condition.seen {
                writeln!(f, "      {expression} is {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
