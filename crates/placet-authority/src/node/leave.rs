//! Leaving in good order: no new intents, time to finish, then an end to what still runs, recorded.
//!
//! A node that just went would leave its executions to their leases, and their ends to the next
//! node. One that was asked to leave first lets them finish, then ends their authority by records,
//! renews no lease any more, and goes once every end is in the log: reported by its gateway, or
//! recorded once the lease has ended it for certain.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_evidence::RunEnd;
use placet_state::{Execution, Phase};
use placet_types::{Denial, DenialCode, ExecutionId};

use super::registry::ORPHAN_MARGIN;
use super::server::Node;
use crate::submission::{EndReport, SignalReport};

/// How far a node is with leaving.
#[derive(Debug, Default)]
pub(super) struct Leave(Mutex<Stage>);

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Stays,
    /// Takes nothing new, and lets what runs finish until then.
    Waits { until: Duration },
    /// Has ended the authority of everything, then.
    Ends { since: Duration },
}

/// What a caller of a node that leaves is told.
pub(super) fn leaving() -> Denial {
    let reason = "the node is leaving and takes no new intents; try again once it is back";
    Denial::new(DenialCode::Overloaded, reason)
}

impl Leave {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to leave. Asking again can only make it sooner.
    pub(super) fn ask(&self, until: Duration) {
        let mut stage = self.stage();
        *stage = match *stage {
            Stage::Stays => Stage::Waits { until },
            Stage::Waits { until: before } => Stage::Waits {
                until: before.min(until),
            },
            Stage::Ends { since } => Stage::Ends { since },
        };
    }

    pub(super) fn is_asked(&self) -> bool {
        !matches!(*self.stage(), Stage::Stays)
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(*self.stage(), Stage::Ends { .. })
    }
}

impl Node {
    /// Goes on with leaving, if the node was asked to. Whether it has left in good order.
    pub(super) fn has_left(&self, now: Duration) -> bool {
        let stage = *self.leave.stage();
        match stage {
            Stage::Stays => return false,
            Stage::Waits { until } if now >= until => {
                *self.leave.stage() = Stage::Ends { since: now };
                self.end_authority();
            }
            Stage::Waits { .. } => {}
            Stage::Ends { since } => self.record_ends(now.saturating_sub(since)),
        }
        self.authority
            .with_state(|state| state.executions().next().is_none())
    }

    /// Every execution must end now; what has not started, will not.
    fn end_authority(&self) {
        for (exec, execution) in self.open_executions() {
            // What is not queued is the log's failure, which ends the node anyway.
            match execution.phase {
                Phase::Authorized => {
                    let lapsed = report(exec, RunEnd::Lapsed, execution.ending);
                    self.authority.end_then(lapsed, |_| ()).unwrap_or(());
                }
                Phase::Running(_) if execution.ending.is_none() => {
                    let signal = SignalReport {
                        exec,
                        code: DenialCode::AuthorizationDiscontinuity,
                        count: 1,
                        detail: "the node leaves".to_owned(),
                        ends: true,
                        kind: None,
                        trip: None,
                    };
                    self.authority.signal_then(signal, |_| ()).unwrap_or(());
                }
                Phase::Running(_) => {}
            }
        }
    }

    /// Records the end of what its lease has ended by now, whatever became of its gateway.
    fn record_ends(&self, waited: Duration) {
        for (exec, execution) in self.open_executions() {
            let lease = Duration::from_millis(execution.grant.lease_ms);
            if waited >= lease + ORPHAN_MARGIN {
                let cause = DenialCode::AuthorizationDiscontinuity;
                let cause = execution.ending.unwrap_or(cause);
                let outcome = match execution.phase {
                    Phase::Authorized => RunEnd::Lapsed,
                    Phase::Running(_) => RunEnd::Terminated,
                };
                drop(self.authority.end(report(exec, outcome, Some(cause))));
                self.registry.forget(exec);
            }
        }
    }

    fn open_executions(&self) -> Vec<(ExecutionId, Execution)> {
        self.authority.with_state(|state| {
            let all = state.executions();
            all.map(|(exec, execution)| (*exec, execution.clone()))
                .collect()
        })
    }
}

fn report(exec: ExecutionId, outcome: RunEnd, cause: Option<DenialCode>) -> EndReport {
    EndReport {
        exec,
        outcome,
        cause,
        exit: None,
        usage: None,
    }
}
