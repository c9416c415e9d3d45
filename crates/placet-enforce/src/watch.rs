//! How long what runs may go on.
//!
//! A plain state machine over events and a monotonic clock that the caller reads. Authority is
//! leased: silence ends it as surely as a revocation does.

use std::time::Duration;

use placet_artifact::Claims;
use placet_types::{DenialCode, Millis};

/// Watches one execution.
#[derive(Clone, Debug)]
pub struct Watch {
    lease: Duration,
    lease_ends: Duration,
    window_ends: Duration,
    linked: bool,
    ending: Option<DenialCode>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node says that the conditions hold.
    Beat,
    /// The node says that it must end.
    Ending(DenialCode),
    /// The connection to the node is gone.
    LinkLost,
    /// There is one again.
    LinkBack,
}

/// Whether it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may, and must be looked at again by then, on the monotonic clock.
    Continue {
        /// When to look again at the latest.
        until: Duration,
    },
    /// It must end now.
    End(DenialCode),
}

impl Watch {
    /// Begins to watch under an artifact, at this time on both clocks.
    ///
    /// The window is judged on the monotonic clock from here on, so that a jump of the wall clock
    /// neither ends the work nor prolongs it.
    #[must_use]
    pub fn begin(claims: &Claims, monotonic: Duration, wall: Millis) -> Self {
        let window = claims.exp.as_millis().since(wall);
        let lease = Duration::from_millis(claims.lease.interval_ms);
        Self {
            lease,
            lease_ends: monotonic.saturating_add(lease),
            window_ends: monotonic.saturating_add(Duration::from_millis(window)),
            linked: true,
            ending: None,
        }
    }

    /// Takes an event at this time.
    pub fn take(&mut self, event: Event, monotonic: Duration) {
        match event {
            // A lease that has lapsed stays lapsed: its tree may be half gone.
            Event::Beat if monotonic < self.lease_ends => {
                self.lease_ends = monotonic.saturating_add(self.lease);
            }
            Event::Beat => {}
            // The first cause is the one that is recorded.
            Event::Ending(cause) => self.ending = self.ending.or(Some(cause)),
            Event::LinkLost => self.linked = false,
            Event::LinkBack => self.linked = true,
        }
    }

    /// What is left of the lease.
    #[must_use]
    pub fn lease_left(&self, monotonic: Duration) -> Duration {
        self.lease_ends.saturating_sub(monotonic)
    }

    /// Whether it may go on at this time.
    #[must_use]
    pub fn verdict(&self, monotonic: Duration) -> Verdict {
        if let Some(cause) = self.ending {
            return Verdict::End(cause);
        }
        if monotonic >= self.window_ends {
            return Verdict::End(DenialCode::Expired);
        }
        if monotonic >= self.lease_ends {
            // With a connection the node is there and cannot vouch for its view of the log;
            // without one there is nobody to ask.
            return Verdict::End(if self.linked {
                DenialCode::GovernanceDiscontinuity
            } else {
                DenialCode::AuthorizationDiscontinuity
            });
        }
        Verdict::Continue {
            until: self.window_ends.min(self.lease_ends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn watch() -> Watch {
        Watch {
            lease: ms(1000),
            lease_ends: ms(1000),
            window_ends: ms(10_000),
            linked: true,
            ending: None,
        }
    }

    #[test]
    fn beats_keep_it_going_until_the_window_is_over() {
        let mut watch = watch();
        for at in (500..10_000).step_by(500) {
            watch.take(Event::Beat, ms(at));
            assert!(
                matches!(watch.verdict(ms(at)), Verdict::Continue { .. }),
                "at {at}"
            );
        }
        assert_eq!(watch.verdict(ms(10_000)), Verdict::End(DenialCode::Expired));
    }

    #[test]
    fn silence_ends_it_with_a_cause_that_says_who_was_silent() {
        let mut watch = watch();
        assert_eq!(
            watch.verdict(ms(999)),
            Verdict::Continue { until: ms(1000) }
        );
        assert_eq!(
            watch.verdict(ms(1000)),
            Verdict::End(DenialCode::GovernanceDiscontinuity)
        );
        watch.take(Event::LinkLost, ms(1001));
        assert_eq!(
            watch.verdict(ms(1001)),
            Verdict::End(DenialCode::AuthorizationDiscontinuity)
        );
    }

    #[test]
    fn a_lapsed_lease_is_not_revived_by_a_late_beat() {
        let mut watch = watch();
        watch.take(Event::Beat, ms(1000));
        assert_eq!(
            watch.verdict(ms(1001)),
            Verdict::End(DenialCode::GovernanceDiscontinuity)
        );
    }

    #[test]
    fn a_revocation_ends_it_at_once_and_the_first_cause_stays() {
        let mut watch = watch();
        watch.take(Event::Ending(DenialCode::Revoked), ms(1));
        watch.take(Event::Ending(DenialCode::Halted), ms(2));
        assert_eq!(watch.verdict(ms(2)), Verdict::End(DenialCode::Revoked));
    }

    #[test]
    fn a_connection_that_comes_back_in_time_saves_it() {
        let mut watch = watch();
        watch.take(Event::LinkLost, ms(100));
        watch.take(Event::LinkBack, ms(800));
        watch.take(Event::Beat, ms(900));
        assert_eq!(
            watch.verdict(ms(1500)),
            Verdict::Continue { until: ms(1900) }
        );
        assert_eq!(watch.lease_left(ms(1500)), ms(400));
    }
}
