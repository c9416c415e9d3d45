//! Operators' acts: who may do them, and what becomes of those that are refused.

use placet_evidence::{Caller, Stage};
use placet_types::{Denial, DenialCode, Index, PrincipalId};

use super::answer::act;
use super::server::Node;
use super::wire::ActBody;
use crate::access::{Identity, SignedIn};
use crate::authority::REASON_BYTES_MAX;
use crate::control::{ActError, NotPermitted};
use crate::submission::Deferred;

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It is done, and this is its record.
    Done(Index),
    /// The bundle in force governs it, and somebody has to approve it. The same act again says what
    /// became of it.
    Waits(Box<Deferred>),
}

/// How whoever acts stands in the record of the decision. A browser acts for the user who let it in.
pub(super) fn acting(identity: &Identity) -> Option<Caller> {
    match identity {
        Identity::Session {
            by: SignedIn::Unix(uid),
            ..
        } => Some(Caller::Unix(*uid)),
        Identity::Public
        | Identity::Session {
            by: SignedIn::Token(_),
            ..
        }
        | Identity::Key(_)
        | Identity::Spiffe(..)
        | Identity::Token(..)
        | Identity::Unix(_) => identity.caller(),
    }
}

impl Node {
    /// Does an act for an operator. One that is refused is an attempt, and recorded as one.
    pub(super) fn act(&self, body: ActBody, identity: &Identity) -> Result<Acted, Denial> {
        let presented = serde_json::to_vec(&body).unwrap_or_default();
        let by = match &body {
            // Its signature says who says it.
            ActBody::Approve { by, .. } => Some(by.clone()),
            ActBody::Revoke { .. }
            | ActBody::Halt { .. }
            | ActBody::Resume { .. }
            | ActBody::Principal(_)
            | ActBody::Activate { .. }
            | ActBody::Shadow { .. }
            | ActBody::Changes(_)
            | ActBody::Definition(_)
            | ActBody::Erase { .. } => self.operator(identity),
        };
        let done = match by.zip(acting(identity)) {
            Some((by, caller)) => self.authority.act_for(act(body), by, caller),
            None => Ok(Err(ActError::new(
                DenialCode::IdentityUnverified,
                "only an active principal of the group `operators` may do this",
            ))),
        };
        match done {
            Ok(Ok(index)) => Ok(Acted::Done(index)),
            Ok(Err(ActError {
                decided: Some(NotPermitted::Waits(deferred)),
                ..
            })) => Ok(Acted::Waits(deferred)),
            Ok(Err(error)) => Err(self.refuse_act(presented, error, identity)),
            Err(unavailable) => Err(Denial::new(unavailable.code(), unavailable.to_string())),
        }
    }

    /// The operator that a caller is.
    pub(super) fn operator(&self, identity: &Identity) -> Option<PrincipalId> {
        self.authority
            .with_access(|access| identity.operator(access))
    }

    /// Records an act that was refused, and says why it was.
    pub(super) fn refuse_act(
        &self,
        presented: Vec<u8>,
        error: ActError,
        identity: &Identity,
    ) -> Denial {
        let ActError {
            code,
            reason,
            decided,
        } = error;
        if decided.is_some() {
            return Denial::new(code, reason);
        }
        // The public has no caller to record, and is turned away before it gets here.
        if let Some(caller) = identity.caller() {
            let short: String = reason.chars().take(REASON_BYTES_MAX / 4).collect();
            let denial = Denial::new(code, short);
            let recorded = self
                .authority
                .refused(presented, None, denial, caller, Stage::Control);
            if let Err(unavailable) = recorded {
                return Denial::new(unavailable.code(), unavailable.to_string());
            }
        }
        Denial::new(code, reason)
    }
}
