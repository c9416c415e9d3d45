//! What an execution used, as its gateway saw it when it ended.

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

/// Resources that an execution used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Processor time in the kernel and outside of it, in milliseconds.
    pub cpu_ms: u64,
    /// What it did on the network, where its scope names any peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkUsage>,
    /// Largest resident size of one process, in KiB.
    pub rss_kib_max: u64,
    /// From start to end, in milliseconds.
    pub wall_ms: u64,
}
