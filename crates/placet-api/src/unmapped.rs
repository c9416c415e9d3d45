//! Who has proven an identity that is nobody here: denied, with a record of it.
//!
//! The same identity gets one record a minute, however often it comes back: a client that retries
//! must not fill the log. There is room for so many; beyond that, the denial says no less.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use placet_authority::access::SignedIn;
use placet_evidence::{Caller, Stage};
use placet_types::{Denial, DenialCode, Digest, Millis};

use crate::call::Shared;
use crate::identity::Identity;
use crate::problem::Problem;

/// How long one record stands for an identity, in seconds.
const ONCE_SECS: u64 = 60;
/// Identities that are remembered.
const REMEMBERED_MAX: usize = 4096;

/// Identities of which there is a record, with when it was written.
#[derive(Debug, Default)]
pub(crate) struct Unmapped(Mutex<BTreeMap<Digest, u64>>);

impl Unmapped {
    /// Whether it is to be recorded now.
    fn is_due(&self, caller: &Caller, now: Millis) -> bool {
        let Ok(text) = serde_json::to_vec(caller) else {
            return false;
        };
        let (id, now) = (Digest::of(&text), now.as_unix_secs());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, then| now < then.saturating_add(ONCE_SECS));
        }
        let stands = known
            .get(&id)
            .is_some_and(|then| now < then.saturating_add(ONCE_SECS));
        if stands || known.len() >= REMEMBERED_MAX {
            return false;
        }
        known.insert(id, now);
        true
    }
}

/// The denial of an identity that is nobody, once the record of it is durable.
pub(crate) async fn denied(shared: &Arc<Shared>, identity: &Identity) -> Problem {
    let reason = match identity {
        Identity::Spiffe(id, _) => {
            format!("no rule of the bundle in force makes {id} an active principal")
        }
        Identity::Token(identity, _)
        | Identity::Session {
            by: SignedIn::Token(identity),
            ..
        } => format!(
            "no rule of the bundle in force makes this subject of {} an active principal",
            identity.issuer
        ),
        Identity::Public
        | Identity::Key(_)
        | Identity::Unix(_)
        | Identity::Session {
            by: SignedIn::Unix(_),
            ..
        } => "no active principal is registered for you".to_owned(),
    };
    let denial = Denial::new(DenialCode::IdentityUnmapped, reason);
    let problem = Problem::of(&denial);
    let now = shared.service.clock().wall();
    let due = identity
        .caller()
        .filter(|caller| shared.unmapped.is_due(caller, now));
    let Some(caller) = due else {
        return problem;
    };
    let recorder = Arc::clone(shared);
    let recorded = tokio::task::spawn_blocking(move || {
        let presented = serde_json::to_vec(&caller).unwrap_or_default();
        let authority = recorder.service.authority();
        authority.refused(presented, None, denial, caller, Stage::Identity)
    });
    match recorded.await {
        Ok(Ok(_)) => problem,
        Ok(Err(unavailable)) => unavailable.into(),
        Err(_) => Problem::internal(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_identity_is_recorded_once_a_minute_and_a_crowd_within_bounds() {
        let known = Unmapped::default();
        let at = |secs: u64| Millis::new(secs * 1000);
        let caller = Caller::Unix(1);
        assert!(known.is_due(&caller, at(100)));
        assert!(!known.is_due(&caller, at(159)));
        assert!(known.is_due(&caller, at(160)));
        let crowd = (0..10_000).filter(|uid| known.is_due(&Caller::Unix(2 + uid), at(161)));
        assert_eq!(crowd.count(), REMEMBERED_MAX - 1);
        assert!(known.is_due(&Caller::Unix(2), at(300)));
    }
}
