//! Executions whose end nobody else will report: their records, without holding anybody up.
//!
//! Under load there can be tens of thousands of them at once, since each permit that nobody starts is
//! one. So they are recorded some hundred at a time, which share a write of the log with whatever waits
//! beside them, and each is looked at once more when its turn has come: a gateway may have renewed
//! meanwhile. What is left when the time is up waits for the next beat.

use std::sync::mpsc::channel;
use std::time::Duration;

use placet_evidence::RunEnd;
use placet_state::{Execution, Phase, State};
use placet_types::{DenialCode, ExecutionId, Millis};

use super::registry::ORPHAN_MARGIN;
use super::server::Node;
use crate::submission::EndReport;

/// Ends that are queued together. A revocation waits behind no more than these.
const TOGETHER: usize = 128;
/// How long beats and new connections may wait for it.
const PATIENCE: Duration = Duration::from_millis(100);

impl Node {
    /// Records what is overdue, for as long as there is time.
    pub(super) fn end_overdue(&self, now: Duration) {
        let overdue = self.overdue(now);
        for some in overdue.chunks(TOGETHER) {
            let now_then = self.clock.monotonic();
            if now_then.saturating_sub(now) > PATIENCE {
                return;
            }
            self.end_all(some, now_then);
        }
    }

    fn overdue(&self, now: Duration) -> Vec<ExecutionId> {
        let wall = self.clock.wall();
        self.authority.with_state(|state| {
            self.registry
                .keep_held(|exec| state.execution(exec).is_some());
            state
                .executions()
                .filter(|(exec, execution)| {
                    self.how_it_ended(**exec, execution, now, wall).is_some()
                })
                .map(|(exec, _)| *exec)
                .collect()
        })
    }

    /// Those of them that still are, all at once.
    fn end_all(&self, overdue: &[ExecutionId], now: Duration) {
        let wall = self.clock.wall();
        let report = |state: &State, exec: &ExecutionId| {
            self.how_it_ended(*exec, state.execution(exec)?, now, wall)
        };
        let reports: Vec<EndReport> = self.authority.with_state(|state| {
            let still = overdue.iter().filter_map(|exec| report(state, exec));
            still.collect()
        });
        let (sender, answers) = channel();
        for report in reports {
            let (sender, exec) = (sender.clone(), report.exec);
            let then = move |answer| drop(sender.send((exec, answer)));
            // What is not queued is the log's failure, which ends the node anyway.
            self.authority.end_then(report, then).unwrap_or(());
        }
        drop(sender);
        for (exec, answer) in answers {
            if matches!(answer, Ok(Ok(_))) {
                self.registry.forget(exec);
            }
        }
    }

    fn how_it_ended(
        &self,
        exec: ExecutionId,
        execution: &Execution,
        now: Duration,
        wall: Millis,
    ) -> Option<EndReport> {
        let lease = Duration::from_millis(execution.grant.lease_ms);
        let (outcome, cause) = match execution.phase {
            Phase::Authorized => {
                let lapsed = wall >= execution.grant.not_after
                    || execution.ending.is_some()
                    || self.registry.is_abandoned(exec, lease, now);
                (lapsed.then_some(RunEnd::Lapsed)?, execution.ending)
            }
            Phase::Running(_) => {
                let since = self.registry.orphaned_since(exec, now)?;
                // The lease has killed the tree by then, whatever became of its gateway.
                let over = now.saturating_sub(since) >= lease + ORPHAN_MARGIN;
                let cause = DenialCode::AuthorizationDiscontinuity;
                let cause = execution.ending.unwrap_or(cause);
                (over.then_some(RunEnd::Terminated)?, Some(cause))
            }
        };
        Some(EndReport {
            exec,
            outcome,
            cause,
            exit: None,
            usage: None,
        })
    }
}
