//! What an execution has done so far, against the trip limits of its scope.
//!
//! Plain counting over the monotonic clock that the caller reads. What is counted, and when, is the
//! gateway's to see; that a limit was passed is said once and stays said.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use placet_types::{Trip, Trips};

/// The window of [`Trip::ExecsPerMinute`], in seconds.
const WINDOW_SECS: u64 = 60;

/// Counts for one execution.
#[derive(Clone, Debug)]
pub struct Meter {
    limits: Trips,
    counts: BTreeMap<Trip, u64>,
    /// Programs started in each second of the window; only seconds in which one was.
    recent: VecDeque<(u64, u64)>,
    tripped: Option<Tripped>,
}

/// A limit that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// Which one.
    pub trip: Trip,
    /// The most that it allows.
    pub limit: u64,
}

impl Meter {
    /// Nothing has been done yet.
    #[must_use]
    pub fn new(limits: Trips) -> Self {
        Self {
            limits,
            counts: BTreeMap::new(),
            recent: VecDeque::new(),
            tripped: None,
        }
    }

    /// Whether anything is limited by this: else it need not be measured.
    #[must_use]
    pub fn wants(&self, trip: Trip) -> bool {
        self.limits.limit(trip).is_some()
    }

    /// `more` of it happened.
    pub fn add(&mut self, trip: Trip, more: u64) {
        let total = self.counts.get(&trip).copied().unwrap_or(0);
        self.total(trip, total.saturating_add(more));
    }

    /// As much of it has happened in all.
    pub fn total(&mut self, trip: Trip, total: u64) {
        self.counts.insert(trip, total);
        self.check(trip, total);
    }

    /// A program was started at this time.
    pub fn started(&mut self, monotonic: Duration) {
        self.add(Trip::Programs, 1);
        if !self.wants(Trip::ExecsPerMinute) {
            return;
        }
        let second = monotonic.as_secs();
        match self.recent.back_mut() {
            Some((last, count)) if *last == second => *count = count.saturating_add(1),
            _ => self.recent.push_back((second, 1)),
        }
        let over = |(then, _): &(u64, u64)| second.saturating_sub(*then) >= WINDOW_SECS;
        while self.recent.front().is_some_and(over) {
            self.recent.pop_front();
        }
        let within = self.recent.iter().map(|(_, count)| *count).sum();
        self.check(Trip::ExecsPerMinute, within);
    }

    /// The first limit that was passed.
    #[must_use]
    pub fn tripped(&self) -> Option<Tripped> {
        self.tripped
    }

    fn check(&mut self, trip: Trip, count: u64) {
        let passed = self.limits.limit(trip).filter(|limit| count > *limit);
        let passed = passed.map(|limit| Tripped { trip, limit });
        self.tripped = self.tripped.or(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limits: &[(Trip, u64)]) -> Meter {
        Meter::new(limits.iter().copied().collect())
    }

    fn passed(trip: Trip, limit: u64) -> Option<Tripped> {
        Some(Tripped { trip, limit })
    }

    #[test]
    fn a_limit_is_passed_by_one_more_than_it_allows() {
        let mut meter = meter(&[(Trip::RefusedConnects, 2)]);
        meter.add(Trip::RefusedConnects, 2);
        meter.add(Trip::RefusedExecs, 1_000);
        assert_eq!(meter.tripped(), None);
        meter.add(Trip::RefusedConnects, 1);
        assert_eq!(meter.tripped(), passed(Trip::RefusedConnects, 2));
    }

    #[test]
    fn a_limit_of_none_is_passed_by_the_first() {
        let mut meter = meter(&[(Trip::RefusedWrites, 0)]);
        meter.add(Trip::RefusedWrites, 1);
        assert_eq!(meter.tripped(), passed(Trip::RefusedWrites, 0));
    }

    #[test]
    fn the_first_limit_that_was_passed_is_the_one_that_is_told() {
        let mut meter = meter(&[(Trip::Signals, 0), (Trip::RefusedExecs, 0)]);
        meter.add(Trip::RefusedExecs, 1);
        meter.add(Trip::Signals, 1);
        assert_eq!(meter.tripped(), passed(Trip::RefusedExecs, 0));
    }

    #[test]
    fn totals_measured_from_outside_are_compared_as_they_are() {
        let mut meter = meter(&[(Trip::CpuTotalSecs, 10)]);
        meter.total(Trip::CpuTotalSecs, 10);
        meter.total(Trip::CpuTotalSecs, 9);
        assert_eq!(meter.tripped(), None);
        meter.total(Trip::CpuTotalSecs, 11);
        assert_eq!(meter.tripped(), passed(Trip::CpuTotalSecs, 10));
    }

    #[test]
    fn programs_count_within_a_sliding_minute_and_in_all() {
        let mut minute = meter(&[(Trip::ExecsPerMinute, 60)]);
        for second in 0..1_000 {
            minute.started(Duration::from_secs(second));
        }
        assert_eq!(minute.tripped(), None);
        assert!(minute.recent.len() <= 60);
        minute.started(Duration::from_secs(999));
        assert_eq!(minute.tripped(), passed(Trip::ExecsPerMinute, 60));
        let mut all = meter(&[(Trip::Programs, 2)]);
        (0..3).for_each(|hour| all.started(Duration::from_secs(hour * 3600)));
        assert_eq!(all.tripped(), passed(Trip::Programs, 2));
    }
}
