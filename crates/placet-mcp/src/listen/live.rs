//! One session: its lines on one side, the streams of its client on the other.
//!
//! What answers a request goes to the stream of that request; anything else to the stream that it belongs to. A
//! stream that breaks keeps its events for a while, so that it can be taken up.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::{Response, StatusCode};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};
use tokio::time::{Instant, timeout};

use super::answer::{Body, Events, empty, events, json};
use super::caller::Caller;
use super::posted::Posted;
use super::refusal::{INVALID, Refusal};
use super::streams::{Asked, Next, NoStream, OWN, Reader, Streams};
use super::{Ends, readdress};
use crate::emit;
use crate::frame::{Answer, Bounds, Frame, Kind, OwnedId, member, members, text_of};
use crate::remote::unless_over;

/// How long an answer is waited for before it becomes a stream.
const SOON: Duration = Duration::from_secs(5);
/// How long a session may take to read a line.
const READ: Duration = Duration::from_secs(30);
/// How often it is looked whether a client has read.
const LOOK: Duration = Duration::from_secs(1);
/// The first revision whose streams begin by saying where they can be taken up.
const PRIMED: &str = "2025-11-25";
/// What such a stream begins with, behind its place.
const PRIME: &str = "";

/// A session that a client speaks to.
pub(super) struct Live {
    caller: Caller,
    /// Whether what is there at once and alone is a stream as well.
    streams: bool,
    to: AsyncMutex<Option<Sender>>,
    state: Mutex<State>,
    /// Told when somebody has read.
    is_read: Notify,
    over: watch::Sender<bool>,
}

struct State {
    streams: Streams,
    used: Instant,
    /// Requests without sessions, so far.
    alone: u64,
    /// The `initialize` that is not answered yet, and the revision that was chosen.
    opening: Option<OwnedId>,
    is_refused: bool,
    version: Option<String>,
}

impl Live {
    pub(super) fn new(ends: Ends, caller: Caller, streams: bool) -> io::Result<Arc<Self>> {
        let to = Sender::from_owned_fd(ends.to.into())?;
        let from = Receiver::from_owned_fd(ends.from.into())?;
        let live = Arc::new(Self {
            caller,
            streams,
            to: AsyncMutex::new(Some(to)),
            state: Mutex::new(State {
                streams: Streams::default(),
                used: Instant::now(),
                alone: 0,
                opening: None,
                is_refused: false,
                version: None,
            }),
            is_read: Notify::new(),
            over: watch::channel(false).0,
        });
        tokio::spawn(Arc::clone(&live).carry(from));
        Ok(live)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_of(&self, caller: &Caller) -> bool {
        self.caller == *caller
    }

    /// Whether its `initialize` was answered with an error: nothing will come of it.
    pub(super) fn is_refused(&self) -> bool {
        self.state().is_refused
    }

    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// How long nothing was asked and nobody listens.
    pub(super) fn idle_for(&self) -> Duration {
        let mut state = self.state();
        if state.streams.is_in_use() {
            state.used = Instant::now();
        }
        state.used.elapsed()
    }

    /// Ends it: its streams end, and what is behind it sees that its client is gone.
    pub(super) fn close(self: &Arc<Self>) {
        self.over.send_replace(true);
        self.state().streams.close();
        let live = Arc::clone(self);
        tokio::spawn(async move { drop(live.to.lock().await.take()) });
    }

    /// Carries what the session says to streams, until it says no more.
    async fn carry(self: Arc<Self>, from: Receiver) {
        let mut from = BufReader::with_capacity(64 << 10, from);
        let mut over = self.over.subscribe();
        loop {
            let line = unless_over(&mut over, line(&mut from)).await;
            let Some(Some(line)) = line else { break };
            self.deliver(&line);
            while !self.state().streams.make_room() && !self.is_over() {
                drop(timeout(LOOK, self.is_read.notified()).await);
            }
        }
        self.close();
    }

    /// Asks, and gives the answer: one message if it comes soon and alone, else a stream.
    pub(super) async fn ask(
        self: &Arc<Self>,
        posted: Posted,
        good_for: Option<Duration>,
    ) -> Result<Response<Body>, Refusal> {
        let id = posted.id.ok_or_else(asks_nothing)?;
        if posted.method.as_deref() == Some("initialize") {
            self.state().opening = Some(id.clone());
        }
        let reader = self.open(Asked {
            id: id.clone(),
            original: None,
            token: posted.token,
        })?;
        let body = Events::new(Arc::clone(self), reader, None).good_for(good_for);
        self.put(posted.text, &id).await?;
        self.answered(reader, body, false).await
    }

    /// Asks for a client without a session, under an id and a token of the gateway's own.
    pub(super) async fn ask_alone(
        self: &Arc<Self>,
        posted: Posted,
        good_for: Option<Duration>,
    ) -> Result<Response<Body>, Refusal> {
        let id = posted.id.ok_or_else(asks_nothing)?;
        let own = {
            let mut state = self.state();
            state.alone = state.alone.saturating_add(1);
            OwnedId::text(&format!("alone-{}", state.alone))
        };
        let text = readdress::request(&posted.text, &own).ok_or_else(|| {
            let why = "members of the envelope that JSON-RPC does not know";
            Refusal::new(StatusCode::BAD_REQUEST, INVALID, why).of(Some(id.clone()))
        })?;
        let reader = self.open(Asked {
            id: own.clone(),
            original: Some(id),
            token: posted.token,
        })?;
        let body = Events::new(Arc::clone(self), reader, None)
            .good_for(good_for)
            .giving_up();
        self.put(text, &own).await?;
        self.answered(reader, body, true).await
    }

    /// Passes on what has no answer.
    pub(super) async fn say(self: &Arc<Self>, posted: Posted) -> Result<Response<Body>, Refusal> {
        self.state().used = Instant::now();
        self.write(posted.text).await?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    fn open(&self, asked: Asked) -> Result<Reader, Refusal> {
        let id = asked.original.clone().unwrap_or_else(|| asked.id.clone());
        let mut state = self.state();
        state.used = Instant::now();
        state.streams.open(asked).map_err(|why| match why {
            NoStream::TooMany => Refusal::busy("too many requests are open").of(Some(id)),
            NoStream::InUse | NoStream::Unknown | NoStream::Heard => {
                let why = "the id is that of a request that is not answered yet";
                Refusal::new(StatusCode::BAD_REQUEST, INVALID, why).of(Some(id))
            }
        })
    }

    /// Hands a request to the session; without that, nothing waits for its answer.
    async fn put(self: &Arc<Self>, text: String, id: &OwnedId) -> Result<(), Refusal> {
        let written = self.write(text).await;
        if written.is_err() {
            let mut state = self.state();
            if let Some((number, _)) = state.streams.answered(id) {
                state.streams.give_up(number);
            }
        }
        written
    }

    /// Hands a line to the session. It is written as a whole, whatever becomes of the request.
    async fn write(self: &Arc<Self>, mut text: String) -> Result<(), Refusal> {
        text.push('\n');
        let live = Arc::clone(self);
        let writing = tokio::spawn(async move {
            let mut over = live.over.subscribe();
            let mut to = live.to.lock().await;
            let Some(pipe) = to.as_mut() else {
                return false;
            };
            let written = unless_over(&mut over, pipe.write_all(text.as_bytes())).await;
            matches!(written, Some(Ok(())))
        });
        match timeout(READ, writing).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false) | Err(_)) => Err(Refusal::over()),
            Err(_) => Err(Refusal::busy("the session does not read")),
        }
    }

    async fn answered(
        self: &Arc<Self>,
        reader: Reader,
        body: Events,
        is_alone: bool,
    ) -> Result<Response<Body>, Refusal> {
        let first = poll_fn(|context| {
            let is_there = self.state().streams.has_next(&reader, context.waker());
            if is_there {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        drop(timeout(SOON, first).await);
        let status = |text: &str| {
            if is_alone {
                readdress::status(text)
            } else {
                StatusCode::OK
            }
        };
        // A stream has one status: whatever needs another is none.
        let is_wanted = |text: &str| !self.streams || status(text) != StatusCode::OK;
        let (only, is_primed) = {
            let mut state = self.state();
            let version = state.version.as_deref();
            let is_primed = !is_alone && version.is_some_and(|version| version >= PRIMED);
            (state.streams.only(&reader, is_wanted), is_primed)
        };
        if let Some(text) = only {
            return Ok(json(status(&text), text));
        }
        if self.is_over() {
            return Err(Refusal::over());
        }
        Ok(events(body.primed(is_primed.then(|| prime(&reader)))))
    }

    /// The stream of the session; or one that broke, from where it did.
    pub(super) fn hear(
        self: &Arc<Self>,
        last: Option<&str>,
        good_for: Option<Duration>,
    ) -> Result<Response<Body>, Refusal> {
        let unknown = || {
            let why = "that stream is not kept, or does not reach back so far";
            Refusal::new(StatusCode::BAD_REQUEST, INVALID, why)
        };
        let (number, after) = match last {
            None => (OWN, None),
            Some(last) => {
                let (stream, event) = last.split_once('-').ok_or_else(unknown)?;
                let number = |text: &str| text.parse::<u64>().map_err(|_| unknown());
                (number(stream)?, Some(number(event)?))
            }
        };
        let (reader, version) = {
            let mut state = self.state();
            state.used = Instant::now();
            let taken = state.streams.take_up(number, after);
            let reader = taken.map_err(|why| match why {
                NoStream::Heard => {
                    let why = "somebody hears this stream";
                    Refusal::new(StatusCode::CONFLICT, INVALID, why)
                }
                NoStream::Unknown | NoStream::InUse | NoStream::TooMany => unknown(),
            })?;
            (reader, state.version.clone())
        };
        let is_primed = after.is_none() && version.is_some_and(|it| it.as_str() >= PRIMED);
        let body = Events::new(Arc::clone(self), reader, is_primed.then(|| prime(&reader)));
        Ok(events(body.good_for(good_for)))
    }

    /// What a stream says next to somebody who hears it.
    pub(super) fn next(&self, reader: &mut Reader, context: &Context<'_>) -> Next {
        let next = self.state().streams.next(reader, context.waker());
        if matches!(next, Next::Event(_)) {
            self.is_read.notify_one();
        }
        next
    }

    /// Somebody hears a stream no more. Without a session, what was asked on it is given up.
    pub(super) fn left(self: &Arc<Self>, reader: &Reader, gives_up: bool) {
        let given_up = {
            let mut state = self.state();
            state.streams.left(reader);
            state.used = Instant::now();
            gives_up.then(|| state.streams.give_up(reader.stream))
        };
        self.is_read.notify_one();
        if let Some(Some(id)) = given_up {
            let params = emit::object([("requestId", id.as_str())]);
            let text = emit::notification("notifications/cancelled", Some(&params));
            let live = Arc::clone(self);
            // A session that is over has given it up by itself.
            tokio::spawn(async move { drop(live.write(text).await) });
        }
    }

    /// A line of the session goes to the stream that it belongs to.
    fn deliver(&self, bytes: &[u8]) {
        let bounds = Bounds {
            bytes_max: usize::MAX,
            depth_max: Bounds::ANSWER.depth_max.saturating_add(4),
        };
        let Ok(frame) = Frame::parse(bytes, bounds) else {
            return;
        };
        let mut state = self.state();
        match &frame.kind {
            Kind::Answer {
                id: Some(id),
                answer,
            } => state.answer(&frame, &id.to_owned(), *answer),
            Kind::Answer { id: None, .. } => {}
            Kind::Request { .. } => {
                let number = state.streams.related(|_| false);
                state.streams.say(number, emit::frame(&frame), false);
            }
            Kind::Notification { method, params } => {
                let about = readdress::about(*params);
                let number = state.streams.related(|asked| about.is_of(asked));
                let asked = state.streams.asked(number);
                let params = readdress::notified(*params, asked);
                state
                    .streams
                    .say(number, emit::notification(method, params.as_deref()), false);
            }
        }
    }
}

impl State {
    fn answer(&mut self, frame: &Frame<'_>, id: &OwnedId, answer: Answer<'_>) {
        if self.opening.as_ref() == Some(id) {
            self.opening = None;
            self.is_refused = matches!(answer, Answer::Error(_));
            self.version = match answer {
                Answer::Result(result) => members(result).ok().and_then(|result| {
                    text_of(member(&result, "protocolVersion")?).map(Into::into)
                }),
                Answer::Error(_) => None,
            };
        }
        let Some((number, original)) = self.streams.answered(id) else {
            return;
        };
        let text = match (original, answer) {
            (None, _) => emit::frame(frame),
            (Some(original), Answer::Result(result)) => emit::result_of(original.as_str(), result),
            (Some(original), Answer::Error(error)) => {
                let id = original.as_str();
                format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
            }
        };
        self.streams.say(number, text, true);
    }
}

fn asks_nothing() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, INVALID, "it asks nothing")
}

/// Says where a stream can be taken up before anything was said.
fn prime(reader: &Reader) -> String {
    super::streams::event(&reader.place(), PRIME)
}

/// The next line; `None` at the end, or where one is longer than any may be.
async fn line(from: &mut BufReader<Receiver>) -> Option<Vec<u8>> {
    let bytes_max = Bounds::ANSWER.bytes_max.saturating_mul(2);
    let mut line = Vec::new();
    loop {
        let buffer = from.fill_buf().await.ok()?;
        if buffer.is_empty() {
            return None;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end.saturating_add(1));
        line.extend_from_slice(buffer.get(..taken).unwrap_or_default());
        from.consume(taken);
        if line.len() > bytes_max {
            return None;
        }
        if end.is_some() {
            line.pop();
            return Some(line);
        }
    }
}
