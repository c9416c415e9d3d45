//! What is recorded about the store of secrets: that something changed, never what.

use serde::{Deserialize, Serialize};

use placet_types::{ExecutionId, Millis, PrincipalId, SecretName};

/// The store of secrets changed. Neither a value nor anything that was computed from one stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRecord {
    /// Who changed it.
    pub by: PrincipalId,
    /// How.
    pub change: SecretChange,
    /// The decision that allowed it, where the bundle then in force governed administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<ExecutionId>,
    /// When.
    pub time: Millis,
    /// Number of the store's state after the change: one more than before.
    pub version: u64,
}

/// How the store of secrets changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretChange {
    /// Everything was encrypted anew, with a new key.
    Rekeyed,
    /// A running execution that was handed a secret gave its successor: a token that renews itself.
    Renewed {
        /// Which execution.
        exec: ExecutionId,
        /// Which secret.
        name: SecretName,
    },
    /// A secret was taken away.
    Removed(SecretName),
    /// A secret got a value, its first or another.
    Set(SecretName),
}
