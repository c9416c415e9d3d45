//! Previews: what would be decided, and why. No evidence, no authority.

use serde::{Deserialize, Serialize};

use placet_decision::{Input, decide};
use placet_evidence::{CheckedDenial, Facts, Grant, Risk};
use placet_policy::Policy;
use placet_state::State;
use placet_types::{FixedScope, Millis};

use crate::work::Prepared;

/// What would be decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// Why it would be denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<CheckedDenial>,
    /// Policies that determine the answer.
    pub determining: Vec<String>,
    /// In words, for people.
    pub explanation: String,
    /// What would be granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// Risk as it was computed.
    pub risk: Risk,
    /// The scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<FixedScope>,
}

pub(crate) fn preview(
    state: &State,
    policy: Option<&Policy>,
    parent_scope: Option<&FixedScope>,
    prepared: &Prepared,
    now: Millis,
) -> Preview {
    let facts = Facts {
        attestation: prepared.attestation.clone(),
        bearer: prepared.bearer.clone(),
        caller: prepared.caller.clone(),
        environment: prepared.environment.clone(),
        exec: prepared.exec,
        holder: prepared.holder.clone(),
        time: now.max(state.time()),
    };
    let input = Input {
        state,
        policy,
        intent: &prepared.intent,
        params: &prepared.params,
        parent_scope,
        facts: &facts,
    };
    let decision = decide(&input);
    let (grant, scope) = decision.permit().map_or((None, None), |(grant, scope)| {
        (Some(grant.clone()), Some(scope.clone()))
    });
    Preview {
        denial: decision.denial().cloned(),
        determining: decision.policy().determining.clone(),
        explanation: placet_decision::explain(&input),
        grant,
        risk: decision.risk().clone(),
        scope,
    }
}
