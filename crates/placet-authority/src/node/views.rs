//! What a node shows of its authority: status, executions, principals.

use placet_state::Phase;

use super::wire::{DefinitionBody, ExecutionBody, PolicyStatus, PrincipalBody, StatusBody};
use crate::authority::Authority;

impl Authority {
    pub(super) fn status(&self) -> StatusBody {
        let size = self.reader().size();
        let writing = self.is_writing();
        self.with_state(|state| {
            let running = |phase: &Phase| matches!(phase, Phase::Running(_));
            let (running, authorized): (Vec<_>, Vec<_>) = state
                .executions()
                .partition(|(_, execution)| running(&execution.phase));
            StatusBody {
                domain: state.genesis().domain.clone(),
                authorized: authorized.len() as u64,
                halted: state.is_halted(),
                pid: std::process::id(),
                policy: state.policy().map(|active| PolicyStatus {
                    bundle: active.bundle,
                    name: active.name.clone(),
                    revision: active.revision,
                    since: active.since,
                }),
                revoked_nodes: state.revoked_nodes().copied().collect(),
                running: running.len() as u64,
                size,
                writing,
            }
        })
    }

    pub(super) fn executions(&self) -> Vec<ExecutionBody> {
        self.with_state(|state| {
            state
                .executions()
                .map(|(exec, execution)| ExecutionBody {
                    decided: execution.decided,
                    ending: execution.ending,
                    exec: *exec,
                    grant: execution.grant.clone(),
                    intent: execution.intent.clone(),
                    running_since: match execution.phase {
                        Phase::Authorized => None,
                        Phase::Running(since) => Some(since),
                    },
                })
                .collect()
        })
    }

    pub(super) fn principals(&self) -> Vec<PrincipalBody> {
        self.with_state(|state| {
            state
                .principals()
                .map(|(id, principal)| PrincipalBody {
                    acts_for: principal.acts_for.iter().cloned().collect(),
                    groups: principal.groups.iter().cloned().collect(),
                    id: id.clone(),
                    keys: principal.keys.iter().cloned().collect(),
                    status: principal.status,
                    uids: principal.uids.iter().copied().collect(),
                })
                .collect()
        })
    }

    pub(super) fn definitions(&self) -> Vec<DefinitionBody> {
        self.with_state(|state| {
            state
                .definitions()
                .iter()
                .map(|definition| DefinitionBody {
                    digest: definition.digest,
                    id: definition.id.clone(),
                    kind: definition.kind.clone(),
                    since: definition.since,
                })
                .collect()
        })
    }
}
