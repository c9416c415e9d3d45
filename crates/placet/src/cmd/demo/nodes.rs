//! Nodes that were started for the demo's domain, and their end.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_authority::node::wire::{Request, Response};
use rustix::process::{Signal, pidfd_send_signal};

use super::process::{pidfd, readable};
use crate::cli::Global;
use crate::context::Domain;
use crate::exit::Failure;

/// How long a node has to leave: a lease, and some more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends the node of the domain in `dir`, if there are a domain and a node.
pub(super) fn stop(dir: &Path) -> Result<(), Failure> {
    let global = Global {
        domain: Some(dir.to_owned()),
        json: false,
    };
    let Ok(domain) = Domain::open(&global) else {
        return Ok(());
    };
    let Some(mut link) = domain.running_node()? else {
        return Ok(());
    };
    let node = pidfd(link.welcome().pid)?;
    if !matches!(link.ask(&Request::Stop)?, Response::Stopping) {
        return Err(Failure::unverified(
            "the node gave an answer that does not fit",
        ));
    }
    drop(link);
    if readable(&node, PATIENCE) {
        return Ok(());
    }
    kill(&node)?;
    Err(Failure::new("the node did not leave and was killed"))
}

/// Ends every node that serves a directory directly below `root`.
///
/// One of them may have been started by a command that was interrupted before it was ready, and
/// does not listen yet.
pub(super) fn stop_all_below(root: &Path) -> Result<(), Failure> {
    let mut stopped = Ok(());
    for entry in fs::read_dir(root)? {
        stopped = stopped.and(stop(&entry?.path()));
    }
    for node in serving_below(root)? {
        kill(&node)?;
    }
    stopped
}

/// Its log is written to survive this.
fn kill(node: &OwnedFd) -> io::Result<()> {
    match pidfd_send_signal(node, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    readable(node, PATIENCE);
    Ok(())
}

/// Processes of this program that are nodes of a domain below `root`.
fn serving_below(root: &Path) -> io::Result<Vec<OwnedFd>> {
    let program = std::env::current_exe()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        let pid = process
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let Some(pid) = pid else { continue };
        // Held before it is looked at, so that it is this process that is ended.
        let Ok(held) = pidfd(pid) else { continue };
        if fs::read_link(process.join("exe")).is_ok_and(|exe| exe == program)
            && serves_below(&process, root)
        {
            found.push(held);
        }
    }
    Ok(found)
}

fn serves_below(process: &Path, root: &Path) -> bool {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let mut args = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let is_node = args.clone().any(|arg| arg == "node") && args.clone().any(|arg| arg == "serve");
    is_node && args.any(|arg| PathBuf::from(arg.as_ref()).starts_with(root))
}
