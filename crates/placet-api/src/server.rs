//! The server: a runtime of its own beside the node, and its listeners.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use placet_authority::node::Service;
use placet_evidence::Environment;
use placet_types::Fixed;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};

use crate::call::{Room, Shared};
use crate::config::Settings;
use crate::connection::Handler;
use crate::identity::{Authenticators, registered};
use crate::index::LineageIndex;
use crate::lifecycle::LifecycleIndex;
use crate::listen::{self, Socket};
use crate::log::Logger;
use crate::metrics::Requests;
use crate::oidc::{FetchError, Tokens};
use crate::pages::Pages;
use crate::recent::Recent;
use crate::route::Routes;
use crate::routes;
use crate::sessions::Sessions;
use crate::stage::Stage;
use crate::tls::{Listener, TlsError};
use crate::traces;
use crate::unmapped::Unmapped;
use crate::webhooks;

/// How long connections get to finish when the server stops.
const LEAVING: Duration = Duration::from_secs(2);
/// Threads that may wait for the disk.
const BLOCKING_MAX: usize = 64;
/// Reads that may wait for such a thread.
const READS_MAX: usize = 1024;
/// Replays of the recorded past at a time: each takes a processor.
const REPLAYS_MAX: usize = 1;
/// Operators' acts that may wait.
const ACTS_MAX: usize = 256;

/// A server that listens.
pub struct Server {
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    address: Option<SocketAddr>,
    socket: PathBuf,
    shared: Option<Arc<Shared>>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address could not be listened on.
    #[error("listen = \"{0}\": {1}")]
    Listen(SocketAddr, io::Error),
    /// The Unix socket could not be made.
    #[error("socket = \"{0}\": {1}")]
    Socket(PathBuf, io::Error),
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What identity providers are asked with.
    #[error(transparent)]
    Oidc(#[from] FetchError),
    /// No threads.
    #[error("no threads for the server: {0}")]
    Runtime(io::Error),
    /// The table of routes contradicts itself.
    #[error("the routes: {0}")]
    Routes(String),
}

impl Server {
    /// Listens and serves. `policy` is the domain's public policy file, `environment` the machine of
    /// the node, `stage` what the page of a demo can play.
    ///
    /// # Errors
    ///
    /// [`StartError`]
    pub fn start(
        settings: Settings,
        service: Service,
        policy: String,
        environment: Fixed<Environment>,
        stage: Option<Arc<dyn Stage>>,
    ) -> Result<Self, StartError> {
        let now = service.clock().wall();
        let tls = settings.tls.clone();
        let tls = tls.map(|tls| Listener::new(tls, now)).transpose()?;
        let tokens = Tokens::new(&settings.oidc, service.clone())?;
        let runtime = Builder::new_multi_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(BLOCKING_MAX)
            .thread_name("http")
            .build()
            .map_err(StartError::Runtime)?;
        let (stop, stopping) = watch::channel(false);
        let size = grown(&service);
        let (listen, socket) = (settings.listen, settings.socket.clone());
        let mode = settings.socket_mode;
        let pages = Pages::new().ok_or_else(|| StartError::Runtime(io::ErrorKind::Other.into()))?;
        let shared = shared(
            settings,
            service,
            policy,
            environment,
            (size, stopping),
            pages,
            (tokens, tls.map(Arc::new), stage),
        );
        let routes = Routes::new(&routes::table());
        let routes = routes.map_err(|error| StartError::Routes(error.to_string()))?;
        let handler = Arc::new(Handler {
            shared: Arc::new(shared),
            routes,
        });
        // Listeners belong to a runtime from the moment that they are made.
        let inside = runtime.enter();
        webhooks::spawn(&handler.shared);
        traces::spawn(&handler.shared);
        let bound = Socket::bind(&socket, mode);
        let bound = bound.map_err(|error| StartError::Socket(socket.clone(), error))?;
        let mut address = None;
        if let Some(wanted) = listen {
            let failed = |error| StartError::Listen(wanted, error);
            let listener = std::net::TcpListener::bind(wanted).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let own = listener.local_addr().map_err(failed)?;
            handler.shared.address.get_or_init(|| own);
            address = Some(own);
            let listener = TcpListener::from_std(listener).map_err(failed)?;
            runtime.spawn(listen::tcp(listener, Arc::clone(&handler)));
            runtime.spawn(listen::renew(Arc::clone(&handler)));
        }
        let shared = Arc::clone(&handler.shared);
        runtime.spawn(listen::unix(bound, handler));
        drop(inside);
        Ok(Self {
            shared: Some(shared),
            runtime: Some(runtime),
            stop,
            address,
            socket,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The Unix socket that it listens on.
    #[must_use]
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// A new link that signs a browser in as this user of the machine, once; `None` where nothing
    /// listens on TCP.
    #[must_use]
    pub fn link(&self, uid: u32) -> Option<String> {
        let shared = self.shared.as_ref()?;
        let (token, _) = shared.sessions.link(uid, shared.service.clock().wall())?;
        routes::console_session::address_of(shared, &token)
    }

    /// Takes no more, finishes what it has begun, within bounds.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.stop.send_replace(true);
        self.shared = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(async {
                // Every task holds a receiver; when all are gone, all is done.
                let done = self.stop.closed();
                drop(tokio::time::timeout(LEAVING, done).await);
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// The log's size, as batches become durable.
fn grown(service: &Service) -> watch::Receiver<u64> {
    let (sender, size) = watch::channel(service.authority().reader().size().get());
    let told = move |size: placet_types::Index| {
        sender.send_replace(size.get());
    };
    service.authority().meters().listen(Box::new(told));
    size
}

fn shared(
    settings: Settings,
    service: Service,
    policy: String,
    environment: Fixed<Environment>,
    (size, stopping): (watch::Receiver<u64>, watch::Receiver<bool>),
    pages: Pages,
    (tokens, tls, stage): (Tokens, Option<Arc<Listener>>, Option<Arc<dyn Stage>>),
) -> Shared {
    let limits = settings.limits;
    let sessions = Arc::new(Sessions::default());
    let known = registered(service.clone());
    let authenticators = Authenticators::new(service.clock(), known, Arc::clone(&sessions));
    Shared {
        logger: Logger::new(settings.log.level, settings.log.format),
        authenticators: Arc::new(authenticators),
        tokens,
        tls,
        sessions,
        address: OnceLock::new(),
        lineage: LineageIndex::new(),
        lifecycle: LifecycleIndex::default(),
        stage,
        requests: Requests::default(),
        policy,
        environment,
        size,
        stopping,
        room: Room {
            bodies: Arc::new(Semaphore::new(limits.bodies_bytes.div_ceil(1024))),
            intents: Semaphore::new(limits.intents),
            reads: Semaphore::new(READS_MAX),
            acts: Semaphore::new(ACTS_MAX),
            replays: Arc::new(Semaphore::new(REPLAYS_MAX)),
            streams: Arc::new(Semaphore::new(limits.streams)),
        },
        recent: Recent::default(),
        unmapped: Unmapped::default(),
        pages,
        settings,
        service,
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
