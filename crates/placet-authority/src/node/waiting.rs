//! What waits for approvals, for those whom it concerns.
//!
//! Parameters are private: who asked has them, who may approve must see them, and operators see
//! everything. Nobody else is shown that anything waits.

use placet_evidence::Waiting;
use placet_policy::Policy;
use placet_state::Waits;
use placet_types::{Denial, DenialCode, ExecutionId, Millis, PrincipalId};

use super::server::Node;
use super::wire::WaitingBody;
use crate::access::{Access, Identity};
use crate::authority::Authority;
use crate::proofs::disclosed;

/// Most intents that are shown at once: a frame holds them with their parameters.
const SHOWN_MAX: usize = 64;

impl Node {
    /// What waits, with its parameters: for those that some principal's record names.
    pub(super) fn waiting(&self, identity: &Identity) -> Result<Vec<WaitingBody>, Denial> {
        let known = self
            .authority
            .with_access(|access| identity.is_somebody(access));
        if known {
            return Ok(self.authority.waiting_for(identity, self.now(), None));
        }
        let reason = "the caller may act as no active principal";
        Err(Denial::new(DenialCode::IdentityUnverified, reason))
    }
}

impl Authority {
    /// What waits at `now` and concerns the caller, the first [`SHOWN_MAX`] of it; or the one that is
    /// named.
    pub(super) fn waiting_for(
        &self,
        identity: &Identity,
        now: Millis,
        named: Option<ExecutionId>,
    ) -> Vec<WaitingBody> {
        let policy = self.policy_in_force();
        let mut waiting: Vec<WaitingBody> = self.with_access(|access| {
            let waiting = access
                .state()
                .waiting(now)
                .into_iter()
                .map(|(_, waits)| waits);
            waiting
                .filter(|waits| named.is_none_or(|exec| waits.exec == exec))
                .filter(|waits| concerns(access, policy.as_deref(), waits, identity))
                .take(SHOWN_MAX)
                .map(body)
                .collect()
        });
        let reader = self.reader();
        for one in &mut waiting {
            // What was erased meanwhile can still be approved by whoever knows it otherwise.
            let disclosed = disclosed(&reader, one.decided).ok().flatten();
            (one.params, one.salt) = disclosed.map(|it| (it.params, it.salt)).unzip();
        }
        waiting
    }

    /// Whether the caller may be asked to approve what waits for this, asked for by `asks`.
    #[must_use]
    pub fn may_approve(&self, identity: &Identity, asks: &PrincipalId, waiting: &Waiting) -> bool {
        let policy = self.policy_in_force();
        self.with_access(|access| approves(access, policy.as_deref(), identity, asks, waiting))
    }
}

fn body(waits: &Waits) -> WaitingBody {
    WaitingBody {
        asked_by: waits.determining.clone(),
        decided: waits.decided,
        exec: waits.exec,
        intent: waits.intent.clone(),
        params: None,
        salt: None,
        verdicts: waits.verdicts.clone(),
        waiting: waits.waiting.clone(),
    }
}

fn concerns(
    access: &Access<'_>,
    policy: Option<&Policy>,
    waits: &Waits,
    identity: &Identity,
) -> bool {
    let asks = &waits.intent.principal;
    identity.operator(access).is_some()
        || identity.may_act_as(access, asks)
        || approves(access, policy, identity, asks, &waits.waiting)
}

/// Whether one of the caller's principals stands in a group that counts, and did not ask itself.
fn approves(
    access: &Access<'_>,
    policy: Option<&Policy>,
    identity: &Identity,
    asks: &PrincipalId,
    waiting: &Waiting,
) -> bool {
    let Some(policy) = policy else {
        return false;
    };
    let own = identity.principals(access);
    own.iter().filter(|id| *id != asks).any(|id| {
        access.state().principal(id).is_some_and(|principal| {
            let counts = |groups: &[String]| policy.stands_in(&principal.groups, groups);
            waiting.needs.iter().any(|need| counts(&need.groups))
        })
    })
}
