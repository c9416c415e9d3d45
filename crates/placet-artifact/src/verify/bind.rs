//! The steps that tie an artifact to the actual call, to the world as it is, and to its holder.

use placet_types::{DenialCode, Digest, Index, Intent};

use crate::claims::Claims;
use crate::holder::Holder;
use crate::replay::{ReplayError, ReplayGuard};
use crate::verify::{ActualParams, Expected, Refusal, Skew, Standing, Step};

/// `nbf` - skew ≤ now < `exp` + skew, to the millisecond (RFC 7519, sections 4.1.4 and 4.1.5).
pub(super) fn window(claims: &Claims, expected: &Expected<'_>) -> Result<(), Refusal> {
    let (now, skew) = (expected.now, expected.skew.as_seconds());
    if now.plus(skew) < claims.nbf.as_millis() {
        let reason = format!("the window begins at {}", claims.nbf.as_millis());
        return Err(Refusal::new(Step::Window, DenialCode::NotYetValid, reason));
    }
    if now >= claims.exp.as_millis().plus(skew) {
        let reason = format!("the window ended at {}", claims.exp.as_millis());
        return Err(Refusal::new(Step::Window, DenialCode::Expired, reason));
    }
    Ok(())
}

pub(super) fn audience(claims: &Claims, expected: &Expected<'_>) -> Result<(), Refusal> {
    if claims.aud == *expected.gateway {
        return Ok(());
    }
    let reason = format!("the artifact is for the gateway {}", claims.aud);
    Err(Refusal::new(
        Step::Audience,
        DenialCode::AudienceMismatch,
        reason,
    ))
}

pub(super) fn standing(claims: &Claims, expected: &Expected<'_>) -> Result<(), Refusal> {
    let (code, reason) = match expected.revocations.standing(claims) {
        Standing::Live => return Ok(()),
        Standing::Revoked => (DenialCode::Revoked, "the authority was ended early"),
        Standing::Halted => (DenialCode::Halted, "the domain is halted"),
        Standing::Stale => (
            DenialCode::GovernanceDiscontinuity,
            "the view of the log is too old to say whether the authority still stands",
        ),
    };
    Err(Refusal::new(Step::Revocation, code, reason))
}

/// The digest decides; the members that claims repeat must agree, or the issuer contradicts itself.
pub(super) fn intent(claims: &Claims, expected: &Expected<'_>) -> Result<(), Refusal> {
    let intent = expected.intent;
    let refuse = |what: &str| {
        let reason = format!("the artifact is for another {what}");
        Err(Refusal::new(
            Step::Intent,
            DenialCode::IntentMismatch,
            reason,
        ))
    };
    if let Some(member) = member_that_differs(claims, intent) {
        return refuse(member);
    }
    match intent.digest() {
        Ok(digest) if digest == claims.intent => Ok(()),
        Ok(_) | Err(_) => refuse("intent"),
    }
}

fn member_that_differs(claims: &Claims, intent: &Intent) -> Option<&'static str> {
    let members = [
        (claims.detail().action == intent.action, "action"),
        (claims.detail().resource == intent.resource, "resource"),
        (claims.aud == intent.gateway, "gateway"),
        (*claims.actor() == intent.principal, "principal"),
        (claims.parent == intent.parent, "parent"),
        (claims.params == intent.params, "commitment to parameters"),
    ];
    members
        .into_iter()
        .find(|(agrees, _)| !agrees)
        .map(|(_, name)| name)
}

pub(super) fn params(claims: &Claims, expected: &Expected<'_>) -> Result<(), Refusal> {
    let label = claims.detail().action.as_str();
    let agrees = match expected.params {
        ActualParams::Opening { payload, salt } => claims.params.opens_to(label, payload, salt),
        ActualParams::Committed(commitment) => claims.params == commitment,
    };
    if agrees {
        return Ok(());
    }
    let reason = "the parameters are not those that were decided";
    Err(Refusal::new(
        Step::Params,
        DenialCode::IntentMismatch,
        reason,
    ))
}

pub(super) fn environment(claims: &Claims, expected: &Expected<'_>) -> Result<(), Refusal> {
    if claims.env == *expected.environment {
        return Ok(());
    }
    let reason = "the environment is not the one that was appraised";
    Err(Refusal::new(
        Step::Environment,
        DenialCode::EnvironmentUntrusted,
        reason,
    ))
}

pub(super) fn policy(claims: &Claims, expected: &Expected<'_>) -> Result<(), Refusal> {
    if claims.policy.bundle == *expected.policy {
        return Ok(());
    }
    let reason = "another policy bundle is active than the one that was decided under";
    Err(Refusal::new(
        Step::Policy,
        DenialCode::PolicyMismatch,
        reason,
    ))
}

pub(super) fn holder(
    claims: &Claims,
    artifact: &Digest,
    holder: Holder<'_>,
    expected: &Expected<'_>,
) -> Result<(), Refusal> {
    holder
        .check(&claims.cnf.jkt, artifact, expected.challenge)
        .map_err(|error| Refusal::new(Step::Holder, DenialCode::HolderMismatch, error))
}

pub(super) fn first_use(
    claims: &Claims,
    index: Index,
    expected: &Expected<'_>,
    replay: &mut dyn ReplayGuard,
) -> Result<(), Refusal> {
    // Until no verifier accepts it any more, whatever skew that verifier allows.
    let until = claims.exp.as_millis().plus(Skew::MAX.as_seconds());
    replay
        .use_up((claims.jti, index), until, expected.now)
        .map_err(|error| {
            let code = match error {
                ReplayError::Replayed => DenialCode::Replayed,
                ReplayError::Forgotten => DenialCode::Expired,
                ReplayError::Full => DenialCode::Overloaded,
            };
            Refusal::new(Step::Replay, code, error)
        })
}
