//! What a thread that serves a tree and the supervisor tell each other, in bounded memory.
//!
//! The serving thread never waits here: it holds back what found no room, and goes on serving the
//! rest of the tree. Of what the supervisor is asked, it hears once, and it answers once.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
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
    reports_ready: Bell,
    /// Readable while the serving thread has something to look at: an answer, or room.
    news: Bell,
}

struct State<R, V> {
    reports: VecDeque<R>,
    /// The questions that wait for an answer, with it once it has come.
    asked: BTreeMap<u64, Option<V>>,
    was_full: bool,
    /// Whether there are reports that the supervisor has not been called for.
    unheard: bool,
    /// Whether the supervisor comes to look by itself.
    attended: bool,
}

impl<R, V: Copy> Queue<R, V> {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self {
            state: Mutex::new(State {
                reports: VecDeque::new(),
                asked: BTreeMap::new(),
                was_full: false,
                unheard: false,
                attended: false,
            }),
            reports_ready: Bell::new()?,
            news: Bell::new()?,
        })
    }

    fn state(&self) -> MutexGuard<'_, State<R, V>> {
        // Every change below is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reports_ready(&self) -> BorrowedFd<'_> {
        self.reports_ready.event.as_fd()
    }

    pub(crate) fn news(&self) -> BorrowedFd<'_> {
        self.news.event.as_fd()
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
        let state = self.state();
        state.unheard && !state.attended
    }

    /// The supervisor says whether it comes to look by itself before long: then it is called for what it is to hear now
    /// or to answer, and not for the rest.
    pub(crate) fn attend(&self, attended: bool) {
        let mut state = self.state();
        state.attended = attended;
        let missed = !attended && state.unheard;
        drop(state);
        if missed {
            self.call_supervisor();
        }
    }

    /// Makes the supervisor's descriptor readable.
    pub(crate) fn call_supervisor(&self) {
        self.state().unheard = false;
        self.reports_ready.ring();
    }

    pub(crate) fn take(&self) -> Vec<R> {
        let mut state = self.state();
        self.reports_ready.silence();
        state.unheard = false;
        let reports = std::mem::take(&mut state.reports);
        if std::mem::take(&mut state.was_full) {
            self.news.ring();
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
        self.news.ring();
        true
    }

    /// Stops waiting for answers that have come, and gives them.
    pub(crate) fn answers(&self) -> BTreeMap<u64, V> {
        let mut state = self.state();
        self.news.silence();
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

/// A descriptor that is readable while somebody is called.
struct Bell {
    event: OwnedFd,
    /// Whether it may be readable: whoever looks now and then need not ask the kernel for it.
    rung: AtomicBool,
}

impl Bell {
    fn new() -> rustix::io::Result<Self> {
        Ok(Self {
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            rung: AtomicBool::new(false),
        })
    }

    /// It cannot fail but by its counter's limit, where it is readable.
    fn ring(&self) {
        // Before: whoever is called runs at once, maybe on this very processor, and would look in vain again and again until this thread
        // comes to say so. Afterwards as well: a look in between would else leave it readable for ever.
        self.rung.store(true, Ordering::Release);
        rustix::io::write(&self.event, &1u64.to_ne_bytes()).unwrap_or(0);
        self.rung.store(true, Ordering::Release);
    }

    /// One that is not readable says EAGAIN.
    fn silence(&self) {
        if self.rung.swap(false, Ordering::AcqRel) {
            rustix::io::read(&self.event, &mut [0u8; 8]).unwrap_or(0);
        }
    }
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
    fn who_comes_to_look_is_called_for_what_cannot_wait_and_for_many() {
        let is_called = |queue: &Queue<usize, bool>| {
            rustix::io::read(queue.reports_ready(), &mut [0u8; 8]).is_ok()
        };
        let queue = Queue::new().unwrap();
        queue.attend(true);
        assert!(queue.put(1, Urgency::Later));
        assert!(!queue.has_unheard() && !is_called(&queue));
        assert!(queue.put(2, Urgency::Now) && is_called(&queue));
        assert!(queue.put(3, Urgency::Answer(1)) && is_called(&queue));
        assert!((4..=REPORTS_UNHEARD_MAX).all(|number| queue.put(number, Urgency::Later)));
        assert!(is_called(&queue));
        // What came just before it stops looking is not left.
        assert!(queue.put(0, Urgency::Later) && !is_called(&queue));
        queue.attend(false);
        assert!(is_called(&queue));
        assert_eq!(queue.take().len(), REPORTS_UNHEARD_MAX + 1);
        queue.attend(false);
        assert!(!is_called(&queue));
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
