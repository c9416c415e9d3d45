//! The queue in front of the sequencer: bounded, with a lane of its own for what ends authority.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::submission::Unavailable;

/// Intents that may wait. Past that, callers are told at once that there is too much.
pub(crate) const WAITING_MAX: usize = 4096;
/// Records of running executions and of operators that may wait.
pub(crate) const URGENT_MAX: usize = 65_536;
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

    /// Adds what must not wait and, with it, intents, so that one batch can have them all. Where the intents are
    /// refused, the others are in all the same.
    pub(crate) fn push_all(&self, urgent: Vec<T>, waiting: Vec<T>) -> Result<(), Unavailable> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(Unavailable::Evidence);
        }
        if lanes.urgent.len().saturating_add(urgent.len()) > URGENT_MAX {
            return Err(Unavailable::Overloaded);
        }
        lanes.urgent.extend(urgent);
        let fits = lanes.waiting.len().saturating_add(waiting.len()) <= WAITING_MAX;
        if fits {
            lanes.waiting.extend(waiting);
        }
        self.tell(lanes);
        if fits {
            Ok(())
        } else {
            Err(Unavailable::Overloaded)
        }
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
        let mut lanes = self.lock();
        if !lanes.closed && lanes.is_empty() {
            lanes.waiters += 1;
            lanes = self
                .filled
                .wait_timeout_while(lanes, patience, |lanes| lanes.is_empty() && !lanes.closed)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            lanes.waiters -= 1;
        }
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
        // In the order that things happen: what is over makes room for what is asked.
        let mut items: Vec<T> = lanes.urgent.drain(..urgent).collect();
        items.extend(lanes.waiting.drain(..waiting));
        items
    }

    /// Whether nothing waits, and it takes more.
    pub(crate) fn is_idle(&self) -> bool {
        let lanes = self.lock();
        !lanes.closed && lanes.is_empty()
    }

    /// How many intents wait, and how many of what must not wait behind them.
    pub(crate) fn depths(&self) -> (usize, usize) {
        let lanes = self.lock();
        (lanes.waiting.len(), lanes.urgent.len())
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
        self.urgent.is_empty() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds an intent.
    fn push(queue: &Queue<u32>, item: u32) -> Result<(), Unavailable> {
        queue.push_all(Vec::new(), vec![item])
    }

    /// What a consumer gets that waits for a moment.
    fn take(queue: &Queue<u32>) -> Vec<u32> {
        queue.wait(Duration::from_millis(1));
        queue.take()
    }

    #[test]
    fn what_ends_authority_overtakes_intents() {
        let queue = Queue::new();
        push(&queue, 1).unwrap();
        queue.push_urgent(2).unwrap();
        assert_eq!(queue.take(), [2, 1]);
    }

    #[test]
    fn a_full_lane_of_intents_refuses_at_once_and_leaves_the_other_lane_open() {
        let queue = Queue::new();
        for i in 0..WAITING_MAX {
            push(&queue, u32::try_from(i).unwrap()).unwrap();
        }
        assert_eq!(push(&queue, 0), Err(Unavailable::Overloaded));
        assert_eq!(queue.push_urgent(7), Ok(()));
        assert_eq!(queue.take().len(), BATCH_MAX);
    }

    #[test]
    fn what_is_handed_in_together_is_taken_together_and_endings_always_fit() {
        let queue = Queue::new();
        queue.push_all(vec![1, 2], vec![3]).unwrap();
        assert!(!queue.is_idle());
        assert_eq!(take(&queue), [1, 2, 3]);
        assert!(queue.is_idle());
        let many = vec![4; WAITING_MAX + 1];
        assert_eq!(queue.push_all(vec![5], many), Err(Unavailable::Overloaded));
        assert_eq!(take(&queue), [5]);
        queue.close();
        assert_eq!(
            queue.push_all(vec![6], Vec::new()),
            Err(Unavailable::Evidence)
        );
        assert!(!queue.is_idle());
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits_and_then_says_so() {
        let queue = Queue::new();
        push(&queue, 1).unwrap();
        queue.close();
        assert_eq!(push(&queue, 2), Err(Unavailable::Evidence));
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
            push(&queue, 1).unwrap();
            queue.push_urgent(2).unwrap();
        });
        assert_eq!(queue.take(), [2, 1]);
    }
}
