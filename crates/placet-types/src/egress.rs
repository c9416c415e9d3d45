//! What stands before each connection that leaves an execution.

use serde::{Deserialize, Serialize};

/// What stands before each connection that leaves an execution, beyond [`crate::Network`]. In order, each
/// stricter than the one before.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// It falls under the scope: its peer is listed.
    #[default]
    Scope,
    /// As well, each distinct peer is an intent of its own: decided by policy and recorded before
    /// anybody is connected to it.
    Decide,
}

impl Egress {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands out references"
    )]
    pub(crate) fn is_scope(&self) -> bool {
        *self == Self::Scope
    }
}
