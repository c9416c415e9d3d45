//! Which of a tree's system calls are refused, answered by the supervisor or shown to its tracer.

use crate::broker::Egress;
use crate::error::{SandboxError, Unobservable};
use crate::gate::{ExecRule, Shown};
use crate::seccomp;
use crate::spec::CellSpec;
use crate::tier::Tier;

/// The filter of a tree, and who stands behind it.
pub(super) struct Watched {
    pub(super) filter: &'static [libc::sock_filter],
    /// Whether the supervisor answers some calls.
    pub(super) trapped: bool,
    /// What the tracer is shown. Where the supervisor answers, its answer comes first.
    pub(super) shown: Shown,
}

/// Where nothing could be seen, it is not said that nothing was there.
pub(super) fn watched(spec: &CellSpec) -> Result<Watched, SandboxError> {
    let on_host = spec.tier == Tier::U0;
    let brokered = matches!(spec.egress, Egress::Brokered(_));
    let gated = !matches!(spec.exec.rule, ExecRule::Ungated);
    // Shown to the gate's trace: without one such a call would fail.
    let making = gated && spec.paths.exec_in_writable;
    let opens = spec.paths.observed;
    let filter = match (opens, on_host, brokered) {
        (true, true, _) => return Err(SandboxError::Unobservable(Unobservable::OnHost)),
        (true, false, true) => return Err(SandboxError::Unobservable(Unobservable::Brokered)),
        (true, false, false) if !gated => {
            return Err(SandboxError::Unobservable(Unobservable::Ungated));
        }
        (true, false, false) => seccomp::observed_filter(making),
        (false, true, brokered) => seccomp::host_filter(brokered, making),
        (false, false, true) => seccomp::brokered_filter(making),
        (false, false, false) => seccomp::filter(making),
    };
    Ok(Watched {
        filter,
        trapped: on_host || brokered,
        shown: Shown { opens, making },
    })
}
