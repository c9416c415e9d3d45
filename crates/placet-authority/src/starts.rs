//! Recording that executions start.

use std::collections::BTreeSet;

use placet_decision::Params;
use placet_evidence::Caller;
use placet_types::{Digest, ExecutionId, GatewayName, Index, SecretName};

use crate::authority::{Authority, wait};
use crate::submission::{Denied, Unavailable};

impl Authority {
    /// Records that an execution starts, and commits to the files that its scope pins as they are
    /// `pinned`. It may, once this returns an index.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when nothing could be recorded.
    pub fn start(
        &self,
        exec: ExecutionId,
        artifact: Digest,
        gateway: GatewayName,
        caller: Caller,
        pinned: Option<Params>,
    ) -> Result<Result<Index, Denied>, Unavailable> {
        self.record_start(exec, artifact, gateway, caller, (BTreeSet::new(), pinned))
    }

    pub(crate) fn record_start(
        &self,
        exec: ExecutionId,
        artifact: Digest,
        gateway: GatewayName,
        caller: Caller,
        with: (BTreeSet<SecretName>, Option<Params>),
    ) -> Result<Result<Index, Denied>, Unavailable> {
        wait(|reply| self.queue_start(exec, artifact, gateway, caller, with, reply))
    }
}
