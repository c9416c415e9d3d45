//! Executions that are authorized or run.

use serde::{Deserialize, Serialize};

use placet_types::{DenialCode, Digest, ExecutionId, FixedIntent, Index, Millis, PrincipalId};

use placet_evidence::Grant;

/// An execution that is authorized or runs. It leaves the state when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Digest of its artifact.
    pub artifact: Digest,
    /// The bundle that it was decided under.
    pub bundle: Digest,
    /// The record that allowed it.
    pub decided: Index,
    /// Policies that determined the permit.
    pub determining: Vec<String>,
    /// Digest of the environment that it was decided for.
    pub environment: Digest,
    /// Why it must end, once something says so.
    pub ending: Option<DenialCode>,
    /// What was granted.
    pub grant: Grant,
    /// What was asked.
    pub intent: FixedIntent,
    /// The machine that it is for, as its environment names it.
    pub machine: Digest,
    /// Where it is in its life.
    pub phase: Phase,
}

/// Where an execution is in its life. `ended` is not in it: ended ones leave the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It may start.
    Authorized,
    /// It runs since then.
    Running(Millis),
}

impl Execution {
    /// Whether it runs and nothing says that it must end.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Running(_)) && self.ending.is_none()
    }

    /// Who it acts as.
    #[must_use]
    pub fn principal(&self) -> &PrincipalId {
        &self.intent.principal
    }

    /// The execution that asked for it.
    #[must_use]
    pub fn parent(&self) -> Option<ExecutionId> {
        self.intent.parent
    }
}
