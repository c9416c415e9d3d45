//! Recording that executions start.

use std::collections::BTreeSet;

use placet_decision::Params;
use placet_types::{Digest, ExecutionId, GatewayName, Index, SecretName};

use crate::authority::Authority;
use crate::random;
use crate::submission::{Denied, Unavailable};
use crate::work::{StartRequest, Work};

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
        caller_uid: u32,
        pinned: Option<Params>,
    ) -> Result<Result<Index, Denied>, Unavailable> {
        self.record_start(
            exec,
            artifact,
            gateway,
            caller_uid,
            (BTreeSet::new(), pinned),
        )
    }

    pub(crate) fn record_start(
        &self,
        exec: ExecutionId,
        artifact: Digest,
        gateway: GatewayName,
        caller_uid: u32,
        (credentials, pinned): (BTreeSet<SecretName>, Option<Params>),
    ) -> Result<Result<Index, Denied>, Unavailable> {
        let salt = random::salt().map_err(|_| Unavailable::Evidence)?;
        let request = StartRequest {
            exec,
            artifact,
            gateway,
            caller_uid,
            salt,
            credentials,
            pinned,
        };
        self.urgent(|reply| Work::Start(request, reply))
    }
}
