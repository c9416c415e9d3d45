//! The kinds of records.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use placet_types::{
    Commitment, Denial, DenialCode, Digest, DomainName, ExecutionId, FixedIntent, GatewayName,
    KeyId, Millis, PrincipalId, ProfileName, PublicKey, SecretName,
};

use crate::answered::Answered;
use crate::approval::{Approval, Waiting};
use crate::attestation::Appraisal;
use crate::born::Born;
use crate::connections::Connections;
use crate::definition::DefinitionApproved;
use crate::ending::{Halt, Resumed, Revoked};
use crate::facts::{Caller, Facts, Risk};
use crate::payloads::{ChangesReviewed, Erased};
use crate::principal::PrincipalRecord;
use crate::secret::SecretRecord;
use crate::shadow::Shadow;
use crate::signal::Signal;
use crate::usage::Usage;

/// Everything that is ever true in a domain.
#[expect(
    clippy::large_enum_variant,
    reason = "a log has one genesis record; the kinds that come in numbers are small or boxed"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The domain began. Only ever at index 0.
    Genesis(Genesis),
    /// A principal was registered, changed, suspended or restored.
    Principal(PrincipalRecord),
    /// A policy bundle came into force.
    Policy(PolicyActivated),
    /// An intent was decided. Boxed: it is much larger than the rest.
    Decided(Box<Decided>),
    /// An approver said something of an intent that waits.
    Approval(Approval),
    /// A question was answered: somebody only wanted to know. Boxed, as decisions are.
    Answered(Box<Answered>),
    /// An attempt that never became a decision: it did not parse, or presented a bad artifact.
    Refused(Refused),
    /// A permitted execution began.
    Started(Started),
    /// Something notable happened while it ran.
    Signal(Signal),
    /// What an execution did on the network since the last record of this kind.
    Connections(Connections),
    /// Programs that an execution made and started since the last record of this kind.
    Born(Born),
    /// An execution is over, its whole tree gone.
    Ended(Ended),
    /// Authority was ended early.
    Revoked(Revoked),
    /// The whole domain was halted: nothing runs.
    Halted(Halt),
    /// The domain continues.
    Resumed(Resumed),
    /// A private payload was destroyed on purpose.
    Erased(Erased),
    /// The store of secrets changed.
    Secret(SecretRecord),
    /// Somebody reviewed what an execution changed in the copy of its write trees.
    Changes(ChangesReviewed),
    /// Somebody approved what a tool says it is.
    Definition(DefinitionApproved),
    /// A bundle is decided beside the one in force, or is no longer.
    Shadow(Shadow),
}

/// Name of a kind, as it stands in predicate types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KindName {
    /// `genesis`
    Genesis,
    /// `principal`
    Principal,
    /// `policy`
    Policy,
    /// `decided`
    Decided,
    /// `approval`
    Approval,
    /// `answered`
    Answered,
    /// `refused`
    Refused,
    /// `started`
    Started,
    /// `signal`
    Signal,
    /// `connections`
    Connections,
    /// `born`
    Born,
    /// `ended`
    Ended,
    /// `revoked`
    Revoked,
    /// `halted`
    Halted,
    /// `resumed`
    Resumed,
    /// `erased`
    Erased,
    /// `secret`
    Secret,
    /// `changes`
    Changes,
    /// `definition`
    Definition,
    /// `shadow`
    Shadow,
}

/// The beginning of a domain: its name and the public keys by role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Name of the domain, also the log's origin.
    pub domain: DomainName,
    /// Public keys by role. Every one is a key of its own.
    pub keys: Keys,
    /// Who may change policy.
    pub operators: Operators,
    /// When.
    pub time: Millis,
}

/// Public keys by role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Signs artifacts.
    pub artifact: PublicKey,
    /// Signs checkpoints.
    pub log: PublicKey,
    /// Signs records.
    pub record: PublicKey,
}

/// The trust roots for policy bundles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operators {
    /// Keys that may sign bundles.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub needed: u32,
}

/// A bundle came into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyActivated {
    /// Digest of the bundle's manifest, which names every member by digest.
    pub bundle: Digest,
    /// Who activated it.
    pub by: PrincipalId,
    /// The decision that allowed it, where the bundle then in force governed administration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<ExecutionId>,
    /// Whether acts of administration need a decision from here on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub governs: bool,
    /// Name of the bundle.
    pub name: String,
    /// Always higher than the revision before.
    pub revision: u64,
    /// Operator keys whose signatures were verified.
    pub signers: Vec<KeyId>,
    /// When.
    pub time: Millis,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A decision, with everything it was computed from apart from the state and the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// How the environment was appraised, where it was attested. It follows from facts and bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appraisal: Option<Appraisal>,
    /// Digest of the artifact, for a permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Digest>,
    /// Which of the ten checks denied, from 1, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<CheckedDenial>,
    /// What the world said.
    pub facts: Facts,
    /// What was granted, for a permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// What was asked.
    pub intent: FixedIntent,
    /// The answer.
    pub outcome: Outcome,
    /// The policy that answered.
    pub policy: PolicyRef,
    /// Risk as it was computed from the log.
    pub risk: Risk,
    /// What it waits for, where it is deferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waiting>,
}

/// A denial and the check that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckedDenial {
    /// Number of the check, 1 to 10.
    pub check: u8,
    /// The stable code.
    pub code: DenialCode,
    /// What failed.
    pub reason: String,
}

/// The answer to an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It may run, as the grant says.
    Permit,
    /// It may not.
    Deny,
    /// Not yet: somebody has to approve it, and then it is decided afresh.
    Defer,
}

/// What a permit grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who approved it, where approvals were needed, in order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<PrincipalId>,
    /// Who acts for whom: the principals of the ancestors, the parent's first, repeats left out.
    pub delegation: Vec<PrincipalId>,
    /// How many ancestors there are.
    pub depth: u32,
    /// The holder proves its authority anew in this interval, in milliseconds.
    pub lease_ms: u64,
    /// End of the window.
    pub not_after: Millis,
    /// Begin of the window.
    pub not_before: Millis,
    /// Name of the profile that the scope comes from.
    pub profile: ProfileName,
    /// Profiles that policy rerouted the execution to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rerouted: Vec<ProfileName>,
    /// The first ancestor, or the execution itself.
    pub root: ExecutionId,
    /// Digest of the canonical scope. The scope itself follows from bundle, intent and parent.
    pub scope: Digest,
    /// Age of the view of the log beyond which the holder must stop, in milliseconds.
    pub staleness_ms: u64,
}

/// The policy that an intent was decided under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRef {
    /// Digest of the bundle; absent when none was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// Ids of the policies that determined the answer, in order.
    pub determining: Vec<String>,
}

/// Stands for the Unix user of a caller that has none here: it came over the network.
pub const NETWORK_UID: u32 = u32::MAX;

/// An attempt that never became a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// SHA-256 of what was presented, or a commitment to it where it could be guessed.
    pub attempt: Commitment,
    /// Who it was, where more is known than a Unix user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// Unix user of the caller; [`NETWORK_UID`] for one that has none.
    pub caller_uid: u32,
    /// Why.
    pub denial: Denial,
    /// The execution whose artifact was presented, where that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecutionId>,
    /// Where it failed.
    pub stage: Stage,
    /// When.
    pub time: Millis,
}

/// Where an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The intent was not read.
    Intent,
    /// A gateway refused an artifact.
    Artifact,
    /// An operator's act was refused.
    Control,
    /// A proven identity is nobody here.
    Identity,
}

/// An execution began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// Secrets of which it got the values with this start.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub credentials: BTreeSet<SecretName>,
    /// Which one.
    pub exec: ExecutionId,
    /// The gateway that carries it out.
    pub gateway: GatewayName,
    /// Digest of the intent.
    pub intent: Digest,
    /// Commitment to the files that the scope pins, as they were before the start; absent where it
    /// pins none. The payload beside the record opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Commitment>,
    /// When.
    pub time: Millis,
}

/// An execution is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Why it was terminated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<DenialCode>,
    /// Which one.
    pub exec: ExecutionId,
    /// How its first process ended; absent when nobody saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Digest of the intent.
    pub intent: Digest,
    /// What became of it.
    pub outcome: RunEnd,
    /// When.
    pub time: Millis,
    /// What it used; absent when nobody measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What became of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// It ended by itself with status 0.
    Completed,
    /// It ended by itself with another status.
    Failed,
    /// It was terminated; the cause says why.
    Terminated,
    /// It was authorized and never started.
    Lapsed,
    /// It was over by the time that its tree was; nobody saw how.
    Unseen,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// With this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

impl Record {
    /// Name of the kind.
    #[must_use]
    pub const fn kind(&self) -> KindName {
        match self {
            Self::Genesis(_) => KindName::Genesis,
            Self::Principal(_) => KindName::Principal,
            Self::Policy(_) => KindName::Policy,
            Self::Decided(_) => KindName::Decided,
            Self::Approval(_) => KindName::Approval,
            Self::Answered(_) => KindName::Answered,
            Self::Refused(_) => KindName::Refused,
            Self::Started(_) => KindName::Started,
            Self::Signal(_) => KindName::Signal,
            Self::Connections(_) => KindName::Connections,
            Self::Born(_) => KindName::Born,
            Self::Ended(_) => KindName::Ended,
            Self::Revoked(_) => KindName::Revoked,
            Self::Halted(_) => KindName::Halted,
            Self::Resumed(_) => KindName::Resumed,
            Self::Erased(_) => KindName::Erased,
            Self::Secret(_) => KindName::Secret,
            Self::Changes(_) => KindName::Changes,
            Self::Definition(_) => KindName::Definition,
            Self::Shadow(_) => KindName::Shadow,
        }
    }

    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Millis {
        match self {
            Self::Genesis(record) => record.time,
            Self::Principal(record) => record.time,
            Self::Policy(record) => record.time,
            Self::Decided(record) => record.facts.time,
            Self::Approval(record) => record.time,
            Self::Answered(record) => record.time,
            Self::Refused(record) => record.time,
            Self::Started(record) => record.time,
            Self::Signal(record) => record.time,
            Self::Connections(record) => record.time,
            Self::Born(record) => record.time,
            Self::Ended(record) => record.time,
            Self::Revoked(record) => record.time,
            Self::Halted(record) => record.time,
            Self::Resumed(record) => record.time,
            Self::Erased(record) => record.time,
            Self::Secret(record) => record.time,
            Self::Changes(record) => record.time,
            Self::Definition(record) => record.time,
            Self::Shadow(record) => record.time,
        }
    }

    /// The execution that it is about.
    #[must_use]
    pub fn exec(&self) -> Option<ExecutionId> {
        match self {
            Self::Decided(record) => Some(record.facts.exec),
            Self::Approval(record) => Some(record.exec),
            Self::Refused(record) => record.exec,
            Self::Started(record) => Some(record.exec),
            Self::Signal(record) => Some(record.exec),
            Self::Connections(record) => Some(record.exec),
            Self::Born(record) => Some(record.exec),
            Self::Ended(record) => Some(record.exec),
            Self::Changes(record) => Some(record.exec),
            Self::Genesis(_)
            | Self::Principal(_)
            | Self::Policy(_)
            | Self::Answered(_)
            | Self::Revoked(_)
            | Self::Halted(_)
            | Self::Resumed(_)
            | Self::Erased(_)
            | Self::Secret(_)
            | Self::Definition(_)
            | Self::Shadow(_) => None,
        }
    }
}

impl KindName {
    /// Every kind.
    pub const ALL: [Self; 20] = [
        Self::Genesis,
        Self::Principal,
        Self::Policy,
        Self::Decided,
        Self::Approval,
        Self::Answered,
        Self::Refused,
        Self::Started,
        Self::Signal,
        Self::Connections,
        Self::Born,
        Self::Ended,
        Self::Revoked,
        Self::Halted,
        Self::Resumed,
        Self::Erased,
        Self::Secret,
        Self::Changes,
        Self::Definition,
        Self::Shadow,
    ];

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Principal => "principal",
            Self::Policy => "policy",
            Self::Decided => "decided",
            Self::Approval => "approval",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Started => "started",
            Self::Signal => "signal",
            Self::Connections => "connections",
            Self::Born => "born",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
            Self::Halted => "halted",
            Self::Resumed => "resumed",
            Self::Erased => "erased",
            Self::Secret => "secret",
            Self::Changes => "changes",
            Self::Definition => "definition",
            Self::Shadow => "shadow",
        }
    }
}
