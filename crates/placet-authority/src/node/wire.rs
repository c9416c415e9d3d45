//! Frames between a gateway or an operator's command and the node.
//!
//! A frame is a length (four bytes, big-endian) and that many bytes of JSON, read strictly. One
//! request is outstanding on a connection at a time; pushes come in between. This is not a public
//! interface: both ends are the same program, and [`VERSION`] makes sure of it.

mod bodies;

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use placet_evidence::{
    CheckedDenial, Grant, Nonce, PrincipalStatus, Selector, SignalKind, Stage, Verdict,
};
use placet_types::canonical::{Bounds, Json};
use placet_types::{
    Denial, DenialCode, Digest, DomainName, ExecutionId, FixedIntent, GatewayName, Index, Millis,
    PrincipalId, PublicKey, SecretName, Signature, Thumbprint, Trip,
};

use placet_secrets::Secret;
use zeroize::Zeroizing;

use crate::control::{ChangesReview, DefinitionReview};
use crate::environment::Appraised;
use crate::preview::Preview;

pub use bodies::{
    AppraiseBody, AttestedBody, BegunBody, BornBody, BundleBody, CallBody, CallsBody,
    ConnectionsBody, DeferredBody, DefinitionBody, EndBody, FollowingBody, GatewayBundleBody,
    LifecycleBody, NodeBundleBody, PermittedBody, PinnedBody, SecretBody, SecretsBody, SubmitBody,
    WaitingBody,
};

/// Version of this protocol. A client and a node of different versions do not talk.
pub const VERSION: u32 = 10;
/// Longest frame, in bytes.
pub const FRAME_MAX: usize = 8 << 20;

/// What is read of a frame in one piece.
const AT_ONCE_MAX: usize = 64 << 10;

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// First frame on every connection.
    Hello {
        /// [`VERSION`] of the client.
        version: u32,
    },
    /// Decides an intent, for real.
    Submit(Box<SubmitBody>),
    /// As well, and records the start with the permit: for what begins as soon as it may.
    Begin(Box<SubmitBody>),
    /// Decides calls and records the start of each that is permitted, and how earlier ones ended: one request
    /// and one write for all of them.
    Calls(Box<CallsBody>),
    /// Gives something to sign with an environment.
    Nonce,
    /// Appraises an environment. Nothing is recorded.
    Appraise(Box<AppraiseBody>),
    /// Attests again for all that this connection carries, when a beat asks for it.
    Attest(Box<AppraiseBody>),
    /// Says what would be decided. Nothing is recorded and nothing is released.
    Preview(Box<SubmitBody>),
    /// Records that an execution starts; the connection becomes its gateway's.
    Start {
        /// Digest of the artifact that it starts under.
        artifact: Digest,
        /// Which one.
        exec: ExecutionId,
        /// By whom.
        gateway: GatewayName,
        /// The files that its scope pins, as they are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pinned: Option<PinnedBody>,
        /// Whether it takes the values of the credentials in the scope: only for a cell of its own.
        takes_secrets: bool,
    },
    /// Gives a secret a value: that many bytes follow the frame, as they are.
    SetSecret {
        /// Which one.
        name: SecretName,
        /// How many bytes follow.
        bytes: u32,
    },
    /// Takes a secret away.
    RemoveSecret {
        /// Which one.
        name: SecretName,
    },
    /// Takes the tokens of a login away, and gives them to whoever logs out.
    TakeLogin {
        /// Which secret: `oauth.` and the name of the server.
        name: SecretName,
    },
    /// Asks again for a secret that a running execution was handed on this connection: it may have a successor.
    HandAgain {
        /// Which execution.
        exec: ExecutionId,
        /// Which secret.
        name: SecretName,
    },
    /// Gives a secret that a running execution was handed its successor: that many bytes follow the frame.
    RenewSecret {
        /// How many bytes follow.
        bytes: u32,
        /// Which execution.
        exec: ExecutionId,
        /// Which secret.
        name: SecretName,
    },
    /// Encrypts all secrets anew, with a new key.
    RotateSecretsKey,
    /// What secrets there are.
    Secrets,
    /// Takes up a running execution again after a connection was lost.
    Attach {
        /// Which one.
        exec: ExecutionId,
    },
    /// Records something notable.
    Signal(SignalBody),
    /// Records what an execution did on the network.
    Connections(ConnectionsBody),
    /// Records which programs an execution made and started.
    Born(BornBody),
    /// Records that an execution is over.
    End(EndBody),
    /// Records that a gateway refused what was presented to it.
    Refused {
        /// Why.
        denial: Denial,
        /// The execution, where that could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exec: Option<ExecutionId>,
        /// What was presented.
        presented: String,
        /// Where it failed.
        stage: Stage,
    },
    /// Does an operator's act.
    Act(ActBody),
    /// What the node is doing.
    Status,
    /// Executions that are authorized or run.
    Executions,
    /// Registered principals.
    Principals,
    /// Definitions of tools that count.
    Definitions,
    /// Intents that wait for approvals.
    Waiting,
    /// Which bundles are in use, where, and what the one beside would have changed.
    Lifecycle,
    /// Ends the node once nothing runs under it.
    Stop,
}

/// Something notable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalBody {
    /// What it points to.
    pub code: DenialCode,
    /// How often.
    pub count: u64,
    /// What happened.
    pub detail: String,
    /// Whether it ends the execution's authority.
    pub ends: bool,
    /// Which execution.
    pub exec: ExecutionId,
    /// What it counts as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SignalKind>,
    /// The limit that was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trip: Option<Trip>,
}

/// An operator's act.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ActBody {
    /// Ends authority early.
    Revoke {
        /// Why.
        reason: String,
        /// Whose.
        selector: Selector,
    },
    /// Halts the domain.
    Halt {
        /// Why.
        reason: String,
    },
    /// Lets it continue, or a node that was revoked.
    Resume {
        /// Only this node.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<Digest>,
        /// Why.
        reason: String,
    },
    /// Registers or changes a principal.
    Principal(PrincipalBody),
    /// Puts a bundle in force.
    Activate {
        /// The bundle in its single-file form, which is text.
        archive: String,
        /// Digest of its manifest.
        bundle: Digest,
    },
    /// Has a bundle decided beside the one in force, or none any more.
    Shadow {
        /// Which one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bundle: Option<BundleBody>,
        /// Why.
        reason: String,
    },
    /// Reviews what an execution changed in a copy.
    Changes(ChangesReview),
    /// Approves what a tool says it is.
    Definition(DefinitionReview),
    /// Says of an intent that waits whether it may happen. Not an operator's act but an approver's.
    Approve {
        /// Who says it.
        by: PrincipalId,
        /// The execution that it would be.
        exec: ExecutionId,
        /// The approver's own key.
        key: PublicKey,
        /// Why.
        reason: String,
        /// Over the statement.
        signature: Signature,
        /// What.
        verdict: Verdict,
    },
    /// Destroys a private payload.
    Erase {
        /// Of which record.
        index: Index,
        /// Why.
        reason: String,
    },
}

/// A principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalBody {
    /// Principals whose executions may start a child as this one.
    pub acts_for: Vec<PrincipalId>,
    /// Groups it is in.
    pub groups: Vec<String>,
    /// Its name.
    pub id: PrincipalId,
    /// Keys whose holders may act as it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Thumbprint>,
    /// Whether it may act.
    pub status: PrincipalStatus,
    /// Unix users that may act as it.
    pub uids: Vec<u32>,
}

/// What the node answers, and what it pushes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// To `Hello`.
    Welcome(Box<Welcome>),
    /// To `Submit`.
    Permitted(Box<PermittedBody>),
    /// To `Submit`, `Start`, `Signal`, `End`, `Refused`.
    Denied {
        /// Which check, which code, what failed.
        denial: CheckedDenial,
        /// The execution that would have been.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exec: Option<ExecutionId>,
        /// The record that says so.
        index: Index,
    },
    /// To `Calls`: one answer for each, in their order. How earlier ones ended is recorded.
    Called(Vec<Response>),
    /// One of them is permitted, and its start is recorded.
    Begun(Box<BegunBody>),
    /// To `Submit`: it waits for approvals. The same `Submit` again says what became of it.
    Deferred(Box<DeferredBody>),
    /// To `Nonce`.
    Nonce(Nonce),
    /// To `Appraise` and `Attest`.
    Appraised(Box<Appraised>),
    /// To `Preview`.
    Previewed(Box<Preview>),
    /// To whatever was recorded without a further answer.
    Recorded {
        /// The record.
        index: Index,
    },
    /// To a `Start` that takes values: those of these secrets follow the frame, one after the
    /// other, as they are.
    Started {
        /// The record.
        index: Index,
        /// Which, and how many bytes of each.
        secrets: Vec<FollowingBody>,
    },
    /// To `HandAgain`: its value follows the frame.
    Handed(FollowingBody),
    /// To `TakeLogin`: the record; the value follows the frame.
    Taken(Index, FollowingBody),
    /// To `Secrets`.
    Secrets(Box<SecretsBody>),
    /// To `Attach`.
    Attached {
        /// Why it must end, if it must.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ending: Option<DenialCode>,
    },
    /// To `Status`.
    Status(Box<StatusBody>),
    /// To `Executions`.
    Executions(Vec<ExecutionBody>),
    /// To `Principals`.
    Principals(Vec<PrincipalBody>),
    /// To `Definitions`.
    Definitions(Vec<DefinitionBody>),
    /// To `Waiting`.
    Waiting(Vec<WaitingBody>),
    /// To `Lifecycle`.
    Lifecycle(Box<LifecycleBody>),
    /// To `Stop`.
    Stopping,
    /// Nothing was done.
    Error(Denial),
    /// Pushed: the conditions hold, the log is written, the lease is renewed.
    Beat {
        /// The policy bundle in force.
        active: Option<Digest>,
        /// How long ago the log was last seen to be readable and writable, in milliseconds.
        age_ms: u64,
        /// Whether the gateway is to attest its environment again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        attest: bool,
        /// Number of records.
        size: Index,
    },
    /// Pushed: this execution must end.
    Ending {
        /// Why.
        cause: DenialCode,
        /// Which one.
        exec: ExecutionId,
    },
}

/// Who the client talks to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// Name of the domain.
    pub domain: DomainName,
    /// Names of environment variables that some profile of the bundle in force passes on.
    pub env: Vec<String>,
    /// Entry of the genesis record.
    pub genesis: String,
    /// Whether gateways are to measure their own programs.
    pub measures_gateways: bool,
    /// Something to sign with an environment.
    pub nonce: Nonce,
    /// How long it is signed at most before another one is asked for.
    pub nonce_secs: u64,
    /// Process id of the node.
    pub pid: u32,
}

/// What the node is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusBody {
    /// Name of the domain.
    pub domain: DomainName,
    /// Executions that are authorized and have not started.
    pub authorized: u64,
    /// Whether the domain is halted.
    pub halted: bool,
    /// Process id of the node.
    pub pid: u32,
    /// The bundle in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyStatus>,
    /// Machines that were revoked and not resumed since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_nodes: Vec<Digest>,
    /// Executions that run.
    pub running: u64,
    /// Number of records.
    pub size: Index,
    /// Whether it is a service, which does not leave when nothing is asked of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// Whether the log can be written.
    pub writing: bool,
}

/// The bundle in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyStatus {
    /// Digest of its manifest.
    pub bundle: Digest,
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: u64,
    /// The record that put it in force.
    pub since: Index,
}

/// An execution that is authorized or runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionBody {
    /// The record that allowed it.
    pub decided: Index,
    /// Why it must end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<DenialCode>,
    /// Which one.
    pub exec: ExecutionId,
    /// What was granted.
    pub grant: Grant,
    /// What was asked.
    pub intent: FixedIntent,
    /// Since when it runs; absent while it has not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Millis>,
}

/// Writes one frame.
///
/// # Errors
///
/// What the operating system says; `InvalidData` for a frame past [`FRAME_MAX`].
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// The bytes of one frame.
///
/// # Errors
///
/// `InvalidData` for a frame past [`FRAME_MAX`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= FRAME_MAX);
    let length = length.ok_or(io::ErrorKind::InvalidData)?;
    Ok([&length.to_be_bytes(), body.as_slice()].concat())
}

/// Reads the bytes that follow a frame, into memory that is wiped.
///
/// # Errors
///
/// What the operating system says; `InvalidData` for a length that no secret has.
pub fn read_secret(from: &mut impl Read, bytes: u32) -> io::Result<Secret> {
    let bytes = bytes as usize;
    if bytes > placet_secrets::BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut value = Zeroizing::new(vec![0; bytes]);
    from.read_exact(&mut value)?;
    Secret::new(value).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads one frame, or `None` at the end of the stream.
///
/// # Errors
///
/// What the operating system says; `InvalidData` for anything but a strict frame.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // No more is set aside than has come, or than an ordinary frame has.
    let mut body = vec![0; length.min(AT_ONCE_MAX)];
    from.read_exact(&mut body)?;
    if let Some(rest) = length.checked_sub(AT_ONCE_MAX) {
        let got = from.take(rest as u64).read_to_end(&mut body)?;
        if got != rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    decode(&body).map(Some)
}

/// Reads the body of a frame.
///
/// # Errors
///
/// `InvalidData` for anything but strict JSON of the right shape.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    let bounds = Bounds {
        bytes_max: FRAME_MAX,
        depth_max: 32,
    };
    let invalid = |error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
    };
    // Nothing is in it that two readers would read differently; then it is read once more, by its type.
    Json::parse(body, bounds).map_err(|error| invalid(&error))?;
    serde_json::from_slice(body).map_err(|error| invalid(&error))
}
