//! Whether the tracer stays awake between two stops.
//!
//! A start is five stops in a row, some ten microseconds apart from what is done at them, and to wake a thread on a
//! processor that has gone to rest takes longer than that. So for a moment after each stop it looks again and again
//! instead of waiting, and gives way each time. Where somebody else takes the processor then, it is not idle: who waits is
//! woken ahead of others, who has given way is not. So it waits like everybody, and tries again after a while, each
//! time a longer one.

use std::thread;

use crate::sys;

/// Longer than it takes to give way to nobody.
const GONE_NS: u64 = 30_000;
/// How long it waits like everybody, at first and at most.
const REST_NS: u64 = 10_000_000;
const REST_NS_MAX: u64 = 1_000_000_000;

/// Times are of CLOCK_BOOTTIME.
#[derive(Debug)]
pub(super) struct Awake {
    until_ns: u64,
    /// Since when it may stay awake again.
    may_ns: u64,
    rest_ns: u64,
}

impl Default for Awake {
    fn default() -> Self {
        Self {
            until_ns: 0,
            may_ns: 0,
            rest_ns: REST_NS,
        }
    }
}

impl Awake {
    /// Something has happened at `now`, and more will within this time.
    pub(super) fn stay(&mut self, now_ns: u64, ns: u64) {
        if now_ns >= self.may_ns {
            self.until_ns = self.until_ns.max(now_ns.saturating_add(ns));
        }
    }

    pub(super) fn is(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// Lets others run who want to.
    pub(super) fn give_way(&mut self, now_ns: u64) {
        thread::yield_now();
        self.came_back(now_ns, sys::boot_time_ns());
    }

    fn came_back(&mut self, left_ns: u64, now_ns: u64) {
        if now_ns.saturating_sub(left_ns) > GONE_NS {
            self.until_ns = 0;
            self.may_ns = now_ns.saturating_add(self.rest_ns);
            self.rest_ns = self.rest_ns.saturating_mul(2).min(REST_NS_MAX);
        } else if now_ns.saturating_sub(self.may_ns) > REST_NS_MAX {
            self.rest_ns = REST_NS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn it_is_awake_for_a_moment_after_each_stop() {
        let mut awake = Awake::default();
        assert!(!awake.is(5 * MS));
        awake.stay(5 * MS, 1000);
        awake.stay(5 * MS, 10);
        assert!(awake.is(5 * MS + 999) && !awake.is(5 * MS + 1000));
    }

    #[test]
    fn on_a_busy_processor_it_waits_like_everybody_longer_each_time() {
        let mut awake = Awake::default();
        let mut now = 5 * MS;
        let mut rests = Vec::new();
        for _ in 0..9 {
            awake.stay(now, MS);
            assert!(awake.is(now));
            awake.came_back(now, now + 3 * MS);
            now += 3 * MS;
            assert!(!awake.is(now));
            let until = awake.may_ns;
            rests.push((until - now) / MS);
            awake.stay(until - 1, MS);
            assert!(!awake.is(until - 1));
            now = until;
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        // Where nobody wants to run, it is forgotten after a while.
        awake.stay(now, MS);
        awake.came_back(now + 1, now + 2);
        assert_eq!(awake.rest_ns, REST_NS_MAX);
        now += REST_NS_MAX + 2;
        awake.came_back(now, now + 1);
        assert_eq!(awake.rest_ns, REST_NS);
    }
}
