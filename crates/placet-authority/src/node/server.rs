//! Serving an authority.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use placet_decision::Params;
use placet_evidence::Caller;
use placet_secrets::Change;
use placet_state::Phase;
use placet_types::{Denial, DenialCode, ExecutionId, Index, Millis};

use super::answer::{born, connections, recorded, refuse, unavailable_response};
use super::attesting::Attestations;
use super::checks::{self, Checks, Schedule};
use super::leave::Leave;
use super::pulse::Pulse;
use super::registry::{Carrier, Outlet, Registry};
use super::service::Service;
use super::wire::{
    self, AttestedBody, Request, Response, SignalBody, StatusBody, VERSION, Welcome,
};
use crate::access::Identity;
use crate::authority::{Authority, Running};
use crate::clock::Clock;
use crate::dir::DomainDir;
use crate::opening::OpenError;
use crate::submission::SignalReport;

/// Connections at a time. Past that, a new one is told that there is too much.
const CONNECTIONS_MAX: usize = 2048;
/// Stack of a connection's thread: as large as that of the sequencer, whose turn it may do.
const STACK_BYTES: usize = 2 << 20;
/// How often leases are renewed and orphans are looked for.
const BEAT: Duration = Duration::from_millis(250);
/// How long a node that leaves may take to let go of the log, and how often it is looked at.
const LEAVING_MAX: Duration = Duration::from_secs(10);
const LEAVING_LOOK: Duration = Duration::from_millis(10);
/// How long a peer may take to read a frame before it loses its connection.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// How to serve.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// How long the node stays when nobody needs it; `None` for ever.
    pub idle: Option<Duration>,
    /// When the log is checked beside the service; `None` for only when it is opened.
    pub checks: Option<Schedule>,
}

/// Why a node did not serve, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The authority did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The socket could not be made.
    #[error("the node's socket {0}: {1}")]
    Socket(std::path::PathBuf, io::Error),
    /// The log failed while serving.
    #[error("the evidence log failed: {0}")]
    Log(#[from] placet_log::AppendError),
    /// The log is not what its head vouches for.
    #[error(
        "the evidence log is damaged at index {0}; nothing runs under it, see `placet log fsck`"
    )]
    Damaged(Index),
    /// A decision of the log does not follow from what is recorded before it.
    #[error(
        "the decision at index {0} does not come out as it is recorded; nothing runs under it, see `placet log replay`"
    )]
    Inconsistent(Index),
    /// The log could not be read through.
    #[error("the evidence log could not be read: {0}")]
    Scrub(String),
}

pub(super) struct Node {
    pub(super) authority: Authority,
    pub(super) registry: Arc<Registry>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) attestations: Attestations,
    pub(super) clock: Arc<dyn Clock>,
    connections: AtomicUsize,
    pub(super) stopping: AtomicBool,
    /// A service: it does not leave because nothing is asked of it.
    pub(super) stays: AtomicBool,
    pub(super) leave: Leave,
    pub(super) genesis: String,
    pub(super) checks: Arc<Checks>,
    pub(super) dir: DomainDir,
    /// What a check found, once it is through with bad news.
    pub(super) damage: OnceLock<ServeError>,
}

/// A domain that was opened and read through, and that listens. Nobody is served before it runs.
pub struct Host {
    node: Arc<Node>,
    listener: UnixListener,
    dir: DomainDir,
    path: std::path::PathBuf,
}

/// Opens the domain, listens, calls `ready`, and serves until it is idle, stopped, or the log
/// fails.
///
/// # Errors
///
/// [`ServeError`]
pub fn serve(
    dir: &DomainDir,
    clock: Arc<dyn Clock>,
    options: ServeOptions,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let host = Host::open(dir, clock)?;
    ready();
    host.run(options)
}

impl Host {
    /// Opens the domain and listens on its socket.
    ///
    /// # Errors
    ///
    /// [`ServeError`]
    pub fn open(dir: &DomainDir, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        let registry = Arc::new(Registry::default());
        let authority = Authority::open(open(dir, &clock, &registry)?)?;
        // The lock on the log is ours, so a socket that lies here belongs to a node that is gone.
        let path = dir.socket();
        let socket_error = |error| ServeError::Socket(path.clone(), error);
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).map_err(socket_error)?;
        listener.set_nonblocking(true).map_err(socket_error)?;
        let genesis = authority
            .reader()
            .entry(Index::default())
            .map_err(OpenError::from)?;
        let pulse = Pulse::start(dir, Arc::clone(&clock), Arc::clone(&registry));
        let pulse = pulse.map_err(|error| ServeError::Scrub(error.to_string()))?;
        let node = Arc::new(Node {
            authority,
            registry,
            pulse,
            attestations: Attestations::new(clock.monotonic()),
            checks: Arc::new(Checks::open(dir, Arc::clone(&clock))),
            clock,
            dir: dir.clone(),
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            stays: AtomicBool::new(false),
            leave: Leave::default(),
            genesis: String::from_utf8_lossy(&genesis).into_owned(),
            damage: OnceLock::new(),
        });
        checks::first(&node, dir)?;
        Ok(Self {
            node,
            listener,
            dir: dir.clone(),
            path,
        })
    }

    /// A handle for whatever else serves this node: the same authority, the same leases.
    #[must_use]
    pub fn service(&self) -> Service {
        Service::new(Arc::clone(&self.node))
    }

    /// Serves until the node is idle, stopped, has left in good order, or the log fails.
    ///
    /// # Errors
    ///
    /// [`ServeError`]
    pub fn run(self, options: ServeOptions) -> Result<(), ServeError> {
        self.node
            .stays
            .store(options.idle.is_none(), Ordering::Relaxed);
        if let Some(schedule) = options.checks {
            checks::start(&self.node, &self.dir, schedule)?;
        }
        self.node.run(&self.listener, options);
        self.node.checks.stop();
        // New clients find no socket and start a node of their own, which waits for our lock.
        drop(std::fs::remove_file(&self.path));
        drop(self.listener);
        self.node.authority.close().map_err(ServeError::Log)?;
        self.node.take_damage()
    }
}

/// Opens the domain as its only writer. A node that leaves takes its socket away first and lets go of
/// the log last: that is waited for. One that serves is not.
fn open(
    dir: &DomainDir,
    clock: &Arc<dyn Clock>,
    registry: &Arc<Registry>,
) -> Result<Running, OpenError> {
    let began = clock.monotonic();
    loop {
        let pushes = Arc::clone(registry);
        let on_ending = Box::new(move |exec, cause| pushes.end(exec, cause));
        let opened = Running::open(dir, Arc::clone(clock), on_ending);
        let locked = matches!(opened, Err(OpenError::Log(placet_log::OpenError::Locked)));
        let waited = clock.monotonic().saturating_sub(began);
        if !locked || waited > LEAVING_MAX || UnixStream::connect(dir.socket()).is_ok() {
            return opened;
        }
        thread::sleep(LEAVING_LOOK);
    }
}

impl Node {
    /// Accepts connections; between them, beats and looks for orphans.
    fn run(self: &Arc<Self>, listener: &UnixListener, options: ServeOptions) {
        let mut last_beat = Duration::ZERO;
        let mut busy_at = self.clock.monotonic();
        loop {
            wait_readable(listener, BEAT);
            while let Ok((stream, _)) = listener.accept() {
                // Who looks whether it is gone must not be what keeps it.
                if self.stopping.load(Ordering::Relaxed) && !self.has_executions() {
                    continue;
                }
                busy_at = self.clock.monotonic();
                self.accept(stream);
            }
            let now = self.clock.monotonic();
            if now.saturating_sub(last_beat) >= BEAT {
                last_beat = now;
                if !self.tick(now) || self.has_left(now) {
                    return;
                }
            }
            if self.is_busy() {
                busy_at = now;
            } else if self.stopping.load(Ordering::Relaxed)
                || options
                    .idle
                    .is_some_and(|idle| now.saturating_sub(busy_at) >= idle)
            {
                return;
            }
        }
    }

    /// The bad news of a check, if there were any. The node serves nobody any more.
    fn take_damage(&self) -> Result<(), ServeError> {
        match self.damage.get() {
            Some(ServeError::Damaged(index)) => Err(ServeError::Damaged(*index)),
            Some(ServeError::Inconsistent(index)) => Err(ServeError::Inconsistent(*index)),
            Some(error) => Err(ServeError::Scrub(error.to_string())),
            None => Ok(()),
        }
    }

    fn is_busy(&self) -> bool {
        self.connections.load(Ordering::Relaxed) > 0 || self.has_executions()
    }

    fn has_executions(&self) -> bool {
        self.authority
            .with_state(|state| state.executions().next().is_some())
    }

    /// Renews leases while the log is written; without a log there is no renewal.
    fn tick(&self, now: Duration) -> bool {
        if !self.authority.is_writing() || self.damage.get().is_some() {
            return false;
        }
        if !self.leave.is_ending() {
            let age = self.pulse.age(now);
            let due = self.keep_attested(now);
            let active = self
                .authority
                .with_state(|state| state.policy().map(|it| it.bundle));
            let size = self.authority.reader().size();
            self.registry.beat((size, active), age, &due);
        }
        self.end_overdue(now);
        true
    }

    fn accept(self: &Arc<Self>, stream: UnixStream) {
        let usable = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_write_timeout(Some(WRITE_PATIENCE)));
        if usable.is_err() {
            return;
        }
        if self.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            let denial = Denial::new(DenialCode::Overloaded, "too many connections");
            drop(Outlet::new(stream).send(&Response::Error(denial)));
            return;
        }
        let node = Arc::clone(self);
        let spawned = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                node.serve_connection(stream);
                node.connections.fetch_sub(1, Ordering::Relaxed);
            });
        if spawned.is_err() {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn serve_connection(&self, mut stream: UnixStream) {
        let Ok(credentials) = rustix::net::sockopt::socket_peercred(&stream) else {
            return;
        };
        let Ok(outlet) = stream
            .try_clone()
            .map(|stream| Arc::new(Outlet::new(stream)))
        else {
            return;
        };
        let peer = Peer {
            uid: credentials.uid.as_raw(),
            greeted: OnceLock::new(),
            attested: Mutex::default(),
        };
        // A frame that does not parse ends the connection: there is no way to find the next one.
        while let Ok(Some(request)) = wire::read::<Request>(&mut stream) {
            // A node that cannot record is about to leave: whoever greets it finds the next one.
            if matches!(request, Request::Hello { .. }) && !self.authority.is_writing() {
                break;
            }
            let Ok((response, secrets)) = self.respond(request, &peer, &outlet, &mut stream) else {
                break;
            };
            if outlet.send_with(&response, &secrets).is_err() {
                break;
            }
        }
        drop(stream.shutdown(Shutdown::Both));
        self.registry.drop_outlet(&outlet, self.clock.monotonic());
    }

    pub(super) fn handle(&self, request: Request, peer: &Peer, outlet: &Arc<Outlet>) -> Response {
        if peer.greeted.get().is_none() && !matches!(request, Request::Hello { .. }) {
            return refuse(DenialCode::Malformed, "the first frame must be a greeting");
        }
        match request {
            Request::Hello { version } => self.hello(version, peer),
            Request::Submit(body) => self.submit(*body, peer, outlet),
            Request::Begin(body) => self.begin(*body, peer, outlet),
            Request::Calls(body) => self.calls(*body, peer, outlet),
            Request::Nonce => match self.authority.nonce() {
                Ok(nonce) => Response::Nonce(nonce),
                Err(denial) => Response::Error(denial),
            },
            Request::Appraise(body) => self.appraise(&body),
            Request::Attest(body) => self.attest(&body, outlet),
            Request::Preview(body) => self.preview(&body, peer),
            Request::Start {
                artifact,
                exec,
                gateway,
                pinned,
                takes_secrets: _,
            } => {
                let pinned = pinned.map(|body| Params::new(body.measured.into_bytes(), body.salt));
                // Attached first: a revocation right after the start record must find its way.
                let before = self.registry.attach(exec, outlet);
                let caller = Caller::Unix(peer.uid);
                let started = self
                    .authority
                    .start(exec, artifact, gateway, caller, pinned);
                if !matches!(started, Ok(Ok(_))) {
                    self.start_refused(exec, outlet, before);
                }
                recorded(started)
            }
            Request::SetSecret { .. }
            | Request::RenewSecret { .. }
            | Request::HandAgain { .. }
            | Request::TakeLogin { .. } => {
                refuse(DenialCode::Malformed, "a secret without its bytes")
            }
            Request::RemoveSecret { name } => self.change_secrets(Change::Remove(name), peer),
            Request::RotateSecretsKey => self.change_secrets(Change::Rekey, peer),
            Request::Secrets => Response::Secrets(Box::new(self.authority.secrets())),
            Request::Attach { exec } => self.attach(exec, outlet),
            Request::Signal(SignalBody {
                code,
                count,
                detail,
                ends,
                exec,
                kind,
                trip,
            }) => recorded(self.authority.signal(SignalReport {
                exec,
                code,
                count,
                detail,
                ends,
                kind,
                trip,
            })),
            Request::Connections(body) => connections(&self.authority, body),
            Request::Born(body) => born(&self.authority, body),
            Request::End(body) => self.end(&body, Authority::end),
            Request::Refused {
                denial,
                exec,
                presented,
                stage,
            } => {
                let presented = presented.into_bytes();
                let caller = Caller::Unix(peer.uid);
                match self
                    .authority
                    .refused(presented, exec, denial, caller, stage)
                {
                    Ok(denied) => Response::Recorded {
                        index: denied.index,
                    },
                    Err(unavailable) => unavailable_response(unavailable),
                }
            }
            Request::Act(body) => match self.act(body, &Identity::Unix(peer.uid)) {
                Ok(acted) => acted.into(),
                Err(denial) => Response::Error(denial),
            },
            Request::Status => Response::Status(Box::new(StatusBody {
                stays: self.stays.load(Ordering::Relaxed),
                ..self.authority.status()
            })),
            Request::Executions => Response::Executions(self.authority.executions()),
            Request::Principals => Response::Principals(self.authority.principals()),
            Request::Definitions => Response::Definitions(self.authority.definitions()),
            Request::Waiting => match self.waiting(&Identity::Unix(peer.uid)) {
                Ok(waiting) => Response::Waiting(waiting),
                Err(denial) => Response::Error(denial),
            },
            Request::Lifecycle => Response::Lifecycle(Box::new(self.lifecycle())),
            Request::Stop => {
                self.stopping.store(true, Ordering::Relaxed);
                Response::Stopping
            }
        }
    }

    /// The wall clock.
    pub(super) fn now(&self) -> Millis {
        self.clock.wall()
    }

    fn hello(&self, version: u32, peer: &Peer) -> Response {
        if version != VERSION {
            let reason = format!(
                "this node speaks version {VERSION}, the command version {version}; end the node with `placet node stop`"
            );
            return refuse(DenialCode::Malformed, reason);
        }
        // Whoever comes back to a connection greets again.
        peer.greeted.set(()).unwrap_or(());
        let nonce = match self.authority.nonce() {
            Ok(nonce) => nonce,
            Err(denial) => return Response::Error(denial),
        };
        Response::Welcome(Box::new(Welcome {
            measures_gateways: self.authority.measures_gateways(),
            nonce,
            nonce_secs: self.authority.nonce_secs(),
            domain: self
                .authority
                .with_state(|state| state.genesis().domain.clone()),
            env: self.authority.env_names().as_ref().clone(),
            genesis: self.genesis.clone(),
            pid: std::process::id(),
        }))
    }

    /// A start that was refused changes nothing of who carries an execution that runs, or that
    /// somebody else is about to start.
    pub(super) fn start_refused(&self, exec: ExecutionId, outlet: &Arc<Outlet>, before: Carrier) {
        let running = self.authority.with_state(|state| {
            let execution = state.execution(&exec)?;
            matches!(execution.phase, Phase::Running(_)).then_some(execution.ending)
        });
        if running.is_none() && !before.is_other_than(outlet) {
            self.registry.forget(exec);
            return;
        }
        self.registry.put_back(exec, outlet, before);
        // An order to end it may have gone to the wrong connection meanwhile.
        if let Some(Some(cause)) = running {
            self.registry.end(exec, cause);
        }
    }

    fn attach(&self, exec: ExecutionId, outlet: &Arc<Outlet>) -> Response {
        let found = self.authority.with_state(|state| {
            state
                .execution(&exec)
                .filter(|execution| matches!(execution.phase, Phase::Running(_)))
                .map(|execution| execution.ending)
        });
        match found {
            Some(ending) => {
                self.registry.attach(exec, outlet);
                Response::Attached { ending }
            }
            None => refuse(
                DenialCode::AuthorizationDiscontinuity,
                "no such execution runs",
            ),
        }
    }
}

/// Who is at the other end of a connection.
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) greeted: OnceLock<()>,
    /// What was last attested for calls.
    pub(super) attested: Mutex<Option<AttestedBody>>,
}

fn wait_readable(listener: &UnixListener, patience: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    // An interrupted wait is a short one.
    poll(&mut fds, Some(&timeout)).unwrap_or(0);
}
