//! Operators' acts.

use placet_evidence::{PrincipalStatus, Selector};
use placet_types::{DenialCode, Digest, Index, PrincipalId};

/// What an operator does. Each becomes a record; one that is refused is recorded as refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ends authority early.
    Revoke {
        /// Whose.
        selector: Selector,
        /// Why.
        reason: String,
    },
    /// Halts the domain: nothing runs.
    Halt {
        /// Why.
        reason: String,
    },
    /// Lets the domain continue.
    Resume {
        /// Why.
        reason: String,
    },
    /// Registers a principal, or changes it.
    Principal {
        /// Its name.
        id: PrincipalId,
        /// Groups that it is in.
        groups: Vec<String>,
        /// Unix users that may act as it.
        uids: Vec<u32>,
        /// Principals whose executions may start a child as this one.
        acts_for: Vec<PrincipalId>,
        /// Whether it may act.
        status: PrincipalStatus,
    },
    /// Puts a bundle in force.
    Activate {
        /// The bundle with its signatures, in the single-file form.
        archive: Vec<u8>,
        /// Digest of its manifest.
        bundle: Digest,
    },
    /// Destroys the private payload of a record.
    Erase {
        /// Which record.
        index: Index,
        /// Why.
        reason: String,
    },
}

/// Why an act was not done. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct ActError {
    /// The stable code.
    pub code: DenialCode,
    /// What is wrong and what to do.
    pub reason: String,
}

impl ActError {
    /// An error with its code.
    #[must_use]
    pub fn new(code: DenialCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}
