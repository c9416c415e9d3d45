//! Streamable HTTP towards clients: requests become lines of a session, and lines become answers.
//!
//! Who calls is proven by each request, by a [`Callers`]. A client of the revisions with sessions gets one of
//! its own, with servers of its own behind it, and nobody else can name it. Requests of a revision without
//! sessions share one for each caller, in which each has an id that nobody else knows. What comes in is bounded in
//! size, number and time; what a browser was led to send here by a page from elsewhere is refused by the names
//! that it brings along.
//!
//! Out of scope: what a frame may do. That is decided behind the session.

mod answer;
mod caller;
mod check;
mod connection;
mod live;
mod posted;
mod readdress;
mod refusal;
mod streams;
mod token;

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use placet_types::{Denial, DenialCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

pub use caller::{Caller, Callers, Resolving, Unproven};
pub use token::{Token, TokenError};

use crate::headers;
use crate::hub::Refuse;
use crate::remote::runtime;
use answer::Body;
use live::Live;
use posted::Posted;
use refusal::Refusal;

/// Where the endpoint is.
pub const PATH: &str = "/mcp";
/// How often sessions are looked at of which nothing is heard.
const LOOK: Duration = Duration::from_secs(1);
/// Attempts that are recorded one by one, and how long it takes until one more is.
const RECORDED_MAX: u32 = 256;
const RECORD_AGAIN: Duration = Duration::from_secs(10);
/// What is kept of an attempt.
const PRESENTED_MAX: usize = 4096;

/// The two ends of one session, as its client has them.
#[derive(Debug)]
pub struct Ends {
    /// What the session reads.
    pub to: PipeWriter,
    /// What it writes.
    pub from: PipeReader,
}

/// Begins a session for somebody.
pub type Begin = Box<dyn Fn(&Caller) -> io::Result<Ends> + Send + Sync>;
/// What accepts the next connection over TLS.
pub type Secured = Box<dyn Fn() -> TlsAcceptor + Send + Sync>;

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// With the head of a request, with a handshake, and between two requests.
    pub head: Duration,
    /// With a body.
    pub body: Duration,
    /// With reading what is written to them.
    pub write: Duration,
}

/// What a listener is made of.
pub struct Door {
    /// Who may come in; the first that knows a caller says who it is.
    pub callers: Vec<Box<dyn Callers>>,
    /// Names of this host beside those of loopback.
    pub hosts: Vec<String>,
    /// TLS; without it, only loopback is listened on.
    pub tls: Option<Secured>,
    /// Sessions at once.
    pub sessions_max: usize,
    /// How long a session lives of which nothing is heard.
    pub idle: Duration,
    /// How long clients are waited for.
    pub patience: Patience,
    /// Whether every answer is a stream of events, also one that is there at once.
    pub streams: bool,
    /// Begins a session.
    pub begin: Begin,
    /// Records an attempt that nothing came of.
    pub refuse: Refuse,
}

/// Stops a listener.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::channel(false).0)
    }
}

impl Stop {
    /// Has it take no more, end its sessions, and finish what is being answered.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// The listener.
struct Gate {
    door: Door,
    lives: Mutex<Lives>,
    attempts: Mutex<Attempts>,
    stopping: watch::Receiver<bool>,
}

/// Sessions that are there, or begin.
#[derive(Default)]
struct Lives {
    /// By the id that its client names.
    named: HashMap<String, Arc<Live>>,
    /// Of requests without sessions, by their caller.
    shared: HashMap<Caller, Arc<Live>>,
    /// How many are being begun.
    beginning: usize,
}

/// How many attempts may be recorded now.
struct Attempts {
    left: u32,
    since: Instant,
}

/// Serves clients until it is told to stop; then sessions end, and what is being answered is finished.
///
/// # Errors
///
/// What the operating system says; [`io::ErrorKind::PermissionDenied`] where clear text would leave this
/// machine.
pub fn serve(listener: TcpListener, door: Door, stop: &Stop) -> io::Result<()> {
    let runtime = runtime()?;
    listener.set_nonblocking(true)?;
    if door.tls.is_none() && !listener.local_addr()?.ip().is_loopback() {
        let why = "beyond loopback it listens only with TLS";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let stopping = stop.0.subscribe();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let attempts = Attempts {
            left: RECORDED_MAX,
            since: Instant::now(),
        };
        let gate = Arc::new(Gate {
            door,
            lives: Mutex::default(),
            attempts: Mutex::new(attempts),
            stopping,
        });
        let looking = tokio::spawn(forget_idle(Arc::clone(&gate)));
        connection::accept(listener, &gate).await;
        looking.abort();
        Ok(())
    })
}

async fn forget_idle(gate: Arc<Gate>) {
    loop {
        sleep(LOOK).await;
        let idle = gate.door.idle;
        gate.lives()
            .forget(|live| live.is_over() || live.idle_for() > idle);
    }
}

impl Lives {
    /// Closes those of which this is true.
    fn forget(&mut self, is_gone: impl Fn(&Live) -> bool) {
        let closes = |live: &Arc<Live>| {
            let gone = is_gone(live);
            if gone {
                live.close();
            }
            !gone
        };
        self.named.retain(|_, live| closes(live));
        self.shared.retain(|_, live| closes(live));
    }

    fn count(&self) -> usize {
        self.named.len() + self.shared.len() + self.beginning
    }
}

impl Attempts {
    /// Whether one more may be recorded.
    fn take(&mut self) -> bool {
        while self.left < RECORDED_MAX && self.since.elapsed() >= RECORD_AGAIN {
            self.since += RECORD_AGAIN;
            self.left += 1;
        }
        if self.left == RECORDED_MAX {
            self.since = Instant::now();
        }
        let is_one_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_one_left
    }
}

impl Gate {
    fn lives(&self) -> MutexGuard<'_, Lives> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request; what is refused is recorded, within bounds.
    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let line = format!("{} {}", request.method(), request.uri().path());
        match self.handle(request).await {
            Ok(response) => response,
            Err(refusal) => {
                if let Some(code) = refusal.recorded {
                    let presented = refusal.presented.as_deref().unwrap_or_default();
                    let presented: String = format!("{line} from {peer}\n{presented}")
                        .chars()
                        .take(PRESENTED_MAX)
                        .collect();
                    self.record(code, &refusal.why, presented);
                }
                refusal.response()
            }
        }
    }

    fn record(&self, code: DenialCode, why: &str, presented: String) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.take() {
            drop(attempts);
            (self.door.refuse)(Denial::new(code, why.to_owned()), presented);
        }
    }

    async fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        check::names(&request, &self.door.hosts)?;
        if let Some(said) = self.published(&request) {
            return Ok(answer::json(StatusCode::OK, said));
        }
        check::place(&request)?;
        let caller = self.caller(request.headers()).await?;
        check::version(request.headers())?;
        match *request.method() {
            Method::POST => self.post(request, caller).await,
            Method::GET => self.get(request.headers(), &caller),
            _ => self.delete(request.headers(), &caller),
        }
    }

    /// What anybody may read, such as where to get a token.
    fn published(&self, request: &Request<Incoming>) -> Option<String> {
        if request.method() != Method::GET {
            return None;
        }
        let mut callers = self.door.callers.iter();
        callers.find_map(|callers| callers.published(request.uri().path()))
    }

    /// Who calls, by whatever can tell.
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let mut last = None;
        for callers in &self.door.callers {
            match callers.resolve(headers).await {
                Ok(caller) => return Ok(caller),
                Err(unproven) => last = Some(unproven),
            }
        }
        Err(last.unwrap_or_default().into())
    }

    /// The session that a request names, if it is this caller's.
    fn named(&self, headers: &HeaderMap, caller: &Caller) -> Result<Arc<Live>, Refusal> {
        let id = check::one(headers, headers::SESSION)?.ok_or_else(|| {
            let why = "which session? a request that does not begin one needs Mcp-Session-Id";
            Refusal::new(StatusCode::BAD_REQUEST, refusal::INVALID, why)
        })?;
        let unknown = || {
            let why = "there is no such session; begin another with `initialize`";
            Refusal::new(StatusCode::NOT_FOUND, refusal::NO_SESSION, why)
        };
        let live = self.lives().named.get(&id).cloned();
        let live = live.filter(|live| !live.is_over()).ok_or_else(unknown)?;
        if !live.is_of(caller) {
            // Whoever has learned an id is told no more than whoever guesses one.
            return Err(unknown().recorded(DenialCode::IdentityUnverified, None));
        }
        Ok(live)
    }

    /// A new session, under an id that nobody can guess.
    async fn begin(self: &Arc<Self>, caller: Caller) -> Result<(String, Arc<Live>), Refusal> {
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(|_| Refusal::busy("there is no randomness"))?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let live = self.started(caller).await?;
        self.lives().named.insert(id.clone(), Arc::clone(&live));
        Ok((id, live))
    }

    /// Begins a session, if there is room for one more.
    async fn started(self: &Arc<Self>, caller: Caller) -> Result<Arc<Live>, Refusal> {
        {
            let mut lives = self.lives();
            if *self.stopping.borrow() || lives.count() >= self.door.sessions_max {
                return Err(Refusal::busy("too many sessions; end one, or wait"));
            }
            lives.beginning += 1;
        }
        let gate = Arc::clone(self);
        let begun = tokio::task::spawn_blocking(move || {
            let ends = (gate.door.begin)(&caller);
            gate.lives().beginning -= 1;
            (ends, caller)
        })
        .await;
        let failed = || Refusal::busy("no session can be begun");
        let (ends, caller) = begun.map_err(|_| failed())?;
        let streams = self.door.streams;
        Live::new(ends.map_err(|_| failed())?, caller, streams).map_err(|_| failed())
    }

    /// The session that this caller's requests without one share.
    async fn shared(self: &Arc<Self>, caller: Caller) -> Result<Arc<Live>, Refusal> {
        let known = self.lives().shared.get(&caller).cloned();
        if let Some(live) = known.filter(|live| !live.is_over()) {
            return Ok(live);
        }
        let live = self.started(caller.clone()).await?;
        let mut lives = self.lives();
        // Somebody else may have been faster.
        if let Some(other) = lives.shared.get(&caller).filter(|other| !other.is_over()) {
            live.close();
            return Ok(Arc::clone(other));
        }
        lives.shared.insert(caller, Arc::clone(&live));
        Ok(live)
    }

    async fn post(
        self: &Arc<Self>,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, Refusal> {
        check::kinds(request.headers())?;
        let (head, body) = request.into_parts();
        let late = |_| {
            let why = "the body took too long";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, refusal::INVALID, why).closing()
        };
        let bytes = timeout(self.door.patience.body, check::body(body))
            .await
            .map_err(late)??;
        let posted = Posted::read(&head.headers, &bytes)?;
        if posted.is_alone {
            if posted.id.is_none() {
                // The revision has no notifications of clients over HTTP: closing a stream gives a request up.
                return Ok(answer::empty(StatusCode::ACCEPTED));
            }
            let good_for = caller.good_for;
            return self.shared(caller).await?.ask_alone(posted, good_for).await;
        }
        if posted.method.as_deref() == Some("initialize") && posted.id.is_some() {
            let good_for = caller.good_for;
            let (id, live) = self.begin(caller).await?;
            let mut response = live.ask(posted, good_for).await?;
            if live.is_refused() {
                live.close();
                self.lives().forget(Live::is_over);
                return Ok(response);
            }
            if let Ok(id) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(headers::SESSION, id);
            }
            return Ok(response);
        }
        let live = self.named(&head.headers, &caller)?;
        if posted.id.is_some() && posted.method.is_some() {
            return live.ask(posted, caller.good_for).await;
        }
        live.say(posted).await
    }

    fn get(&self, headers: &HeaderMap, caller: &Caller) -> Result<Response<Body>, Refusal> {
        check::wants_events(headers)?;
        let live = self.named(headers, caller)?;
        let last = check::one(headers, "last-event-id")?;
        live.hear(last.as_deref(), caller.good_for)
    }

    fn delete(&self, headers: &HeaderMap, caller: &Caller) -> Result<Response<Body>, Refusal> {
        let live = self.named(headers, caller)?;
        live.close();
        self.lives().forget(Live::is_over);
        Ok(answer::empty(StatusCode::OK))
    }
}
