//! From names to addresses, by the system's resolver, in a few threads with a bounded queue.
//!
//! getaddrinfo(3) knows what the machine's administrator has set up (hosts file, search order, resolvers)
//! and cannot be given a time limit. So it is called where nobody has to wait for it: who asks stops
//! waiting after a while, and when all threads are stuck and the queue is full nothing is resolved.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use placet_types::HostName;

pub(crate) type Found = io::Result<Vec<IpAddr>>;
/// What looks a name up: blocking.
pub(crate) type Lookup = dyn Fn(&HostName) -> Found + Send + Sync;
type Then = Box<dyn FnOnce(Found) + Send>;

const THREADS: usize = 4;
const QUEUE_MAX: usize = 128;
/// The C library's resolver keeps its buffers on the stack.
const STACK_BYTES: usize = 512 << 10;

/// Whether a name may be asked about; blocking.
pub(crate) type May = Box<dyn FnOnce() -> bool + Send>;

struct Job {
    name: HostName,
    may: May,
    then: Then,
}

pub(crate) struct Resolver {
    queue: SyncSender<Job>,
}

impl Resolver {
    /// Starts the threads. They end some time after the value is gone.
    pub(crate) fn start(lookup: &Arc<Lookup>) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..THREADS {
            let (jobs, lookup) = (Arc::clone(&jobs), Arc::clone(lookup));
            thread::Builder::new()
                .name("placet-resolver".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || work(&jobs, &*lookup))?;
        }
        Ok(Self { queue })
    }

    /// Looks a name up and does `then` with what was found; `false` when the queue is full.
    pub(crate) fn ask(&self, name: HostName, then: Then) -> bool {
        self.ask_if(name, Box::new(|| true), then)
    }

    /// As [`Self::ask`], where it may be asked; else what is found is [`io::ErrorKind::PermissionDenied`].
    pub(crate) fn ask_if(&self, name: HostName, may: May, then: Then) -> bool {
        self.queue.try_send(Job { name, may, then }).is_ok()
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, lookup: &Lookup) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { name, may, then }) = job else {
            return;
        };
        then(if may() {
            lookup(&name)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        });
    }
}

/// Asks the system. An IPv4 address that comes as an IPv6 one is given as what it means.
pub(crate) fn system(name: &HostName) -> Found {
    let found = (name.as_str(), 0).to_socket_addrs()?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|found| found.ip().to_canonical()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}
