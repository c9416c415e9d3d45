//! Operators' acts.

use placet_evidence::{ChangesAct, DefinitionApproved, PrincipalStatus, Selector, Verdict};
use placet_state::State;
use placet_types::{
    DenialCode, Digest, ExecutionId, Index, Millis, PrincipalId, PublicKey, ResourceRef, Signature,
    Thumbprint,
};
use serde::{Deserialize, Serialize};

use crate::submission::Deferred;

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
    /// Lets the domain continue, or a node that was revoked.
    Resume {
        /// Only this node.
        node: Option<Digest>,
        /// Why.
        reason: String,
    },
    /// Registers a principal, or changes it.
    Principal {
        /// Its name.
        id: PrincipalId,
        /// Groups that it is in.
        groups: Vec<String>,
        /// Keys whose holders may act as it.
        keys: Vec<Thumbprint>,
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
    /// Has a bundle decided beside the one in force, or none any more.
    Shadow {
        /// The bundle in the single-file form, and the digest of its manifest.
        bundle: Option<(Vec<u8>, Digest)>,
        /// Why.
        reason: String,
    },
    /// Reviews what an execution changed in the copy of its write trees.
    Changes(ChangesReview),
    /// Approves what a tool says it is.
    Definition(DefinitionReview),
    /// Says of an intent that waits whether it may happen, signed by the approver's own key.
    Approve {
        /// The execution that it would be.
        exec: ExecutionId,
        /// The key, registered with the principal that acts.
        key: PublicKey,
        /// Why.
        reason: String,
        /// Over the [`placet_evidence::ApprovalStatement`].
        signature: Signature,
        /// What.
        verdict: Verdict,
    },
    /// Destroys the private payload of a record.
    Erase {
        /// Which record.
        index: Index,
        /// Why.
        reason: String,
    },
}

/// Which definition is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefinitionReview {
    /// Digest of the canonical definition.
    pub digest: Digest,
    /// Name of what it defines, as in the `resource` of an intent.
    pub id: String,
    /// Its kind, as there.
    pub kind: String,
    /// Why.
    pub reason: String,
}

impl DefinitionReview {
    /// The record of it.
    pub(crate) fn approved(
        &self,
        by: PrincipalId,
        decided_by: Option<ExecutionId>,
        time: Millis,
    ) -> DefinitionApproved {
        DefinitionApproved {
            by,
            decided_by,
            digest: self.digest,
            id: self.id.clone(),
            kind: self.kind.clone(),
            reason: self.reason.clone(),
            time,
        }
    }

    /// This review, of something that has definitions.
    pub(crate) fn checked(self) -> Result<Self, ActError> {
        let bad = |reason: String| ActError::new(DenialCode::Malformed, reason);
        let resource = ResourceRef {
            digest: Some(self.digest),
            id: self.id.clone(),
            kind: self.kind.clone(),
        };
        resource.check().map_err(|error| bad(error.to_string()))?;
        if resource.is_defined() {
            return Ok(self);
        }
        Err(bad(format!("`{}` has no definitions", self.kind)))
    }
}

/// What is done about the changes of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesReview {
    /// What.
    pub act: ChangesAct,
    /// Digest of the list of changes; absent when nothing was listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Digest>,
    /// How many changes it is about.
    pub count: u64,
    /// The execution that made them.
    pub exec: ExecutionId,
    /// Digest of the list of only those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Digest>,
}

impl ChangesReview {
    /// This review, of an execution that is over.
    pub(crate) fn when_over(self, state: &State) -> Result<Self, ActError> {
        if state.execution(&self.exec).is_none() {
            return Ok(self);
        }
        let error = format!("{} is authorized or runs", self.exec);
        Err(ActError::new(DenialCode::Malformed, error))
    }
}

/// Why an act was not done. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct ActError {
    /// The stable code.
    pub code: DenialCode,
    /// What is wrong and what to do.
    pub reason: String,
    /// The decision that says so, where administration is governed: then it is recorded already.
    pub decided: Option<NotPermitted>,
}

/// How a governed act was decided, if not with a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPermitted {
    /// Policy denies it.
    Denied(Index),
    /// It waits for approvals. The same act again is decided by what was said of it by then.
    Waits(Box<Deferred>),
}

impl ActError {
    /// An error with its code.
    #[must_use]
    pub fn new(code: DenialCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            decided: None,
        }
    }
}
