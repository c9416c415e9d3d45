//! What some answers consist of: secrets, and intents that wait.

use std::collections::BTreeMap;

use placet_evidence::{Verdict, Waiting};
use placet_types::{
    Digest, ExecutionId, FixedIntent, Index, Millis, PrincipalId, ProfileName, SecretName,
};
use serde::{Deserialize, Serialize};

/// A value that follows a frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowingBody {
    /// How many bytes.
    pub bytes: u32,
    /// Of which secret.
    pub name: SecretName,
}

/// What secrets there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsBody {
    /// Each, in order of their names.
    pub secrets: Vec<SecretBody>,
    /// Why none of them can be handed over, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What is known of a secret: everything but what it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretBody {
    /// Whether there is one; a profile may want one that there is not.
    pub held: bool,
    /// Its name.
    pub name: SecretName,
    /// Profiles of the bundle in force that hand it over.
    pub profiles: Vec<ProfileName>,
    /// When it got its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Millis>,
    /// When an execution last got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Millis>,
}

/// An intent that waits for approvals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeferredBody {
    /// Which execution it would be.
    pub exec: ExecutionId,
    /// The record.
    pub index: Index,
    /// What it waits for.
    pub waiting: Waiting,
}

/// An intent that waits for approvals, for those who give them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingBody {
    /// Policies that ask for the approvals.
    pub asked_by: Vec<String>,
    /// The record that deferred it.
    pub decided: Index,
    /// Which execution it would be.
    pub exec: ExecutionId,
    /// What is asked.
    pub intent: FixedIntent,
    /// The private parameters, where they are still there: canonical JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<String>,
    /// What approvers have said so far.
    pub verdicts: BTreeMap<PrincipalId, Verdict>,
    /// What it waits for.
    pub waiting: Waiting,
}

/// A definition that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefinitionBody {
    /// Digest of the canonical definition.
    pub digest: Digest,
    /// Name of what it defines.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The record that made it count: the first permit, or an approval.
    pub since: Index,
}
