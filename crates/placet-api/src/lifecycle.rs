//! What the log says of bundles: which were put in force, and how often each policy of the one in force
//! determined a decision. A fold of the log, caught up when it is asked, in bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use placet_evidence::{Decided, Entry, PolicyActivated, Record};
use placet_log::LogReader;
use placet_types::{Digest, Index};

use crate::index::damaged;
use crate::problem::Problem;

/// Activations that are kept: the latest.
const KEPT_MAX: usize = 1000;
/// Records that are folded at a time before other readers get a turn.
const STEP: u64 = 1024;

/// The fold, behind a lock that readers take in turn.
#[derive(Debug, Default)]
pub(crate) struct LifecycleIndex {
    past: Mutex<Past>,
}

/// What was.
#[derive(Debug, Default)]
pub(crate) struct Past {
    next: Index,
    activations: VecDeque<(Index, PolicyActivated)>,
    bundle: Option<Digest>,
    decisions: u64,
    /// By id, for the bundle in force: as many as it has policies.
    determined: BTreeMap<String, Used>,
}

/// How often, and when last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) count: u64,
    pub(crate) last: Index,
}

impl LifecycleIndex {
    /// Looks at it as of now. May read the log: not for a thread that must not wait.
    pub(crate) fn look<R>(
        &self,
        reader: &LogReader,
        look: impl FnOnce(&Past) -> R,
    ) -> Result<R, Problem> {
        let size = reader.size();
        loop {
            let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
            if past.next >= size {
                return Ok(look(&past));
            }
            let to = Index::new(past.next.get().saturating_add(STEP)).min(size);
            for entry in reader.entries(past.next..to) {
                let (index, bytes) = entry?;
                let record = Entry::from_bytes(bytes).read().map_err(|_| damaged())?;
                past.apply(index, &record);
            }
        }
    }
}

impl Past {
    fn apply(&mut self, index: Index, record: &Record) {
        if let Record::Policy(activated) = record {
            if self.activations.len() == KEPT_MAX {
                self.activations.pop_front();
            }
            self.activations.push_back((index, activated.clone()));
            self.bundle = Some(activated.bundle);
            self.decisions = 0;
            self.determined.clear();
        } else if let Record::Decided(decided) = record {
            self.decided(index, decided);
        }
        self.next = index.next();
    }

    fn decided(&mut self, index: Index, decided: &Decided) {
        if decided.policy.bundle.is_none() || decided.policy.bundle != self.bundle {
            return;
        }
        self.decisions += 1;
        for id in &decided.policy.determining {
            let never = Used {
                count: 0,
                last: index,
            };
            let used = self.determined.entry(id.clone()).or_insert(never);
            used.count += 1;
            used.last = index;
        }
    }

    /// Every activation that is kept, in log order.
    pub(crate) fn activations(&self) -> impl DoubleEndedIterator<Item = &(Index, PolicyActivated)> {
        self.activations.iter()
    }

    /// Decisions under this bundle since it came into force.
    pub(crate) fn decisions(&self, bundle: Digest) -> u64 {
        if self.bundle == Some(bundle) {
            self.decisions
        } else {
            0
        }
    }

    /// How often a policy of this bundle determined one.
    pub(crate) fn determined(&self, bundle: Digest, id: &str) -> Option<Used> {
        let own = self.bundle == Some(bundle);
        self.determined.get(id).copied().filter(|_| own)
    }
}
