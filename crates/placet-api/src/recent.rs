//! Records as event streams tell them: read from the log and written once, however many streams
//! there are.
//!
//! The latest are kept, within a bound of their own. A stream that is further behind has its records
//! read for itself, one such stream after the other: those that keep up wait for none of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use placet_evidence::{Entry, Record};
use placet_types::Index;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::call::Shared;
use crate::problem::Problem;
use crate::routes::{Stage, predicate};

/// Records that are kept.
const KEPT_MAX: usize = 1024;
/// Bytes of their events that are kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// A record, and the event that streams tell it by.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) record: Record,
    pub(crate) event: Bytes,
}

/// The latest records.
#[derive(Debug)]
pub(crate) struct Recent {
    kept: Mutex<Kept>,
    /// Whoever makes the next ones: one does it for all.
    next: Semaphore,
    /// Whoever makes older ones, for one stream.
    older: Semaphore,
}

/// Records without a gap.
#[derive(Debug, Default)]
struct Kept {
    first: u64,
    told: VecDeque<Arc<Told>>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            next: Semaphore::new(1),
            older: Semaphore::new(1),
        }
    }
}

impl Recent {
    /// The records from `from` on, up to `end`, if all of them are kept.
    pub(crate) fn kept(&self, from: u64, end: u64) -> Option<Vec<Arc<Told>>> {
        self.lock().between(from, end)
    }

    /// Waits until it is this stream's turn to have records made that are not kept.
    pub(crate) async fn turn(&self, from: u64) -> Option<SemaphorePermit<'_>> {
        let is_older = self.lock().is_older(from);
        let turns = if is_older { &self.older } else { &self.next };
        turns.acquire().await.ok()
    }

    /// The records from `from` on, up to `end`; what is new of them is kept. For whoever has the turn,
    /// on a thread that may wait for the disk.
    pub(crate) fn make(
        &self,
        shared: &Shared,
        from: u64,
        end: u64,
    ) -> Result<Vec<Arc<Told>>, Problem> {
        // Who had the turn before may have made some of them.
        let mut all = self.lock().as_far_as(from, end);
        let begin = from.saturating_add(all.len() as u64);
        let reader = shared.service.authority().reader();
        let told = reader
            .entries(Index::new(begin)..Index::new(end))
            .map(|entry| {
                let (index, bytes) = entry?;
                Ok(Arc::new(told(index, bytes)?))
            })
            .collect::<Result<Vec<_>, Problem>>()?;
        shared.requests.events(told.len());
        self.lock().keep(begin, &told);
        all.extend(told);
        Ok(all)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Every change below is whole before the lock is given back.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.told.len() as u64)
    }

    fn is_older(&self, from: u64) -> bool {
        !self.told.is_empty() && from < self.first
    }

    fn between(&self, from: u64, end: u64) -> Option<Vec<Arc<Told>>> {
        if from < self.first || end > self.end() {
            return None;
        }
        let (skip, take) = (from - self.first, end.saturating_sub(from));
        let (skip, take) = (usize::try_from(skip).ok()?, usize::try_from(take).ok()?);
        Some(self.told.iter().skip(skip).take(take).cloned().collect())
    }

    /// Those from `from` on, up to `end`, that are kept.
    fn as_far_as(&self, from: u64, end: u64) -> Vec<Arc<Told>> {
        self.between(from, end.min(self.end())).unwrap_or_default()
    }

    /// Keeps what follows on what is kept. What lies beyond it takes its place; older records are nobody
    /// else's concern.
    fn keep(&mut self, from: u64, told: &[Arc<Told>]) {
        if self.is_older(from) {
            return;
        }
        if self.told.is_empty() || from > self.end() {
            *self = Self {
                first: from,
                ..Self::default()
            };
        }
        let known = usize::try_from(self.end() - from).unwrap_or(usize::MAX);
        for one in told.iter().skip(known) {
            self.bytes = self.bytes.saturating_add(one.event.len());
            self.told.push_back(Arc::clone(one));
        }
        while self.told.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.told.pop_front() else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(oldest.event.len());
            self.first = self.first.saturating_add(1);
        }
    }
}

fn told(index: Index, bytes: Vec<u8>) -> Result<Told, Problem> {
    let entry = Entry::from_bytes(bytes);
    let record = entry.read().map_err(|_| Problem::internal())?;
    let kind = record.kind().as_str();
    let mut value = json!({
        "exec": record.exec(), "index": index, "kind": kind,
        "record": predicate(entry.as_bytes()), "time": record.time(),
    });
    if let (Some(stage), Value::Object(members)) = (Stage::of(&record), &mut value) {
        members.insert("approval".to_owned(), stage.as_str().into());
    }
    let event = format!("id: {index}\nevent: {kind}\ndata: {value}\n\n").into();
    Ok(Told { record, event })
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_evidence::Ended;
    use placet_types::{Digest, ExecutionId, Millis};

    fn some(count: u64, bytes: usize) -> Vec<Arc<Told>> {
        let record = || {
            Record::Ended(Ended {
                cause: None,
                exec: ExecutionId::new([7; 16]),
                exit: None,
                intent: Digest::of(b"intent"),
                outcome: placet_evidence::RunEnd::Completed,
                time: Millis::new(1),
                usage: None,
            })
        };
        let told = |_| Told {
            record: record(),
            event: vec![b'x'; bytes].into(),
        };
        (0..count).map(|number| Arc::new(told(number))).collect()
    }

    #[test]
    fn what_is_kept_has_no_gap_and_a_bound() {
        let recent = Recent::default();
        assert!(recent.kept(0, 1).is_none());
        recent.lock().keep(100, &some(10, 1));
        assert_eq!(recent.kept(102, 110).unwrap().len(), 8);
        assert!(recent.kept(99, 101).is_none() && recent.kept(109, 111).is_none());
        let as_far_as = |from, end| recent.lock().as_far_as(from, end).len();
        assert_eq!((as_far_as(105, 120), as_far_as(105, 107)), (5, 2));
        assert_eq!(
            (as_far_as(99, 120), as_far_as(110, 120), as_far_as(200, 210)),
            (0, 0, 0)
        );
        // It overlaps with what is kept: none of it is kept twice.
        recent.lock().keep(105, &some(10, 1));
        assert_eq!(recent.kept(100, 115).unwrap().len(), 15);
        // Older ones change nothing.
        recent.lock().keep(50, &some(50, 1));
        assert!(recent.kept(99, 101).is_none());
        recent.lock().keep(115, &some(2_000, 1));
        assert_eq!(recent.lock().told.len(), KEPT_MAX);
        assert!(recent.kept(2_114, 2_115).is_some() && recent.kept(100, 101).is_none());
        // Beyond a gap it begins anew.
        recent.lock().keep(5_000, &some(1, 1));
        assert!(recent.kept(2_114, 2_115).is_none() && recent.kept(5_000, 5_001).is_some());
        recent.lock().keep(5_001, &some(100, KEPT_BYTES_MAX / 10));
        let kept = recent.lock();
        assert!(kept.bytes <= KEPT_BYTES_MAX && kept.told.len() == 10 && kept.end() == 5_101);
    }
}
