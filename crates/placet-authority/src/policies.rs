//! The compiled bundle in force, for those who look beside the sequencer.
//!
//! Compiling takes tens of milliseconds, so the last one is kept. The drafter has its own, which
//! changes with the record of an activation and not before.

use std::sync::{Arc, Mutex, PoisonError};

use placet_policy::Policy;
use placet_types::Digest;

use crate::authority::Authority;

/// The last bundle that was asked for.
#[derive(Debug)]
pub(crate) struct Compiled(Mutex<Option<(Digest, Option<Arc<Policy>>)>>);

impl Compiled {
    /// What was compiled when the log was opened.
    pub(crate) fn of(active: Option<Digest>, policy: Option<Arc<Policy>>) -> Self {
        Self(Mutex::new(active.map(|digest| (digest, policy))))
    }
}

impl Authority {
    /// The bundle in force, compiled; `None` where there is none, or it does not compile here.
    #[must_use]
    pub fn policy_in_force(&self) -> Option<Arc<Policy>> {
        self.policy_of(self.with_state(|state| state.policy().map(|active| active.bundle))?)
    }

    /// The bundle of this digest, compiled. Only the last one is kept.
    pub(crate) fn policy_of(&self, active: Digest) -> Option<Arc<Policy>> {
        // Whoever comes while it is compiled waits for it: that is what it would have to do anyway.
        let mut kept = self
            .compiled
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((digest, policy)) = kept.as_ref()
            && *digest == active
        {
            return policy.clone();
        }
        let policy = self.bundles().load(active).ok().map(Arc::new);
        *kept = Some((active, policy.clone()));
        policy
    }
}
