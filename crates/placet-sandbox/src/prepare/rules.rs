//! Landlock rules: what the scope grants, and what a cell has of its own.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::{is_in_copy, is_shown};
use crate::copies::Copy;
use crate::error::SandboxError;
use crate::landlock::{self, Right};
use crate::layout::{Found, Grant, Own, Parts, c_string};
use crate::plan::Mount;
use crate::spec::CLIENT_PATH;
use crate::sys::{self, Inode};

/// What a cell has besides its scope.
pub(super) struct Ours<'a> {
    pub(super) devices: &'a [(Found, &'static str)],
    pub(super) client: Option<&'a Found>,
    pub(super) files: &'a [Own],
}

/// Landlock rules for the scope and for what the cell has of its own.
pub(super) fn rules(
    ruleset: &sys::LandlockRuleset,
    grants: &[Grant],
    copies: &[Copy],
    ours: &Ours<'_>,
) -> Result<Vec<landlock::Rule>, SandboxError> {
    let mut rules = Vec::new();
    for Grant { found, right } in grants {
        let path = c_string(found.path.as_os_str().as_bytes(), "a path")?;
        let rule = landlock::Rule::new(ruleset, path, *right, found.is_dir);
        let replaced = ours.files.iter().any(|own| own.path == found.path);
        // A copy shows inodes of its own. What lies in it is granted as it is, so nothing depends on
        // which part this is.
        rules.push(if replaced || is_in_copy(copies, &found.path) {
            rule
        } else {
            rule.pinned(found.inode)
        });
    }
    for own in ours.files.iter().filter(|own| !is_shown(&own.path, grants)) {
        let path = c_string(own.path.as_os_str().as_bytes(), "a path")?;
        rules.push(landlock::Rule::new(ruleset, path, Right::Read, false));
    }
    let mut own = vec![
        (c"/", Right::List),
        (c"/proc", Right::Read),
        (c"/dev", Right::Device),
        (c"/dev/shm", Right::Write),
        (c"/run", Right::Write),
    ];
    if !grants
        .iter()
        .any(|grant| grant.found.path == Path::new("/tmp"))
    {
        own.push((c"/tmp", Right::Write));
    }
    rules.extend(
        own.into_iter()
            .map(|(path, right)| landlock::Rule::new(ruleset, path.to_owned(), right, true)),
    );
    // The nodes themselves too: an inherited descriptor that is reopened through /proc/self/fd is
    // reached on the host's mount, not below the cell's /dev.
    for (found, name) in ours.devices {
        let path = c_string(format!("/dev/{name}").as_bytes(), "a path")?;
        let rule = landlock::Rule::new(ruleset, path, Right::Device, false);
        rules.push(rule.pinned(found.inode));
    }
    if let Some(found) = ours.client {
        let path = c_string(CLIENT_PATH.as_bytes(), "a path")?;
        let rule = landlock::Rule::new(ruleset, path, Right::Execute, false);
        rules.push(rule.pinned(found.inode));
    }
    Ok(rules)
}

/// A rule about what is mounted at its path, where pid 1 compares it, needs no other look at it by the worker.
pub(super) fn made_by_supervisor(
    rules: Vec<landlock::Rule>,
    mounts: &[Mount],
    parts: &Parts,
) -> Vec<landlock::Rule> {
    let granted = parts.grants.iter().map(|grant| &grant.found);
    let others = parts.devices.iter().map(|(found, _)| found);
    let files: HashMap<Inode, &Arc<OwnedFd>> = granted
        .chain(others)
        .chain(&parts.client)
        .map(|found| (found.inode, &found.file))
        .collect();
    let mounted: HashMap<&[u8], Inode> = mounts.iter().filter_map(Mount::shows).collect();
    let made = |rule: landlock::Rule| {
        let inside = rule.path.to_bytes().strip_prefix(b"/");
        let shown = inside.and_then(|inside| mounted.get(inside)).copied();
        match shown.filter(|inode| rule.inode == Some(*inode)) {
            Some(inode) => match files.get(&inode) {
                Some(file) => rule.made_with(Arc::clone(file)),
                None => rule,
            },
            None => rule,
        }
    };
    rules.into_iter().map(made).collect()
}
