//! Approvals: whether an approver's act counts.
//!
//! It must be of an intent that waits, by an active principal that neither asks nor is acted for,
//! signed by a key that is registered with that principal, and the first that it says of it. Whether
//! the approver is in a group that counts is for the decision to say, by the bundle then in force;
//! here one that could never count is refused.

use placet_evidence::{Approval, PrincipalStatus, Verdict};
use placet_state::{State, Waits};
use placet_types::{
    DenialCode, Digest, ExecutionId, Millis, PrincipalId, PublicKey, Signature, Thumbprint,
};

use crate::control::ActError;

/// An approver's act, as it came.
pub(crate) struct Said {
    pub(crate) exec: ExecutionId,
    pub(crate) key: PublicKey,
    pub(crate) reason: String,
    pub(crate) signature: Signature,
    pub(crate) verdict: Verdict,
}

/// The record of an act that counts. Its time is set when it is drafted.
pub(crate) fn ready(state: &State, said: Said, by: &PrincipalId) -> Result<Approval, ActError> {
    let (intent, waits) = find(state, said.exec)?;
    let approval = Approval {
        by: by.clone(),
        exec: said.exec,
        intent,
        key: said.key,
        reason: said.reason,
        signature: said.signature,
        time: state.time(),
        verdict: said.verdict,
    };
    may_say(state, waits, by)?;
    let statement = approval.statement(&state.genesis().domain);
    let principal = state.principal(by);
    let registered = principal.is_some_and(|it| it.keys.contains(&Thumbprint::of(&approval.key)));
    if !registered {
        let reason = format!(
            "the key is not registered with {by}; register it: placet principal add {by} --key THUMBPRINT"
        );
        return Err(ActError::new(DenialCode::IdentityUnverified, reason));
    }
    if !statement.is_signed_by(&approval.key, &approval.signature) {
        let reason = "the signature is not over this act, by this principal, in this domain";
        return Err(ActError::new(DenialCode::InvalidSignature, reason));
    }
    Ok(approval)
}

/// What was ready may have been overtaken: the record must be able to follow.
pub(crate) fn still_waits(state: &State, approval: &Approval, now: Millis) -> Result<(), ActError> {
    let (_, waits) = find(state, approval.exec)?;
    if now >= waits.waiting.until {
        return Err(ActError::new(
            DenialCode::Expired,
            "it waited too long: ask for it again",
        ));
    }
    may_say(state, waits, &approval.by)
}

fn find(state: &State, exec: ExecutionId) -> Result<(Digest, &Waits), ActError> {
    state
        .waiting(state.time())
        .into_iter()
        .find(|(_, waits)| waits.exec == exec)
        .map(|(intent, waits)| (*intent, waits))
        .ok_or_else(|| {
            let reason = format!("{exec} waits for no approval; see placet approvals");
            ActError::new(DenialCode::Malformed, reason)
        })
}

fn may_say(state: &State, waits: &Waits, by: &PrincipalId) -> Result<(), ActError> {
    let refuse = |reason: String| Err(ActError::new(DenialCode::IdentityUnverified, reason));
    let active = state
        .principal(by)
        .is_some_and(|principal| principal.status == PrincipalStatus::Active);
    if !active {
        return refuse(format!("{by} is not an active principal"));
    }
    if *by == waits.intent.principal || acts_for(state, waits).any(|id| id == by) {
        return refuse(format!(
            "{by} asks for it, and nobody approves their own intent"
        ));
    }
    if waits.verdicts.contains_key(by) {
        return Err(ActError::new(
            DenialCode::Replayed,
            format!("{by} has said something of it already, and the first counts"),
        ));
    }
    Ok(())
}

/// The principals that the intent is acted for: those of its ancestors.
fn acts_for<'a>(state: &'a State, waits: &'a Waits) -> impl Iterator<Item = &'a PrincipalId> {
    let parent = waits
        .intent
        .parent
        .and_then(|parent| state.execution(&parent));
    parent
        .into_iter()
        .flat_map(|parent| parent.grant.delegation.iter().chain([parent.principal()]))
}
