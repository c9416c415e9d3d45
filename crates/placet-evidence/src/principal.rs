//! Who may act.

use serde::{Deserialize, Serialize};

use placet_types::{ExecutionId, Millis, PrincipalId, Thumbprint};

/// A principal as it stands from this record on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRecord {
    /// Principals whose executions may start a child as this one.
    pub acts_for: Vec<PrincipalId>,
    /// Who changed it.
    pub by: PrincipalId,
    /// The decision that allowed it, where the bundle then in force governed administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<ExecutionId>,
    /// Groups it is in, as policies name them.
    pub groups: Vec<String>,
    /// Its name.
    pub id: PrincipalId,
    /// Keys whose holders may act as it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Thumbprint>,
    /// Whether it may act.
    pub status: PrincipalStatus,
    /// When.
    pub time: Millis,
    /// Unix users that may act as it.
    pub uids: Vec<u32>,
}

/// Whether a principal may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalStatus {
    /// It may act.
    Active,
    /// It may not, until it is active again.
    Suspended,
}
