//! From a permit to a cell: the scope of the artifact, as the kernel will enforce it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_enforce::Permit;
use placet_sandbox::{
    CellSpec, Egress, EgressRules, ExecGate, ExecRule, Limits, Network, OnRefusal, Others, Paths,
    Peers, Program as CellProgram,
};
use placet_types::{AbsPath, ExecCheck, PathSet, PeerRule, ProcessParams, Scope};

use crate::program::Program;

/// How long a program waits at its first instruction for its decision.
const DECISION_PATIENCE: Duration = Duration::from_secs(10);

/// What a cell needs beside the permit.
pub(crate) struct Setting<'a> {
    /// The call that was admitted.
    pub(crate) params: &'a ProcessParams,
    /// The program that was measured.
    pub(crate) program: &'a Program,
    /// Never visible inside: the domain directory, with keys and log.
    pub(crate) hidden: Vec<PathBuf>,
    /// This program, so that commands inside can ask for more through the door.
    pub(crate) client: Option<PathBuf>,
}

/// The spec of the cell that a permit allows.
pub(crate) fn spec(permit: &Permit, setting: Setting<'_>) -> CellSpec {
    let scope = permit.scope();
    let params = setting.params;
    CellSpec {
        program: CellProgram {
            path: PathBuf::from(setting.program.path.as_str()),
            identity: setting.program.identity,
            argv: params.argv.iter().map(OsString::from).collect(),
        },
        env: environment(scope, &params.env),
        cwd: PathBuf::from(params.cwd.as_str()),
        paths: Paths {
            read: present(&scope.read),
            write: present(&scope.write),
            exec: present(&scope.exec),
            exec_in_writable: scope.exec_in_writable,
            hidden: setting.hidden,
            tmp_bytes_max: scope.limits.tmp_bytes,
        },
        exec: exec_gate(scope.exec_check),
        network: Network::Loopback,
        egress: egress(&scope.network),
        limits: limits(scope),
        lease: Duration::from_millis(permit.claims().lease.interval_ms),
        door: setting.client.is_some(),
        client: setting.client,
    }
}

/// Whom the supervisor connects the tree to. Without any peer nobody has to look at connects: the
/// network leads nowhere.
fn egress(network: &placet_types::Network) -> Egress {
    let peers: Vec<Peers> = network
        .rules()
        .filter_map(|rule| match rule {
            PeerRule::Address(rule) => Peers::network(rule.address(), rule.prefix(), rule.ports()),
            // Reached through no broker.
            PeerRule::Name(_) => None,
        })
        .collect();
    if peers.is_empty() {
        return Egress::Unbrokered;
    }
    Egress::Brokered(EgressRules {
        peers,
        sockets: Vec::new(),
        others: Others::Refuse,
    })
}

fn exec_gate(check: ExecCheck) -> ExecGate {
    ExecGate {
        rule: match check {
            ExecCheck::Image => ExecRule::Any,
            ExecCheck::Decide => ExecRule::Ask {
                patience: DECISION_PATIENCE,
            },
        },
        refused: OnRefusal::EndProcess,
    }
}

/// The variables that were offered and that the scope passes on; nothing else is inherited.
fn environment(scope: &Scope, offered: &BTreeMap<String, String>) -> Vec<(OsString, OsString)> {
    offered
        .iter()
        .filter(|(name, _)| scope.env.contains(*name))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn limits(scope: &Scope) -> Limits {
    let limits = &scope.limits;
    Limits {
        cpu_secs: Some(limits.cpu_secs),
        address_space_bytes: Some(limits.memory_bytes),
        processes: Some(limits.processes),
        tree_memory_bytes: limits.tree_memory_bytes,
        tree_cpu_percent: limits.tree_cpu_percent,
        open_files: Some(limits.open_files),
        file_size_bytes: Some(limits.file_size_bytes),
    }
}

/// The trees that exist; one that does not grants nothing.
///
/// A tree that is reached through a symbolic link counts as what the link points to, and only when
/// the scope names that too: whoever can plant a link must not widen the scope with it.
fn present(paths: &PathSet) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = paths
        .iter()
        .filter_map(|path| {
            let resolved = std::fs::canonicalize(path.as_str()).ok()?;
            let resolved = AbsPath::parse(resolved.to_str()?).ok()?;
            paths
                .contains(&resolved)
                .then(|| PathBuf::from(resolved.as_str()))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Whether the door's client can be offered: a regular file that this process runs from.
pub(crate) fn client(program: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(program)
        .ok()
        .filter(|path| path.is_file())
}
