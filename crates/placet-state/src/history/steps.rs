//! Steps of time: only those in which something happened, and no more than a window has.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use placet_evidence::SignalKind;
use placet_types::Millis;

use super::Span;

/// Different resources that are counted one by one in a step; the rest is counted together.
const COUNTED_MAX: usize = 256;

/// The steps of a window, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Steps<T>(VecDeque<(u64, T)>);

impl<T> Default for Steps<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Default> Steps<T> {
    /// The step of `now`, the newest one.
    pub(super) fn at(&mut self, span: Span, now: Millis) -> &mut T {
        let number = span.number(now);
        if self.0.back().is_none_or(|(own, _)| *own != number) {
            if self.0.len() >= span.steps {
                self.0.pop_front();
            }
            self.0.push_back((number, T::default()));
        }
        // The step was pushed above when there was none.
        let last = self.0.len() - 1;
        #[expect(
            clippy::indexing_slicing,
            reason = "a step was pushed above when there was none"
        )]
        &mut self.0[last].1
    }

    /// The sum over the last `steps` of them.
    pub(super) fn sum(&self, span: Span, steps: u64, now: Millis, of: impl Fn(&T) -> u64) -> u64 {
        let current = span.number(now);
        let recent = self
            .0
            .iter()
            .filter(|(number, _)| current - (*number).min(current) < steps);
        recent
            .map(|(_, step)| of(step))
            .fold(0, u64::saturating_add)
    }

    /// Lets go of what is past the window at `now`.
    pub(super) fn forget(&mut self, span: Span, now: Millis) {
        let current = span.number(now);
        let past = |number: u64| current - number.min(current) >= span.steps as u64;
        while self.0.front().is_some_and(|(number, _)| past(*number)) {
            self.0.pop_front();
        }
        if self.0.is_empty() {
            // What is not used takes no room.
            self.0 = VecDeque::new();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Permits and denials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) denials: u64,
    pub(super) permits: u64,
}

impl Counts {
    pub(super) fn permitted(&mut self) {
        self.permits = self.permits.saturating_add(1);
    }

    pub(super) fn denied(&mut self) {
        self.denials = self.denials.saturating_add(1);
    }
}

/// Permits, by resource too, denials and signals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) denials: u64,
    pub(super) permits: u64,
    /// Permits by short digest of the resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    by_resource: BTreeMap<u64, u64>,
    /// Permits for resources that `by_resource` had no room for.
    #[serde(default, skip_serializing_if = "is_zero")]
    others: u64,
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
    pub(super) fn permitted(&mut self, short: u64) {
        self.permits = self.permits.saturating_add(1);
        let room = self.by_resource.len() < COUNTED_MAX;
        let counted = match self.by_resource.get_mut(&short) {
            Some(counted) => counted,
            None if room => self.by_resource.entry(short).or_default(),
            None => &mut self.others,
        };
        *counted = counted.saturating_add(1);
    }

    pub(super) fn denied(&mut self) {
        self.denials = self.denials.saturating_add(1);
    }

    pub(super) fn signalled(&mut self, kind: SignalKind, count: u64) {
        let counted = self.signals.entry(kind).or_default();
        *counted = counted.saturating_add(count);
    }

    /// Permits for a resource. Where it was not counted by itself, never fewer than there were: a
    /// limit must not be lost among many resources.
    pub(super) fn permits_of(&self, short: u64) -> u64 {
        self.by_resource.get(&short).copied().unwrap_or(self.others)
    }

    pub(super) fn signals(&self, kind: SignalKind) -> u64 {
        self.signals.get(&kind).copied().unwrap_or_default()
    }

    pub(super) fn all_signals(&self) -> u64 {
        self.signals.values().copied().fold(0, u64::saturating_add)
    }
}
