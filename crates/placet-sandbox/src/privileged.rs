//! What a cell of the root user has beyond the others' (tier P), found out and set up.
//!
//! Nothing here is left out silently: what could be had and fails is an error, and what cannot be
//! had on this machine is what [`crate::probe`] says is missing.

use rustix::fs::{Access, access};

use crate::backstop;
use crate::error::SandboxError;
use crate::group::Place;
use crate::tier::Tier;

/// Sets up what stands outside of the single cell; `false` where that cannot be had.
pub(crate) fn set_up(place: &Place) -> Result<bool, SandboxError> {
    match place.version_two() {
        Some(groups) if rustix::process::geteuid().is_root() => backstop::stand(groups),
        Some(_) | None => Ok(false),
    }
}

/// Refuses a cell of tier P without what that tier promises, whatever was found some time ago.
pub(crate) fn demand(
    tier: Tier,
    backstop_stands: bool,
    memfd_noexec: bool,
) -> Result<(), SandboxError> {
    match tier {
        Tier::P if !backstop_stands => {
            Err(SandboxError::Unsupported("the network backstop of tier P"))
        }
        Tier::P if !memfd_noexec => Err(SandboxError::Unsupported(
            "memory files that cannot be executed, as tier P promises",
        )),
        Tier::P | Tier::U1 | Tier::U0 => Ok(()),
    }
}

/// Whether pid 1 can set `vm.memfd_noexec` for its pid namespace. Takes the host's root, Linux 6.3 and
/// settings that are not mounted read-only.
pub(crate) fn can_forbid_executable_memory() -> bool {
    access("/proc/sys/vm/memfd_noexec", Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tier_p_is_refused_without_what_it_promises_and_others_need_none_of_it() {
        assert!(demand(Tier::P, true, true).is_ok());
        assert!(demand(Tier::P, false, true).is_err());
        assert!(demand(Tier::P, true, false).is_err());
        for tier in [Tier::U0, Tier::U1] {
            assert!(demand(tier, false, false).is_ok());
        }
    }
}
