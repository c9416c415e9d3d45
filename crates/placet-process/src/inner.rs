//! Executions inside a cell: which program runs as which, and how each ended.
//!
//! The same program, called again with the same arguments in the same directory, is the same
//! execution. So one of them is over when its tree is, and it has completed if every one of its
//! processes exited with 0.

use std::collections::BTreeMap;

use placet_authority::node::wire::EndBody;
use placet_evidence::{Exit as RecordedExit, RunEnd};
use placet_sandbox::{ExecEnd, ExecId, Status};
use placet_types::{DenialCode, ExecutionId};

use crate::ends::recorded_exit;

/// Execs whose execution is remembered, for what they start. Older ones count as the root's.
const EXECS_MAX: usize = 65_536;

/// The executions below one root, in one cell.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// Which execution each exec of the tree belongs to.
    execs: BTreeMap<ExecId, ExecutionId>,
    /// Those that were started.
    below: BTreeMap<ExecutionId, Below>,
}

#[derive(Debug)]
struct Below {
    parent: ExecutionId,
    depth: u32,
    /// Processes that it runs in now.
    running: u64,
    /// Processes that have ended.
    ended: u64,
    /// How the last of them ended that did not exit with 0.
    failure: Option<RecordedExit>,
    /// Whether it is no program but connections to one peer, which last as long as the tree may make some.
    connects: bool,
}

impl Inner {
    pub(crate) fn ids(&self) -> impl Iterator<Item = ExecutionId> {
        self.below.keys().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.below.is_empty()
    }

    pub(crate) fn has(&self, exec: ExecutionId) -> bool {
        self.below.contains_key(&exec)
    }

    /// An execution was started.
    pub(crate) fn begin(&mut self, exec: ExecutionId, parent: ExecutionId, depth: u32) {
        self.insert(exec, parent, depth, false);
    }

    /// As [`Self::begin`], of connections to one peer.
    pub(crate) fn begin_connects(&mut self, exec: ExecutionId, parent: ExecutionId, depth: u32) {
        self.insert(exec, parent, depth, true);
    }

    /// It has ended by itself, before its tree.
    pub(crate) fn remove(&mut self, exec: ExecutionId) {
        self.below.remove(&exec);
    }

    fn insert(&mut self, exec: ExecutionId, parent: ExecutionId, depth: u32, connects: bool) {
        let below = Below {
            parent,
            depth,
            running: 0,
            ended: 0,
            failure: None,
            connects,
        };
        self.below.insert(exec, below);
    }

    /// The execution that an exec belongs to, as long as it is remembered.
    pub(crate) fn of(&self, id: ExecId) -> Option<ExecutionId> {
        self.execs.get(&id).copied()
    }

    /// An exec belongs to this execution.
    pub(crate) fn remember(&mut self, id: ExecId, execution: ExecutionId) {
        self.execs.insert(id, execution);
        if self.execs.len() > EXECS_MAX {
            self.execs.pop_first();
        }
    }

    /// An exec was let go.
    pub(crate) fn started(&mut self, id: ExecId) {
        if let Some(below) = self.below_of(id) {
            below.running = below.running.saturating_add(1);
        }
    }

    /// The process of an exec has ended.
    pub(crate) fn ended(&mut self, end: ExecEnd) {
        let Some(below) = self.below_of(end.id) else {
            return;
        };
        below.running = below.running.saturating_sub(1);
        below.ended = below.ended.saturating_add(1);
        if end.status != Status::Exited(0) {
            below.failure = Some(recorded_exit(end.status));
        }
    }

    fn below_of(&mut self, id: ExecId) -> Option<&mut Below> {
        self.below.get_mut(self.execs.get(&id)?)
    }

    /// This execution, or the nearest above it that is less deep than `depth_max`.
    pub(crate) fn above(&self, exec: ExecutionId, depth_max: u32) -> ExecutionId {
        let mut exec = exec;
        while let Some(below) = self.below.get(&exec) {
            if below.depth < depth_max {
                break;
            }
            exec = below.parent;
        }
        exec
    }

    pub(crate) fn depth(&self, exec: ExecutionId) -> Option<u32> {
        self.below.get(&exec).map(|below| below.depth)
    }

    /// How they stand before the tree is ended: those that have ended by then ended by themselves.
    pub(crate) fn over(&self) -> BTreeMap<ExecutionId, RunEnd> {
        let over = |below: &Below| below.running == 0 && below.ended > 0;
        self.below
            .iter()
            .filter(|(_, below)| over(below))
            .map(|(exec, below)| (*exec, below.outcome()))
            .collect()
    }

    /// Their ends, once the tree is gone for this cause; `over` is what had ended before.
    pub(crate) fn ends(
        &self,
        cause: Option<DenialCode>,
        over: &BTreeMap<ExecutionId, RunEnd>,
    ) -> Vec<EndBody> {
        self.below
            .iter()
            .map(|(exec, below)| {
                let before = over.get(exec).copied();
                let cause = cause.filter(|_| before.is_none());
                let outcome = match cause {
                    Some(_) => RunEnd::Terminated,
                    None => before.unwrap_or_else(|| below.outcome()),
                };
                EndBody {
                    cause,
                    exec: *exec,
                    exit: below.exit(outcome),
                    outcome,
                    usage: None,
                }
            })
            .collect()
    }
}

impl Below {
    fn outcome(&self) -> RunEnd {
        if self.connects {
            return RunEnd::Completed;
        }
        match (self.running, self.ended, self.failure) {
            (0, 1.., None) => RunEnd::Completed,
            (0, 1.., Some(_)) => RunEnd::Failed,
            // Some end of it was not seen.
            _ => RunEnd::Unseen,
        }
    }

    fn exit(&self, outcome: RunEnd) -> Option<RecordedExit> {
        match outcome {
            RunEnd::Completed if self.connects => None,
            RunEnd::Completed => Some(RecordedExit::Code(0)),
            RunEnd::Failed | RunEnd::Terminated => self.failure,
            RunEnd::Lapsed | RunEnd::Unseen => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ExecutionId = ExecutionId::new([1; 16]);
    const TWO: ExecutionId = ExecutionId::new([2; 16]);
    const ROOT: ExecutionId = ExecutionId::new([9; 16]);

    fn inner() -> Inner {
        let mut inner = Inner::default();
        for (number, exec) in [(1, ONE), (2, TWO), (3, ONE)] {
            if !inner.has(exec) {
                inner.begin(exec, ROOT, 1);
            }
            inner.remember(ExecId(number), exec);
            inner.started(ExecId(number));
        }
        inner
    }

    fn end(inner: &mut Inner, number: u64, status: Status) {
        let id = ExecId(number);
        inner.ended(ExecEnd { id, status });
    }

    fn outcomes(inner: &Inner, cause: Option<DenialCode>) -> Vec<(RunEnd, Option<DenialCode>)> {
        let ends = inner.ends(cause, &inner.over());
        ends.iter().map(|end| (end.outcome, end.cause)).collect()
    }

    #[test]
    fn an_execution_completed_if_each_of_its_processes_did() {
        let mut inner = inner();
        end(&mut inner, 1, Status::Exited(0));
        end(&mut inner, 2, Status::Exited(3));
        assert_eq!(
            outcomes(&inner, None),
            [(RunEnd::Unseen, None), (RunEnd::Failed, None)]
        );
        end(&mut inner, 3, Status::Exited(0));
        assert_eq!(outcomes(&inner, None)[0], (RunEnd::Completed, None));
        let ends = inner.ends(None, &BTreeMap::new());
        assert_eq!(ends[0].exit, Some(RecordedExit::Code(0)));
        assert_eq!(ends[1].exit, Some(RecordedExit::Code(3)));
    }

    #[test]
    fn what_had_ended_before_the_tree_was_ended_was_not_ended_with_it() {
        let mut inner = inner();
        end(&mut inner, 2, Status::Exited(0));
        let over = inner.over();
        end(&mut inner, 1, Status::Signaled(9));
        end(&mut inner, 3, Status::Signaled(9));
        let ends = inner.ends(Some(DenialCode::Revoked), &over);
        assert_eq!(
            (ends[0].outcome, ends[0].cause),
            (RunEnd::Terminated, Some(DenialCode::Revoked))
        );
        assert_eq!((ends[1].outcome, ends[1].cause), (RunEnd::Completed, None));
    }
}
