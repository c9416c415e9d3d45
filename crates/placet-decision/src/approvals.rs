//! Check 10: whether everybody who must approve has.
//!
//! Approvals are records of the log before this decision; they bind to the digest of the intent. Who
//! asks, and whoever it is asked for, approves nothing of it.

use std::collections::BTreeSet;

use placet_evidence::{CheckedDenial, Needed, PrincipalStatus, Waiting};
use placet_policy::{Obligations, Policy};
use placet_state::Waits;
use placet_types::{DenialCode, PrincipalId};

use crate::Input;

/// Most intents that wait at once: what waits is held in memory.
pub const WAITING_MAX: usize = 4096;

/// What the approvals come to.
pub(crate) enum Consent {
    /// Everybody who must has approved: these, in order of their names.
    Given(Vec<PrincipalId>),
    /// Somebody has not yet.
    Missing(Waiting),
}

/// Looks at the approvals that the log holds of this intent.
pub(crate) fn consent(
    input: &Input<'_>,
    policy: &Policy,
    obligations: &Obligations,
    delegation: &[PrincipalId],
) -> Result<Consent, CheckedDenial> {
    let Some(within) = obligations.within else {
        return Ok(Consent::Given(Vec::new()));
    };
    let now = input.facts.time;
    let waits = input
        .state
        .waits(&input.intent.digest())
        .filter(|waits| now < waits.waiting.until);
    if let Some(by) = waits.and_then(Waits::rejected_by) {
        return Err(denied(format!("{by} rejected it")));
    }
    let needs = &obligations.approvals;
    let approvers: BTreeSet<&PrincipalId> = waits
        .into_iter()
        .flat_map(Waits::approved_by)
        .filter(|by| may_approve(input, by, delegation))
        .collect();
    if needs
        .iter()
        .all(|need| is_met(input, policy, need, &approvers))
    {
        return Ok(Consent::Given(approvers.into_iter().cloned().collect()));
    }
    if waits.is_none() && input.state.waiting_count(now) >= WAITING_MAX {
        let reason = "as many intents wait for approvals as may";
        return Err(CheckedDenial {
            check: 10,
            code: DenialCode::Overloaded,
            reason: reason.into(),
        });
    }
    Ok(Consent::Missing(Waiting {
        needs: needs.clone(),
        until: waits.map_or_else(|| now.plus(within), |waits| waits.waiting.until),
    }))
}

/// Whether those who approved a running execution would still be enough.
pub(crate) fn consent_again(
    input: &Input<'_>,
    policy: &Policy,
    obligations: &Obligations,
) -> Result<(), CheckedDenial> {
    let running = input.state.execution(&input.facts.exec);
    let approvers: BTreeSet<&PrincipalId> = running
        .map(|execution| execution.grant.approved_by.iter().collect())
        .unwrap_or_default();
    if obligations
        .approvals
        .iter()
        .all(|need| is_met(input, policy, need, &approvers))
    {
        Ok(())
    } else {
        Err(denied("it was not approved as policy now asks".into()))
    }
}

/// Separation of duties: an active principal that neither asks nor is acted for.
fn may_approve(input: &Input<'_>, by: &PrincipalId, delegation: &[PrincipalId]) -> bool {
    *by != input.intent.principal && !delegation.contains(by) && is_active(input, by)
}

fn is_active(input: &Input<'_>, id: &PrincipalId) -> bool {
    input
        .state
        .principal(id)
        .is_some_and(|principal| principal.status == PrincipalStatus::Active)
}

fn is_met(
    input: &Input<'_>,
    policy: &Policy,
    need: &Needed,
    approvers: &BTreeSet<&PrincipalId>,
) -> bool {
    let counts = |by: &&&PrincipalId| {
        input
            .state
            .principal(by)
            .is_some_and(|principal| policy.stands_in(&principal.groups, &need.groups))
    };
    approvers.iter().filter(counts).count() >= need.count as usize
}

fn denied(reason: String) -> CheckedDenial {
    CheckedDenial {
        check: 10,
        code: DenialCode::ApprovalRequired,
        reason,
    }
}
