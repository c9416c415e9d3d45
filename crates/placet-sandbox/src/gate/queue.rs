//! What the tracing thread and the supervisor tell each other, in bounded memory.
//!
//! The tracing thread never waits here: it holds back the exec that found no room, and goes on
//! serving the rest of the tree.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::{ExecId, ExecReport, ExecVerdict};

/// Reports that may wait. With the longest arguments that is 8 MiB.
const REPORTS_MAX: usize = 256;

/// A tree that never rests is interrupted to call the supervisor for so many.
const REPORTS_UNHEARD_MAX: usize = 32;

pub(crate) struct Queue {
    state: Mutex<State>,
    /// Readable while reports wait.
    reports_ready: OwnedFd,
    /// Readable while the tracing thread has something to look at: an answer, or room.
    news: OwnedFd,
}

#[derive(Default)]
struct State {
    reports: VecDeque<ExecReport>,
    /// The execs that wait for an answer, with it once it has come.
    asked: BTreeMap<ExecId, Option<ExecVerdict>>,
    was_full: bool,
    /// Whether there are reports that the supervisor has not been called for.
    unheard: bool,
}

impl Queue {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Self {
            state: Mutex::default(),
            reports_ready: event()?,
            news: event()?,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reports_ready(&self) -> BorrowedFd<'_> {
        self.reports_ready.as_fd()
    }

    pub(super) fn news(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// Adds a report, or gives it back when there is no room.
    pub(super) fn put(&self, report: ExecReport) -> Result<(), ExecReport> {
        let mut state = self.state();
        if state.reports.len() >= REPORTS_MAX {
            state.was_full = true;
            return Err(report);
        }
        if let ExecReport::Asked(call) = &report {
            state.asked.insert(call.id, None);
        }
        let urgent = !matches!(report, ExecReport::Started(_));
        state.reports.push_back(report);
        state.unheard = true;
        let due = urgent || state.reports.len().is_multiple_of(REPORTS_UNHEARD_MAX);
        drop(state);
        if due {
            self.call_supervisor();
        }
        Ok(())
    }

    /// Whether [`Self::call_supervisor`] is due.
    pub(super) fn has_unheard(&self) -> bool {
        self.state().unheard
    }

    /// Makes the supervisor's descriptor readable.
    pub(super) fn call_supervisor(&self) {
        self.state().unheard = false;
        ring(&self.reports_ready);
    }

    pub(super) fn take(&self) -> Vec<ExecReport> {
        let mut state = self.state();
        silence(&self.reports_ready);
        state.unheard = false;
        let reports = std::mem::take(&mut state.reports);
        if std::mem::take(&mut state.was_full) {
            ring(&self.news);
        }
        reports.into()
    }

    pub(super) fn answer(&self, id: ExecId, verdict: ExecVerdict) -> bool {
        let mut state = self.state();
        let Some(answer @ None) = state.asked.get_mut(&id) else {
            return false;
        };
        *answer = Some(verdict);
        drop(state);
        ring(&self.news);
        true
    }

    /// Stops waiting for answers that have come, and gives them.
    pub(super) fn answers(&self) -> Vec<(ExecId, ExecVerdict)> {
        let mut state = self.state();
        silence(&self.news);
        let answered = |(id, verdict): (&ExecId, &Option<ExecVerdict>)| Some((*id, (*verdict)?));
        let answers: Vec<_> = state.asked.iter().filter_map(answered).collect();
        state.asked.retain(|_, verdict| verdict.is_none());
        answers
    }

    /// Stops waiting for an answer, which changes nothing any more.
    pub(super) fn forget(&self, id: ExecId) {
        self.state().asked.remove(&id);
    }
}

/// Makes an eventfd readable. It cannot fail but by its counter's limit, where it is readable.
fn ring(bell: &OwnedFd) {
    rustix::io::write(bell, &1u64.to_ne_bytes()).unwrap_or(0);
}

/// Makes an eventfd unreadable; one that is so already says EAGAIN.
fn silence(bell: &OwnedFd) {
    rustix::io::read(bell, &mut [0u8; 8]).unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gate::ExecCall;

    fn call(id: u64) -> Arc<ExecCall> {
        Arc::new(ExecCall {
            id: ExecId(id),
            by: None,
            pid: 1,
            made_by: None,
            image: None,
            script: None,
            argv: Vec::new(),
            argv_truncated: false,
        })
    }

    #[test]
    fn a_full_queue_gives_the_report_back() {
        let queue = Queue::new().unwrap();
        for id in 0..REPORTS_MAX as u64 {
            queue.put(ExecReport::Started(call(id))).unwrap();
        }
        assert!(queue.put(ExecReport::Started(call(999))).is_err());
        assert_eq!(queue.take().len(), REPORTS_MAX);
        queue.put(ExecReport::Started(call(999))).unwrap();
    }

    #[test]
    fn an_answer_counts_once_and_only_while_it_is_awaited() {
        let queue = Queue::new().unwrap();
        queue.put(ExecReport::Asked(call(1))).unwrap();
        queue.put(ExecReport::Asked(call(2))).unwrap();
        assert!(queue.answer(ExecId(1), ExecVerdict::Refuse));
        assert!(!queue.answer(ExecId(1), ExecVerdict::Allow));
        assert!(!queue.answer(ExecId(3), ExecVerdict::Allow));
        assert_eq!(queue.answers(), [(ExecId(1), ExecVerdict::Refuse)]);
        assert!(queue.answers().is_empty());
        queue.forget(ExecId(2));
        assert!(!queue.answer(ExecId(2), ExecVerdict::Allow));
    }
}
