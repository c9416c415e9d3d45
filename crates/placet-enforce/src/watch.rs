//! How long what runs may go on.
//!
//! A plain state machine over events and a monotonic clock that the caller reads. Authority is
//! leased: silence ends it as surely as a revocation does.

use std::time::Duration;

use placet_artifact::Claims;
use placet_types::{DenialCode, Millis};

/// Beats that lay unread when the lease had lapsed, from which it is plain that the node was there
/// and this end was not. One may be the first of a node that hung.
const UNREAD_MIN: u32 = 2;

/// Watches one execution.
#[derive(Clone, Debug)]
pub struct Watch {
    lease: Duration,
    lease_ends: Duration,
    staleness: Duration,
    /// When the node's view of the log will be too old.
    stale_at: Duration,
    /// Beats that came after the lease had lapsed.
    late_beats: u32,
    window_ends: Duration,
    linked: bool,
    ending: Option<DenialCode>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node says that the conditions hold.
    Beat {
        /// How old its view of the log is.
        age: Duration,
    },
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
        let staleness = Duration::from_millis(claims.lease.staleness_ms);
        Self {
            lease,
            lease_ends: monotonic.saturating_add(lease),
            staleness,
            // The decision has just been written.
            stale_at: monotonic.saturating_add(staleness),
            late_beats: 0,
            window_ends: monotonic.saturating_add(Duration::from_millis(window)),
            linked: true,
            ending: None,
        }
    }

    /// Takes an event at this time.
    pub fn take(&mut self, event: Event, monotonic: Duration) {
        match event {
            // A lease that has lapsed stays lapsed: its tree may be half gone.
            Event::Beat { age } if monotonic < self.lease_ends => {
                self.lease_ends = monotonic.saturating_add(self.lease);
                self.see(monotonic.saturating_sub(age), monotonic);
            }
            Event::Beat { .. } => self.late_beats = self.late_beats.saturating_add(1),
            // The first cause is the one that is recorded.
            Event::Ending(cause) => self.ending = self.ending.or(Some(cause)),
            Event::LinkLost => self.linked = false,
            Event::LinkBack => self.linked = true,
        }
    }

    /// The node's view of the log is of that time. One that has been too old stays so.
    fn see(&mut self, of: Duration, monotonic: Duration) {
        if monotonic < self.stale_at {
            let stale_at = of.saturating_add(self.staleness);
            self.stale_at = self.stale_at.max(stale_at);
        }
    }

    /// What is left of lease, window and view: how long it may live if nobody looks any more.
    #[must_use]
    pub fn left(&self, monotonic: Duration) -> Duration {
        self.until().saturating_sub(monotonic)
    }

    fn until(&self) -> Duration {
        self.window_ends.min(self.lease_ends).min(self.stale_at)
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
            // without one there is nobody to ask. With beats that lay unread the node did vouch, and
            // it was this end that did not renew.
            let renewed_by_nobody = !self.linked || self.late_beats >= UNREAD_MIN;
            return Verdict::End(if renewed_by_nobody {
                DenialCode::AuthorizationDiscontinuity
            } else {
                DenialCode::GovernanceDiscontinuity
            });
        }
        if monotonic >= self.stale_at {
            return Verdict::End(DenialCode::GovernanceDiscontinuity);
        }
        Verdict::Continue {
            until: self.until(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Of a node whose log works.
    const BEAT: Event = Event::Beat {
        age: Duration::ZERO,
    };

    fn watch() -> Watch {
        Watch {
            lease: ms(1000),
            lease_ends: ms(1000),
            staleness: ms(3000),
            stale_at: ms(3000),
            late_beats: 0,
            window_ends: ms(10_000),
            linked: true,
            ending: None,
        }
    }

    #[test]
    fn beats_keep_it_going_until_the_window_is_over() {
        let mut watch = watch();
        for at in (500..10_000).step_by(500) {
            watch.take(BEAT, ms(at));
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
        watch.take(BEAT, ms(1000));
        assert_eq!(
            watch.verdict(ms(1001)),
            Verdict::End(DenialCode::GovernanceDiscontinuity)
        );
    }

    #[test]
    fn beats_that_lay_unread_show_that_it_was_this_end_that_hung() {
        let mut watch = watch();
        (0..4).for_each(|_| watch.take(BEAT, ms(1200)));
        assert_eq!(
            watch.verdict(ms(1200)),
            Verdict::End(DenialCode::AuthorizationDiscontinuity)
        );
    }

    #[test]
    fn a_node_that_beats_without_a_log_keeps_nothing_alive_beyond_the_bound() {
        let mut watch = watch();
        // The log was last seen to work at 400.
        for at in (500..3400).step_by(250) {
            let age = ms(at - 400);
            watch.take(Event::Beat { age }, ms(at));
            assert!(
                matches!(watch.verdict(ms(at)), Verdict::Continue { .. }),
                "at {at}"
            );
            assert!(watch.left(ms(at)) <= ms(3400 - at));
        }
        let stale = Verdict::End(DenialCode::GovernanceDiscontinuity);
        assert_eq!(watch.verdict(ms(3400)), stale);
        // A view that comes back too late does not undo it.
        watch.take(BEAT, ms(3401));
        assert_eq!(watch.verdict(ms(3401)), stale);
    }

    #[test]
    fn a_log_that_comes_back_in_time_saves_it() {
        let mut watch = watch();
        for at in [500, 1000, 1500, 2000, 2500] {
            watch.take(Event::Beat { age: ms(at) }, ms(at));
        }
        watch.take(BEAT, ms(2900));
        assert!(matches!(watch.verdict(ms(3500)), Verdict::Continue { .. }));
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
        watch.take(BEAT, ms(900));
        assert_eq!(
            watch.verdict(ms(1500)),
            Verdict::Continue { until: ms(1900) }
        );
        assert_eq!(watch.left(ms(1500)), ms(400));
    }
}
