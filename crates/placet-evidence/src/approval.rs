//! Approvals: what an intent waits for, and what approvers say.

use serde::{Deserialize, Serialize};

use placet_artifact::dsse::pae;
use placet_types::canonical::{self, Malformed};
use placet_types::{Digest, DomainName, ExecutionId, Millis, PrincipalId, PublicKey, Signature};

/// Payload type of what an approver signs (DSSE).
pub const APPROVAL_TYPE: &str = "application/vnd.placet.approval+json";

/// How many of whom must approve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needed {
    /// How many principals, each counted once.
    pub count: u32,
    /// Groups that they are in: any of these.
    pub groups: Vec<String>,
}

/// What an intent waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// All of these.
    pub needs: Vec<Needed>,
    /// It waits until this time; afterwards it begins anew.
    pub until: Millis,
}

/// What an approver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may happen.
    Approve,
    /// It may not.
    Reject,
}

/// What an approver signs. It names the intent by its digest, which covers the salted commitment to
/// its parameters: it can be said of nothing else, in no other domain, and not once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalStatement {
    /// Who says it.
    pub by: PrincipalId,
    /// Where.
    pub domain: DomainName,
    /// Of which intent.
    pub intent: Digest,
    /// Why, in their words. Public.
    pub reason: String,
    /// What.
    pub verdict: Verdict,
}

/// An approver's act, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub by: PrincipalId,
    /// The execution that would be.
    pub exec: ExecutionId,
    /// Digest of the intent.
    pub intent: Digest,
    /// The approver's own key, which is registered with the principal.
    pub key: PublicKey,
    /// Why, in their words. Public.
    pub reason: String,
    /// Of the key, over the [`ApprovalStatement`].
    pub signature: Signature,
    /// When.
    pub time: Millis,
    /// What.
    pub verdict: Verdict,
}

impl ApprovalStatement {
    /// The bytes that are signed: DSSE's encoding of the canonical statement.
    ///
    /// # Errors
    ///
    /// [`Malformed`] only if a field cannot be JSON, which no field of this type can cause.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, Malformed> {
        canonical::to_bytes(self)
            .map(|bytes| pae(APPROVAL_TYPE, &bytes))
            .map_err(|error| Malformed::Shape(error.to_string()))
    }

    /// Whether `signature` is `key`'s over this statement.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey, signature: &Signature) -> bool {
        self.signed_bytes()
            .is_ok_and(|bytes| key.verify(&bytes, signature).is_ok())
    }
}

impl Approval {
    /// What was signed, in the domain of this log.
    #[must_use]
    pub fn statement(&self, domain: &DomainName) -> ApprovalStatement {
        ApprovalStatement {
            by: self.by.clone(),
            domain: domain.clone(),
            intent: self.intent,
            reason: self.reason.clone(),
            verdict: self.verdict,
        }
    }
}

impl Waiting {
    /// The needs as people read them: `2 of leads or security`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let needs = self.needs.iter().map(|need| {
            let groups = need.groups.join(" or ");
            format!("{} of {groups}", need.count)
        });
        needs.collect::<Vec<_>>().join(", and ")
    }
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}
