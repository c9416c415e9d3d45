//! Check 4: who the caller is, and whether it may act as the principal.

use std::collections::BTreeSet;

use placet_evidence::{Caller, CheckedDenial, PrincipalStatus, TokenIdentity};
use placet_state::Principal;
use placet_types::{DenialCode, ExecutionId, PrincipalId};

use crate::Input;
use crate::checks::deny;

/// The principal of the intent, if the caller may act as it.
pub(crate) fn principal<'a>(input: &Input<'a>) -> Result<&'a Principal, CheckedDenial> {
    let unverified = |reason: &str| deny(4, DenialCode::IdentityUnverified, reason);
    let id = &input.intent.principal;
    let principal = input
        .state
        .principal(id)
        .ok_or_else(|| unverified("the principal is not registered"))?;
    match principal.status {
        PrincipalStatus::Active => {}
        PrincipalStatus::Suspended => {
            return Err(deny(4, DenialCode::Revoked, "the principal is suspended"));
        }
    }
    if let Some(bearer) = &input.facts.bearer {
        speaks_for(input, bearer)?;
    }
    let caller = &input.facts.caller;
    let registered = match caller {
        Caller::Execution(exec) => may_act_for(input, *exec, id, principal),
        Caller::Key(_) | Caller::Spiffe(_) | Caller::Token(_) | Caller::Unix(_) => {
            is_named(caller, principal)
        }
    };
    if registered {
        return Ok(principal);
    }
    let mapped = mapped(input, caller);
    if mapped.contains(id) {
        return Ok(principal);
    }
    if caller.is_from_elsewhere() && mapped.is_empty() {
        let reason = "no rule of the bundle says which principal the caller is";
        return Err(deny(4, DenialCode::IdentityUnmapped, reason));
    }
    Err(unverified("the caller may not act as this principal"))
}

/// A gateway that asks for somebody asks as whom the rules of the bundle in force say that is, and as nobody else.
fn speaks_for(input: &Input<'_>, bearer: &TokenIdentity) -> Result<(), CheckedDenial> {
    let bearer = Caller::Token(Box::new(bearer.clone()));
    if mapped(input, &bearer).contains(&input.intent.principal) {
        return Ok(());
    }
    let reason =
        "by the rules of the bundle whoever showed the gateway a token is not this principal";
    Err(deny(4, DenialCode::IdentityUnmapped, reason))
}

/// The principals that the rules of the bundle in force give a caller.
fn mapped(input: &Input<'_>, caller: &Caller) -> BTreeSet<PrincipalId> {
    let active = input.state.policy().map(|active| active.bundle);
    let in_force = input
        .policy
        .filter(|policy| Some(policy.digest()) == active);
    in_force
        .map(|policy| policy.mapping().principals(caller))
        .unwrap_or_default()
}

/// Whether the principal's record names this caller.
pub(crate) fn is_named(caller: &Caller, principal: &Principal) -> bool {
    match caller {
        Caller::Key(key) => principal.keys.contains(key),
        Caller::Unix(uid) => principal.uids.contains(uid),
        Caller::Execution(_) | Caller::Spiffe(_) | Caller::Token(_) => false,
    }
}

/// A governed caller acts as its own principal, or as one that lets that principal act for it.
fn may_act_for(
    input: &Input<'_>,
    caller: ExecutionId,
    id: &PrincipalId,
    principal: &Principal,
) -> bool {
    input.state.execution(&caller).is_some_and(|execution| {
        execution.principal() == id || principal.acts_for.contains(execution.principal())
    })
}
