//! What an execution used, as its gateway saw it when it ended.

use placet_types::{Commitment, Digest, Writes};
use serde::{Deserialize, Serialize};

/// What an execution did on the network. Bytes are those of connections that ended before it did; of
/// the others the kernel does not always tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkUsage {
    /// Connections that were allowed and that the peer or the network refused.
    pub failed: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Connections that the scope does not cover.
    pub refused: u64,
    /// Bytes sent, and acknowledged by the peer.
    pub sent_bytes: u64,
}

/// What an execution changed in the copy of its write trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSummary {
    /// Bytes of what was added and changed.
    pub bytes: u64,
    /// Number of changes.
    pub count: u64,
    /// Digest of the list of changes, which names the content of each. The list has a random part, so
    /// the digest does not tell what can be guessed.
    pub digest: Digest,
    /// Whether the changes are kept, or only their list.
    pub writes: Writes,
}

/// What an execution answered: how much, and a commitment to the bytes under the label `output`, hidden
/// by the salt of the execution's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputUsage {
    /// Bytes of the answer.
    pub bytes: u64,
    /// What they were, for whoever has them and the salt: as the answer came, before anything was taken out of it.
    pub commitment: Commitment,
    /// How many parts were taken out before whoever asked saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacted: Option<u32>,
}

/// Resources that an execution used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// What it changed in the copy of its write trees, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangeSummary>,
    /// Processor time in the kernel and outside of it, in milliseconds.
    pub cpu_ms: u64,
    /// What it did on the network, where its scope names any peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkUsage>,
    /// What it answered, where a gateway saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputUsage>,
    /// Largest resident size of one process, in KiB.
    pub rss_kib_max: u64,
    /// From start to end, in milliseconds.
    pub wall_ms: u64,
}
