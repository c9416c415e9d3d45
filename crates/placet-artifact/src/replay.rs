//! An artifact counts once.
//!
//! The guard here remembers names in memory, for as long as their windows last, and no more of them
//! than it was made for. It forgets when the process ends: a gateway that must survive a restart
//! brings a guard of its own, or lets the log say that the execution has started.

use std::collections::{BTreeMap, BTreeSet};

use placet_types::{Index, Millis};

use crate::claims::ArtifactId;

/// Remembers which artifacts have been used.
pub trait ReplayGuard {
    /// Uses up an artifact, whose decision stands at this index of the log. `until` is when the last verifier stops
    /// accepting it.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when this is not surely the first use.
    fn use_up(
        &mut self,
        used: (ArtifactId, Index),
        until: Millis,
        now: Millis,
    ) -> Result<(), ReplayError>;
}

/// Why an artifact cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It has been used.
    #[error("the artifact has been used already")]
    Replayed,
    /// Its window was over at a time that this guard has seen: it may have been used and forgotten.
    #[error("the artifact's window was over before, by a clock that has gone back since")]
    Forgotten,
    /// The guard remembers as many live artifacts as it can.
    #[error("the replay guard is full")]
    Full,
}

/// A guard in memory, bounded.
#[derive(Clone, Debug)]
pub struct MemoryGuard {
    capacity: usize,
    latest: Millis,
    used: BTreeMap<ArtifactId, Millis>,
    by_end: BTreeSet<(Millis, ArtifactId)>,
}

/// A guard for a gateway that is given its permits in the order of the log: each must be newer than every one
/// that was used. It takes no memory, however many there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderGuard {
    newest: Option<Index>,
}

impl ReplayGuard for OrderGuard {
    fn use_up(
        &mut self,
        (_, at): (ArtifactId, Index),
        _: Millis,
        _: Millis,
    ) -> Result<(), ReplayError> {
        if self.newest.is_some_and(|newest| at <= newest) {
            return Err(ReplayError::Replayed);
        }
        self.newest = Some(at);
        Ok(())
    }
}

impl MemoryGuard {
    /// A guard that remembers at most `capacity` live artifacts, at about 100 bytes each.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            latest: Millis::new(0),
            used: BTreeMap::new(),
            by_end: BTreeSet::new(),
        }
    }

    /// How many artifacts are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    fn forget_ended(&mut self) {
        while let Some((until, id)) = self.by_end.first().copied() {
            if until > self.latest {
                return;
            }
            self.by_end.remove(&(until, id));
            self.used.remove(&id);
        }
    }
}

impl ReplayGuard for MemoryGuard {
    fn use_up(
        &mut self,
        (id, _): (ArtifactId, Index),
        until: Millis,
        now: Millis,
    ) -> Result<(), ReplayError> {
        // The latest time seen counts: a clock that goes back must not revive what was forgotten.
        self.latest = self.latest.max(now);
        self.forget_ended();
        if until <= self.latest {
            return Err(ReplayError::Forgotten);
        }
        if self.used.contains_key(&id) {
            return Err(ReplayError::Replayed);
        }
        if self.used.len() >= self.capacity {
            return Err(ReplayError::Full);
        }
        self.used.insert(id, until);
        self.by_end.insert((until, id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use placet_types::ExecutionId;

    use super::*;

    fn id(byte: u8) -> (ArtifactId, Index) {
        let id = ArtifactId::of(ExecutionId::new([byte; 16]));
        (id, Index::new(u64::from(byte)))
    }

    #[test]
    fn in_log_order_nothing_counts_that_is_not_newer_than_all_before() {
        let mut guard = OrderGuard::default();
        let mut used = |byte| guard.use_up(id(byte), at(100), at(10));
        assert_eq!([used(2), used(5)], [Ok(()), Ok(())]);
        for byte in [5, 2, 3] {
            assert_eq!(used(byte), Err(ReplayError::Replayed));
        }
        assert_eq!(used(6), Ok(()));
    }

    const fn at(millis: u64) -> Millis {
        Millis::new(millis)
    }

    #[test]
    fn an_artifact_is_used_once_within_its_window() {
        let mut guard = MemoryGuard::new(8);
        assert_eq!(guard.use_up(id(1), at(100), at(10)), Ok(()));
        assert_eq!(
            guard.use_up(id(1), at(100), at(99)),
            Err(ReplayError::Replayed)
        );
        assert_eq!(guard.use_up(id(2), at(100), at(99)), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_revives_nothing() {
        let mut guard = MemoryGuard::new(8);
        guard.use_up(id(1), at(100), at(10)).unwrap();
        guard.use_up(id(2), at(500), at(200)).unwrap();
        assert_eq!(guard.len(), 1, "the first one's window is over");
        assert_eq!(
            guard.use_up(id(1), at(100), at(10)),
            Err(ReplayError::Forgotten)
        );
    }

    #[test]
    fn a_full_guard_refuses_and_never_forgets_a_live_artifact() {
        let mut guard = MemoryGuard::new(2);
        guard.use_up(id(1), at(100), at(0)).unwrap();
        guard.use_up(id(2), at(200), at(0)).unwrap();
        assert_eq!(guard.use_up(id(3), at(300), at(0)), Err(ReplayError::Full));
        assert_eq!(
            guard.use_up(id(1), at(100), at(0)),
            Err(ReplayError::Replayed)
        );
        assert_eq!(guard.use_up(id(3), at(300), at(100)), Ok(()));
        assert_eq!(
            guard.use_up(id(2), at(200), at(100)),
            Err(ReplayError::Replayed)
        );
    }
}
