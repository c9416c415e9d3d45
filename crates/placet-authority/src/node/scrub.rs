//! The scrub: the whole log, read through and hashed again.

use std::sync::Arc;
use std::thread;

use placet_log::{EntryCheck, fsck};

use super::server::{Node, ServeError};
use crate::dir::DomainDir;
use crate::init::public_policy;

/// Records up to which the whole log is read before the node serves: about a second's work.
const SCRUB_FIRST_MAX: u64 = 500_000;

/// Reads the whole log through, hash by hash: opening it only reads what no saved fold covers.
///
/// A log of usual size is read before anything is served. A very long one is read beside the
/// service, which ends as soon as damage is found.
pub(super) fn scrub_first_or_beside(node: &Arc<Node>, dir: &DomainDir) -> Result<(), ServeError> {
    if node.authority.reader().size().get() <= SCRUB_FIRST_MAX {
        return scrub(dir);
    }
    let (node, dir) = (Arc::clone(node), dir.clone());
    let read_through = move || {
        if let Err(error) = scrub(&dir) {
            // Only this thread sets it.
            drop(node.damage.set(error));
        }
    };
    let thread = thread::Builder::new()
        .name("scrub".into())
        .spawn(read_through);
    thread
        .map(drop)
        .map_err(|error| ServeError::Scrub(error.to_string()))
}

/// Reads the log through; damage names the first bad index.
fn scrub(dir: &DomainDir) -> Result<(), ServeError> {
    let failed = |error: String| ServeError::Scrub(error);
    let policy = public_policy(dir)?;
    let log = policy
        .logs()
        .first()
        .ok_or_else(|| failed("the policy names no log".into()))?;
    let check = EntryCheck::none_required();
    let report = fsck::check(&dir.log(), log.key(), &check, &mut |_| {})
        .map_err(|error| failed(error.to_string()))?;
    match report.evidence {
        Some(bad) => Err(ServeError::Damaged(bad.index)),
        None => Ok(()),
    }
}
