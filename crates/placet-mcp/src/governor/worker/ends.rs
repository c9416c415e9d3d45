//! How executions ended, until the node has recorded it.

use super::{Over, REPORT_PATIENCE, RETRY, Worker};

impl Worker {
    /// Nothing is watched any more that is over; the node is told with the next request.
    pub(in crate::governor) fn take_ended(&mut self, over: Vec<Over>) {
        for over in &over {
            self.watched.remove(&over.body.exec);
        }
        self.ended.extend(over);
    }

    /// Tells the node now. What it does not hear it records by itself, once the lease has lapsed.
    pub(in crate::governor) fn report(&mut self) {
        // What comes first on the connection is the answer that is awaited.
        self.await_answer();
        if self.ended.is_empty() {
            return;
        }
        if self.twice(|worker| worker.put(&[])).is_err() {
            let now = self.now();
            self.ended
                .retain(|over| now.saturating_sub(over.since) <= REPORT_PATIENCE);
        }
    }

    /// Whoever waits until what has ended is recorded waits no more, once it is.
    pub(in crate::governor) fn let_go(&mut self) {
        if self.ended.is_empty() {
            self.flushing.clear();
        }
    }

    /// Tells the node everything, as long as that may be of use.
    pub(in crate::governor) fn report_all(&mut self) {
        loop {
            self.report();
            if self.ended.is_empty() {
                return;
            }
            std::thread::sleep(RETRY);
        }
    }
}
