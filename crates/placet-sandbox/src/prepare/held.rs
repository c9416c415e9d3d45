//! The scope's files, held open from the check to the start, so that no other file can get their inodes.
//!
//! The child opens each path again in its own mount namespace and compares inodes. An inode whose file is removed
//! is free for the next file that is made; one that is held is not.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::layout::Parts;

/// What was found, as it was opened to be looked at, for as long as the plan lives.
pub(super) fn hold(parts: &Parts) -> Vec<Arc<OwnedFd>> {
    let granted = parts.grants.iter().map(|grant| &grant.found);
    let others = parts
        .hidden
        .iter()
        .chain(&parts.sockets)
        .chain(&parts.client);
    let copied = parts.copies.iter().map(|copy| &copy.found);
    let found = granted.chain(others).chain(copied);
    found.map(|found| Arc::clone(&found.file)).collect()
}
