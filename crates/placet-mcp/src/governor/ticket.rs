//! What was started, until it has ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use placet_authority::node::wire::EndBody;
use placet_evidence::{OutputUsage, RunEnd, Usage};
use placet_secrets::Secret;
use placet_types::{Commitment, DenialCode, ExecutionId, Index, Salt, Scope, SecretName};

use crate::redact::Redactor;

/// What the execution of a connection to a server elsewhere was granted.
pub struct Granted {
    /// Its scope.
    pub scope: Scope,
    /// The values of the credentials in it.
    pub secrets: Vec<(SecretName, Secret)>,
}

/// An execution that was started and is to be ended.
#[derive(Debug)]
#[must_use = "what was started has to be ended"]
pub struct Ticket {
    /// Which one.
    pub exec: ExecutionId,
    /// The record of the decision.
    pub decided: Index,
    pub(super) began: Duration,
    pub(super) salt: Salt,
    pub(super) worker: usize,
    pub(super) redactor: Option<Arc<Redactor>>,
    pub(super) granted: Option<Box<Granted>>,
}

/// A running execution that was handed secrets, and where it is watched.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    pub(super) exec: ExecutionId,
    pub(super) worker: usize,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What became of it.
    pub outcome: RunEnd,
    /// Why it was ended, if it was.
    pub cause: Option<DenialCode>,
    /// What it answered.
    pub output: Option<OutputUsage>,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").finish_non_exhaustive()
    }
}

impl Ticket {
    /// What a connection was granted; once.
    pub fn take_granted(&mut self) -> Option<Granted> {
        self.granted.take().map(|granted| *granted)
    }

    /// What its answer must not show.
    #[must_use]
    pub fn redactor(&self) -> Option<&Arc<Redactor>> {
        self.redactor.as_ref()
    }

    /// What asks for its secrets again.
    #[must_use]
    pub fn holding(&self) -> Holding {
        Holding {
            exec: self.exec,
            worker: self.worker,
        }
    }

    /// How long ago it was started, at this time.
    #[must_use]
    pub fn since(&self, now: Duration) -> Duration {
        now.saturating_sub(self.began)
    }

    /// What is recorded of these bytes that it answered.
    #[must_use]
    pub fn output(&self, bytes: &[u8]) -> OutputUsage {
        OutputUsage {
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            commitment: Commitment::to("output", bytes, &self.salt),
            redacted: None,
        }
    }
}

/// The end of an execution, as it is recorded.
pub(super) fn end_of(exec: ExecutionId, ended: &Ended, wall: Duration) -> EndBody {
    EndBody {
        cause: ended.cause,
        exec,
        exit: None,
        outcome: match ended.cause {
            Some(_) => RunEnd::Terminated,
            None => ended.outcome,
        },
        usage: ended.output.map(|output| Usage {
            output: Some(output),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            ..Usage::default()
        }),
    }
}
