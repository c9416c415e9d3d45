//! What policy looked at when it denied: computed again from the state that the decision was made in.

use placet_decision::Params;
use placet_evidence::proof_bundle::Disclosed;
use placet_evidence::{Decided, Facts};
use placet_policy::{Account, Explanation, Holds, Policy, Presented, Request, explain};
use placet_state::{State, resource_digest};
use placet_types::{DenialCode, ExecutionId, PrincipalId, ProcessParams};
use serde_json::{Value, json};

/// Whether the answer came from the policies: only then is there something to look at in them.
pub(super) fn is_denied_by_policy(decided: &Decided) -> bool {
    decided.denial.as_ref().is_some_and(|denial| {
        let code = denial.code;
        denial.check == 8
            && [
                DenialCode::NoPermit,
                DenialCode::PolicyForbids,
                DenialCode::PolicyError,
            ]
            .contains(&code)
    })
}

/// Puts the same request to the policies once more, and asks them why.
pub(super) fn explanation(
    state: &State,
    policy: &Policy,
    decided: &Decided,
    disclosed: &Disclosed,
) -> Option<Explanation> {
    let Facts {
        attestation,
        environment,
        time,
        ..
    } = &decided.facts;
    let intent = &decided.intent;
    let params = Params::new(
        disclosed.params.clone().into_bytes(),
        disclosed.salt.clone(),
    );
    let principal = state.principal(&intent.principal)?;
    let groups: Vec<String> = principal.groups.iter().cloned().collect();
    let (delegation, depth) = ancestry(state, intent.parent, &intent.principal);
    let of_process = intent.action.as_str() == ProcessParams::ACTION;
    let appraised = policy.references().appraise(&Presented {
        attestation: attestation.as_ref(),
        environment,
        executable: intent.resource.digest.as_ref().filter(|_| of_process),
        time: *time,
    });
    let history = state.history(
        &intent.principal,
        (intent.action.as_str(), resource_digest(&intent.resource)),
        *time,
    );
    Some(explain(
        policy,
        &Request {
            principal: &intent.principal,
            groups: &groups,
            action: &intent.action,
            resource: &intent.resource,
            params: params.given()?,
            delegation: &delegation,
            depth,
            profile_asked: intent.asked.profile.as_ref(),
            environment,
            appraisal: &appraised.appraisal,
            history: &history,
            risk: &decided.risk,
            time: *time,
        },
    ))
}

/// Who the execution would have acted for, and how deep it would have been.
fn ancestry(
    state: &State,
    parent: Option<ExecutionId>,
    principal: &PrincipalId,
) -> (Vec<PrincipalId>, u32) {
    let Some(parent) = parent.and_then(|parent| state.execution(&parent)) else {
        return (Vec::new(), 0);
    };
    let mut delegation = parent.grant.delegation.clone();
    if parent.principal() != principal {
        delegation.insert(0, parent.principal().clone());
    }
    (delegation, parent.grant.depth.saturating_add(1))
}

/// Accounts for programs.
pub(super) fn values(accounts: &[Account]) -> Vec<Value> {
    accounts.iter().map(value).collect()
}

fn value(account: &Account) -> Value {
    let conditions: Vec<Value> = account
        .conditions
        .iter()
        .map(|condition| {
            let (holds, error) = match &condition.holds {
                Holds::Yes => ("yes", None),
                Holds::No => ("no", None),
                Holds::Failed(message) => ("failed", Some(message)),
            };
            let seen: serde_json::Map<String, Value> = condition
                .seen
                .iter()
                .map(|(what, value)| (what.clone(), json!(value)))
                .collect();
            json!({ "text": condition.text, "holds": holds, "error": error, "seen": seen })
        })
        .collect();
    json!({
        "id": account.id, "place": account.place, "description": account.description,
        "scope": account.scope, "conditions": conditions,
    })
}
