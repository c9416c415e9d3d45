//! Limits, as the kernel takes them: of each process, and of the tree together.

use crate::error::{NoControlGroup, SandboxError};
use crate::group::Bounds;
use crate::plan::Limit;
use crate::spec::Limits;
use crate::sys;

/// What only groups can bound. The number of processes is one for root; one who is root only in a
/// container's user namespace is bound by the resource limit as well.
pub(super) fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        processes: limits
            .processes
            .filter(|_| rustix::process::getuid().is_root()),
        memory_bytes: limits.tree_memory_bytes,
        cpu_percent: limits.tree_cpu_percent,
    }
}

/// Which of the bounds could not be had.
pub(crate) fn unbounded(bounds: &Bounds, why: NoControlGroup) -> SandboxError {
    if bounds.memory_bytes.is_some() || bounds.cpu_percent.is_some() {
        SandboxError::TreeUnbounded(why)
    } else if bounds.processes.is_some() {
        SandboxError::ProcessLimitAsRoot(why)
    } else {
        SandboxError::NoGroup(why)
    }
}

pub(super) fn limits(limits: &Limits) -> Result<Vec<Limit>, SandboxError> {
    // A second between soft and hard, so that the worker ends by SIGXCPU and not by SIGKILL.
    let cpu_hard = limits.cpu_secs.map(|secs| secs.saturating_add(1));
    let wanted = [
        (libc::RLIMIT_CORE, Some(0), Some(0)),
        (libc::RLIMIT_CPU, limits.cpu_secs, cpu_hard),
        (
            libc::RLIMIT_AS,
            limits.address_space_bytes,
            limits.address_space_bytes,
        ),
        (libc::RLIMIT_NPROC, limits.processes, limits.processes),
        (libc::RLIMIT_NOFILE, limits.open_files, limits.open_files),
        (
            libc::RLIMIT_FSIZE,
            limits.file_size_bytes,
            limits.file_size_bytes,
        ),
    ];
    let mut list = Vec::new();
    for (resource, soft, hard) in wanted {
        if let (Some(soft), Some(hard)) = (soft, hard) {
            let max = sys::hard_limit(resource).map_err(|errno| SandboxError::Supervisor {
                what: "read a resource limit",
                source: errno.into(),
            })?;
            list.push(Limit {
                resource,
                soft: soft.min(max),
                hard: hard.min(max),
            });
        }
    }
    Ok(list)
}
