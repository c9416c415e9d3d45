//! The event stream: records as they become durable, in order, from any index on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::CACHE_CONTROL;
use hyper::{Response, StatusCode};
use placet_evidence::{Entry, Record};
use placet_types::{ExecutionId, Index};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::approving::{Approver, Stage};
use super::decisions::predicate;
use crate::call::{Answer, Call, Sees, Shared};
use crate::first::{First, first, unless_stopped};
use crate::problem::Problem;
use crate::reply::{self, Body};

/// Records that are read at a time.
const STEP: u64 = 64;
/// Pieces that wait for a slow reader; past that, it is waited for.
const AHEAD: usize = 4;
/// A stream on which nothing happens says so this often, so that both ends know of each other.
const QUIET: Duration = Duration::from_secs(15);

/// Streams records.
pub(super) fn stream(call: Call) -> Answer {
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
                if !self.step(known).await {
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

    /// Sends the next records. Whether it may go on.
    async fn step(&mut self, known: u64) -> bool {
        if !self.still_allowed() {
            return false;
        }
        let end = known.min(self.next.saturating_add(STEP));
        let (from, sees) = (self.next, self.sees.clone());
        let shared = Arc::clone(&self.shared);
        let empty = Approver::new(self.identity.clone());
        let mut approver = std::mem::replace(&mut self.approver, empty);
        let rendered = tokio::task::spawn_blocking(move || {
            let text = render(&shared, (from, end), &sees, &mut approver);
            (text, approver)
        });
        let Ok((Ok(text), approver)) = rendered.await else {
            return false;
        };
        self.approver = approver;
        self.next = end;
        text.is_empty() || self.send(text.into()).await
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

fn render(
    shared: &Shared,
    (from, end): (u64, u64),
    sees: &Sees,
    approver: &mut Approver,
) -> Result<String, Problem> {
    let reader = shared.service.authority().reader();
    let mut text = String::new();
    for entry in reader.entries(Index::new(from)..Index::new(end)) {
        let (index, bytes) = entry?;
        let entry = Entry::from_bytes(bytes);
        let Ok(record) = entry.read() else {
            return Err(Problem::internal());
        };
        // Asked of every record: what it is asked about now, it is told the end of later.
        let is_asked = approver.is_asked(shared, &record);
        if !is_seen(shared, &record, sees)? && !is_asked {
            continue;
        }
        let kind = record.kind().as_str();
        let mut value = json!({
            "exec": record.exec(), "index": index, "kind": kind,
            "record": predicate(entry.as_bytes()), "time": record.time(),
        });
        if let (Some(stage), Value::Object(members)) = (Stage::of(&record), &mut value) {
            members.insert("approval".to_owned(), stage.as_str().into());
        }
        text.push_str(&format!("id: {index}\nevent: {kind}\ndata: {value}\n\n"));
    }
    Ok(text)
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
