//! `decide`: the ten checks, in order, and nothing else.
//!
//! A decision is a pure function of the state at an index, the intent with its parameters, and the
//! facts that are recorded beside it. Whoever has the log can compute every decision again and get
//! the same bytes; `placet log replay` does.
//!
//! The first check that fails names the denial. Uncertainty denies.
//!
//! Out of scope: reading clocks, committing, signing; see `placet-authority`.

#![forbid(unsafe_code)]

mod approvals;
mod callers;
mod checks;
mod claims;
mod environment;
mod explain;
mod holds;
mod params;
mod questions;

use placet_evidence::{
    Appraisal, CheckedDenial, Decided, Facts, Grant, Outcome, PolicyRef, Risk, Waiting,
};
use placet_policy::Policy;
use placet_state::State;
use placet_types::{Digest, FixedIntent, FixedScope, Millis};

pub use approvals::WAITING_MAX;
pub use checks::{CHECKS, DEPTH_MAX};
pub use claims::{ClaimsMismatch, claims};
pub use explain::explain;
pub use params::Params;
pub use questions::{
    ASKED_AS_MAX, Answer as QuestionAnswer, Asking, EVALUATE, SEARCH, Searched, answer, search,
    searched_at, suppose_answer,
};

/// Everything that a decision is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The fold of all records before the one that will hold the decision.
    pub state: &'a State,
    /// The compiled bundle in force, if the caller has one.
    pub policy: Option<&'a Policy>,
    /// What is asked.
    pub intent: &'a FixedIntent,
    /// The private parameters and their salt.
    pub params: &'a Params,
    /// The scope granted to the parent, if the intent names one.
    pub parent_scope: Option<&'a FixedScope>,
    /// What the world said.
    pub facts: &'a Facts,
}

/// A fresh answer to an intent. Only [`decide`] makes one; it authorizes nothing before its record
/// is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision that is not committed never happened"]
pub struct Decision {
    answer: Answer,
    appraisal: Option<Appraisal>,
    policy: PolicyRef,
    risk: Risk,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Permit { grant: Grant, scope: FixedScope },
    Defer(Waiting),
    Deny(CheckedDenial),
}

/// Pure: the same input gives the same answer, on any machine, for ever.
pub fn decide(input: &Input<'_>) -> Decision {
    checks::run(input)
}

/// What would be decided if the bundle of `input` were the one in force. Of no authority: for asking
/// what a bundle would have changed.
pub fn suppose(input: &Input<'_>) -> Decision {
    checks::run_supposed(input)
}

/// Whether what was permitted with this scope at that time is permitted still, under the state, policy and facts
/// of `input`. How old an attestation was then is what counts: its gateway has watched the claims since.
///
/// # Errors
///
/// The first check that fails now; [`placet_types::DenialCode::ScopeExceeded`] when less would be
/// granted.
pub fn decide_again(
    input: &Input<'_>,
    scope: &FixedScope,
    permitted: Millis,
) -> Result<(), CheckedDenial> {
    checks::run_again(input, scope, permitted)
}

impl Decision {
    /// Whether it permits.
    #[must_use]
    pub fn is_permit(&self) -> bool {
        matches!(self.answer, Answer::Permit { .. })
    }

    /// The grant and the scope, for a permit.
    #[must_use]
    pub fn permit(&self) -> Option<(&Grant, &FixedScope)> {
        match &self.answer {
            Answer::Permit { grant, scope } => Some((grant, scope)),
            Answer::Deny(_) | Answer::Defer(_) => None,
        }
    }

    /// The denial, if it is one.
    #[must_use]
    pub fn denial(&self) -> Option<&CheckedDenial> {
        match &self.answer {
            Answer::Permit { .. } | Answer::Defer(_) => None,
            Answer::Deny(denial) => Some(denial),
        }
    }

    /// What it waits for, if it is deferred. An approval leads to a fresh decision, never straight
    /// to a permit.
    #[must_use]
    pub fn deferral(&self) -> Option<&Waiting> {
        match &self.answer {
            Answer::Permit { .. } | Answer::Deny(_) => None,
            Answer::Defer(waiting) => Some(waiting),
        }
    }

    /// The policies that determined the answer.
    #[must_use]
    pub fn policy(&self) -> &PolicyRef {
        &self.policy
    }

    /// Risk as it was computed.
    #[must_use]
    pub fn risk(&self) -> &Risk {
        &self.risk
    }

    /// The record of this decision. `artifact` is the digest of the artifact that a permit leads
    /// to; a denial has none.
    #[must_use]
    pub fn into_record(
        self,
        intent: FixedIntent,
        facts: Facts,
        artifact: Option<Digest>,
    ) -> Decided {
        let (grant, denial, waits, outcome) = match self.answer {
            Answer::Permit { grant, .. } => (Some(grant), None, None, Outcome::Permit),
            Answer::Deny(denial) => (None, Some(denial), None, Outcome::Deny),
            Answer::Defer(waiting) => (None, None, Some(waiting), Outcome::Defer),
        };
        let artifact = artifact.filter(|_| grant.is_some());
        Decided {
            appraisal: self.appraisal,
            artifact,
            denial,
            facts,
            grant,
            intent,
            outcome,
            policy: self.policy,
            risk: self.risk,
            waits,
        }
    }
}
