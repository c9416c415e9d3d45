//! What a node shows of its authority: status, executions, principals.

use placet_state::{Phase, Waits};
use placet_types::Millis;

use super::wire::{ExecutionBody, PolicyStatus, PrincipalBody, StatusBody, WaitingBody};
use crate::authority::Authority;
use crate::proofs::disclosed;

/// Most intents that are shown at once: a frame holds them with their parameters.
const SHOWN_MAX: usize = 64;

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

    /// What waits for approvals at `now`, with the parameters that approvers have to see.
    pub(super) fn shown_waiting(&self, now: Millis) -> Vec<WaitingBody> {
        let mut waiting: Vec<WaitingBody> = self.with_state(|state| {
            let body = |waits: &Waits| WaitingBody {
                asked_by: waits.determining.clone(),
                decided: waits.decided,
                exec: waits.exec,
                intent: waits.intent.clone(),
                params: None,
                verdicts: waits.verdicts.clone(),
                waiting: waits.waiting.clone(),
            };
            let waiting = state.waiting(now).into_iter();
            waiting
                .take(SHOWN_MAX)
                .map(|(_, waits)| body(waits))
                .collect()
        });
        let reader = self.reader();
        for one in &mut waiting {
            // What was erased meanwhile can still be approved by whoever knows it otherwise.
            let disclosed = disclosed(&reader, one.decided).ok().flatten();
            one.params = disclosed.map(|disclosed| disclosed.params);
        }
        waiting
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
}
