//! What a revocation may name.
//!
//! One that names nothing that there is would be a slip of the pen: it would end nothing and look as if
//! it had. One that would suspend every operator would leave nobody to undo it: that is what a halt is for.

use placet_evidence::{PrincipalStatus, Selector};
use placet_state::{Principal, State};
use placet_types::{DenialCode, Digest, PrincipalId};

use crate::access::OPERATORS;
use crate::authority::Authority;
use crate::control::ActError;

/// Longest name of a policy or a group, in bytes.
const NAME_BYTES_MAX: usize = 128;

impl Authority {
    pub(crate) fn check_selector(&self, selector: &Selector) -> Result<(), ActError> {
        self.with_state(|state| {
            if !is_known(state, selector) {
                let reason = format!("{selector}: nothing of this name is authorized or running");
                return Err(ActError::new(DenialCode::Malformed, reason));
            }
            if leaves_no_operator(state, selector) {
                let reason = format!(
                    "{selector}: no operator would be left to undo it; placet halt stops everything"
                );
                return Err(ActError::new(DenialCode::Malformed, reason));
            }
            Ok(())
        })
    }

    /// Only a node that was revoked can be resumed.
    pub(crate) fn check_resumed(&self, node: Option<Digest>) -> Result<(), ActError> {
        let Some(node) = node else {
            return Ok(());
        };
        if self.with_state(|state| state.is_node_revoked(&node)) {
            return Ok(());
        }
        let reason = format!("node:{node} is not revoked");
        Err(ActError::new(DenialCode::Malformed, reason))
    }
}

fn is_known(state: &State, selector: &Selector) -> bool {
    match selector {
        Selector::Artifact(exec) | Selector::Execution(exec) | Selector::Subtree(exec) => {
            state.execution(exec).is_some()
        }
        Selector::Everything => true,
        Selector::Group(group) => state
            .principals()
            .any(|(_, principal)| principal.groups.contains(group)),
        // A machine can be turned away before it ever asked for anything.
        Selector::Node(_) => true,
        Selector::Principal(id) => state.principal(id).is_some(),
        Selector::Policy(id) => id.len() <= NAME_BYTES_MAX && !id.is_empty(),
    }
}

fn leaves_no_operator(state: &State, selector: &Selector) -> bool {
    let suspends = |id: &PrincipalId, principal: &Principal| match selector {
        Selector::Principal(named) => named == id,
        Selector::Group(group) => principal.groups.contains(group),
        Selector::Artifact(_)
        | Selector::Everything
        | Selector::Execution(_)
        | Selector::Node(_)
        | Selector::Policy(_)
        | Selector::Subtree(_) => false,
    };
    let mut operators = state.principals().filter(|(_, principal)| {
        principal.groups.contains(OPERATORS) && principal.status == PrincipalStatus::Active
    });
    operators.all(|(id, principal)| suspends(id, principal))
}
