//! Acts about what lies beside the log: private payloads, and the changes that executions leave.

use serde::{Deserialize, Serialize};

use placet_types::{Digest, ExecutionId, Index, Millis, PrincipalId};

/// A private payload was destroyed on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erased {
    /// Who destroyed it.
    pub by: PrincipalId,
    /// The decision that allowed it, where the bundle then in force governed administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<ExecutionId>,
    /// The record whose payload it was.
    pub index: Index,
    /// Why, in their words. Public.
    pub reason: String,
    /// When.
    pub time: Millis,
}

/// Somebody reviewed what an execution changed in the copy of its write trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesReviewed {
    /// What was done about them.
    pub act: ChangesAct,
    /// Who did it.
    pub by: PrincipalId,
    /// Digest of the list of changes, as in the record of the end; absent when nothing was listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Digest>,
    /// How many changes it is about.
    pub count: u64,
    /// The execution that made them.
    pub exec: ExecutionId,
    /// Digest of the list of only those; that of the whole list where it is about all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Digest>,
    /// When.
    pub time: Millis,
}

/// What was done about changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangesAct {
    /// They are about to be made in the trees themselves. Recorded before.
    Applied,
    /// Applying them failed after that, and they were brought back.
    Undone,
    /// They are about to be destroyed. Recorded before.
    Discarded,
}

impl ChangesAct {
    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Undone => "undone",
            Self::Discarded => "discarded",
        }
    }
}
