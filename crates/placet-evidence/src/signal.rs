//! Signals: notable things that happened while an execution ran.

use serde::{Deserialize, Serialize};

use placet_types::{DenialCode, Digest, ExecutionId, Millis, Trip};

/// Something notable happened while an execution ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// What it points to.
    pub code: DenialCode,
    /// How often since the last signal of this kind.
    pub count: u64,
    /// What happened, without parameters.
    pub detail: String,
    /// Whether it ends the execution's authority. Otherwise it is a note.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ends: bool,
    /// Which execution.
    pub exec: ExecutionId,
    /// Digest of the intent.
    pub intent: Digest,
    /// What it counts as in the history of the principal. Records from before there were kinds have
    /// none and count as nothing, so that decisions from then come out the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SignalKind>,
    /// When.
    pub time: Millis,
    /// The limit that was passed, where that is what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trip: Option<Trip>,
}

/// What a signal counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// The executable, a pinned file or the environment is not what was decided about.
    Drift,
    /// A process reached a bound of its scope.
    Limit,
    /// A connection that the scope does not cover.
    RefusedConnect,
    /// A program that was not let start.
    RefusedExec,
    /// A file that was not let be read.
    RefusedRead,
    /// A file that was not let be changed.
    RefusedWrite,
    /// A trip limit was passed.
    Trip,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_false(value: &bool) -> bool {
    !*value
}
