//! What is recorded when somebody approves what a tool says it is.

use serde::{Deserialize, Serialize};

use placet_types::{Digest, ExecutionId, Millis, PrincipalId};

/// A definition was approved: calls of what it defines count for this one and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefinitionApproved {
    /// Who approved it.
    pub by: PrincipalId,
    /// The decision that allowed it, where the bundle then in force governed administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<ExecutionId>,
    /// Digest of the canonical definition.
    pub digest: Digest,
    /// Name of what it defines, as in the `resource` of an intent.
    pub id: String,
    /// Its kind, as there.
    pub kind: String,
    /// Why, in their words. Public.
    pub reason: String,
    /// When.
    pub time: Millis,
}
