//! What callers hand in, and what they get back.

use placet_artifact::Artifact;
use placet_artifact::receipt::Receipt;
use placet_decision::Params;
use placet_evidence::{
    Attestation, Caller, CheckedDenial, Environment, Exit, Grant, NetworkUsage, RunEnd, SignalKind,
    TokenIdentity, Usage, Waiting,
};
use placet_types::canonical::Malformed;
use placet_types::{
    DenialCode, ExecutionId, Fixed, FixedIntent, FixedScope, Index, PublicKey, Trip,
};

/// An intent with everything that is needed to decide it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The intent.
    pub intent: IntentForm,
    /// Private parameters.
    pub params: Params,
    /// The gateway's own key: the artifact will be bound to it.
    pub holder: PublicKey,
    /// The machine, as the gateway says it is.
    pub environment: Fixed<Environment>,
    /// What the gateway signed about it.
    pub attestation: Option<Attestation>,
    /// Whom the gateway asks for, if somebody has shown it an access token.
    pub bearer: Option<Box<TokenIdentity>>,
    /// Who submits, by the server's own knowledge.
    pub caller: Caller,
    /// Unix user of the submitting process, for records of attempts that do not parse.
    pub caller_uid: u32,
}

/// An intent, as it came.
#[derive(Clone, Debug)]
pub enum IntentForm {
    /// What should be its canonical bytes.
    Bytes(Vec<u8>),
    /// Settled where it was made, from parts that were read: there is nothing to be read again.
    Settled(FixedIntent),
}

impl IntentForm {
    /// The intent, where it is one.
    pub(crate) fn read(&self) -> Result<FixedIntent, Malformed> {
        match self {
            Self::Bytes(bytes) => FixedIntent::decode(bytes),
            Self::Settled(intent) => intent.clone().checked(),
        }
    }

    /// What an attempt that is refused is recorded by.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Settled(intent) => intent.text().as_bytes(),
        }
    }
}

/// The answer to a submission. Either way it is recorded.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It may run.
    Permitted(Box<Permitted>),
    /// It may not.
    Denied(Denied),
    /// It waits for approvals. Submitted again, the same intent is decided by what was said of it.
    Deferred(Box<Deferred>),
}

/// An intent that waits for approvals, recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// The record that says so.
    pub index: Index,
    /// The execution that it would be.
    pub exec: ExecutionId,
    /// What it waits for.
    pub waiting: Waiting,
}

/// A permit, durable and effective.
#[derive(Clone, Debug)]
pub struct Permitted {
    /// The execution that may start.
    pub exec: ExecutionId,
    /// The record that says so.
    pub index: Index,
    /// The signed authorization.
    pub artifact: Artifact,
    /// Proof that the record is in the log.
    pub receipt: Receipt,
    /// What was granted.
    pub grant: Grant,
    /// The scope that was granted.
    pub scope: FixedScope,
}

/// A denial, recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The record that says so.
    pub index: Index,
    /// The execution that would have been; absent when the intent could not be read.
    pub exec: Option<ExecutionId>,
    /// Which check, which code, what failed.
    pub denial: CheckedDenial,
}

/// No answer could be recorded, so there is none: nothing may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too much at once.
    #[error("too many intents are waiting")]
    Overloaded,
    /// The log cannot be written.
    #[error("the log cannot be written")]
    Evidence,
}

/// How an execution ended, as its gateway saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndReport {
    /// Which one.
    pub exec: ExecutionId,
    /// What became of it.
    pub outcome: RunEnd,
    /// Why it was terminated.
    pub cause: Option<DenialCode>,
    /// How its first process ended.
    pub exit: Option<Exit>,
    /// What it used.
    pub usage: Option<Usage>,
}

/// Something notable happened while an execution ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalReport {
    /// Which one.
    pub exec: ExecutionId,
    /// What it points to.
    pub code: DenialCode,
    /// How often since the last signal of this kind.
    pub count: u64,
    /// What happened, without parameters.
    pub detail: String,
    /// Whether it ends the execution's authority.
    pub ends: bool,
    /// What it counts as in the history of the principal.
    pub kind: Option<SignalKind>,
    /// The limit that was passed, where that is what happened.
    pub trip: Option<Trip>,
}

/// What an execution did on the network since the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionsReport {
    /// Which one.
    pub exec: ExecutionId,
    /// Canonical JSON of the list.
    pub list: Vec<u8>,
    /// Entries of the list.
    pub count: u64,
    /// Events that are not in the list.
    pub omitted: u64,
    /// Numbers.
    pub usage: NetworkUsage,
}

/// Programs that an execution made and started since the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BornReport {
    /// Which one.
    pub exec: ExecutionId,
    /// Canonical JSON of the list.
    pub list: Vec<u8>,
    /// Entries of the list.
    pub count: u64,
    /// Starts that are not in the list.
    pub omitted: u64,
}

impl Unavailable {
    /// The denial code that the caller is told.
    #[must_use]
    pub const fn code(self) -> DenialCode {
        match self {
            Self::Overloaded => DenialCode::Overloaded,
            Self::Evidence => DenialCode::EvidenceUnavailable,
        }
    }
}
