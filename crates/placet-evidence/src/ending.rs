//! What ends authority early, or lets it begin again: revocations, halts and their undoing.

use serde::{Deserialize, Serialize};

use placet_types::{Digest, ExecutionId, Millis, PrincipalId};

/// Authority was ended early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Who ended it.
    pub by: PrincipalId,
    /// Why, in their words. Public.
    pub reason: String,
    /// Whose authority.
    pub selector: Selector,
    /// When.
    pub time: Millis,
}

/// Whose authority is ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// The artifact of this execution, used or not.
    Artifact(ExecutionId),
    /// Everything. What is asked for afterwards is decided as ever: see `halted` for what is not.
    Everything,
    /// This execution.
    Execution(ExecutionId),
    /// Everything that the principals of this group do. They are suspended.
    Group(String),
    /// Everything that runs, or was to run, on the machine that environments name so. It is turned away
    /// until a `resumed` record names it.
    Node(Digest),
    /// Everything that this policy determined, and will determine.
    Policy(String),
    /// Everything that this principal does. It is suspended.
    Principal(PrincipalId),
    /// This execution and all below it.
    Subtree(ExecutionId),
}

/// The domain was halted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halt {
    /// Who said so.
    pub by: PrincipalId,
    /// Why, in their words. Public.
    pub reason: String,
    /// When.
    pub time: Millis,
}

/// The domain continues, or one node that was revoked may ask again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumed {
    /// Who said so.
    pub by: PrincipalId,
    /// The decision that allowed it, where the bundle then in force governed administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<ExecutionId>,
    /// Only this node, as environments name it: whether the domain is halted stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Digest>,
    /// Why, in their words. Public.
    pub reason: String,
    /// When.
    pub time: Millis,
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Artifact(id) => f.write_str(&id.artifact_id()),
            Self::Everything => f.write_str("everything"),
            Self::Execution(id) => write!(f, "{id}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Node(machine) => write!(f, "node:{machine}"),
            Self::Policy(id) => write!(f, "policy:{id}"),
            Self::Principal(id) => write!(f, "principal:{id}"),
            Self::Subtree(id) => write!(f, "subtree:{id}"),
        }
    }
}
