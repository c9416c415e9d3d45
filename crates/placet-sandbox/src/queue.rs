//! What a thread that serves a tree and the supervisor tell each other, in bounded memory.
//!
//! The serving thread never waits here: it holds back what found no room, and goes on serving the
//! rest of the tree. Of what the supervisor is asked, it hears once, and it answers once.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// Reports that may wait.
const REPORTS_MAX: usize = 256;
/// A tree that never rests is interrupted to call the supervisor for so many.
const REPORTS_UNHEARD_MAX: usize = 32;

/// What a report asks of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// To be heard when the tree rests.
    Later,
    /// To be heard.
    Now,
    /// To be answered, under this number.
    Answer(u64),
}

/// Reports `R` one way, verdicts `V` the other.
pub(crate) struct Queue<R, V> {
    state: Mutex<State<R, V>>,
    /// Readable while reports wait.
    reports_ready: OwnedFd,
    /// Readable while the serving thread has something to look at: an answer, or room.
    news: OwnedFd,
}

struct State<R, V> {
    reports: VecDeque<R>,
    /// The questions that wait for an answer, with it once it has come.
    asked: BTreeMap<u64, Option<V>>,
    was_full: bool,
    /// Whether there are reports that the supervisor has not been called for.
    unheard: bool,
}

impl<R, V: Copy> Queue<R, V> {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Self {
            state: Mutex::new(State {
                reports: VecDeque::new(),
                asked: BTreeMap::new(),
                was_full: false,
                unheard: false,
            }),
            reports_ready: event()?,
            news: event()?,
        })
    }

    fn state(&self) -> MutexGuard<'_, State<R, V>> {
        // Every change below is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reports_ready(&self) -> BorrowedFd<'_> {
        self.reports_ready.as_fd()
    }

    pub(crate) fn news(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// Adds a report; `false` when there is no room.
    pub(crate) fn put(&self, report: R, urgency: Urgency) -> bool {
        let mut state = self.state();
        if state.reports.len() >= REPORTS_MAX {
            state.was_full = true;
            return false;
        }
        if let Urgency::Answer(id) = urgency {
            state.asked.insert(id, None);
        }
        state.reports.push_back(report);
        state.unheard = true;
        let many = state.reports.len().is_multiple_of(REPORTS_UNHEARD_MAX);
        drop(state);
        if many || urgency != Urgency::Later {
            self.call_supervisor();
        }
        true
    }

    /// Adds the last reports, whose number the caller bounds.
    pub(crate) fn put_last(&self, reports: Vec<R>) {
        self.state().reports.extend(reports);
        self.call_supervisor();
    }

    /// Whether [`Self::call_supervisor`] is due.
    pub(crate) fn has_unheard(&self) -> bool {
        self.state().unheard
    }

    /// Makes the supervisor's descriptor readable.
    pub(crate) fn call_supervisor(&self) {
        self.state().unheard = false;
        ring(&self.reports_ready);
    }

    pub(crate) fn take(&self) -> Vec<R> {
        let mut state = self.state();
        silence(&self.reports_ready);
        state.unheard = false;
        let reports = std::mem::take(&mut state.reports);
        if std::mem::take(&mut state.was_full) {
            ring(&self.news);
        }
        reports.into()
    }

    pub(crate) fn answer(&self, id: u64, verdict: V) -> bool {
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
    pub(crate) fn answers(&self) -> BTreeMap<u64, V> {
        let mut state = self.state();
        silence(&self.news);
        let answered = |(id, verdict): (&u64, &Option<V>)| Some((*id, (*verdict)?));
        let answers = state.asked.iter().filter_map(answered).collect();
        state.asked.retain(|_, verdict| verdict.is_none());
        answers
    }

    /// Stops waiting for an answer, which changes nothing any more.
    pub(crate) fn forget(&self, id: u64) {
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
    use super::*;

    #[test]
    fn a_full_queue_takes_no_more() {
        let queue = Queue::<usize, bool>::new().unwrap();
        assert!((0..REPORTS_MAX).all(|number| queue.put(number, Urgency::Later)));
        assert!(!queue.put(999, Urgency::Answer(1)));
        assert!(!queue.answer(1, true));
        assert_eq!(queue.take().len(), REPORTS_MAX);
        assert!(queue.put(999, Urgency::Later));
    }

    #[test]
    fn an_answer_counts_once_and_only_while_it_is_awaited() {
        let queue = Queue::<&str, bool>::new().unwrap();
        assert!(queue.put("one", Urgency::Answer(1)) && queue.put("two", Urgency::Answer(2)));
        assert!(queue.answer(1, false));
        assert!(!queue.answer(1, true));
        assert!(!queue.answer(3, true));
        assert_eq!(queue.answers(), BTreeMap::from([(1, false)]));
        assert!(queue.answers().is_empty());
        queue.forget(2);
        assert!(!queue.answer(2, true));
    }
}
