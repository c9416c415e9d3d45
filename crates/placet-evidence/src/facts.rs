//! Facts: what the world said when an intent was decided. Recorded with the decision, so that
//! anyone with the log can decide again and get the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use placet_types::{
    Digest, ExecutionId, Fixed, Millis, PlaceName, SpiffeId, Thumbprint, Tier, Weakness, tier,
};

use crate::attestation::Attestation;

/// What the world said, apart from the log and the intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What the gateway signed about the machine; absent where it only said so. The node has verified it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// Whom the gateway asks for: whoever showed it an access token, which it has verified. Absent where it asks
    /// for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Box<TokenIdentity>>,
    /// Who submitted the intent, and how that is known.
    pub caller: Caller,
    /// The machine that is to carry it out.
    pub environment: Fixed<Environment>,
    /// Id drawn for the execution that a permit would allow.
    pub exec: ExecutionId,
    /// JWK thumbprint (RFC 7638) of the gateway's own key: the artifact is bound to it.
    pub holder: String,
    /// When, by the node's clock, never earlier than the record before.
    pub time: Millis,
}

/// Who submitted an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// A governed execution, through the door of its own cell.
    Execution(ExecutionId),
    /// Whoever holds the key with this thumbprint, by a proof for this very request (RFC 9449).
    Key(Thumbprint),
    /// A workload of a trust domain, by its client certificate (X.509-SVID).
    Spiffe(SpiffeId),
    /// Whoever an identity provider says it is, by a bearer token (OpenID Connect, RFC 9068).
    Token(Box<TokenIdentity>),
    /// A process of this Unix user, by the kernel's word (`SO_PEERCRED`).
    Unix(u32),
}

/// What is known of a caller by a token. The token itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenIdentity {
    /// Claims, as far as rules of the bundle name them, with the values that they name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// The provider, as it names itself.
    pub issuer: String,
    /// The provider's own name for the caller.
    pub subject: String,
}

impl Caller {
    /// Whether it proved itself by something that only rules of a bundle give a meaning to.
    #[must_use]
    pub fn is_from_elsewhere(&self) -> bool {
        match self {
            Self::Spiffe(_) | Self::Token(_) => true,
            Self::Execution(_) | Self::Key(_) | Self::Unix(_) => false,
        }
    }
}

/// The attested environment (RFC 9334: evidence; the bundle's reference values appraise it).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Machine architecture, as `uname -m` has it.
    pub arch: String,
    /// This boot of the machine: `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// Digest of the image of the container that the gateway runs in, where it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Digest>,
    /// Distribution and version, as `/etc/os-release` has them: `debian 12`.
    pub distribution: String,
    /// Version of the gateway.
    pub gateway: String,
    /// Digest of the gateway's own program, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_digest: Option<Digest>,
    /// Kernel release, as `uname -r` has it.
    pub kernel: String,
    /// Landlock ABI that the kernel offers; 0 for none.
    pub landlock_abi: u32,
    /// Digest of the domain's name and the machine's id: the same machine shows differently in
    /// another domain.
    pub machine: Digest,
    /// The region that the machine stands in, where it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<PlaceName>,
    /// What the sandbox can enforce here; `none` when nothing can run governed.
    #[serde(with = "tier::reached")]
    pub tier: Option<Tier>,
    /// What this tier does not give.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub weaker: BTreeSet<Weakness>,
    /// The zone of the region, where it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<PlaceName>,
}

impl Environment {
    /// The parts that are not as in `other`, in words.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let mut differing: Vec<&'static str> = [
            ("boot", self.boot == other.boot),
            ("machine id", self.machine == other.machine),
            ("kernel", self.kernel == other.kernel),
            ("architecture", self.arch == other.arch),
            ("distribution", self.distribution == other.distribution),
            ("gateway version", self.gateway == other.gateway),
            (
                "gateway program",
                self.gateway_digest == other.gateway_digest,
            ),
            ("enforcement tier", self.tier == other.tier),
            ("region", self.region == other.region),
            ("zone", self.zone == other.zone),
            ("container image", self.container == other.container),
            ("Landlock ABI", self.landlock_abi == other.landlock_abi),
        ]
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(part, _)| part)
        .collect();
        if differing.is_empty() && self != other {
            // Whatever else there will be.
            differing.push("environment");
        }
        differing
    }
}

/// What the log says of a principal's recent past. Computed by the fold; policies see it as
/// `context.history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Denials since the last permit.
    pub denial_streak: u64,
    /// Denials in at least the last 60 minutes, at most 65: never too few.
    pub denials_60m: u64,
    /// Denials in at least the last 24 hours, at most 25.
    pub denials_day: u64,
    /// Denials in the last hour, in steps of five minutes: at least in the last 55.
    pub denials_hour: u64,
    /// Times that something drifted under its executions in the last hour, as all of these.
    pub drifts_hour: u64,
    /// Executions that failed, were terminated or ended unseen since one last completed.
    pub failure_streak: u64,
    /// Permits in at least the last 60 minutes, at most 65: never too few.
    pub permits_60m: u64,
    /// Permits in at least the last 24 hours, at most 25.
    pub permits_day: u64,
    /// Permits in the last hour, in steps of five minutes: at least in the last 55.
    pub permits_hour: u64,
    /// Permits in at least the last 60 seconds, at most 70.
    pub permits_minute: u64,
    /// Permits for this resource in at least the last 60 minutes, at most 65: never too few.
    pub permits_resource_60m: u64,
    /// Permits for this resource in the last hour, in steps of five minutes: at least in the last 55.
    pub permits_resource_hour: u64,
    /// Connections that were refused to its executions in the last hour.
    pub refused_connects_hour: u64,
    /// Programs that were refused to them.
    pub refused_execs_hour: u64,
    /// Reads that were refused to them.
    pub refused_reads_hour: u64,
    /// Writes that were refused to them.
    pub refused_writes_hour: u64,
    /// Executions that run now.
    pub running: u64,
    /// Whether this action was permitted before (among the last 64 different ones).
    pub seen_action: bool,
    /// Whether this resource was permitted before (among the last 256 different ones).
    pub seen_resource: bool,
    /// Seconds since the last permit; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_last_permit_secs: Option<u64>,
    /// Seconds since an execution of theirs last completed; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_last_success_secs: Option<u64>,
    /// Signals of every kind in the last hour.
    pub signals_hour: u64,
    /// Times that a trip limit ended one of its executions in the last hour.
    pub trips_hour: u64,
}

/// A risk score and what it is made of. Policies see it as `context.risk`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// Names of the factors that count, in order of their names.
    pub factors: Vec<String>,
    /// From 0 (nothing unusual) to 100.
    pub score: u32,
}
