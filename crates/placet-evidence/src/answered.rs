//! Answers to questions: decisions that nobody carries out here.

use serde::{Deserialize, Serialize};

use placet_types::{Commitment, Fixed, Index, Millis, PrincipalId};

use crate::facts::{Caller, Environment};
use crate::record::{CheckedDenial, PolicyRef};

/// A question was answered. No authority follows from it, and nothing in the state.
///
/// Whom and what it was about stands in the payload, because that is private, and can be erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// Who asked.
    pub asker: PrincipalId,
    /// Ids of the policies that let it ask, or that did not, in order.
    pub asking: Vec<String>,
    /// How the asker is known.
    pub caller: Caller,
    /// Why the answer is no, or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<CheckedDenial>,
    /// The machine of the node, which policies may look at.
    pub environment: Fixed<Environment>,
    /// What a search found; absent where yes or no was sought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundBySearch>,
    /// The answer.
    pub outcome: QuestionOutcome,
    /// The policies that determined the answer.
    pub policy: PolicyRef,
    /// Commitment to the question; the payload beside the record opens it.
    pub question: Commitment,
    /// When, by the node's clock, never earlier than the record before.
    pub time: Millis,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundBySearch {
    /// The state that was searched: before the record of this index.
    pub at: Index,
    /// How many results were given.
    pub count: u32,
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionOutcome {
    /// It may; for a search: what was found was given.
    Permit,
    /// It may not.
    Deny,
    /// Whoever asked may not ask this.
    Refused,
}

impl QuestionOutcome {
    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::Refused => "refused",
        }
    }
}
