//! Exit statuses, and failures that carry one.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use placet_authority::OpenError;
use placet_authority::node::{LinkError, StartError};
use placet_types::{Denial, DenialCode};

/// How `placet` ends. The command of `placet run` passes its own status through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// All is well.
    Ok,
    /// Something is wrong that has no status of its own.
    Error,
    /// Denied; nothing ran.
    Denied,
    /// It ran and was ended because its authority ended.
    Terminated,
    /// Something could not be verified: evidence, an artifact, the log, the node.
    Unverified,
    /// The command's own status.
    Code(u8),
    /// The command was killed by this signal.
    Signal(u8),
}

/// Exit status for denied.
pub(crate) const DENIED: u8 = 120;
/// Exit status for terminated.
pub(crate) const TERMINATED: u8 = 121;
/// Exit status for could-not-verify.
pub(crate) const UNVERIFIED: u8 = 122;

impl Status {
    /// Ends the process so that a caller sees what it would have seen of the bare command.
    pub(crate) fn leave(self) -> ExitCode {
        match self {
            Self::Signal(signal) => die_by(signal),
            other => at_once(other.code()),
        }
    }

    /// As a number; as shells write it where it is a signal.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Denied => DENIED,
            Self::Terminated => TERMINATED,
            Self::Unverified => UNVERIFIED,
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

/// Ends this process without giving its memory back piece by piece, which the kernel does as well, and at once.
fn at_once(code: u8) -> ExitCode {
    let said = std::io::stdout().flush();
    // Whoever reads it is gone, and was told so where that matters.
    said.unwrap_or(());
    placet_sandbox::leave(code)
}

/// Ends this process by the signal that ended the command, without a core dump of its own.
fn die_by(signal: u8) -> ExitCode {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).unwrap_or(());
    placet_process::end_by(i32::from(signal));
    // Still here: the signal does not end processes. Shells write such an end this way.
    ExitCode::from(signal.saturating_add(128))
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) message: String,
    /// The denial code, where there is one.
    pub(crate) code: Option<DenialCode>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            status: Status::Error,
            message: message.to_string(),
            code: None,
            hint: None,
        }
    }

    pub(crate) fn unverified(message: impl fmt::Display) -> Self {
        Self {
            status: Status::Unverified,
            ..Self::new(message)
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        let status = match denial.code {
            DenialCode::EvidenceUnavailable | DenialCode::GovernanceDiscontinuity => {
                Status::Unverified
            }
            DenialCode::Malformed => Status::Error,
            _ => Status::Denied,
        };
        let hint = Some(denial.code.remedy().to_owned());
        Self {
            status,
            message: denial.reason,
            code: Some(denial.code),
            hint,
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::unverified(error).hint("`placet log fsck` names what is wrong with the log")
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::unverified(error)
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self::unverified(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}

impl From<placet_log::ReadError> for Failure {
    fn from(error: placet_log::ReadError) -> Self {
        Self::unverified(error).hint("`placet log fsck` names what is wrong with the log")
    }
}

impl From<placet_evidence::EntryError> for Failure {
    fn from(error: placet_evidence::EntryError) -> Self {
        Self::unverified(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error)
    }
}
