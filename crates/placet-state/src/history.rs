//! Per-principal history, in bounded memory.
//!
//! Windows are made of steps. A window of n steps that is never too short needs n + 1 of them: the present
//! one has only begun. The `_hour` counts have one less, and stay so: decisions of older logs were made
//! with them. The `_60m` ones are what they should have been.

mod steps;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use placet_evidence::{History, RunEnd, SignalKind};
use placet_types::{Digest, Millis};

use steps::{Counts, Step, Steps};

/// Different resources that are remembered as seen.
const SEEN_MAX: usize = 256;
/// Different actions that are remembered as seen.
const ACTIONS_MAX: usize = 64;

/// Five minutes, for an hour.
const HOUR: Span = Span::new(300_000, 13);
/// Steps of `HOUR` that the `_hour` counts have.
const SHORT_HOUR: u64 = 12;
/// Ten seconds, for a minute.
const MINUTE: Span = Span::new(10_000, 7);
/// An hour, for a day.
const DAY: Span = Span::new(3_600_000, 25);

/// A length of time in steps.
#[derive(Clone, Copy, Debug)]
struct Span {
    step_ms: u64,
    steps: usize,
}

impl Span {
    const fn new(step_ms: u64, steps: usize) -> Self {
        Self { step_ms, steps }
    }

    const fn number(self, at: Millis) -> u64 {
        at.get() / self.step_ms
    }
}

/// What the log said of one principal: some hundred numbers, and what it was seen with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Short digests of actions, the one that was permitted longest ago first.
    actions: VecDeque<u64>,
    days: Steps<Counts>,
    denial_streak: u64,
    failure_streak: u64,
    hours: Steps<Step>,
    last_permit: Option<Millis>,
    last_success: Option<Millis>,
    minutes: Steps<Counts>,
    running: u64,
    /// Short digests of resources, the one that was permitted longest ago first.
    seen: VecDeque<u64>,
}

impl Ledger {
    pub(crate) fn permitted(&mut self, (action, resource): (&str, Digest), now: Millis) {
        let short = shorten(resource);
        self.hours.at(HOUR, now).permitted(short);
        self.minutes.at(MINUTE, now).permitted();
        self.days.at(DAY, now).permitted();
        self.denial_streak = 0;
        self.last_permit = Some(now);
        see(&mut self.seen, short, SEEN_MAX);
        let action = shorten(Digest::of(action.as_bytes()));
        see(&mut self.actions, action, ACTIONS_MAX);
    }

    pub(crate) fn denied(&mut self, now: Millis) {
        self.hours.at(HOUR, now).denied();
        self.days.at(DAY, now).denied();
        self.denial_streak = self.denial_streak.saturating_add(1);
    }

    /// The count is its reporter's word: however large, it only adds up.
    pub(crate) fn signalled(&mut self, kind: SignalKind, count: u64, now: Millis) {
        self.hours.at(HOUR, now).signalled(kind, count);
    }

    pub(crate) fn started(&mut self) {
        self.running = self.running.saturating_add(1);
    }

    /// One that ran is over.
    pub(crate) fn ended(&mut self, outcome: RunEnd, now: Millis) {
        self.running = self.running.saturating_sub(1);
        match outcome {
            RunEnd::Completed => {
                self.failure_streak = 0;
                self.last_success = Some(now);
            }
            // Where nobody saw how, nobody saw that it was well.
            RunEnd::Failed | RunEnd::Terminated | RunEnd::Unseen => {
                self.failure_streak = self.failure_streak.saturating_add(1);
            }
            RunEnd::Lapsed => {}
        }
    }

    /// Lets go of what is past every window at `now`. No answer changes by it: time does not go back.
    pub(crate) fn forget(&mut self, now: Millis) {
        self.hours.forget(HOUR, now);
        self.minutes.forget(MINUTE, now);
        self.days.forget(DAY, now);
    }

    pub(crate) fn history(&self, (action, resource): (&str, Digest), now: Millis) -> History {
        let short = shorten(resource);
        let action = shorten(Digest::of(action.as_bytes()));
        let hour = |of: &dyn Fn(&Step) -> u64| self.hours.sum(HOUR, SHORT_HOUR, now, of);
        let full = |of: &dyn Fn(&Step) -> u64| self.hours.sum(HOUR, HOUR.steps as u64, now, of);
        let day = |of: &dyn Fn(&Counts) -> u64| self.days.sum(DAY, DAY.steps as u64, now, of);
        let minute = |step: &Counts| step.permits;
        let signals = |kind| hour(&|step: &Step| step.signals(kind));
        let since = |then: Option<Millis>| then.map(|then| now.since(then) / 1000);
        History {
            denial_streak: self.denial_streak,
            denials_60m: full(&|step| step.denials),
            denials_day: day(&|step| step.denials),
            denials_hour: hour(&|step| step.denials),
            drifts_hour: signals(SignalKind::Drift),
            failure_streak: self.failure_streak,
            permits_60m: full(&|step| step.permits),
            permits_day: day(&|step| step.permits),
            permits_hour: hour(&|step| step.permits),
            permits_minute: self.minutes.sum(MINUTE, MINUTE.steps as u64, now, minute),
            permits_resource_60m: full(&|step| step.permits_of(short)),
            permits_resource_hour: hour(&|step| step.permits_of(short)),
            refused_connects_hour: signals(SignalKind::RefusedConnect),
            refused_execs_hour: signals(SignalKind::RefusedExec),
            refused_reads_hour: signals(SignalKind::RefusedRead),
            refused_writes_hour: signals(SignalKind::RefusedWrite),
            running: self.running,
            seen_action: self.actions.contains(&action),
            seen_resource: self.seen.contains(&short),
            since_last_permit_secs: since(self.last_permit),
            since_last_success_secs: since(self.last_success),
            signals_hour: hour(&Step::all_signals),
            trips_hour: signals(SignalKind::Trip),
        }
    }
}

/// What was seen last goes to the back, so that what is used again is not forgotten.
fn see(seen: &mut VecDeque<u64>, short: u64, most: usize) {
    if let Some(at) = seen.iter().position(|one| *one == short) {
        seen.remove(at);
    } else if seen.len() == most {
        seen.pop_front();
    }
    seen.push_back(short);
}

/// Eight bytes are enough to tell a principal's resources apart: a clash only makes one look seen.
fn shorten(digest: Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const RUN: &str = "process:run";

    fn at(minute: u64) -> Millis {
        Millis::new(minute * MINUTE_MS)
    }

    #[test]
    fn an_hour_later_nothing_counts_any_more() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        for minute in 0..30 {
            ledger.permitted((RUN, tool), at(minute));
            ledger.denied(at(minute));
        }
        let then = ledger.history((RUN, tool), at(30));
        assert_eq!((then.permits_hour, then.denials_hour), (30, 30));
        let later = ledger.history((RUN, tool), at(120));
        assert_eq!((later.permits_hour, later.denials_hour), (0, 0));
        assert_eq!(later.since_last_permit_secs, Some(91 * 60));
    }

    #[test]
    fn permits_count_by_resource_and_never_too_low() {
        let (mut ledger, mail, other) = (Ledger::default(), Digest::of(b"mail"), Digest::of(b"b"));
        (0..3).for_each(|_| ledger.permitted((RUN, mail), at(0)));
        ledger.permitted((RUN, other), at(10));
        let of = |ledger: &Ledger, tool, minute| {
            ledger
                .history((RUN, tool), at(minute))
                .permits_resource_hour
        };
        assert_eq!((of(&ledger, mail, 10), of(&ledger, other, 10)), (3, 1));
        assert_eq!(of(&ledger, mail, 90), 0);
        for i in 0..1_000_u64 {
            ledger.permitted((RUN, Digest::of(&i.to_be_bytes())), at(100));
        }
        (0..5).for_each(|_| ledger.permitted((RUN, mail), at(100)));
        assert!(of(&ledger, mail, 100) >= 5);
    }

    #[test]
    fn signals_count_by_kind_for_an_hour_and_never_overflow() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        ledger.signalled(SignalKind::RefusedConnect, 3, at(0));
        ledger.signalled(SignalKind::RefusedConnect, 4, at(10));
        ledger.signalled(SignalKind::Trip, 1, at(10));
        let now = ledger.history((RUN, tool), at(10));
        let counts = (now.refused_connects_hour, now.trips_hour, now.signals_hour);
        assert_eq!(counts, (7, 1, 8));
        assert_eq!((now.refused_execs_hour, now.permits_hour), (0, 0));
        ledger.signalled(SignalKind::RefusedRead, u64::MAX, at(11));
        ledger.signalled(SignalKind::RefusedRead, u64::MAX, at(11));
        assert_eq!(ledger.history((RUN, tool), at(11)).signals_hour, u64::MAX);
        assert_eq!(ledger.history((RUN, tool), at(90)).signals_hour, 0);
    }

    /// A fold that was saved by an earlier version lacks what this one counts. It must not be used: the
    /// log is folded again.
    #[test]
    fn a_ledger_saved_by_an_earlier_version_is_not_read() {
        let saved = r#"{"denial_streak":0,"last_permit":1,"running":0,"seen":[],"steps":[]}"#;
        assert!(serde_json::from_str::<Ledger>(saved).is_err());
        let own = serde_json::to_string(&Ledger::default()).unwrap();
        assert!(serde_json::from_str::<Ledger>(&own).is_ok());
    }

    #[test]
    fn windows_are_never_too_short() {
        let (mut ledger, mail) = (Ledger::default(), Digest::of(b"mail"));
        // At the very end of a step: the worst case.
        let begin = Millis::new(DAY.step_ms - 1);
        ledger.permitted((RUN, mail), begin);
        ledger.denied(begin);
        let after = |ms: u64| ledger.history((RUN, mail), Millis::new(begin.get() + ms));
        assert_eq!(after(60_000).permits_minute, 1);
        assert_eq!(after(70_001).permits_minute, 0);
        let hour = after(3_600_000);
        assert_eq!(
            (
                hour.permits_60m,
                hour.permits_resource_60m,
                hour.denials_60m
            ),
            (1, 1, 1)
        );
        // As decisions of older logs saw it.
        assert_eq!((hour.permits_hour, after(3_300_000).permits_hour), (0, 1));
        let later = after(3_900_001);
        assert_eq!((later.permits_60m, later.denials_60m), (0, 0));
        let day = after(24 * 3_600_000);
        assert_eq!((day.permits_day, day.denials_day), (1, 1));
        assert_eq!(after(25 * 3_600_000 + 1).permits_day, 0);
    }

    #[test]
    fn a_first_action_is_seen_and_success_ends_a_streak_of_failures() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        ledger.permitted((RUN, tool), at(0));
        assert!(ledger.history((RUN, tool), at(0)).seen_action);
        assert!(!ledger.history(("mail:send", tool), at(0)).seen_action);
        for outcome in [RunEnd::Failed, RunEnd::Terminated, RunEnd::Lapsed] {
            ledger.started();
            ledger.ended(outcome, at(1));
        }
        let failed = ledger.history((RUN, tool), at(1));
        assert_eq!(
            (failed.failure_streak, failed.since_last_success_secs),
            (2, None)
        );
        ledger.started();
        ledger.ended(RunEnd::Completed, at(2));
        let done = ledger.history((RUN, tool), at(3));
        assert_eq!(
            (
                done.failure_streak,
                done.since_last_success_secs,
                done.running
            ),
            (0, Some(60), 0)
        );
    }

    #[test]
    fn forgetting_changes_no_answer() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        for minute in 0..3_000 {
            ledger.permitted((RUN, tool), at(minute));
            ledger.denied(at(minute));
            let mut relieved = ledger.clone();
            relieved.forget(at(minute));
            let ask = |ledger: &Ledger| ledger.history((RUN, tool), at(minute));
            assert_eq!(ask(&relieved), ask(&ledger));
        }
        ledger.forget(at(9_000));
        let sizes = [ledger.hours.len(), ledger.minutes.len(), ledger.days.len()];
        assert_eq!(sizes, [0, 0, 0]);
        assert!(ledger.history((RUN, tool), at(9_000)).seen_resource);
    }

    #[test]
    fn a_permit_ends_the_streak_of_denials() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        (0..4).for_each(|_| ledger.denied(at(0)));
        assert_eq!(ledger.history((RUN, tool), at(0)).denial_streak, 4);
        ledger.permitted((RUN, tool), at(0));
        assert_eq!(ledger.history((RUN, tool), at(0)).denial_streak, 0);
    }

    #[test]
    fn a_resource_in_use_is_not_forgotten_for_newer_ones() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        ledger.permitted((RUN, tool), at(0));
        for i in 0..1_000_u64 {
            ledger.permitted((RUN, Digest::of(&i.to_be_bytes())), at(0));
            assert!(
                ledger.history((RUN, tool), at(0)).seen_resource,
                "after {i} others"
            );
            ledger.permitted((RUN, tool), at(0));
        }
        let (last, gone) = (999 - 254, 999 - 255);
        let seen = |i: u64| {
            ledger
                .history((RUN, Digest::of(&i.to_be_bytes())), at(0))
                .seen_resource
        };
        assert!(seen(last) && !seen(gone));
    }

    #[test]
    fn memory_stays_bounded_over_many_resources_and_steps() {
        let mut ledger = Ledger::default();
        for i in 0..10_000_u64 {
            ledger.permitted((RUN, Digest::of(&i.to_be_bytes())), at(i * 5));
        }
        assert_eq!(
            (ledger.seen.len(), ledger.hours.len()),
            (SEEN_MAX, HOUR.steps)
        );
        assert!(
            ledger
                .history((RUN, Digest::of(&9_999_u64.to_be_bytes())), at(50_000))
                .seen_resource
        );
        assert!(
            !ledger
                .history((RUN, Digest::of(&0_u64.to_be_bytes())), at(50_000))
                .seen_resource
        );
    }
}
