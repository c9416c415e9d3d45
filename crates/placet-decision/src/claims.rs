//! The artifact's claims follow from the record of the decision, the scope and the domain's name:
//! whoever has these can write the same claims, byte for byte.

use placet_artifact::Claims;
use placet_artifact::claims::{
    Actor, ArtifactId, Confirmation, Detail, DetailKind, Lease, NumericDate, PolicyRef, Thumbprint,
};
use placet_evidence::{Facts, Grant, PolicyRef as RecordedPolicy};
use placet_types::{DomainName, FixedIntent, FixedScope, PrincipalId};

/// The record lacks what every permit has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimsMismatch;

/// Claims of the artifact that a permit leads to.
///
/// # Errors
///
/// [`ClaimsMismatch`] when the record is no permit of this system.
pub fn claims(
    domain: &DomainName,
    intent: &FixedIntent,
    facts: &Facts,
    grant: &Grant,
    policy: &RecordedPolicy,
    scope: &FixedScope,
) -> Result<Claims, ClaimsMismatch> {
    let (principal, act) = subject_and_actors(&intent.principal, &grant.delegation);
    Ok(Claims {
        act,
        aud: intent.gateway.clone(),
        authorization_details: [Detail {
            action: intent.action.clone(),
            resource: intent.resource.clone(),
            scope: scope.clone(),
            kind: DetailKind::Execution,
        }],
        cnf: Confirmation {
            jkt: Thumbprint::parse(&facts.holder).map_err(|_| ClaimsMismatch)?,
        },
        env: facts.environment.digest(),
        exec: facts.exec,
        exp: NumericDate::new(grant.not_after.as_unix_secs()),
        iat: NumericDate::new(facts.time.as_unix_secs()),
        intent: intent.digest(),
        iss: domain.clone(),
        jti: ArtifactId::of(facts.exec),
        lease: Lease {
            interval_ms: grant.lease_ms,
            staleness_ms: grant.staleness_ms,
        },
        nbf: NumericDate::new(grant.not_before.as_unix_secs()),
        params: intent.params,
        parent: intent.parent,
        policy: PolicyRef {
            bundle: policy.bundle.ok_or(ClaimsMismatch)?,
            determining: policy.determining.iter().cloned().collect(),
        },
        profile: grant.profile.clone(),
        rerouted: grant.rerouted.iter().cloned().collect(),
        sub: principal,
        txn: grant.root,
        uses: 1,
    })
}

/// RFC 8693: `sub` is on whose behalf it happens, the outermost `act` is who acts now.
///
/// The chain of the ancestors begins with the parent's principal and ends with the root's.
fn subject_and_actors(
    principal: &PrincipalId,
    delegation: &[PrincipalId],
) -> (PrincipalId, Option<Box<Actor>>) {
    let Some((root, between)) = delegation.split_last() else {
        return (principal.clone(), None);
    };
    // From the root towards the one who acts now, so that the latter ends up outermost.
    let inner = between.iter().rev().fold(None, |act, sub| {
        Some(Box::new(Actor {
            act,
            sub: sub.clone(),
        }))
    });
    (
        root.clone(),
        Some(Box::new(Actor {
            act: inner,
            sub: principal.clone(),
        })),
    )
}
