//! A server elsewhere, over Streamable HTTP, as the two streams of lines that a session knows.
//!
//! Each frame is a POST of its own; what comes back, on its response or on the stream of the session,
//! becomes lines again. Headers are made of the body. What cannot be delivered is answered with an
//! error, so that nobody waits for ever; a session that the server has forgotten is begun again, once.
//!
//! Out of scope: whether a frame may be sent. That was settled by whoever wrote it.

mod again;
mod exchange;
mod stream;

pub(crate) use exchange::whole;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use placet_types::canonical::{Bounds as JsonBounds, Json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::emit;
use crate::frame::{Bounds, Frame, Kind, OwnedId, items, member, members, text_of};
use crate::headers::{self, Mirrored};
use crate::oauth::bearer::Bearer;
use crate::pipe::Sink;
use crate::session::{Control, Upstream};
use exchange::{Peer, RemoteError};
use placet_fetch::{Leads, Target, Trust};

/// Frames that wait to be sent, and lines that wait to be read.
const WAITING_MAX: usize = 256;
/// How long the end of a session may take to be told.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a cancellation may take to be taken.
const CANCEL: Duration = Duration::from_secs(5);
/// Tools whose arguments are headers.
const TOOLS_MAX: usize = 4096;
/// The error of a request that the server did not answer.
const NO_ANSWER: i64 = -32_000;

/// Where and how a server is asked.
#[derive(Debug)]
pub struct Remote {
    /// The endpoint.
    pub target: Target,
    /// What policies and records call it.
    pub name: String,
    /// Who may vouch for it.
    pub trust: Trust,
    /// Where its name may lead.
    pub leads: Leads,
    /// The token that a login gave, where there is one.
    pub bearer: Option<Bearer>,
    /// What each request carries beside what the protocol wants; credentials among it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Tells whoever runs the gateway what they would otherwise not see.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// A connection to a server elsewhere.
struct Wire {
    peer: Peer,
    lines: mpsc::Sender<Vec<u8>>,
    state: Mutex<State>,
    over: watch::Sender<bool>,
    tell: Tell,
    /// Held while a session is begun again.
    again: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    /// How the client began the session.
    opening: Option<Opening>,
    session: Option<HeaderValue>,
    version: Option<HeaderValue>,
    running: HashMap<OwnedId, AbortHandle>,
    mirrored: HashMap<String, Vec<Mirrored>>,
}

/// The request that begins a session.
#[derive(Clone)]
struct Opening {
    id: OwnedId,
    body: Vec<u8>,
}

/// A request on its way.
#[derive(Clone)]
struct Asked {
    id: OwnedId,
    method: String,
    /// Whether it is of a revision without sessions.
    is_alone: bool,
    /// Whether it is the gateway's own, and its answer no news to the session.
    is_own: bool,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The runtime that carries connections.
///
/// # Errors
///
/// What the operating system says.
pub fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_io()
        .enable_time()
        .thread_name("mcp-http")
        .build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Begins to speak to a server; nothing is sent before the first frame.
///
/// # Errors
///
/// What the operating system says.
pub fn open(remote: Remote, tell: Tell) -> io::Result<(Upstream, Hold)> {
    let (to, from_session) = mpsc::channel::<Vec<u8>>(WAITING_MAX);
    let (lines, to_session) = mpsc::channel::<Vec<u8>>(WAITING_MAX);
    let (over, ending) = watch::channel(false);
    let wire = Arc::new(Wire {
        peer: Peer::new(remote),
        lines,
        state: Mutex::default(),
        over: over.clone(),
        tell,
        again: AsyncMutex::default(),
    });
    runtime()?.spawn(carry(wire, from_session, ending));
    let upstream = Upstream {
        input: Box::new(Input {
            to,
            line: Vec::new(),
        }),
        output: Box::new(Output {
            from: to_session,
            rest: io::Cursor::new(Vec::new()),
        }),
        control: Box::new(Hold(over.clone())),
    };
    Ok((upstream, Hold(over)))
}

/// Sends what the session says, until it has nothing more to say or is told to stop.
async fn carry(
    wire: Arc<Wire>,
    mut frames: mpsc::Receiver<Vec<u8>>,
    mut ending: watch::Receiver<bool>,
) {
    while let Some(frame) = unless_over(&mut ending, frames.recv()).await.flatten() {
        wire.send(frame).await;
    }
    // Whatever listens hears it, and whatever waits is given up.
    wire.over.send_replace(true);
    let (running, session) = {
        let mut state = wire.state();
        let running: Vec<AbortHandle> = state.running.drain().map(|(_, task)| task).collect();
        (running, state.session.is_some())
    };
    running.iter().for_each(AbortHandle::abort);
    if session {
        // A server that does not listen forgets the session by itself.
        let farewell = wire.peer.send(Method::DELETE, wire.common(), Vec::new());
        drop(timeout(FAREWELL, farewell).await);
    }
}

/// What `work` gives, unless it is over before; `None` then.
pub(crate) async fn unless_over<T>(
    over: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let mut over = pin!(over.wait_for(|over| *over));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        over.as_mut().poll(context).map(|_| None)
    })
    .await
}

impl Wire {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Headers of the session and its revision.
    fn common(&self) -> HeaderMap {
        let state = self.state();
        let mut headers = HeaderMap::new();
        if let Some(session) = &state.session {
            headers.insert(headers::SESSION, session.clone());
        }
        if let Some(version) = &state.version {
            headers.insert(headers::VERSION, version.clone());
        }
        headers
    }

    async fn send(self: &Arc<Self>, bytes: Vec<u8>) {
        let Ok(frame) = Frame::parse(&bytes, Bounds::ANSWER) else {
            return;
        };
        match frame.kind {
            Kind::Request { id, method, params } => {
                let asked = self.asked(&id.to_owned(), method, params, bytes.clone());
                self.ask(asked);
            }
            Kind::Notification { method, params } => match method {
                "notifications/cancelled" => self.cancel(params, bytes.clone()),
                "notifications/initialized" => {
                    // What follows may be asked only once this has arrived.
                    self.say(bytes.clone()).await;
                    let wire = Arc::clone(self);
                    tokio::spawn(async move { wire.listen().await });
                }
                _ => self.say_later(bytes.clone()),
            },
            Kind::Answer { .. } => self.say_later(bytes.clone()),
        }
    }

    fn asked(&self, id: &OwnedId, method: &str, params: Option<&str>, body: Vec<u8>) -> Asked {
        let version = headers::version_in(params);
        let mut all = self.common();
        let mut put = |name: &str, value: &str| {
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
            {
                all.insert(name, value);
            }
        };
        if let Some(version) = &version {
            put(headers::VERSION, version);
            put(headers::METHOD, method);
            let name = headers::name_in(method, params);
            if let Some(name) = &name {
                put(headers::NAME, &headers::encoded(name));
            }
            let mirrored = name.and_then(|name| self.state().mirrored.get(&name).cloned());
            if let (Some(mirrored), "tools/call") = (mirrored, method) {
                for (name, value) in headers::of_arguments(params, &mirrored) {
                    put(&name, &value);
                }
            }
        }
        if method == "initialize" {
            // A new session begins.
            all.remove(headers::SESSION);
            all.remove(headers::VERSION);
            let (id, body) = (id.clone(), body.clone());
            self.state().opening = Some(Opening { id, body });
        }
        Asked {
            id: id.clone(),
            method: method.to_owned(),
            is_alone: version.is_some(),
            is_own: false,
            headers: all,
            body,
        }
    }

    fn ask(self: &Arc<Self>, asked: Asked) {
        let wire = Arc::clone(self);
        let id = asked.id.clone();
        let task = tokio::spawn(async move {
            let id = asked.id.clone();
            if let Err(error) = wire.request_again(asked).await {
                wire.fail(&id, &error.to_string()).await;
                if matches!(error, RemoteError::Forgotten) {
                    wire.over.send_replace(true);
                }
            }
            wire.state().running.remove(&id);
        });
        let mut state = self.state();
        if !task.is_finished() {
            state.running.insert(id, task.abort_handle());
        }
    }

    /// Says that a request has no answer.
    async fn fail(&self, id: &OwnedId, why: &str) {
        let message = format!("the server elsewhere did not answer: {why}");
        self.line(emit::error(Some(id), NO_ANSWER, &message, None).into_bytes())
            .await;
    }

    /// Hands a frame of the server to the session.
    async fn line(&self, frame: Vec<u8>) {
        let mut line = frame;
        // A line end between members is white space. In a frame that is no JSON it must not become some.
        let blank = if Frame::parse(&line, Bounds::ANSWER).is_ok() {
            b' '
        } else {
            1
        };
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = blank;
            }
        }
        line.push(b'\n');
        // A session that is over reads no more.
        drop(self.lines.send(line).await);
    }

    /// Sends what has no answer; whether it was taken.
    async fn say(&self, bytes: Vec<u8>) -> bool {
        match self.peer.send(Method::POST, self.common(), bytes).await {
            Ok(response) if response.status().is_success() => true,
            Ok(response) => {
                let status = response.status();
                (self.tell)(&format!("the server elsewhere refused a message: {status}"));
                false
            }
            Err(error) => {
                (self.tell)(&format!(
                    "a message did not reach the server elsewhere: {error}"
                ));
                false
            }
        }
    }

    fn say_later(self: &Arc<Self>, bytes: Vec<u8>) {
        let wire = Arc::clone(self);
        tokio::spawn(async move { wire.say(bytes).await });
    }

    /// A request is given up. Without sessions, closing its stream says so; with them, a message does. Once
    /// the server has taken either, nothing more is expected of it.
    fn cancel(self: &Arc<Self>, params: Option<&str>, bytes: Vec<u8>) {
        let id = params
            .and_then(|params| members(params).ok())
            .and_then(|members| OwnedId::read(member(&members, "requestId")?));
        let Some(id) = id else { return };
        let Some(task) = self.state().running.remove(&id) else {
            return;
        };
        let has_session = self.state().version.is_some();
        let wire = Arc::clone(self);
        tokio::spawn(async move {
            let is_taken = !has_session || timeout(CANCEL, wire.say(bytes)).await.unwrap_or(false);
            task.abort();
            if is_taken {
                wire.fail(&id, "it was cancelled").await;
            }
        });
    }

    /// Takes what an answer says about the server.
    fn learn(&self, asked: &Asked, result: &str, session: Option<HeaderValue>) {
        match asked.method.as_str() {
            "initialize" => {
                let version = members(result).ok();
                let version = version
                    .as_deref()
                    .and_then(|members| text_of(member(members, "protocolVersion")?))
                    .and_then(|version| version.parse().ok());
                let mut state = self.state();
                state.session = session;
                state.version = version;
            }
            "tools/list" => self.learn_tools(result),
            _ => {}
        }
    }

    fn learn_tools(&self, result: &str) {
        let Ok(page) = members(result) else { return };
        let tools = member(&page, "tools").and_then(|tools| items(tools).ok());
        for tool in tools.unwrap_or_default() {
            let bounds = JsonBounds {
                bytes_max: 256 << 10,
                depth_max: 64,
            };
            let Ok(definition) = Json::parse(tool.as_bytes(), bounds) else {
                continue;
            };
            let Some(name) = definition.get("name").and_then(Json::as_str) else {
                continue;
            };
            let mut state = self.state();
            match headers::mirrored(&definition) {
                Some(found) if !found.is_empty() && state.mirrored.len() < TOOLS_MAX => {
                    state.mirrored.insert(name.to_owned(), found);
                }
                Some(_) => drop(state.mirrored.remove(name)),
                None => {
                    state.mirrored.remove(name);
                    drop(state);
                    (self.tell)(&format!(
                        "the tool `{name}` names its headers in a way that nobody may; it gets none"
                    ));
                }
            }
        }
    }
}

/// What the session writes to.
struct Input {
    to: mpsc::Sender<Vec<u8>>,
    line: Vec<u8>,
}

impl Sink for Input {}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                let line = std::mem::take(&mut self.line);
                let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
                self.to.blocking_send(line).map_err(gone)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the session reads.
struct Output {
    from: mpsc::Receiver<Vec<u8>>,
    rest: io::Cursor<Vec<u8>>,
}

impl Read for Output {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.rest.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.from.blocking_recv() {
                Some(line) => self.rest = io::Cursor::new(line),
                None => return Ok(0),
            }
        }
    }
}

/// Ends a connection. What the server elsewhere does by itself is beyond anybody's reach here.
#[derive(Clone, Debug)]
pub struct Hold(watch::Sender<bool>);

impl Control for Hold {
    fn stop(&self) {
        self.0.send_replace(true);
    }

    fn kill(&self) {
        self.0.send_replace(true);
    }
}
