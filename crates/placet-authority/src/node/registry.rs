//! Which connection carries which execution, and since when one carries none.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_secrets::Secret;
use placet_types::{DenialCode, Digest, ExecutionId, Index};

use super::wire::{self, Response};

/// Beyond the lease: how much longer an orphan is given before its end is recorded.
pub(super) const ORPHAN_MARGIN: Duration = Duration::from_secs(1);

/// The writing half of a connection. Frames of the handler and pushes take turns.
#[derive(Debug)]
pub(super) struct Outlet {
    stream: Mutex<UnixStream>,
}

/// Executions, authorized or running, and the connections of their gateways.
#[derive(Debug, Default)]
pub(super) struct Registry {
    carried: Mutex<BTreeMap<ExecutionId, Arc<Outlet>>>,
    /// Executions whose gateways hold them by renewing, and when they last did on the monotonic clock.
    held: Mutex<BTreeMap<ExecutionId, Duration>>,
    /// When their windows are over, on the monotonic clock: a wall clock that is set back prolongs none.
    windows: Mutex<BTreeMap<ExecutionId, Duration>>,
    /// Executions that no connection carries, and since when on the monotonic clock.
    orphans: Mutex<BTreeMap<ExecutionId, Duration>>,
}

/// What carried an execution before a connection took it up.
#[derive(Debug, Default)]
pub(super) struct Carrier {
    carried: Option<Arc<Outlet>>,
    held: Option<Duration>,
}

impl Carrier {
    /// The connection itself, where a start comes from the one that carries the execution already.
    pub(super) fn of(outlet: &Arc<Outlet>) -> Self {
        Self {
            carried: Some(Arc::clone(outlet)),
            held: None,
        }
    }

    /// Whether somebody else did.
    pub(super) fn is_other_than(&self, outlet: &Arc<Outlet>) -> bool {
        let other = self.carried.as_ref();
        self.held.is_some() || other.is_some_and(|other| !Arc::ptr_eq(other, outlet))
    }
}

impl Outlet {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream: Mutex::new(stream),
        }
    }

    /// Writes one frame. A peer that does not read loses its connection, and with it its lease.
    pub(super) fn send(&self, response: &Response) -> std::io::Result<()> {
        self.send_with(response, &[])
    }
}

impl Outlet {
    /// Writes one frame and what follows it, with nothing in between.
    pub(super) fn send_with(
        &self,
        response: &Response,
        following: &[Secret],
    ) -> std::io::Result<()> {
        let frame = wire::encode(response)?;
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let written = stream.write_all(&frame).and_then(|()| {
            following
                .iter()
                .try_for_each(|secret| stream.write_all(secret.expose()))
        });
        if written.is_err() {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
        written
    }
}

impl Registry {
    /// Whether this connection carries the execution: its permit was answered here.
    pub(super) fn carries(&self, outlet: &Arc<Outlet>, exec: ExecutionId) -> bool {
        let carried = self.carried();
        carried
            .get(&exec)
            .is_some_and(|other| Arc::ptr_eq(other, outlet))
    }

    fn carried(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, Arc<Outlet>>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orphans(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, Duration>> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, Duration>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A gateway without a connection of its own says that it is there. Where a connection carries the
    /// execution, that connection counts.
    pub(super) fn hold(&self, exec: ExecutionId, now: Duration) {
        if !self.carried().contains_key(&exec) {
            self.held().insert(exec, now);
            self.orphans().remove(&exec);
        }
    }

    /// Whether the window of an execution is over at `now`, on the monotonic clock. Who asks first says
    /// how much was left of it then.
    pub(super) fn is_past_window(&self, exec: ExecutionId, now: Duration, left: Duration) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        now >= *windows
            .entry(exec)
            .or_insert_with(|| now.saturating_add(left))
    }

    /// Forgets holds and windows of what is over.
    pub(super) fn keep_held(&self, is_open: impl Fn(&ExecutionId) -> bool) {
        self.held().retain(|exec, _| is_open(exec));
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|exec, _| is_open(exec));
    }

    /// This connection carries the execution from now on. Gives what carried it before.
    pub(super) fn attach(&self, exec: ExecutionId, outlet: &Arc<Outlet>) -> Carrier {
        let held = self.held().remove(&exec);
        self.orphans().remove(&exec);
        let carried = self.carried().insert(exec, Arc::clone(outlet));
        Carrier { carried, held }
    }

    /// The connection was not to carry it after all: what carried it before does so again.
    pub(super) fn put_back(&self, exec: ExecutionId, outlet: &Arc<Outlet>, before: Carrier) {
        let mut all = self.carried();
        // Somebody else may have taken it up meanwhile.
        if all.get(&exec).is_none_or(|now| !Arc::ptr_eq(now, outlet)) {
            return;
        }
        match before.carried {
            Some(carrier) => {
                all.insert(exec, carrier);
            }
            None => {
                all.remove(&exec);
            }
        }
        if let Some(renewed) = before.held {
            self.held().insert(exec, renewed);
        }
    }

    /// The execution is over.
    pub(super) fn forget(&self, exec: ExecutionId) {
        self.carried().remove(&exec);
        self.held().remove(&exec);
        self.orphans().remove(&exec);
    }

    /// The connection is gone: what it carried is orphaned from now on.
    pub(super) fn drop_outlet(&self, outlet: &Arc<Outlet>, now: Duration) {
        let mut carried = self.carried();
        let lost: Vec<_> = carried
            .iter()
            .filter(|(_, other)| Arc::ptr_eq(other, outlet))
            .map(|(exec, _)| *exec)
            .collect();
        for exec in lost {
            carried.remove(&exec);
            self.orphans().insert(exec, now);
        }
    }

    /// Pushes the order to end. Delivered or not, the lease ends what does not hear it.
    pub(super) fn end(&self, exec: ExecutionId, cause: DenialCode) {
        let outlet = self.carried().get(&exec).cloned();
        if let Some(outlet) = outlet {
            drop(outlet.send(&Response::Ending { cause, exec }));
        }
    }

    /// Renews every lease whose gateway listens, and asks for another attestation where one of its executions is due.
    pub(super) fn beat(
        &self,
        (size, active): (Index, Option<Digest>),
        age: Duration,
        due: &BTreeSet<ExecutionId>,
    ) {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mut outlets: Vec<(Arc<Outlet>, bool)> = self
            .carried()
            .iter()
            .map(|(exec, outlet)| (Arc::clone(outlet), due.contains(exec)))
            .collect();
        // Of each, the entry that is due comes first and stays.
        outlets.sort_by_key(|(outlet, due)| (Arc::as_ptr(outlet) as usize, !due));
        outlets.dedup_by(|(a, _), (b, _)| Arc::ptr_eq(a, b));
        for (outlet, attest) in outlets {
            drop(outlet.send(&Response::Beat {
                active,
                age_ms,
                attest,
                size,
            }));
        }
    }

    /// What a connection carries.
    pub(super) fn carried_by(&self, outlet: &Arc<Outlet>) -> Vec<ExecutionId> {
        let carried = self.carried();
        let own = carried
            .iter()
            .filter(|(_, other)| Arc::ptr_eq(other, outlet));
        own.map(|(exec, _)| *exec).collect()
    }

    /// Whether any gateway waits for beats, or renews.
    pub(super) fn is_carrying(&self) -> bool {
        !self.carried().is_empty() || !self.held().is_empty()
    }

    /// Whether nobody has carried this execution for as long as a gateway takes to come back, or to
    /// renew.
    pub(super) fn is_abandoned(&self, exec: ExecutionId, lease: Duration, now: Duration) -> bool {
        let patience = if self.held().contains_key(&exec) {
            lease + ORPHAN_MARGIN
        } else {
            ORPHAN_MARGIN
        };
        self.orphaned_since(exec, now)
            .is_some_and(|since| now.saturating_sub(since) >= patience)
    }

    /// Since when nobody carries this execution: since its last renewal, where it is held by renewing;
    /// counts from now when it was not known.
    pub(super) fn orphaned_since(&self, exec: ExecutionId, now: Duration) -> Option<Duration> {
        if self.carried().contains_key(&exec) {
            return None;
        }
        if let Some(renewed) = self.held().get(&exec) {
            return Some(*renewed);
        }
        Some(*self.orphans().entry(exec).or_insert(now))
    }
}
