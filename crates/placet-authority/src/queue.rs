//! The queue in front of the sequencer: bounded, with a lane of its own for what ends authority.
//!
//! A third lane holds what nobody waits for: it is written with whatever is written next, or by itself
//! a little later. So an end costs no write of its own while other work goes on.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::submission::Unavailable;

/// Intents that may wait. Past that, callers are told at once that there is too much.
pub(crate) const WAITING_MAX: usize = 4096;
/// Records of running executions and of operators that may wait.
pub(crate) const URGENT_MAX: usize = 65_536;
/// How long something that nobody waits for may wait for company.
pub(crate) const LINGER: Duration = Duration::from_millis(4);
/// Records in one batch.
pub(crate) const BATCH_MAX: usize = 256;

/// Two lanes into one consumer.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    lanes: Mutex<Lanes<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct Lanes<T> {
    urgent: VecDeque<T>,
    waiting: VecDeque<T>,
    /// What nobody waits for.
    later: VecDeque<T>,
    /// Consumers that wait.
    waiters: usize,
    closed: bool,
}

/// What a consumer waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There was at least one item.
    Filled,
    /// Nothing came in time.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let lanes = Lanes {
            urgent: VecDeque::new(),
            waiting: VecDeque::new(),
            later: VecDeque::new(),
            waiters: 0,
            closed: false,
        };
        Self {
            lanes: Mutex::new(lanes),
            filled: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<T>> {
        // No code panics while it holds the lock, so the data behind a poisoned one is whole.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an intent.
    pub(crate) fn push(&self, item: T) -> Result<(), Unavailable> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(Unavailable::Evidence);
        }
        if lanes.waiting.len() >= WAITING_MAX {
            return Err(Unavailable::Overloaded);
        }
        lanes.waiting.push_back(item);
        self.tell(lanes);
        Ok(())
    }

    /// Adds something that must not wait behind intents.
    pub(crate) fn push_urgent(&self, item: T) -> Result<(), Unavailable> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(Unavailable::Evidence);
        }
        if lanes.urgent.len() >= URGENT_MAX {
            return Err(Unavailable::Overloaded);
        }
        lanes.urgent.push_back(item);
        self.tell(lanes);
        Ok(())
    }

    /// Adds something that nobody waits for: it goes with the next batch, at the latest when it has
    /// lingered.
    pub(crate) fn push_later(&self, item: T) -> Result<(), Unavailable> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(Unavailable::Evidence);
        }
        if lanes.later.len() >= URGENT_MAX {
            return Err(Unavailable::Overloaded);
        }
        lanes.later.push_back(item);
        self.tell(lanes);
        Ok(())
    }

    /// Wakes a consumer, if one waits.
    fn tell(&self, lanes: MutexGuard<'_, Lanes<T>>) {
        let wakes = lanes.waiters > 0;
        drop(lanes);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Waits at most `patience` until there is something.
    pub(crate) fn wait(&self, patience: Duration) -> Waited {
        let mut lanes = self.await_while(self.lock(), patience, Lanes::is_empty);
        // What nobody waits for waits for what somebody does.
        lanes = self.await_while(lanes, LINGER, Lanes::is_at_leisure);
        match (lanes.is_empty(), lanes.closed) {
            (false, _) => Waited::Filled,
            (true, true) => Waited::Closed,
            (true, false) => Waited::Idle,
        }
    }

    /// The next batch, the urgent ones first. Empty when nothing waits.
    pub(crate) fn take(&self) -> Vec<T> {
        let mut lanes = self.lock();
        let urgent = lanes.urgent.len().min(BATCH_MAX);
        let waiting = lanes.waiting.len().min(BATCH_MAX - urgent);
        let later = lanes.later.len().min(BATCH_MAX - urgent - waiting);
        // In the order that things happen: what is over makes room for what is asked.
        let mut items: Vec<T> = lanes.urgent.drain(..urgent).collect();
        items.extend(lanes.later.drain(..later));
        items.extend(lanes.waiting.drain(..waiting));
        items
    }

    /// What nobody waits for, if nobody waits for anything. `None` also when it takes no more.
    pub(crate) fn take_at_leisure(&self) -> Option<Vec<T>> {
        let mut lanes = self.lock();
        if lanes.closed || !(lanes.is_empty() || lanes.is_at_leisure()) {
            return None;
        }
        let later = lanes.later.len().min(BATCH_MAX - 1);
        Some(lanes.later.drain(..later).collect())
    }

    fn await_while<'a>(
        &'a self,
        lanes: MutexGuard<'a, Lanes<T>>,
        patience: Duration,
        is_so: impl Fn(&Lanes<T>) -> bool,
    ) -> MutexGuard<'a, Lanes<T>> {
        let mut lanes = lanes;
        if lanes.closed || !is_so(&lanes) {
            return lanes;
        }
        lanes.waiters += 1;
        lanes = self
            .filled
            .wait_timeout_while(lanes, patience, |lanes| is_so(lanes) && !lanes.closed)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        lanes.waiters -= 1;
        lanes
    }

    /// How many intents wait, and how many of what must not wait behind them.
    pub(crate) fn depths(&self) -> (usize, usize) {
        let lanes = self.lock();
        (lanes.waiting.len(), lanes.urgent.len() + lanes.later.len())
    }

    /// Whether it takes no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes no more; what waits is still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}

impl<T> Lanes<T> {
    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.waiting.is_empty() && self.later.is_empty()
    }

    /// Whether nobody waits for anything that is here.
    fn is_at_leisure(&self) -> bool {
        self.urgent.is_empty() && self.waiting.is_empty() && !self.later.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a consumer gets that waits for a moment.
    fn take(queue: &Queue<u32>) -> Vec<u32> {
        queue.wait(Duration::from_millis(1));
        queue.take()
    }

    #[test]
    fn what_ends_authority_overtakes_intents() {
        let queue = Queue::new();
        queue.push(1).unwrap();
        queue.push_urgent(2).unwrap();
        assert_eq!(queue.take(), [2, 1]);
    }

    #[test]
    fn a_full_lane_of_intents_refuses_at_once_and_leaves_the_other_lane_open() {
        let queue = Queue::new();
        for i in 0..WAITING_MAX {
            queue.push(u32::try_from(i).unwrap()).unwrap();
        }
        assert_eq!(queue.push(0), Err(Unavailable::Overloaded));
        assert_eq!(queue.push_urgent(7), Ok(()));
        assert_eq!(queue.take().len(), BATCH_MAX);
    }

    #[test]
    fn what_nobody_waits_for_goes_with_the_next_batch_or_a_little_later() {
        let queue = Queue::new();
        queue.push_later(1).unwrap();
        queue.push(2).unwrap();
        queue.push_urgent(3).unwrap();
        assert_eq!(take(&queue), [3, 1, 2]);
        queue.push_later(4).unwrap();
        assert_eq!(take(&queue), [4]);
        std::thread::scope(|scope| {
            queue.push_later(5).unwrap();
            scope.spawn(|| queue.push(6).unwrap());
            let mut all = take(&queue);
            while all.len() < 2 {
                all.extend(take(&queue));
            }
            assert_eq!(all, [5, 6]);
        });
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits_and_then_says_so() {
        let queue = Queue::new();
        queue.push(1).unwrap();
        queue.close();
        assert_eq!(queue.push(2), Err(Unavailable::Evidence));
        assert_eq!(queue.take(), [1]);
        assert_eq!(queue.wait(Duration::ZERO), Waited::Closed);
    }

    #[test]
    fn whoever_waits_is_woken() {
        let queue = Queue::new();
        assert_eq!(queue.wait(Duration::ZERO), Waited::Idle);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(queue.wait(Duration::from_secs(60)), Waited::Filled));
            }
            while queue.lock().waiters < 2 {
                std::thread::yield_now();
            }
            queue.push(1).unwrap();
            queue.push_urgent(2).unwrap();
        });
        assert_eq!(queue.take(), [2, 1]);
        queue.push_later(3).unwrap();
        assert_eq!(queue.take_at_leisure(), Some(vec![3]));
        queue.push(4).unwrap();
        assert_eq!(queue.take_at_leisure(), None);
    }
}
