//! What waits for its record, and what happens once that record is durable.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use placet_artifact::Unsigned;
use placet_decision::Params;
use placet_evidence::{
    Approval, Attestation, Caller, CheckedDenial, Environment, FoundBySearch, Grant,
    PrincipalRecord, Record, SecretChange, Selector, Stage, TokenIdentity, Waiting,
};
use placet_types::{
    Denial, Digest, ExecutionId, Fixed, FixedIntent, FixedScope, GatewayName, Index, PrincipalId,
    Question, Salt, SecretName,
};

use crate::activate::Activation;
use crate::control::{ActError, ChangesReview, DefinitionReview};
use crate::questions::Asked;
use crate::submission::{
    Answer, BornReport, ConnectionsReport, Denied, EndReport, SignalReport, Unavailable,
};

/// Where an answer goes. Whoever asked may be gone; the record stands all the same. One that is
/// dropped says that there is no evidence.
pub(crate) struct Reply<T>(Mutex<Called<T>>);

/// What an answer is handed to. Behind a lock that is never waited for: drafts are shared while they
/// are signed, and what is called once cannot be.
type Called<T> = Box<dyn FnOnce(Result<T, Unavailable>) + Send>;

/// One thing that waits for its record.
#[derive(Debug)]
pub(crate) enum Work {
    /// An intent that parses.
    Intent(Box<Prepared>, Reply<Answer>),
    /// An intent that parses, and is started with its permit.
    Begin(Box<Prepared>, Reply<Answer>, Box<Beginning>),
    /// A question that somebody only wants answered.
    Question(Box<PreparedQuestion>, Reply<Asked>),
    /// An attempt that will be refused whatever the state says.
    Refuse(Attempt, Reply<Denied>),
    /// A gateway is about to start an execution.
    Start(Box<StartRequest>, Reply<Result<Index, Denied>>),
    /// Something notable happened.
    Signal(SignalReport, Reply<Result<Index, Denied>>),
    /// What an execution did on the network, and what hides it.
    Connections(ConnectionsReport, Salt, Reply<Result<Index, Denied>>),
    /// Programs that an execution made and started, and what hides them.
    Born(BornReport, Salt, Reply<Result<Index, Denied>>),
    /// An execution is over.
    End(EndReport, Reply<Result<Index, Denied>>),
    /// An operator's act, and the decision that permits it, where it needs one.
    Act(
        ReadyAct,
        PrincipalId,
        Option<ExecutionId>,
        Reply<Result<Index, ActError>>,
    ),
}

/// An intent that parses, with what belongs to it.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Verified.
    pub(crate) attestation: Option<Attestation>,
    pub(crate) bearer: Option<Box<TokenIdentity>>,
    pub(crate) intent: FixedIntent,
    pub(crate) params: Params,
    pub(crate) holder: String,
    pub(crate) environment: Fixed<Environment>,
    pub(crate) caller: Caller,
    pub(crate) exec: ExecutionId,
}

/// A question, with what belongs to it.
#[derive(Debug)]
pub(crate) struct PreparedQuestion {
    pub(crate) question: Question,
    /// Its canonical bytes, and what hides them.
    pub(crate) bytes: Vec<u8>,
    pub(crate) salt: Salt,
    pub(crate) askers: Vec<PrincipalId>,
    pub(crate) caller: Caller,
    pub(crate) environment: Fixed<Environment>,
    /// What a search found, in the state as it was then.
    pub(crate) found: Option<FoundBySearch>,
}

/// An attempt that never became a decision.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) presented: Vec<u8>,
    pub(crate) salt: Salt,
    pub(crate) caller: Caller,
    pub(crate) denial: Denial,
    pub(crate) exec: Option<ExecutionId>,
    pub(crate) stage: Stage,
}

/// A gateway is about to start an execution.
#[derive(Debug)]
pub(crate) struct StartRequest {
    pub(crate) exec: ExecutionId,
    pub(crate) artifact: Digest,
    pub(crate) gateway: GatewayName,
    pub(crate) caller: Caller,
    pub(crate) salt: Salt,
    /// Secrets of which it gets the values.
    pub(crate) credentials: BTreeSet<SecretName>,
    /// The measured files, to be committed to.
    pub(crate) pinned: Option<Params>,
}

/// What the start is recorded with that follows a permit at once.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) salt: Salt,
    pub(crate) reply: Reply<Result<Index, Denied>>,
}

/// An act whose costly part is done.
#[derive(Debug)]
pub(crate) enum ReadyAct {
    Revoke(Selector, String),
    Halt(String),
    Resume(Option<Digest>, String),
    Principal(PrincipalRecord),
    Activate(Box<Activation>),
    Erase(Index, String),
    /// A bundle that may be decided beside the one in force, and why.
    Shadow(Option<Box<Activation>>, String),
    /// What changed, and the version of the store that follows.
    Secret(SecretChange, u64),
    Changes(ChangesReview),
    Definition(DefinitionReview),
    Approve(Box<Approval>),
}

/// A record that is on its way, and what happens once it is durable.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) record: Record,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) then: Then,
}

/// What happens once a record is durable.
#[derive(Debug)]
pub(crate) enum Then {
    Permit {
        reply: Reply<Answer>,
        unsigned: Unsigned,
        grant: Grant,
        scope: FixedScope,
    },
    Deny {
        reply: Reply<Answer>,
        exec: ExecutionId,
        denial: CheckedDenial,
    },
    Defer {
        reply: Reply<Answer>,
        exec: ExecutionId,
        waiting: Waiting,
    },
    Answered {
        reply: Reply<Asked>,
        asked: Asked,
    },
    Refused {
        reply: Reply<Denied>,
        denied: Denied,
    },
    /// A start, signal or end that was refused: recorded as an attempt.
    NotDone {
        reply: Reply<Result<Index, Denied>>,
        denied: Denied,
    },
    Done {
        reply: Reply<Result<Index, Denied>>,
    },
    Acted {
        reply: Reply<Result<Index, ActError>>,
        erase: Option<Index>,
    },
}

/// Sends an answer. Whoever asked may be gone: then nobody is left to be told, the record stands, and
/// a permit that nobody took lapses.
pub(crate) fn answer<T>(reply: Reply<T>, answer: Result<T, Unavailable>) {
    let called = reply.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    called(answer);
}

impl<T> Reply<T> {
    /// An answer that is handed to `then`, on a thread of the sequencer: it must not wait there.
    pub(crate) fn new(then: impl FnOnce(Result<T, Unavailable>) + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(then)))
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply(..)")
    }
}

impl Then {
    /// Tells whoever waits that nothing was recorded.
    pub(crate) fn fail(self) {
        let gone = Unavailable::Evidence;
        match self {
            Self::Permit { reply, .. } | Self::Deny { reply, .. } | Self::Defer { reply, .. } => {
                answer(reply, Err(gone));
            }
            Self::Answered { reply, .. } => answer(reply, Err(gone)),
            Self::Refused { reply, .. } => answer(reply, Err(gone)),
            Self::NotDone { reply, .. } | Self::Done { reply } => answer(reply, Err(gone)),
            Self::Acted { reply, .. } => answer(reply, Err(gone)),
        }
    }
}

impl Work {
    /// Tells whoever waits that nothing was recorded.
    pub(crate) fn fail(self) {
        let gone = Unavailable::Evidence;
        match self {
            Self::Intent(_, reply) | Self::Begin(_, reply, _) => answer(reply, Err(gone)),
            Self::Question(_, reply) => answer(reply, Err(gone)),
            Self::Refuse(_, reply) => answer(reply, Err(gone)),
            Self::Start(_, reply)
            | Self::Signal(_, reply)
            | Self::Connections(_, _, reply)
            | Self::Born(_, _, reply)
            | Self::End(_, reply) => {
                answer(reply, Err(gone));
            }
            Self::Act(_, _, _, reply) => answer(reply, Err(gone)),
        }
    }
}
