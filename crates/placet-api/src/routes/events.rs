//! The event stream: records as they become durable, in order, from any index on.
//!
//! What all streams together do in a second is bounded: the more there are, the longer each waits
//! between two steps, and the more it sends in one. A reader that does not read is waited for, at most
//! as long as connections are; it goes on later with the last index that it saw.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::CACHE_CONTROL;
use hyper::{Response, StatusCode};
use placet_evidence::Record;
use placet_types::ExecutionId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::approving::Approver;
use super::lines::{filtered, text};
use crate::call::{Answer, Call, Sees, Shared};
use crate::first::{First, first, unless_stopped};
use crate::problem::Problem;
use crate::recent::Told;
use crate::reply::{self, Body};
use crate::route::{Access, Route};

/// Records that are read at a time.
const STEP: u64 = 64;
/// Events that wait for a slow reader, shared with every other; past that, it is waited for.
const AHEAD: usize = 16;
/// Steps that all streams together may take in a second.
const STEPS_PER_SEC: u64 = 20_000;
/// A gap between two steps that is shorter than this is none.
const GAP_MIN: Duration = Duration::from_millis(5);
/// A stream on which nothing happens says so this often, so that both ends know of each other.
const QUIET: Duration = Duration::from_secs(15);

/// The routes of the stream of events.
pub(super) fn lines() -> Vec<Route> {
    vec![filtered(
        text(
            "/v1/events",
            Access::Member,
            stream,
            "events",
            "Records as they become durable; resumes after Last-Event-ID",
            "text/event-stream",
        ),
        &[(
            "from",
            "begin with the record of this index (default: with the next one)",
        )],
    )]
}

/// Streams records.
fn stream(call: Call) -> Answer {
    Box::pin(async move {
        let next = begin(&call)?;
        let full = || Problem::overloaded("too many event streams at once");
        let room = Arc::clone(&call.shared.room.streams);
        let room = room.try_acquire_owned().map_err(|_| full())?;
        let (sender, pieces) = mpsc::channel(AHEAD);
        let approver = Approver::new(call.identity.clone());
        let follower = Follower {
            sees: call.sees(),
            shared: call.shared,
            identity: call.identity,
            next,
            approver,
            pieces: sender,
            _room: room,
        };
        tokio::spawn(follower.run());
        let mut reply = Response::new(Body::Pieces(pieces));
        *reply.status_mut() = StatusCode::OK;
        reply::set(&mut reply, hyper::header::CONTENT_TYPE, "text/event-stream");
        reply::set(&mut reply, CACHE_CONTROL, "no-store");
        Ok(reply)
    })
}

/// After the last event that the client has seen, else where it asks to begin, else with the next.
fn begin(call: &Call) -> Result<u64, Problem> {
    let size = call.service().authority().reader().size().get();
    let last = call.headers.get("last-event-id");
    let next = match last {
        Some(last) => {
            let last = last.to_str().ok().and_then(|last| last.parse::<u64>().ok());
            let odd = || Problem::malformed("Last-Event-ID is the index of a record");
            last.ok_or_else(odd)?.saturating_add(1)
        }
        None => call.query.get("from")?.unwrap_or(size),
    };
    if next > size {
        return Err(Problem::malformed(format!(
            "the log has only {size} records"
        )));
    }
    Ok(next)
}

struct Follower {
    shared: Arc<Shared>,
    identity: crate::identity::Identity,
    sees: Sees,
    next: u64,
    approver: Approver,
    pieces: mpsc::Sender<Bytes>,
    _room: OwnedSemaphorePermit,
}

impl Follower {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        shared.requests.streams.fetch_add(1, Ordering::Relaxed);
        // A first piece at once: the client then knows that it listens.
        if self.send(Bytes::from_static(b": placet\n\n")).await {
            self.follow().await;
        }
        shared.requests.streams.fetch_sub(1, Ordering::Relaxed);
    }

    async fn follow(&mut self) {
        let mut size = self.shared.size.clone();
        let stopping = self.shared.stopping.clone();
        loop {
            let known = *size.borrow_and_update();
            while self.next < known {
                if !self.step(known).await || !self.gap(&stopping).await {
                    return;
                }
            }
            let grown = first(timeout(QUIET, size.changed()), self.pieces.closed());
            let Some(First::This(grown)) = unless_stopped(&stopping, grown).await else {
                return;
            };
            match grown {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    // Who was suspended meanwhile sees no more.
                    if !self.still_allowed() || !self.send(Bytes::from_static(b":\n\n")).await {
                        return;
                    }
                }
            }
        }
    }

    /// Lets the other streams have their steps. Whether it may go on.
    async fn gap(&self, stopping: &watch::Receiver<bool>) -> bool {
        let streams = self.shared.requests.streams.load(Ordering::Relaxed);
        let gap = Duration::from_micros(streams.saturating_mul(1_000_000) / STEPS_PER_SEC);
        if gap < GAP_MIN {
            return true;
        }
        let waited = first(sleep(gap), self.pieces.closed());
        matches!(
            unless_stopped(stopping, waited).await,
            Some(First::This(()))
        )
    }

    /// Sends the next records. Whether it may go on.
    async fn step(&mut self, known: u64) -> bool {
        if !self.still_allowed() {
            return false;
        }
        let end = known.min(self.next.saturating_add(STEP));
        let Some(told) = self.told(end).await else {
            return false;
        };
        let Ok(seen) = self.seen(told).await else {
            return false;
        };
        self.next = end;
        for event in seen {
            if !self.send(event).await {
                return false;
            }
        }
        true
    }

    /// The records up to `end`, made at most once for all who keep up.
    async fn told(&self, end: u64) -> Option<Vec<Arc<Told>>> {
        let (recent, from) = (&self.shared.recent, self.next);
        if let Some(told) = recent.kept(from, end) {
            return Some(told);
        }
        let _turn = recent.turn(from).await?;
        // Those who waited for the same turn find them made.
        if let Some(told) = recent.kept(from, end) {
            return Some(told);
        }
        let shared = Arc::clone(&self.shared);
        let make = move || shared.recent.make(&shared, from, end);
        tokio::task::spawn_blocking(make).await.ok()?.ok()
    }

    /// The events of those that the caller may see.
    async fn seen(&mut self, told: Vec<Arc<Told>>) -> Result<Vec<Bytes>, Problem> {
        let (shared, sees) = (Arc::clone(&self.shared), self.sees.clone());
        if matches!(sees, Sees::Everything) {
            // Nothing is asked of the disk.
            return seen(&shared, &told, &sees, &mut self.approver);
        }
        let empty = Approver::new(self.identity.clone());
        let mut approver = std::mem::replace(&mut self.approver, empty);
        let looked = tokio::task::spawn_blocking(move || {
            let seen = seen(&shared, &told, &sees, &mut approver);
            (seen, approver)
        });
        let (seen, approver) = looked.await.map_err(|_| Problem::internal())?;
        self.approver = approver;
        seen
    }

    /// Looks again at who the caller is: a stream may last longer than its principal.
    fn still_allowed(&mut self) -> bool {
        let service = &self.shared.service;
        if !self.identity.counts_at(service.clock().wall()) {
            return false;
        }
        let authority = service.authority();
        self.sees = authority.with_access(|access| Sees::of(&self.identity, access));
        !matches!(&self.sees, Sees::Only(own) if own.is_empty())
    }

    async fn send(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }
}

fn seen(
    shared: &Shared,
    told: &[Arc<Told>],
    sees: &Sees,
    approver: &mut Approver,
) -> Result<Vec<Bytes>, Problem> {
    let mut events = Vec::with_capacity(told.len());
    for one in told {
        // Asked of every record: what it is asked about now, it is told the end of later.
        let is_asked = approver.is_asked(shared, &one.record);
        if is_seen(shared, &one.record, sees)? || is_asked {
            events.push(one.event.clone());
        }
    }
    Ok(events)
}

/// Operators and auditors see every record; others those about executions of their own.
fn is_seen(shared: &Shared, record: &Record, sees: &Sees) -> Result<bool, Problem> {
    if matches!(sees, Sees::Everything) {
        return Ok(true);
    }
    if let Record::Decided(decided) = record {
        return Ok(sees.principal(&decided.intent.principal));
    }
    let Some(exec) = record.exec() else {
        return Ok(false);
    };
    owner(shared, exec, sees)
}

fn owner(shared: &Shared, exec: ExecutionId, sees: &Sees) -> Result<bool, Problem> {
    let reader = shared.service.authority().reader();
    shared.lineage.look(&reader, |graph| {
        let node = graph.get(&exec);
        node.is_some_and(|node| sees.principal(&node.principal))
    })
}
