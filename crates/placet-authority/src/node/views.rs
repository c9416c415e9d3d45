//! What a node shows of its authority: status, executions, principals.

use std::collections::BTreeMap;

use placet_state::{Phase, State};

use super::wire::{
    DefinitionBody, ExecutionBody, GatewayBundleBody, LifecycleBody, NodeBundleBody, PolicyStatus,
    PrincipalBody, StatusBody,
};
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
                stays: false,
                writing,
            }
        })
    }

    /// Which bundles are in use, and where.
    pub(super) fn lifecycle(&self) -> LifecycleBody {
        let usable = self.policy_in_force().is_some();
        let (node, gateways) = self.with_state(|state| {
            let active = state.policy();
            let node = NodeBundleBody {
                bundle: active.map(|it| it.bundle),
                index: state.next(),
                node: state.genesis().keys.record.id(),
                revision: active.map(|it| it.revision),
                since: active.map(|it| it.since),
                usable,
            };
            (node, gateways(state))
        });
        LifecycleBody {
            gateways,
            nodes: vec![node],
            shadow: self.shadow(),
        }
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

/// What is authorized or runs, by machine, gateway and bundle.
fn gateways(state: &State) -> Vec<GatewayBundleBody> {
    let mut held = BTreeMap::new();
    for (_, execution) in state.executions() {
        let (gateway, bundle) = (&execution.intent.gateway, execution.bundle);
        let one = held
            .entry((execution.machine, gateway, bundle))
            .or_insert_with(|| GatewayBundleBody {
                appraisal: None,
                attested_secs: None,
                authorized: 0,
                bundle,
                gateway: gateway.clone(),
                machine: execution.machine,
                running: 0,
                since: execution.decided,
            });
        match execution.phase {
            Phase::Authorized => one.authorized += 1,
            Phase::Running(_) => one.running += 1,
        }
        one.since = one.since.min(execution.decided);
    }
    held.into_values().collect()
}
