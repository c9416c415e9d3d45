//! Per-principal history, in bounded memory.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use placet_evidence::{History, SignalKind};
use placet_types::{Digest, Millis};

/// Length of one step of the hour that is kept.
const STEP_MS: u64 = 5 * 60 * 1000;
/// Steps that are kept: one hour.
const STEPS_MAX: usize = 12;
/// Different resources that are remembered as seen.
const SEEN_MAX: usize = 256;

/// Different resources that are counted one by one in a step; the rest is counted together.
const COUNTED_MAX: usize = 256;

/// What the log said of one principal. At most [`STEPS_MAX`] steps and [`SEEN_MAX`] resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    denial_streak: u64,
    last_permit: Option<Millis>,
    running: u64,
    /// Short digests of resources, the one that was permitted longest ago first.
    seen: VecDeque<u64>,
    /// The oldest first; only steps in which something happened.
    steps: VecDeque<Step>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    number: u64,
    permits: u64,
    denials: u64,
    /// Permits by short digest of the resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    by_resource: BTreeMap<u64, u64>,
    /// Permits for resources that `by_resource` had no room for.
    #[serde(default, skip_serializing_if = "is_zero")]
    others: u64,
    /// By kind. A fold that was saved before there were kinds has none, and there were none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    signals: BTreeMap<SignalKind, u64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Step {
    fn permitted(&mut self, short: u64) {
        self.permits = self.permits.saturating_add(1);
        let room = self.by_resource.len() < COUNTED_MAX;
        let counted = match self.by_resource.get_mut(&short) {
            Some(counted) => counted,
            None if room => self.by_resource.entry(short).or_default(),
            None => &mut self.others,
        };
        *counted = counted.saturating_add(1);
    }

    /// Permits for a resource. Where it was not counted by itself, never fewer than there were: a
    /// limit must not be lost among many resources.
    fn permits_of(&self, short: u64) -> u64 {
        self.by_resource.get(&short).copied().unwrap_or(self.others)
    }
}

impl Ledger {
    pub(crate) fn permitted(&mut self, resource: Digest, now: Millis) {
        self.step(now).permitted(shorten(resource));
        self.denial_streak = 0;
        self.last_permit = Some(now);
        self.see(shorten(resource));
    }

    /// The resource seen last goes to the back, so that what is used again is not forgotten.
    fn see(&mut self, short: u64) {
        if let Some(at) = self.seen.iter().position(|seen| *seen == short) {
            self.seen.remove(at);
        } else if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(short);
    }

    pub(crate) fn denied(&mut self, now: Millis) {
        self.step(now).denials += 1;
        self.denial_streak = self.denial_streak.saturating_add(1);
    }

    /// The count is its reporter's word: however large, it only adds up.
    pub(crate) fn signalled(&mut self, kind: SignalKind, count: u64, now: Millis) {
        let counted = self.step(now).signals.entry(kind).or_default();
        *counted = counted.saturating_add(count);
    }

    pub(crate) fn started(&mut self) {
        self.running = self.running.saturating_add(1);
    }

    pub(crate) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    pub(crate) fn history(&self, resource: Digest, now: Millis) -> History {
        let current = now.get() / STEP_MS;
        let recent = || {
            self.steps
                .iter()
                .filter(move |step| current - step.number.min(current) < STEPS_MAX as u64)
        };
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0, u64::saturating_add);
        let signals = |kind| sum(&mut recent().filter_map(|step| step.signals.get(&kind).copied()));
        History {
            denial_streak: self.denial_streak,
            denials_hour: recent().map(|step| step.denials).sum(),
            drifts_hour: signals(SignalKind::Drift),
            permits_hour: recent().map(|step| step.permits).sum(),
            permits_resource_hour: recent()
                .map(|step| step.permits_of(shorten(resource)))
                .sum(),
            refused_connects_hour: signals(SignalKind::RefusedConnect),
            refused_execs_hour: signals(SignalKind::RefusedExec),
            refused_reads_hour: signals(SignalKind::RefusedRead),
            refused_writes_hour: signals(SignalKind::RefusedWrite),
            running: self.running,
            seen_resource: self.seen.contains(&shorten(resource)),
            since_last_permit_secs: self.last_permit.map(|then| now.since(then) / 1000),
            signals_hour: sum(&mut recent().flat_map(|step| step.signals.values().copied())),
            trips_hour: signals(SignalKind::Trip),
        }
    }

    fn step(&mut self, now: Millis) -> &mut Step {
        let number = now.get() / STEP_MS;
        if self.steps.back().is_none_or(|step| step.number != number) {
            if self.steps.len() == STEPS_MAX {
                self.steps.pop_front();
            }
            self.steps.push_back(Step {
                number,
                ..Step::default()
            });
        }
        // The step was pushed above when there was none.
        let last = self.steps.len() - 1;
        #[expect(
            clippy::indexing_slicing,
            reason = "a step was pushed above when there was none"
        )]
        &mut self.steps[last]
    }
}

/// Eight bytes are enough to tell a principal's resources apart: a clash only makes one look seen.
fn shorten(digest: Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn at(minute: u64) -> Millis {
        Millis::new(minute * MINUTE)
    }

    #[test]
    fn an_hour_later_nothing_counts_any_more() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        for minute in 0..30 {
            ledger.permitted(tool, at(minute));
            ledger.denied(at(minute));
        }
        let then = ledger.history(tool, at(30));
        assert_eq!((then.permits_hour, then.denials_hour), (30, 30));
        let later = ledger.history(tool, at(120));
        assert_eq!((later.permits_hour, later.denials_hour), (0, 0));
        assert_eq!(later.since_last_permit_secs, Some(91 * 60));
    }

    #[test]
    fn permits_count_by_resource_and_never_too_low() {
        let (mut ledger, mail, other) = (Ledger::default(), Digest::of(b"mail"), Digest::of(b"b"));
        (0..3).for_each(|_| ledger.permitted(mail, at(0)));
        ledger.permitted(other, at(10));
        let of =
            |ledger: &Ledger, tool, minute| ledger.history(tool, at(minute)).permits_resource_hour;
        assert_eq!((of(&ledger, mail, 10), of(&ledger, other, 10)), (3, 1));
        assert_eq!(of(&ledger, mail, 90), 0);
        for i in 0..1_000_u64 {
            ledger.permitted(Digest::of(&i.to_be_bytes()), at(100));
        }
        (0..5).for_each(|_| ledger.permitted(mail, at(100)));
        assert!(of(&ledger, mail, 100) >= 5);
    }

    #[test]
    fn signals_count_by_kind_for_an_hour_and_never_overflow() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        ledger.signalled(SignalKind::RefusedConnect, 3, at(0));
        ledger.signalled(SignalKind::RefusedConnect, 4, at(10));
        ledger.signalled(SignalKind::Trip, 1, at(10));
        let now = ledger.history(tool, at(10));
        let counts = (now.refused_connects_hour, now.trips_hour, now.signals_hour);
        assert_eq!(counts, (7, 1, 8));
        assert_eq!((now.refused_execs_hour, now.permits_hour), (0, 0));
        ledger.signalled(SignalKind::RefusedRead, u64::MAX, at(11));
        ledger.signalled(SignalKind::RefusedRead, u64::MAX, at(11));
        assert_eq!(ledger.history(tool, at(11)).signals_hour, u64::MAX);
        assert_eq!(ledger.history(tool, at(90)).signals_hour, 0);
    }

    #[test]
    fn a_ledger_saved_before_there_were_signals_is_read() {
        let saved = r#"{"number":7,"permits":2,"denials":1}"#;
        let step: Step = serde_json::from_str(saved).unwrap();
        assert_eq!((step.permits, step.signals.len()), (2, 0));
    }

    #[test]
    fn a_permit_ends_the_streak_of_denials() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        (0..4).for_each(|_| ledger.denied(at(0)));
        assert_eq!(ledger.history(tool, at(0)).denial_streak, 4);
        ledger.permitted(tool, at(0));
        assert_eq!(ledger.history(tool, at(0)).denial_streak, 0);
    }

    #[test]
    fn a_resource_in_use_is_not_forgotten_for_newer_ones() {
        let (mut ledger, tool) = (Ledger::default(), Digest::of(b"tool"));
        ledger.permitted(tool, at(0));
        for i in 0..1_000_u64 {
            ledger.permitted(Digest::of(&i.to_be_bytes()), at(0));
            assert!(
                ledger.history(tool, at(0)).seen_resource,
                "after {i} others"
            );
            ledger.permitted(tool, at(0));
        }
        let (last, gone) = (999 - 254, 999 - 255);
        let seen = |i: u64| {
            ledger
                .history(Digest::of(&i.to_be_bytes()), at(0))
                .seen_resource
        };
        assert!(seen(last) && !seen(gone));
    }

    #[test]
    fn memory_stays_bounded_over_many_resources_and_steps() {
        let mut ledger = Ledger::default();
        for i in 0..10_000_u64 {
            ledger.permitted(Digest::of(&i.to_be_bytes()), at(i * 5));
        }
        assert_eq!(
            (ledger.seen.len(), ledger.steps.len()),
            (SEEN_MAX, STEPS_MAX)
        );
        assert!(
            ledger
                .history(Digest::of(&9_999_u64.to_be_bytes()), at(50_000))
                .seen_resource
        );
        assert!(
            !ledger
                .history(Digest::of(&0_u64.to_be_bytes()), at(50_000))
                .seen_resource
        );
    }
}
