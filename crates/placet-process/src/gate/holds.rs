//! How long a no holds: what was denied is asked about again, since policy, approvals and standing change, and at a
//! bounded rate, since a tree that tries on and on must not fill the log.
//!
//! It holds some seconds, and longer each time; what waits for an approval holds a second, since asking again for
//! the same writes nothing. Another bundle in force ends every hold.

use std::time::Duration;

use placet_types::Millis;

/// How long a no holds at first.
const AT_FIRST: Duration = Duration::from_secs(5);
/// And one that somebody may turn into a yes.
const WAITING: Duration = Duration::from_secs(1);
/// Questions that a tree may ask again at once.
const AGAIN_MAX: u32 = 32;
/// How often it may ask one more again.
const AGAIN_EVERY: Duration = Duration::from_secs(2);

/// A no, in words, for as long as it holds.
pub(super) struct No<C> {
    why: String,
    until: Duration,
    /// How long the next one holds.
    next: Duration,
    waits: Option<Waiting<C>>,
}

/// What waits for approvals, until when: an approval is of that very intent.
pub(super) struct Waiting<C> {
    pub(super) call: Box<C>,
    pub(super) until: Millis,
}

impl<C> No<C> {
    /// A no at `now`, after another one if there was one; none holds longer than `at_most`.
    pub(super) fn new(
        why: String,
        waits: Option<Waiting<C>>,
        before: Option<&Self>,
        (now, at_most): (Duration, Duration),
    ) -> Self {
        let holds = match before {
            _ if waits.is_some() => WAITING,
            Some(before) => before.next,
            None => AT_FIRST,
        };
        Self {
            why,
            until: now.saturating_add(holds),
            next: holds.saturating_mul(2).clamp(AT_FIRST, at_most),
            waits,
        }
    }

    /// In words.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    fn holds(&self, now: Duration) -> bool {
        now < self.until
    }

    /// Another bundle is in force: it holds no longer.
    pub(super) fn lift(&mut self) {
        self.until = Duration::ZERO;
    }

    /// How to ask again, once it holds no longer.
    pub(super) fn asks(
        &mut self,
        again: &mut Again,
        (now, wall): (Duration, Millis),
    ) -> Option<Asks<C>> {
        if self.holds(now) {
            return None;
        }
        match self.take_waiting(wall) {
            Some(call) => Some(Asks::Same(call)),
            None => again.may(now).then_some(Asks::Anew),
        }
    }

    fn take_waiting(&mut self, wall: Millis) -> Option<Box<C>> {
        let waiting = self.waits.take().filter(|waiting| wall < waiting.until);
        waiting.map(|waiting| waiting.call)
    }
}

/// How something is asked about.
pub(super) enum Asks<C> {
    /// As a new intent.
    Anew,
    /// As the intent that waits for approvals, which writes nothing while it does.
    Same(Box<C>),
}

/// How often a tree may ask again about what it was denied.
#[derive(Debug)]
pub(super) struct Again {
    left: u32,
    filled: Duration,
}

impl Default for Again {
    fn default() -> Self {
        Self {
            left: AGAIN_MAX,
            filled: Duration::ZERO,
        }
    }
}

impl Again {
    /// Whether one more question is within bounds; it counts then.
    pub(super) fn may(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.filled).as_nanos();
        let earned = since.checked_div(AGAIN_EVERY.as_nanos()).unwrap_or(0);
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(AGAIN_MAX);
            self.filled = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(600);

    fn no(before: Option<&No<()>>, now: Duration) -> No<()> {
        No::new(String::new(), None, before, (now, MOST))
    }

    #[test]
    fn a_no_holds_longer_each_time_and_never_for_ever() {
        let mut last: Option<No<()>> = None;
        let mut held = Vec::new();
        for round in 0..9 {
            let now = Duration::from_secs(1000 * round);
            assert!(!last.as_ref().is_some_and(|last| last.holds(now)));
            let next = no(last.as_ref(), now);
            held.push(next.until.saturating_sub(now).as_secs());
            last = Some(next);
        }
        assert_eq!(held, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn another_bundle_lifts_a_no_and_not_the_count_of_those_before() {
        let now = Duration::from_secs(7);
        let mut one = no(None, now);
        assert!(one.holds(now));
        one.lift();
        assert!(!one.holds(now));
        assert_eq!(
            no(Some(&one), now).until,
            now.saturating_add(AT_FIRST.saturating_mul(2))
        );
    }

    #[test]
    fn what_waits_is_asked_again_soon_and_as_it_was_while_approvals_count() {
        let waits = |until| Waiting {
            call: Box::new(7),
            until: Millis::new(until),
        };
        let now = Duration::from_secs(3);
        let mut one = No::new(String::new(), Some(waits(10)), None, (now, MOST));
        assert!(one.holds(now) && !one.holds(now.saturating_add(WAITING)));
        assert_eq!(one.take_waiting(Millis::new(9)).as_deref(), Some(&7));
        let mut late = No::new(String::new(), Some(waits(10)), None, (now, MOST));
        assert!(late.take_waiting(Millis::new(10)).is_none());
    }

    #[test]
    fn a_tree_asks_again_at_a_bounded_rate() {
        let mut again = Again::default();
        let mut asked = |from: u64, to: u64| {
            (from..to)
                .filter(|ms| again.may(Duration::from_millis(*ms)))
                .count()
        };
        assert_eq!(asked(0, 1000), AGAIN_MAX as usize);
        // One more each time, however often it is tried.
        assert_eq!(asked(1000, 20_000), 9);
        assert_eq!(asked(3_600_000, 3_600_999), AGAIN_MAX as usize);
    }
}
