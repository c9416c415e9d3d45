//! A session among those that share lanes: whom it acts for, what it is told, and what of it waits.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use placet_evidence::TokenIdentity;
use placet_types::{DenialCode, ExecutionId};

use super::{Call, Ending, WAITING_MAX, lock};

/// The place of something that waits for its ruling: given up with it.
pub(super) struct Seat(Arc<Party>);

/// One session, as the lanes know it.
pub(super) struct Party {
    /// Whoever has shown an access token, and whom all of it is asked for.
    pub(super) bearer: Option<Arc<TokenIdentity>>,
    ending: Ending,
    /// Calls that wait for what comes right behind them.
    gathered: Mutex<Vec<Call>>,
    /// Seats that are taken.
    waiting: AtomicUsize,
    is_closed: AtomicBool,
}

impl Party {
    pub(super) fn new(bearer: Option<Arc<TokenIdentity>>, ending: Ending) -> Self {
        Self {
            bearer,
            ending,
            gathered: Mutex::default(),
            waiting: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Tells it that an execution must end.
    pub(super) fn must_end(&self, exec: ExecutionId, cause: DenialCode) {
        (self.ending)(exec, cause);
    }

    /// Whether what this one asks may go with what that one asks.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        self.bearer == other.bearer
    }

    /// A seat, if there is one.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        // Counted before it is looked at: two at once are not given the last one.
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let seat = Seat(Arc::clone(self));
        (before < WAITING_MAX).then_some(seat)
    }

    pub(super) fn gathers(&self) -> bool {
        !lock(&self.gathered).is_empty()
    }

    /// Keeps a call for what comes right behind it; how many there are.
    pub(super) fn gather(&self, call: Call) -> usize {
        let mut gathered = lock(&self.gathered);
        gathered.push(call);
        gathered.len()
    }

    pub(super) fn take_gathered(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.gathered))
    }

    /// Whether nothing more is taken of it; nothing is from now on.
    pub(super) fn close(&self) -> bool {
        self.is_closed.swap(true, Ordering::SeqCst)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

impl Seat {
    /// Whose it is.
    pub(super) fn party(&self) -> &Arc<Party> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_seats_and_each_is_free_again_once_it_is_left() {
        let party = Arc::new(Party::new(None, Box::new(|_, _| {})));
        let mut seats: Vec<Seat> = (0..WAITING_MAX).filter_map(|_| party.seat()).collect();
        assert_eq!(seats.len(), WAITING_MAX);
        assert!(party.seat().is_none());
        assert!(party.seat().is_none());
        seats.pop();
        let last = party.seat();
        assert!(last.is_some());
        assert!(party.seat().is_none());
    }
}
