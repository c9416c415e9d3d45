//! What a node counts while it works: for people who watch it, never for decisions.
//!
//! Counters only rise and start at zero with the process. What must be known is in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use placet_evidence::{Outcome, Record};
use placet_types::{DenialCode, Index};

/// Upper ends of the buckets of a [`Histogram`], in microseconds.
pub const BUCKETS_US: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Told of the log's size after each batch. It must not wait.
pub type OnWritten = Box<dyn Fn(Index) + Send + Sync>;

/// Everything that is counted.
#[derive(Default)]
pub struct Meters {
    /// How long a batch took to become durable.
    pub append: Histogram,
    /// Batches that became durable.
    pub batches: AtomicU64,
    /// Records that became durable.
    pub records: AtomicU64,
    decisions: Mutex<BTreeMap<Option<DenialCode>, u64>>,
    answers: Mutex<BTreeMap<&'static str, u64>>,
    listeners: RwLock<Vec<OnWritten>>,
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS_US.len()],
    beyond: AtomicU64,
    sum_us: AtomicU64,
}

impl Meters {
    /// How many permits (no code) and denials by their code became durable.
    #[must_use]
    pub fn decisions(&self) -> BTreeMap<Option<DenialCode>, u64> {
        self.decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many questions were answered in which way.
    #[must_use]
    pub fn answers(&self) -> BTreeMap<&'static str, u64> {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Has `listener` told of the log's size after each batch, as long as the authority works.
    pub fn listen(&self, listener: OnWritten) {
        self.listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }

    /// Counts a batch that took `took`; `size` is that of the log after it.
    pub(crate) fn written<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
        took: Duration,
        size: Index,
    ) {
        self.append.count(took);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let mut decisions = self
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for record in records {
            self.records.fetch_add(1, Ordering::Relaxed);
            if let Record::Decided(decided) = record {
                let code = match decided.outcome {
                    Outcome::Permit => None,
                    Outcome::Defer => Some(DenialCode::ApprovalRequired),
                    Outcome::Deny => decided.denial.as_ref().map(|denial| denial.code),
                };
                *decisions.entry(code).or_default() += 1;
            } else if let Record::Answered(answered) = record {
                let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                *answers.entry(answered.outcome.as_str()).or_default() += 1;
            }
        }
        drop(decisions);
        let listeners = self
            .listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter() {
            listener(size);
        }
    }
}

impl Histogram {
    /// Counts one that took `took`.
    pub fn count(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US
            .iter()
            .zip(&self.counts)
            .find(|(end, _)| us <= **end);
        bucket
            .map_or(&self.beyond, |(_, count)| count)
            .fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The upper end of each bucket in microseconds, and how many were counted at or below it.
    #[must_use]
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut sum = 0;
        let counts = BUCKETS_US.iter().zip(&self.counts);
        counts
            .map(|(end, count)| {
                sum += count.load(Ordering::Relaxed);
                (*end, sum)
            })
            .collect()
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        let within: u64 = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum();
        within + self.beyond.load(Ordering::Relaxed)
    }

    /// All of them together, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters")
            .field("batches", &self.batches)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_once_at_or_below_its_end() {
        let histogram = Histogram::default();
        for us in [1, 50, 51, 9_000_000] {
            histogram.count(Duration::from_micros(us));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[..2], [(50, 2), (100, 3)]);
        assert_eq!(cumulative.last(), Some(&(5_000_000, 3)));
        assert_eq!((histogram.total(), histogram.sum_us()), (4, 9_000_102));
    }
}
