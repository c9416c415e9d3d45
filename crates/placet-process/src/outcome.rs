//! What became of a command, or why nothing did.

use placet_artifact::verify::Refusal;
use placet_authority::node::wire::DeferredBody;
use placet_authority::node::{LinkError, StartError};
use placet_evidence::{CheckedDenial, Exit as RecordedExit};
use placet_sandbox::SandboxError;
use placet_types::{Denial, DenialCode, ExecutionId, Index, Trip};

use crate::call::CallError;
use crate::drift::UnwatchableError;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was denied; nothing ran.
    Denied {
        /// Which check, which code, what failed.
        denial: CheckedDenial,
        /// The execution that would have been.
        exec: Option<ExecutionId>,
        /// The record that says so.
        index: Index,
    },
    /// It waits for approvals, and the command does not; nothing ran.
    Deferred(DeferredBody),
    /// It ran and ended by itself.
    Ended {
        /// Which execution.
        exec: ExecutionId,
        /// How.
        exit: RecordedExit,
    },
    /// It ran and was ended.
    Terminated {
        /// Which execution.
        exec: ExecutionId,
        /// Why.
        cause: DenialCode,
        /// What happened, where the cause alone does not say: which limit, which file.
        why: Option<String>,
    },
}

/// Why there is no outcome. Nothing runs any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The command is no intent.
    #[error(transparent)]
    Call(#[from] CallError),
    /// There is no node.
    #[error(transparent)]
    Node(#[from] StartError),
    /// The node was lost.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Nothing could be recorded, so nothing ran.
    #[error("{0}")]
    Unavailable(Denial),
    /// What the node released does not verify.
    #[error("the artifact does not verify: {0}")]
    Refused(Refusal),
    /// The genesis record that the node shows does not fit the domain's public policy.
    #[error("the node's keys cannot be verified: {0}")]
    Keys(String),
    /// The copy of the write trees that the scope asks for could not be made.
    #[error("the write trees could not be copied: {0}")]
    Copy(String),
    /// This machine did not build the cell.
    #[error("the scope could not be enforced: {0}")]
    Sandbox(#[from] SandboxError),
    /// A file that the scope pins cannot be watched.
    #[error("the scope could not be enforced: {0}")]
    Pinned(#[from] UnwatchableError),
    /// A trip limit counts what this machine does not tell.
    #[error("the scope could not be enforced: the trip limit {0} cannot be counted here: {1}")]
    Uncounted(Trip, &'static str),
    /// The program did not start.
    #[error("the program did not start: {0}")]
    Exec(SandboxError),
    /// It ran and ended, and its end could not be recorded.
    #[error("the end could not be recorded: {0}")]
    EndNotRecorded(String),
    /// Signals could not be taken over.
    #[error("signals: {0}")]
    Signals(std::io::Error),
    /// The process at the user's terminal did not take the command's.
    #[error("the terminal: {0}")]
    Terminal(std::io::Error),
}
