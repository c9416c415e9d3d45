//! What a cell without namespaces gets, and what it cannot have.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::find;
use crate::error::SandboxError;
use crate::host::{Host, Scratch};
use crate::landlock::{self, Right};
use crate::layout::{Found, Grant, c_string};
use crate::looked::Looked;
use crate::spec::{CellSpec, Limits};
use crate::sys;

/// What takes a file tree or a network of the cell's own.
pub(super) fn check_host(spec: &CellSpec) -> Result<(), SandboxError> {
    let lacking = [
        (
            !spec.paths.copied.is_empty(),
            "a file tree of the cell's own for work on a copy (tier U1)",
        ),
        (
            !spec.credentials.files.is_empty(),
            "a file tree of the cell's own for credentials in files (tier U1)",
        ),
        (
            !spec.own_files.is_empty(),
            "a file tree of the cell's own for files of its own (tier U1)",
        ),
        (
            spec.session.has_terminal(),
            "a /dev/pts of the cell's own for a terminal (tier U1); with all three standard streams \
             redirected, a command needs none",
        ),
        (
            spec.proxied,
            "a loopback of the cell's own for a proxy, as names of hosts need it (tier U1)",
        ),
    ];
    match lacking.into_iter().find(|(wanted, _)| *wanted) {
        Some((_, what)) => Err(SandboxError::Unsupported(what)),
        None => Ok(()),
    }
}

/// What a cell without namespaces has of its own.
pub(super) fn host_of(spec: &CellSpec, grants: &[Grant]) -> Result<Host, SandboxError> {
    let tmp = std::fs::canonicalize("/tmp").ok();
    let granted = |grant: &Grant| Some(&grant.found.path) == tmp.as_ref();
    let scratch = if grants.iter().any(granted) {
        None
    } else {
        Some(Scratch::new()?)
    };
    let may_write = |grant: &&Grant| matches!(grant.right, Right::Write | Right::WriteAndExecute);
    let granted = grants.iter().filter(may_write);
    let own = scratch.as_ref().map(|scratch| scratch.path().to_path_buf());
    Ok(Host {
        writable: granted
            .map(|grant| grant.found.path.clone())
            .chain(own)
            .collect(),
        scratch,
        tasks_max: spec.limits.processes,
    })
}

/// What no limit of one process can bound, the tracer does: RLIMIT_NPROC counts all that the user
/// has on the machine, and without a namespace of its own the tree is counted among them.
pub(super) fn countable(limits: &Limits, on_host: bool) -> Limits {
    Limits {
        processes: limits.processes.filter(|_| !on_host),
        ..*limits
    }
}

pub(super) fn with_tmpdir(env: &[(OsString, OsString)], path: &Path) -> Vec<(OsString, OsString)> {
    let others = env.iter().filter(|(name, _)| name != "TMPDIR").cloned();
    let own = ("TMPDIR".into(), path.as_os_str().to_owned());
    others.chain(std::iter::once(own)).collect()
}

/// Landlock rules on the host's own tree: the scope, and what every program needs.
pub(super) fn host_rules(
    ruleset: &sys::LandlockRuleset,
    grants: &[Grant],
    devices: &[(Found, &'static str)],
    client: Option<&Found>,
    host: &Host,
) -> Result<Vec<landlock::Rule>, SandboxError> {
    let scratch = host
        .scratch
        .as_ref()
        .map(|own| find(own.path(), &Looked::default()))
        .transpose()?;
    let own = devices.iter().map(|(found, _)| (found, Right::Device));
    let own = own
        .chain(client.map(|found| (found, Right::Execute)))
        .chain(scratch.as_ref().map(|found| (found, Right::Write)));
    let scope = grants.iter().map(|grant| (&grant.found, grant.right));
    let mut rules = Vec::new();
    for (found, right) in scope.chain(own) {
        let path = c_string(found.path.as_os_str().as_bytes(), "a path")?;
        let rule = landlock::Rule::new(ruleset, path, right, found.is_dir);
        rules.push(rule.pinned(found.inode));
    }
    rules.push(landlock::Rule::new(
        ruleset,
        c"/proc".to_owned(),
        Right::Read,
        true,
    ));
    Ok(rules)
}
