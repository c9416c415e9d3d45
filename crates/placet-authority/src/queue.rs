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
    closed: bool,
}

/// What the consumer got.
#[derive(Debug)]
pub(crate) enum Batch<T> {
    /// At least one item, the urgent ones first.
    Items(Vec<T>),
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
        drop(lanes);
        self.filled.notify_one();
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
        drop(lanes);
        self.filled.notify_one();
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
        drop(lanes);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits at most `patience` for the next batch.
    pub(crate) fn take(&self, patience: Duration) -> Batch<T> {
        let mut lanes = self.await_while(self.lock(), patience, Lanes::is_empty);
        // What nobody waits for waits for what somebody does.
        lanes = self.await_while(lanes, LINGER, Lanes::is_at_leisure);
        if lanes.is_empty() {
            return if lanes.closed {
                Batch::Closed
            } else {
                Batch::Idle
            };
        }
        let urgent = lanes.urgent.len().min(BATCH_MAX);
        let waiting = lanes.waiting.len().min(BATCH_MAX - urgent);
        let later = lanes.later.len().min(BATCH_MAX - urgent - waiting);
        // In the order that things happen: what is over makes room for what is asked.
        let mut items: Vec<T> = lanes.urgent.drain(..urgent).collect();
        items.extend(lanes.later.drain(..later));
        items.extend(lanes.waiting.drain(..waiting));
        Batch::Items(items)
    }

    fn await_while<'a>(
        &'a self,
        lanes: MutexGuard<'a, Lanes<T>>,
        patience: Duration,
        is_so: impl Fn(&Lanes<T>) -> bool,
    ) -> MutexGuard<'a, Lanes<T>> {
        if lanes.closed || !is_so(&lanes) {
            return lanes;
        }
        self.filled
            .wait_timeout_while(lanes, patience, |lanes| is_so(lanes) && !lanes.closed)
            .unwrap_or_else(PoisonError::into_inner)
            .0
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

    fn take(queue: &Queue<u32>) -> Vec<u32> {
        match queue.take(Duration::from_millis(1)) {
            Batch::Items(items) => items,
            Batch::Idle | Batch::Closed => Vec::new(),
        }
    }

    #[test]
    fn what_ends_authority_overtakes_intents() {
        let queue = Queue::new();
        queue.push(1).unwrap();
        queue.push_urgent(2).unwrap();
        assert_eq!(take(&queue), [2, 1]);
    }

    #[test]
    fn a_full_lane_of_intents_refuses_at_once_and_leaves_the_other_lane_open() {
        let queue = Queue::new();
        for i in 0..WAITING_MAX {
            queue.push(u32::try_from(i).unwrap()).unwrap();
        }
        assert_eq!(queue.push(0), Err(Unavailable::Overloaded));
        assert_eq!(queue.push_urgent(7), Ok(()));
        assert_eq!(take(&queue).len(), BATCH_MAX);
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
        assert_eq!(take(&queue), [1]);
        assert!(matches!(queue.take(Duration::ZERO), Batch::Closed));
    }
}
