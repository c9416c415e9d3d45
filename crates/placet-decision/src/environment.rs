//! Check 6: whether the machine is trusted, by the reference values of the bundle in force.

use placet_evidence::{Appraisal, CheckedDenial as Denied};
use placet_policy::{Appraised, Policy, Presented};
use placet_types::{DenialCode, Millis, ProcessParams};

use crate::Input;
use crate::checks::{administers, deny};

/// Environment and everything after it need a bundle; without one, everything is denied.
pub(crate) fn policy_in_force<'a>(input: &Input<'a>) -> Result<&'a Policy, Denied> {
    let active = input
        .state
        .policy()
        .ok_or_else(|| deny(8, DenialCode::NoPermit, "no policy bundle is in force"))?;
    let policy = input
        .policy
        .filter(|policy| policy.digest() == active.bundle)
        .ok_or_else(|| {
            deny(
                8,
                DenialCode::PolicyError,
                "the bundle in force could not be compiled here",
            )
        })?;
    // What has expired still says who may put another one in its place.
    if !administers(input) {
        holds_at(policy, input.facts.time)?;
    }
    Ok(policy)
}

/// The bundle that is supposed to be in force.
pub(crate) fn policy_supposed<'a>(input: &Input<'a>) -> Result<&'a Policy, Denied> {
    let missing = || deny(8, DenialCode::NoPermit, "no policy bundle is supposed");
    let policy = input.policy.ok_or_else(missing)?;
    holds_at(policy, input.facts.time)?;
    Ok(policy)
}

/// Whether the bundle counts at this time.
pub(crate) fn holds_at(policy: &Policy, now: Millis) -> Result<(), Denied> {
    let validity = policy.validity();
    if validity.not_before.is_some_and(|begin| now < begin) {
        let reason = "the policy bundle in force does not count yet";
        return Err(deny(8, DenialCode::NotYetValid, reason));
    }
    if validity.expires.is_some_and(|end| now >= end) {
        let reason = "the policy bundle in force has expired; activate a newer one";
        return Err(deny(8, DenialCode::Expired, reason));
    }
    Ok(())
}

/// How the machine is appraised by the reference values of a bundle.
pub(crate) fn appraise(input: &Input<'_>, policy: &Policy, time: Millis) -> Appraised {
    let of_process = input.intent.action.as_str() == ProcessParams::ACTION;
    policy.references().appraise(&Presented {
        attestation: input.facts.attestation.as_ref(),
        environment: &input.facts.environment,
        executable: input.intent.resource.digest.as_ref().filter(|_| of_process),
        time,
    })
}

/// Denies what no machine like this may do; else gives what policies see of it.
pub(crate) fn environment(input: &Input<'_>, appraised: Appraised) -> Result<Appraisal, Denied> {
    if input
        .state
        .is_node_revoked(&input.facts.environment.machine)
    {
        let reason = "the node was revoked; an operator lets it ask again: placet resume --node";
        return Err(deny(6, DenialCode::Revoked, reason));
    }
    if appraised.trusted {
        return Ok(appraised.appraisal);
    }
    Err(deny(
        6,
        DenialCode::EnvironmentUntrusted,
        appraised.reasons.join("; "),
    ))
}
