//! Between calls and the node: each governed request is decided, admitted and started, and watched
//! until it ends.
//!
//! A few lanes each have one connection to the node and a thread. A call that comes alone is decided by
//! whoever brings it, on a lane that is idle: to wake a thread, and to be woken by it, takes as long as the
//! rest. Calls that come together go to a lane's thread together, as one request and one write of the log.
//! What starts on a connection is watched there, by its thread; beats renew it, and an order to end comes on
//! it. How calls ended goes with the next request, at the latest when it has lingered.
//!
//! Sessions of one process share their lanes: each is a party of its own, with whoever it acts for and what it is
//! told. So what comes from many clients at once is decided together, too.
//!
//! Out of scope: frames. A call is an intent with its parameters here, and what became of it.

mod lane;
mod party;
mod secrets;
mod ticket;
mod worker;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use placet_artifact::verify::Pins;
use placet_authority::clock::Clock;
use placet_authority::node::wire::{CallBody, DeferredBody, EndBody, SignalBody, Welcome};
use placet_authority::node::{Connection, StartError};
use placet_evidence::{CheckedDenial, Environment, TokenIdentity};
use placet_secrets::Secret;
use placet_types::{Denial, DenialCode, ExecutionId, Fixed, Index, Intent, SecretName};

use crate::subject::Sealed;
use party::{Party, Seat};
use ticket::end_of;
pub use ticket::{Ended, Granted, Holding, Ticket};
use worker::Worker;

/// Lanes, each with a connection to the node.
pub const WORKERS_MAX: usize = 4;
/// What of one session waits for them. Beyond it calls are answered `overloaded`.
const WAITING_MAX: usize = 512;
/// How long the end of a call waits for something that it can go with.
const LINGER: Duration = Duration::from_millis(4);
/// How long whoever brings a call waits for its decision. Beyond it the lane's thread does.
const AT_ONCE: Duration = Duration::from_millis(20);
/// How long a session that is over waits until what it left is recorded. What is not, the node records.
const FLUSH: Duration = Duration::from_secs(30);

/// What the governor is given.
pub struct Setting {
    /// Finds the node, or starts one.
    pub connect: Box<dyn Fn() -> Result<Connection, StartError> + Send + Sync>,
    /// What is believed of a node.
    pub pins: Believed,
    /// The machine, for a domain.
    pub environment: Measured,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Told of each execution that must end, once.
pub type Ending = Box<dyn Fn(ExecutionId, DenialCode) + Send + Sync>;

/// What is believed of a node.
pub type Believed = Box<dyn Fn(&Welcome) -> Result<Pins, String> + Send + Sync>;
/// The machine as it is, for a domain.
pub type Measured = Box<dyn Fn(&Welcome) -> Result<Fixed<Environment>, String> + Send + Sync>;

/// What became of a call on its way.
#[derive(Debug)]
pub enum Ruling {
    /// Its start is recorded: it may be forwarded, and must be ended.
    Started(Ticket),
    /// It was denied, and recorded.
    Denied {
        /// Which check, which code, what failed.
        denial: CheckedDenial,
        /// The execution that would have been.
        exec: Option<ExecutionId>,
        /// The record.
        index: Index,
    },
    /// It waits for approvals. Submitting the very body again says what became of it.
    Deferred(Box<DeferredBody>, Box<Held>),
    /// Nothing could be recorded, or verified: nothing may happen.
    Unavailable(Denial),
}

/// An intent that waits for approvals.
#[derive(Clone, Debug)]
pub struct Held {
    intent: Intent,
    body: CallBody,
}

/// What is done with a ruling, on the governor's thread: it must not wait there.
pub type Then = Box<dyn FnOnce(Ruling) + Send>;
/// What is done with answers to questions: whether each may be, and the code if not.
pub type Answered = Box<dyn FnOnce(Vec<Result<(), DenialCode>>) + Send>;

/// What is done with a secret that was asked for again.
pub type Handed = Box<dyn FnOnce(Result<Secret, Denial>) + Send>;
/// What is done once the successor of a secret is kept, or is not.
pub type Renewed = Box<dyn FnOnce(Result<(), Denial>) + Send>;

/// How a call comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nothing comes right behind it: whoever brings it may wait a moment for its decision.
    Alone,
    /// More comes right behind it: it is decided together with that, after [`Governor::settle`].
    Followed,
    /// Whoever brings it must not wait.
    Aside,
}

enum Job {
    /// Waits for an answer that did not come at once.
    Await,
    Call(Call),
    Connect(Box<Sealed>, Then, Seat),
    HandAgain(Holding, SecretName, Handed),
    Renew(Holding, SecretName, Secret, Renewed),
    Preview(Vec<Sealed>, Answered, Seat),
    End(Box<EndBody>),
    Signal(Box<SignalBody>),
    Refused(Box<(Denial, String)>),
    /// Lets go of this once everything that had ended is recorded.
    Flush(Sender<()>),
}

/// A call that somebody waits for.
struct Call {
    asked: Box<Asked>,
    then: Then,
    seat: Seat,
}

/// As it comes, or comes again.
enum Asked {
    New(Sealed),
    Again(Held),
}

/// Governs the calls of one session.
#[derive(Clone)]
pub struct Governor {
    shared: Arc<Shared>,
    party: Arc<Party>,
}

/// What sessions have in common.
struct Shared {
    setting: Arc<Setting>,
    lanes: Vec<Lane>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    started: AtomicUsize,
    /// Sessions that are not closed.
    open: AtomicUsize,
    closing: AtomicBool,
}

/// One worker, and its work.
struct Lane {
    worker: Mutex<Worker>,
    jobs: Mutex<VecDeque<Job>>,
    ended: Mutex<Lingering>,
    wake: OwnedFd,
    /// Goes off once an end has waited long enough.
    timer: OwnedFd,
    /// Hears these two, and the connection of the worker while nobody asks anything over it.
    events: Arc<OwnedFd>,
    busy: AtomicBool,
}

/// Ends that wait for company.
#[derive(Default)]
struct Lingering {
    ended: Vec<Over>,
    /// When the first of them came.
    since: Duration,
}

/// An end, as it is recorded.
struct Over {
    body: EndBody,
    since: Duration,
}

impl Governor {
    /// A governor; it connects when it is first needed. All of it is asked for `bearer`, who has shown an access
    /// token, where somebody has.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn new(
        setting: Setting,
        bearer: Option<Arc<TokenIdentity>>,
        ending: Ending,
    ) -> io::Result<Self> {
        let setting = Arc::new(setting);
        let lanes = (0..WORKERS_MAX).map(|at| Lane::new(&setting, at));
        let lanes: io::Result<Vec<Lane>> = lanes.collect();
        let shared = Arc::new(Shared {
            setting,
            lanes: lanes?,
            threads: Mutex::new(Vec::new()),
            started: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        Ok(Self::of(shared, bearer, ending))
    }

    /// The governor of another session, on the same connections.
    #[must_use]
    pub fn beside(&self, bearer: Option<Arc<TokenIdentity>>, ending: Ending) -> Self {
        Self::of(Arc::clone(&self.shared), bearer, ending)
    }

    fn of(shared: Arc<Shared>, bearer: Option<Arc<TokenIdentity>>, ending: Ending) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        let party = Arc::new(Party::new(bearer, ending));
        Self { shared, party }
    }

    /// Has a call decided and started.
    pub fn submit(&self, call: Sealed, pace: Pace, then: Then) {
        self.call(Asked::New(call), pace, then);
    }

    /// Asks again about a call that waited for approvals.
    pub fn submit_again(&self, held: Held, pace: Pace, then: Then) {
        self.call(Asked::Again(held), pace, then);
    }

    /// Has a connection to a server elsewhere decided and started; takes the credentials for it.
    pub fn connect(&self, call: Sealed, then: Then) {
        match self.party.seat() {
            Some(seat) => self.decide(vec![Job::Connect(Box::new(call), then, seat)]),
            None => then(Ruling::Unavailable(too_many())),
        }
    }

    /// Nothing more comes right behind the calls that were [`Pace::Followed`].
    pub fn settle(&self) {
        let gathered = self.party.take_gathered();
        if !gathered.is_empty() {
            self.decide(gathered.into_iter().map(Job::Call).collect());
        }
    }

    fn call(&self, asked: Asked, pace: Pace, then: Then) {
        let Some(seat) = self.party.seat() else {
            return then(Ruling::Unavailable(too_many()));
        };
        let asked = Box::new(asked);
        let call = Call { asked, then, seat };
        match pace {
            Pace::Aside => self.decide(vec![Job::Call(call)]),
            Pace::Followed => {
                if self.party.gather(call) >= worker::CALLS_MAX {
                    self.settle();
                }
            }
            Pace::Alone if self.party.gathers() => {
                self.party.gather(call);
                self.settle();
            }
            Pace::Alone => {
                if let Some(call) = self.at_once(call) {
                    self.decide(vec![Job::Call(call)]);
                }
            }
        }
    }

    /// Does it here, on a lane that is idle and connected. Gives it back if there is none.
    fn at_once(&self, call: Call) -> Option<Call> {
        if self.is_closed() {
            return Some(call);
        }
        let started = self.shared.started.load(Ordering::SeqCst);
        let mut call = Some(call);
        for lane in self.shared.lanes.iter().take(started) {
            if let Some(given) = call.take() {
                call = lane.at_once(given);
            }
        }
        call
    }

    fn is_closed(&self) -> bool {
        self.party.is_closed() || self.shared.closing.load(Ordering::SeqCst)
    }

    /// Asks what would be decided. Nothing is recorded.
    pub fn preview(&self, calls: Vec<Sealed>, then: Answered) {
        match self.party.seat() {
            Some(seat) => self.decide(vec![Job::Preview(calls, then, seat)]),
            None => then(vec![Err(too_many().code); calls.len()]),
        }
    }

    /// Records the end of a call.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a ticket is used up: what has ended cannot be ended again"
    )]
    pub fn end(&self, ticket: Ticket, ended: Ended) {
        let now = self.shared.setting.clock.monotonic();
        if let Some(lane) = self.shared.lanes.get(ticket.worker) {
            let body = end_of(ticket.exec, &ended, ticket.since(now));
            // An end is never turned away: there are no more of them than there were starts.
            match ended.cause {
                // One with a cause is what somebody looks for.
                Some(_) => lane.put([Job::End(Box::new(body))]),
                None => lane.linger(Over { body, since: now }),
            }
        }
    }

    /// A secret that an execution was handed, as it is now.
    pub fn hand_again(&self, holding: Holding, name: SecretName, then: Handed) {
        self.on(holding, Job::HandAgain(holding, name, then));
    }

    /// The successor of a secret that an execution was handed.
    pub fn renew(&self, holding: Holding, name: SecretName, value: Secret, then: Renewed) {
        self.on(holding, Job::Renew(holding, name, value, then));
    }

    /// A job for the connection that an execution was started on.
    fn on(&self, holding: Holding, job: Job) {
        // Whoever waits for it hears that it was dropped.
        if let Some(lane) = self.shared.lanes.get(holding.worker) {
            lane.put([job]);
        }
    }

    /// Records something notable about a running execution.
    pub fn signal(&self, signal: SignalBody) {
        // Without room the denials themselves say what happens.
        self.note(Job::Signal(Box::new(signal)));
    }

    /// Records an attempt that never became an intent.
    pub fn refused(&self, denial: Denial, presented: String) {
        self.note(Job::Refused(Box::new((denial, presented))));
    }

    /// Does what nobody waits for, unless there is too much to do.
    fn note(&self, job: Job) {
        let started = self.shared.started.load(Ordering::SeqCst);
        let lanes = self.shared.lanes.iter().take(started);
        let waiting: usize = lanes.map(|lane| lane.jobs().len()).sum();
        if waiting <= WAITING_MAX {
            drop(self.give(vec![job]));
        }
    }

    /// Takes no more of this session, and waits until what is left to record is recorded. The last one ends the
    /// threads.
    pub fn close(&self) {
        if self.party.close() {
            return;
        }
        let shared = &self.shared;
        if shared.open.fetch_sub(1, Ordering::SeqCst) > 1 {
            let (sender, receiver) = channel();
            let started = shared.started.load(Ordering::SeqCst);
            for lane in shared.lanes.iter().take(started) {
                lane.put([Job::Flush(sender.clone())]);
            }
            drop(sender);
            // Nothing is ever sent: it is over when everybody has let go.
            receiver.recv_timeout(FLUSH).unwrap_or(());
            return;
        }
        shared.closing.store(true, Ordering::SeqCst);
        shared.lanes.iter().for_each(Lane::wake);
        let mut threads = lock(&shared.threads);
        for thread in threads.drain(..) {
            // A thread that panicked has nothing left to record.
            drop(thread.join());
        }
    }

    /// Time, as the governor has it.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.setting.clock
    }

    fn decide(&self, jobs: Vec<Job>) {
        self.give(jobs).into_iter().for_each(Job::refuse);
    }

    /// Gives jobs to whoever has least to do; another thread is started while all have something. What is given
    /// back there is no room for.
    fn give(&self, jobs: Vec<Job>) -> Vec<Job> {
        if self.is_closed() {
            return jobs;
        }
        let started = self.shared.started.load(Ordering::SeqCst);
        let load = |lane: &Lane| lane.jobs().len() + usize::from(lane.busy.load(Ordering::SeqCst));
        let least = self
            .shared
            .lanes
            .iter()
            .take(started)
            .enumerate()
            .map(|(at, lane)| (load(lane), at))
            .min();
        let at = match least {
            Some((0, at)) => at,
            least if started < WORKERS_MAX => {
                if self.start(started) {
                    started
                } else {
                    match least {
                        Some((_, at)) => at,
                        None => return jobs,
                    }
                }
            }
            Some((_, at)) => at,
            None => return jobs,
        };
        match self.shared.lanes.get(at) {
            Some(lane) => {
                lane.put(jobs);
                Vec::new()
            }
            None => jobs,
        }
    }

    /// Starts the worker of this number, unless somebody did.
    fn start(&self, at: usize) -> bool {
        let mut threads = lock(&self.shared.threads);
        if self.shared.started.load(Ordering::SeqCst) != at {
            return true;
        }
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name(format!("governor-{at}"))
            .stack_size(512 << 10)
            .spawn(move || shared.run(at));
        match thread {
            Ok(thread) => {
                threads.push(thread);
                self.shared.started.store(at + 1, Ordering::SeqCst);
                true
            }
            Err(_) => false,
        }
    }
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor").finish_non_exhaustive()
    }
}

impl Job {
    /// There is no room for it.
    fn refuse(self) {
        match self {
            Self::Call(Call { then, .. }) | Self::Connect(_, then, _) => {
                then(Ruling::Unavailable(too_many()));
            }
            Self::Preview(calls, then, _) => then(vec![Err(too_many().code); calls.len()]),
            // Nobody waits for these, or whoever does hears that they were dropped.
            Self::Await
            | Self::HandAgain(..)
            | Self::Renew(..)
            | Self::End(_)
            | Self::Signal(_)
            | Self::Refused(_)
            | Self::Flush(_) => {}
        }
    }
}

fn too_many() -> Denial {
    Denial::new(DenialCode::Overloaded, "too many calls are waiting")
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
