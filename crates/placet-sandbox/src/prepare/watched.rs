//! Which of a tree's system calls are refused, answered by the supervisor or shown to its tracer.

use crate::error::{SandboxError, Unobservable};
use crate::gate::{ExecRule, Shown};
use crate::seccomp::{self, Watching};
use crate::spec::CellSpec;
use crate::tier::Tier;

/// The filter of a tree, and what it shows.
pub(super) struct Watched {
    pub(super) filter: &'static [libc::sock_filter],
    /// What the tracer is shown. Where the supervisor answers, its answer comes first.
    pub(super) shown: Shown,
}

/// Where nothing could be seen, it is not said that nothing was there.
pub(super) fn watched(spec: &CellSpec) -> Result<Watched, SandboxError> {
    let on_host = spec.tier == Tier::U0;
    let gated = !matches!(spec.exec.rule, ExecRule::Ungated);
    // Shown to the gate's trace: without one such a call would fail.
    let making = gated && spec.paths.exec_in_writable;
    let opens = spec.paths.observed;
    match (opens, on_host, gated) {
        (true, true, _) => return Err(SandboxError::Unobservable(Unobservable::OnHost)),
        (true, false, false) => return Err(SandboxError::Unobservable(Unobservable::Ungated)),
        (true, false, true) | (false, _, _) => {}
    }
    let watching = Watching {
        leads_out: spec.egress.leads_out(),
        opens,
        making,
    };
    let filter = if on_host {
        seccomp::host_filter(watching)
    } else {
        seccomp::filter(watching)
    };
    Ok(Watched {
        filter,
        shown: Shown { opens, making },
    })
}
