//! What some answers consist of: secrets, and intents that wait.

use std::collections::BTreeMap;

use placet_evidence::{
    AppraisalStatus, Attestation, Environment, Exit, Grant, NetworkUsage, RunEnd, TokenIdentity,
    Usage, Verdict, Waiting,
};
use placet_types::{
    DenialCode, Digest, ExecutionId, Fixed, FixedIntent, FixedScope, GatewayName, Index, KeyId,
    Millis, PrincipalId, ProfileName, PublicKey, Salt, SecretName,
};
use serde::{Deserialize, Serialize};

use crate::shadow::ShadowReport;

/// An environment to be appraised.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppraiseBody {
    /// What the gateway signed about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// The claims.
    pub environment: Fixed<Environment>,
}

/// How an execution ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndBody {
    /// Why it was terminated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<DenialCode>,
    /// Which one.
    pub exec: ExecutionId,
    /// How its first process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// What became of it.
    pub outcome: RunEnd,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// An intent with everything that is needed to decide it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitBody {
    /// What the gateway signed about the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// Whom the gateway asks for, if somebody has shown it an access token: its word, as the rest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Box<TokenIdentity>>,
    /// The execution that asks, for intents that came through the door of its cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<ExecutionId>,
    /// The machine.
    pub environment: Fixed<Environment>,
    /// The gateway's key.
    pub holder: PublicKey,
    /// Canonical JSON of the intent.
    pub intent: String,
    /// Canonical JSON of the parameters.
    pub params: String,
    /// What hides them.
    pub salt: Salt,
}

/// Calls that are to be decided and begun, and how earlier ones ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallsBody {
    /// What is attested; absent where it is what was last attested on this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<AttestedBody>,
    /// Whom the gateway asks for with all of them, if somebody has shown it an access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Box<TokenIdentity>>,
    /// The calls.
    pub calls: Vec<CallBody>,
    /// The execution that asks, where it is one that this gateway carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<ExecutionId>,
    /// What is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<EndBody>,
}

/// What a gateway says of its machine, for all calls that follow on the connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestedBody {
    /// What it signed.
    pub attestation: Attestation,
    /// The claims.
    pub environment: Fixed<Environment>,
    /// The gateway's key.
    pub holder: PublicKey,
}

/// One call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallBody {
    /// Canonical JSON of the intent.
    pub intent: String,
    /// Canonical JSON of the parameters.
    pub params: String,
    /// What hides them.
    pub salt: Salt,
}

/// A call that is permitted and has begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BegunBody {
    /// The bundle in force.
    pub active: Digest,
    /// The artifact.
    pub artifact: String,
    /// The entry of its decision.
    pub entry: String,
    /// Which execution.
    pub exec: ExecutionId,
    /// The record of the decision.
    pub index: Index,
    /// Proof that the entry is in the log.
    pub proof: String,
    /// The record of the start.
    pub started: Index,
}

/// A value that follows a frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowingBody {
    /// How many bytes.
    pub bytes: u32,
    /// Of which secret.
    pub name: SecretName,
}

/// What secrets there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsBody {
    /// Each, in order of their names.
    pub secrets: Vec<SecretBody>,
    /// Why none of them can be handed over, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What is known of a secret: everything but what it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretBody {
    /// Whether there is one; a profile may want one that there is not.
    pub held: bool,
    /// Its name.
    pub name: SecretName,
    /// Profiles of the bundle in force that hand it over.
    pub profiles: Vec<ProfileName>,
    /// When it got its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Millis>,
    /// When an execution last got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Millis>,
}

/// An intent that waits for approvals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeferredBody {
    /// Which execution it would be.
    pub exec: ExecutionId,
    /// The record.
    pub index: Index,
    /// What it waits for.
    pub waiting: Waiting,
}

/// An intent that waits for approvals, for those who give them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingBody {
    /// Policies that ask for the approvals.
    pub asked_by: Vec<String>,
    /// The record that deferred it.
    pub decided: Index,
    /// Which execution it would be.
    pub exec: ExecutionId,
    /// What is asked.
    pub intent: FixedIntent,
    /// The private parameters, where they are still there: canonical JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<String>,
    /// What opens the intent's commitment to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Salt>,
    /// What approvers have said so far.
    pub verdicts: BTreeMap<PrincipalId, Verdict>,
    /// What it waits for.
    pub waiting: Waiting,
}

/// A definition that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefinitionBody {
    /// Digest of the canonical definition.
    pub digest: Digest,
    /// Name of what it defines.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The record that made it count: the first permit, or an approval.
    pub since: Index,
}

/// What an execution did on the network since the last time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsBody {
    /// Which one.
    pub exec: ExecutionId,
    /// Canonical JSON of the list of connections.
    pub list: String,
    /// Events that are not in the list.
    pub omitted: u64,
    /// Numbers.
    pub usage: NetworkUsage,
}

/// Programs that an execution made and started since the last time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BornBody {
    /// Which one.
    pub exec: ExecutionId,
    /// Canonical JSON of the list of programs.
    pub list: String,
    /// Starts that are not in the list.
    pub omitted: u64,
}

/// Measurements of pinned files, to be committed to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedBody {
    /// Canonical JSON: an object with a digest, or null for no file, for each path.
    pub measured: String,
    /// What hides it.
    pub salt: Salt,
}

/// A bundle in its single-file form, which is text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleBody {
    /// The bundle with its signatures.
    pub archive: String,
    /// Digest of its manifest.
    pub bundle: Digest,
}

/// Which bundles are in use, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleBody {
    /// What gateways hold.
    pub gateways: Vec<GatewayBundleBody>,
    /// What nodes decide with.
    pub nodes: Vec<NodeBundleBody>,
    /// What the bundle beside the one in force would have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowReport>,
}

/// The bundle that a node decides with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeBundleBody {
    /// Digest of its manifest; absent while none is in force.
    pub bundle: Option<Digest>,
    /// Number of records that it has folded.
    pub index: Index,
    /// Its record key, by which entries name it.
    pub node: KeyId,
    /// Revision of the bundle.
    pub revision: Option<u64>,
    /// The record that put it in force.
    pub since: Option<Index>,
    /// Whether it compiles there. Where not, everything is denied.
    pub usable: bool,
}

/// What a gateway on a machine holds that was permitted under a bundle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayBundleBody {
    /// The lowest that its executions are appraised as now, by what it attested last; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appraisal: Option<AppraisalStatus>,
    /// Age of the oldest attestation that one of them rests on, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested_secs: Option<u64>,
    /// Executions that have not started.
    pub authorized: u64,
    /// Digest of the bundle's manifest.
    pub bundle: Digest,
    /// Its name.
    pub gateway: GatewayName,
    /// The machine, as environments name it.
    pub machine: Digest,
    /// Executions that run.
    pub running: u64,
    /// The first of them was decided at this record.
    pub since: Index,
}

/// A permit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermittedBody {
    /// The bundle in force when this was answered.
    pub active: Digest,
    /// The compact text.
    pub artifact: String,
    /// Entry of the decision.
    pub entry: String,
    /// Which execution.
    pub exec: ExecutionId,
    /// What was granted.
    pub grant: Grant,
    /// The record.
    pub index: Index,
    /// The C2SP proof file.
    pub proof: String,
    /// The scope.
    pub scope: FixedScope,
    /// The record of its start, where that was asked for with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Index>,
}
