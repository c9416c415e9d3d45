//! How fast a check goes: so much work, then a rest that is as many times as long as its share demands.

use std::time::Duration;

use super::{Check, Checks, Percent};

/// Work between two rests.
const SLICE: Duration = Duration::from_millis(10);
/// The longest rest: a check that was itself kept waiting, as by a machine that slept, does not wait for that as well.
const REST_MAX: Duration = Duration::from_secs(2);

/// One check on its way.
pub(super) struct Pace<'a> {
    checks: &'a Checks,
    check: Check,
    /// `None` for as fast as it can.
    percent: Option<Percent>,
    since: Duration,
}

impl<'a> Pace<'a> {
    pub(super) fn new(checks: &'a Checks, check: Check, percent: Option<Percent>) -> Self {
        let since = checks.clock.monotonic();
        Self {
            checks,
            check,
            percent,
            since,
        }
    }

    /// So many records were looked at.
    pub(super) fn step(&mut self, records: u64) {
        let worked = self.checks.clock.monotonic().saturating_sub(self.since);
        if worked < SLICE {
            return;
        }
        self.checks.tell(self.check, records);
        if let Some(percent) = self.percent {
            self.checks.rest(rest(worked, percent));
        }
        self.since = self.checks.clock.monotonic();
    }
}

/// How long to rest after this much work.
fn rest(worked: Duration, Percent(percent): Percent) -> Duration {
    let idle = u32::from(100_u8.saturating_sub(percent));
    let rest = worked.saturating_mul(idle) / u32::from(percent.max(1));
    rest.min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_rests_so_that_it_takes_no_more_than_its_share() {
        for percent in [1, 10, 50, 99, 100] {
            let share = Percent::new(percent).unwrap();
            let rested = rest(SLICE, share);
            let all = SLICE + rested;
            let taken = SLICE.as_secs_f64() / all.as_secs_f64() * 100.0;
            assert!(taken <= f64::from(percent) + 0.01, "{percent}: {taken}");
            assert!(taken >= f64::from(percent) - 0.01, "{percent}: {taken}");
        }
        assert_eq!(Percent::new(0), None);
        assert_eq!(Percent::new(101), None);
    }
}
