//! The supervisor's hold on what serves one cell, and the thread that accepts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use placet_sandbox::Resolved;
use placet_types::HostName;
use rustix::event::{PollFd, PollFlags, poll};

use crate::reach::Reach;
use crate::report::{Event, Events, bell, ring};
use crate::resolve::{Lookup, Resolver, system};
use crate::{serve, stub};

/// Connections of one cell that are served at once; more wait to be accepted. Each takes two
/// descriptors of the supervisor.
const CONNECTIONS_MAX: usize = 256;
const STACK_BYTES: usize = 128 << 10;
/// How long the end waits for the threads to say what went over their connections.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long it is waited after the supervisor has run out of descriptors or threads.
const BREATH: Duration = Duration::from_millis(20);
/// Names below one of the scope that a tree may have looked up.
pub(crate) const BELOW_MAX: usize = 128;
/// Answers of the stub whose names are remembered.
const NAMES_MAX: usize = 4096;

/// The sockets on a cell's loopback.
#[derive(Debug)]
pub struct Sockets {
    /// Listens for those who know a proxy.
    pub proxy: OwnedFd,
    /// Hears DNS questions.
    pub dns: OwnedFd,
}

/// Serves one cell, until it is closed or dropped.
pub struct Proxy {
    shared: Arc<Shared>,
}

/// What the threads of one cell share.
pub(crate) struct Shared {
    pub(crate) reach: Reach,
    pub(crate) resolved: Resolved,
    pub(crate) events: Events,
    pub(crate) resolver: Resolver,
    /// Readable once everything ends.
    bell: OwnedFd,
    closing: AtomicBool,
    ids: AtomicU64,
    /// Bytes over all connections, as they go.
    carried: AtomicU64,
    active: Mutex<usize>,
    changed: Condvar,
    names: Mutex<VecDeque<(IpAddr, HostName)>>,
    /// Names that were looked up and are not named themselves.
    below: Mutex<BTreeSet<HostName>>,
    /// How long each request waits for somebody to decide about it; `None`: the scope has.
    patience: Option<Duration>,
    asked: Mutex<BTreeMap<u64, SyncSender<bool>>>,
    /// The peers that connections are open to, by their numbers.
    open: Mutex<BTreeMap<u64, Arc<TcpStream>>>,
}

impl Proxy {
    /// Starts to serve. Addresses that the stub hands out are pinned in `resolved`, for the connect broker.
    /// With `patience`, each request that is in scope is asked about by [`Event::Asked`], and refused when
    /// no answer comes in that time.
    ///
    /// # Errors
    ///
    /// When the system gives no descriptors or threads for it.
    pub fn start(
        sockets: Sockets,
        reach: Reach,
        resolved: Resolved,
        patience: Option<Duration>,
    ) -> io::Result<Self> {
        let lookup: Arc<Lookup> = Arc::new(system);
        Self::start_with(sockets, (reach, patience), resolved, &lookup)
    }

    pub(crate) fn start_with(
        sockets: Sockets,
        (reach, patience): (Reach, Option<Duration>),
        resolved: Resolved,
        lookup: &Arc<Lookup>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            reach,
            resolved,
            events: Events::new()?,
            resolver: Resolver::start(lookup)?,
            bell: bell()?,
            closing: AtomicBool::new(false),
            ids: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            active: Mutex::new(0),
            changed: Condvar::new(),
            names: Mutex::default(),
            below: Mutex::default(),
            patience,
            asked: Mutex::default(),
            open: Mutex::default(),
        });
        let proxy = Self { shared };
        let listener = TcpListener::from(sockets.proxy);
        listener.set_nonblocking(true)?;
        let shared = Arc::clone(&proxy.shared);
        spawn("placet-proxy", move || accept(&shared, &listener))?;
        let questions = UdpSocket::from(sockets.dns);
        questions.set_nonblocking(true)?;
        let shared = Arc::clone(&proxy.shared);
        spawn("placet-dns", move || stub::serve(&shared, &questions))?;
        Ok(proxy)
    }

    /// Takes what has happened since the last time, oldest first. Does not wait.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.events.take()
    }

    /// Answers one [`Event::Asked`]; one that does not wait any more has been refused.
    pub fn answer(&self, id: u64, allow: bool) {
        if let Some(asked) = self.shared.asked().remove(&id) {
            // It has room for one answer, and gets one.
            asked.send(allow).unwrap_or(());
        }
    }

    /// Ends one connection, by the number that it was opened with. Does not wait.
    pub fn cut_one(&self, id: u64) {
        if let Some(peer) = self.shared.open().get(&id) {
            // One that is over already needs no end.
            peer.shutdown(Shutdown::Both).unwrap_or(());
        }
    }

    /// Bytes that have gone over all connections by now, open ones too, both ways.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// The name that the stub last gave this address for.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<HostName> {
        let names = self.shared.names();
        let found = names.iter().rev().find(|(known, _)| *known == address);
        found.map(|(_, name)| name.clone())
    }

    /// Ends every connection at once, and accepts no more. Does not wait.
    pub fn cut(&self) {
        let shared = &self.shared;
        shared.closing.store(true, Ordering::SeqCst);
        ring(&shared.bell);
        shared.events.close();
        shared.changed.notify_all();
    }

    /// As [`Self::cut`], and waits a little for the threads, whose events can be taken afterwards; one
    /// that is stuck is not waited for.
    pub fn close(&self) {
        self.cut();
        let shared = &self.shared;
        let some = |active: &mut usize| *active > 0;
        let waited = shared
            .changed
            .wait_timeout_while(shared.active(), LAST_WORDS, some);
        drop(waited);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsFd for Proxy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.events.as_fd()
    }
}

impl Shared {
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(crate) fn carried(&self) -> &AtomicU64 {
        &self.carried
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Lets the connect broker reach what a name led to.
    pub(crate) fn pin(&self, address: IpAddr, name: &HostName) {
        self.resolved.pin(address, &self.reach.ports_of(name));
        let mut names = self.names();
        names.retain(|(known, _)| *known != address);
        if names.len() >= NAMES_MAX {
            names.pop_front();
        }
        names.push_back((address, name.clone()));
    }

    /// Whether a name may be asked of the resolver. Those below a name of the scope are the tree's to make up, and what is in one
    /// is told to whoever serves it: so they are bounded.
    pub(crate) fn may_look_up(&self, name: &HostName) -> bool {
        if self.reach.is_named_itself(name) {
            return true;
        }
        let mut below = self.below.lock().unwrap_or_else(PoisonError::into_inner);
        let may = below.len() < BELOW_MAX || below.contains(name);
        if may {
            below.insert(name.clone());
        }
        may
    }

    /// Whether requests are decided about one by one.
    pub(crate) fn decides(&self) -> bool {
        self.patience.is_some()
    }

    /// Whether whoever decides allows this; it is not asked where the scope has decided.
    pub(crate) fn decide(&self, host: String, port: u16) -> Decided {
        let Some(patience) = self.patience else {
            return Decided::Allowed;
        };
        let id = self.next_id();
        let (answer, answered) = sync_channel(1);
        self.asked().insert(id, answer);
        self.events.put(Event::Asked { id, host, port });
        let mut left = patience;
        let decided = loop {
            if self.is_closing() {
                break Decided::Over;
            }
            let part = left.min(Duration::from_millis(100));
            match answered.recv_timeout(part) {
                Ok(true) => break Decided::Allowed,
                Ok(false) => break Decided::Denied,
                Err(RecvTimeoutError::Timeout) if left > part => left = left.saturating_sub(part),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    break Decided::Unanswered;
                }
            }
        };
        self.asked().remove(&id);
        decided
    }

    /// The connection is open until this is dropped, and can be ended by its number.
    pub(crate) fn opened(&self, id: u64, peer: &Arc<TcpStream>) -> Open<'_> {
        self.open().insert(id, Arc::clone(peer));
        Open { shared: self, id }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<TcpStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<u64, SyncSender<bool>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of a name that it may lead to at this port.
    pub(crate) fn judged(&self, found: &[IpAddr], port: u16) -> Vec<SocketAddr> {
        let all = found.iter().map(|address| SocketAddr::new(*address, port));
        all.filter(|to| self.reach.may_lead_to(*to)).collect()
    }

    fn names(&self) -> MutexGuard<'_, VecDeque<(IpAddr, HostName)>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> MutexGuard<'_, usize> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more connection may be served; `false` when everything ends.
    fn await_room(&self) -> bool {
        let full = |active: &mut usize| *active >= CONNECTIONS_MAX && !self.is_closing();
        let active = self.changed.wait_while(self.active(), full);
        drop(active);
        !self.is_closing()
    }
}

/// A connection that can be ended by its number.
pub(crate) struct Open<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.open().remove(&self.id);
    }
}

/// What has become of a request that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    Allowed,
    Denied,
    Unanswered,
    /// Everything ends.
    Over,
}

/// Counts a connection for as long as it lives.
struct Active(Arc<Shared>);

impl Active {
    fn new(shared: &Arc<Shared>) -> Self {
        let mut active = shared.active();
        *active = active.saturating_add(1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut active = self.0.active();
        *active = active.saturating_sub(1);
        self.0.changed.notify_all();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.stack_size(STACK_BYTES).spawn(work).map(drop)
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while shared.await_room() {
        let mut polled = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::from_borrowed_fd(shared.bell(), PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        poll(&mut polled, None).unwrap_or(0);
        match listener.accept() {
            Ok((client, _)) => serve_one(shared, client),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Out of descriptors, or a client that is gone already.
            Err(_) => thread::sleep(BREATH),
        }
    }
}

fn serve_one(shared: &Arc<Shared>, client: TcpStream) {
    let active = Active::new(shared);
    let spawned = spawn("placet-client", move || {
        serve::client(&active.0, &client);
        drop(client);
    });
    if spawned.is_err() {
        // Without a thread for it the client sees its connection closed.
        thread::sleep(BREATH);
    }
}

#[cfg(test)]
mod tests;
