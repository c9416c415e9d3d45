//! The scrub: the whole log, read through and hashed again.

use placet_log::{EntryCheck, fsck};

use super::server::ServeError;
use crate::dir::DomainDir;
use crate::init::public_policy;

/// Reads the log through; damage names the first bad index.
pub(super) fn scrub(dir: &DomainDir) -> Result<(), ServeError> {
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
