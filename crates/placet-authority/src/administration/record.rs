//! From an act to the record that says it was done.

use placet_evidence::{
    Approval, ChangesReviewed, Erased, Halt, PolicyActivated, PrincipalRecord, Record, Resumed,
    Revoked, SecretRecord, Shadow, ShadowBundle,
};
use placet_types::{ExecutionId, Millis, PrincipalId};

use crate::work::ReadyAct;

impl ReadyAct {
    /// Whether it only takes trust away, or is an approver's own word: never governed.
    pub(crate) fn takes_trust_away(&self) -> bool {
        match self {
            Self::Revoke(..) | Self::Halt(_) | Self::Approve(_) => true,
            Self::Resume(..)
            | Self::Principal(_)
            | Self::Activate(_)
            | Self::Erase(..)
            | Self::Secret(..)
            | Self::Changes(_)
            | Self::Shadow(..)
            | Self::Definition(_) => false,
        }
    }

    /// The record of it.
    pub(crate) fn record(
        &self,
        by: PrincipalId,
        decided_by: Option<ExecutionId>,
        time: Millis,
    ) -> Record {
        match self {
            Self::Revoke(selector, reason) => Record::Revoked(Revoked {
                by,
                reason: reason.clone(),
                selector: selector.clone(),
                time,
            }),
            Self::Halt(reason) => Record::Halted(Halt {
                by,
                reason: reason.clone(),
                time,
            }),
            Self::Resume(node, reason) => Record::Resumed(Resumed {
                by,
                decided_by,
                node: *node,
                reason: reason.clone(),
                time,
            }),
            Self::Principal(record) => Record::Principal(PrincipalRecord {
                by,
                decided_by,
                time,
                ..record.clone()
            }),
            Self::Activate(activation) => Record::Policy(PolicyActivated {
                bundle: activation.policy.digest(),
                by,
                decided_by,
                governs: activation.policy.governs(),
                name: activation.policy.name().to_owned(),
                revision: activation.policy.revision(),
                signers: activation.signers.iter().cloned().collect(),
                time,
            }),
            Self::Secret(change, version) => Record::Secret(SecretRecord {
                by,
                change: change.clone(),
                decided_by,
                time,
                version: *version,
            }),
            Self::Shadow(bundle, reason) => Record::Shadow(Shadow {
                bundle: bundle.as_ref().map(|activation| ShadowBundle {
                    digest: activation.policy.digest(),
                    name: activation.policy.name().to_owned(),
                    revision: activation.policy.revision(),
                    signers: activation.signers.iter().cloned().collect(),
                }),
                by,
                reason: reason.clone(),
                time,
            }),
            Self::Changes(review) => Record::Changes(ChangesReviewed {
                act: review.act,
                by,
                changes: review.changes,
                count: review.count,
                exec: review.exec,
                selection: review.selection,
                time,
            }),
            Self::Definition(review) => Record::Definition(review.approved(by, decided_by, time)),
            Self::Approve(approval) => Record::Approval(Approval {
                time,
                ..approval.as_ref().clone()
            }),
            Self::Erase(index, reason) => Record::Erased(Erased {
                by,
                decided_by,
                index: *index,
                reason: reason.clone(),
                time,
            }),
        }
    }
}
