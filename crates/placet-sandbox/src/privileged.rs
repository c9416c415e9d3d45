//! What a cell of the root user has beyond the others' (tier P), found out and set up.
//!
//! Nothing here is left out silently: what could be had and fails is an error, and what cannot be
//! had on this machine is what [`crate::probe`] says is missing.

use rustix::fs::{Access, access};

use crate::backstop;
use crate::error::SandboxError;
use crate::group::Place;

/// Sets up what stands outside of the single cell; `false` where that cannot be had.
pub(crate) fn set_up(place: &Place) -> Result<bool, SandboxError> {
    match place.version_two() {
        Some(groups) if rustix::process::geteuid().is_root() => backstop::stand(groups),
        Some(_) | None => Ok(false),
    }
}

/// Whether pid 1 can set `vm.memfd_noexec` for its pid namespace. Takes the host's root, Linux 6.3 and
/// settings that are not mounted read-only.
pub(crate) fn can_forbid_executable_memory() -> bool {
    access("/proc/sys/vm/memfd_noexec", Access::WRITE_OK).is_ok()
}
