//! Between calls and the node: each governed request is decided, admitted and started, and watched
//! until it ends.
//!
//! A few lanes each have one connection to the node and a thread. A call that comes alone is decided by
//! whoever brings it, on a lane that is idle: to wake a thread, and to be woken by it, takes as long as the
//! rest. Calls that come together go to a lane's thread together, as one request and one write of the log.
//! What starts on a connection is watched there, by its thread; beats renew it, and an order to end comes on
//! it. How calls ended goes with the next request, at the latest when it has lingered.
//!
//! Out of scope: frames. A call is an intent with its parameters here, and what became of it.

mod lane;
mod secrets;
mod worker;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use placet_artifact::verify::Pins;
use placet_authority::clock::Clock;
use placet_authority::node::wire::{CallBody, DeferredBody, EndBody, SignalBody, Welcome};
use placet_authority::node::{Connection, StartError};
use placet_evidence::{CheckedDenial, Environment, OutputUsage, RunEnd, TokenIdentity, Usage};
use placet_secrets::Secret;
use placet_types::{
    Commitment, Denial, DenialCode, ExecutionId, Fixed, Index, Intent, Salt, Scope, SecretName,
};

use crate::redact::Redactor;
use crate::subject::Sealed;
use worker::Worker;

/// Lanes, each with a connection to the node.
pub const WORKERS_MAX: usize = 4;
/// What waits for one of them. Beyond it calls are answered `overloaded`.
const WAITING_MAX: usize = 512;
/// How long the end of a call waits for something that it can go with.
const LINGER: Duration = Duration::from_millis(4);
/// How long whoever brings a call waits for its decision. Beyond it the lane's thread does.
const AT_ONCE: Duration = Duration::from_millis(20);

/// What the governor is given.
pub struct Setting {
    /// Finds the node, or starts one.
    pub connect: Box<dyn Fn() -> Result<Connection, StartError> + Send + Sync>,
    /// What is believed of a node.
    pub pins: Believed,
    /// The machine, for a domain.
    pub environment: Measured,
    /// Whoever has shown an access token, and whom all of it is asked for.
    pub bearer: Option<Arc<TokenIdentity>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Told of each execution that must end, once.
    pub ending: Box<dyn Fn(ExecutionId, DenialCode) + Send + Sync>,
}

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

/// What the execution of a connection to a server elsewhere was granted.
pub struct Granted {
    /// Its scope.
    pub scope: Scope,
    /// The values of the credentials in it.
    pub secrets: Vec<(SecretName, Secret)>,
}

/// An execution that was started and is to be ended.
#[derive(Debug)]
#[must_use = "what was started has to be ended"]
pub struct Ticket {
    /// Which one.
    pub exec: ExecutionId,
    /// The record of the decision.
    pub decided: Index,
    began: Duration,
    salt: Salt,
    worker: usize,
    redactor: Option<Arc<Redactor>>,
    granted: Option<Box<Granted>>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What became of it.
    pub outcome: RunEnd,
    /// Why it was ended, if it was.
    pub cause: Option<DenialCode>,
    /// What it answered.
    pub output: Option<OutputUsage>,
}

/// What is done with a ruling, on the governor's thread: it must not wait there.
pub type Then = Box<dyn FnOnce(Ruling) + Send>;
/// What is done with answers to questions: whether each may be, and the code if not.
pub type Answered = Box<dyn FnOnce(Vec<Result<(), DenialCode>>) + Send>;

/// What is done with a secret that was asked for again.
pub type Handed = Box<dyn FnOnce(Result<Secret, Denial>) + Send>;
/// What is done once the successor of a secret is kept, or is not.
pub type Renewed = Box<dyn FnOnce(Result<(), Denial>) + Send>;

/// A running execution that was handed secrets, and where it is watched.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    exec: ExecutionId,
    worker: usize,
}

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
    Submit(Box<Sealed>, Then),
    Again(Box<Held>, Then),
    Connect(Box<Sealed>, Then),
    HandAgain(Holding, SecretName, Handed),
    Renew(Holding, SecretName, Secret, Renewed),
    Preview(Vec<Sealed>, Answered),
    End(Box<EndBody>),
    Signal(Box<SignalBody>),
    Refused(Box<(Denial, String)>),
}

/// Governs calls.
#[derive(Clone)]
pub struct Governor(Arc<Shared>);

struct Shared {
    setting: Arc<Setting>,
    lanes: Vec<Lane>,
    /// Calls that wait for what comes right behind them.
    gathered: Mutex<Vec<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    started: AtomicUsize,
    closing: AtomicBool,
}

/// One worker, and its work.
struct Lane {
    worker: Mutex<Worker>,
    jobs: Mutex<VecDeque<Job>>,
    ended: Mutex<Lingering>,
    wake: OwnedFd,
    /// Hears `wake`, and the connection of the worker while nobody asks anything over it.
    events: Arc<OwnedFd>,
    busy: AtomicBool,
}

/// Ends that wait for company.
#[derive(Default)]
struct Lingering {
    ended: Vec<Over>,
    /// When the first of them came.
    since: Duration,
    /// Whether the thread knows that there are some, and looks in time.
    is_known: bool,
}

/// An end, as it is recorded.
struct Over {
    body: EndBody,
    since: Duration,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").finish_non_exhaustive()
    }
}

impl Ticket {
    /// What a connection was granted; once.
    pub fn take_granted(&mut self) -> Option<Granted> {
        self.granted.take().map(|granted| *granted)
    }

    /// What its answer must not show.
    #[must_use]
    pub fn redactor(&self) -> Option<&Arc<Redactor>> {
        self.redactor.as_ref()
    }

    /// What asks for its secrets again.
    #[must_use]
    pub fn holding(&self) -> Holding {
        Holding {
            exec: self.exec,
            worker: self.worker,
        }
    }

    /// How long ago it was started, at this time.
    #[must_use]
    pub fn since(&self, now: Duration) -> Duration {
        now.saturating_sub(self.began)
    }

    /// What is recorded of these bytes that it answered.
    #[must_use]
    pub fn output(&self, bytes: &[u8]) -> OutputUsage {
        OutputUsage {
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            commitment: Commitment::to("output", bytes, &self.salt),
            redacted: None,
        }
    }
}

impl Governor {
    /// A governor; it connects when it is first needed.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn new(setting: Setting) -> std::io::Result<Self> {
        let setting = Arc::new(setting);
        let lanes = (0..WORKERS_MAX).map(|at| Lane::new(&setting, at));
        let lanes: std::io::Result<Vec<Lane>> = lanes.collect();
        Ok(Self(Arc::new(Shared {
            setting,
            lanes: lanes?,
            gathered: Mutex::default(),
            threads: Mutex::new(Vec::new()),
            started: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        })))
    }

    /// Has a call decided and started.
    pub fn submit(&self, call: Sealed, pace: Pace, then: Then) {
        self.call(Job::Submit(Box::new(call), then), pace);
    }

    /// Has a connection to a server elsewhere decided and started; takes the credentials for it.
    pub fn connect(&self, call: Sealed, then: Then) {
        self.decide(vec![Job::Connect(Box::new(call), then)]);
    }

    /// Asks again about a call that waited for approvals.
    pub fn submit_again(&self, held: Held, pace: Pace, then: Then) {
        self.call(Job::Again(Box::new(held), then), pace);
    }

    /// Nothing more comes right behind the calls that were [`Pace::Followed`].
    pub fn settle(&self) {
        let gathered = std::mem::take(&mut *lock(&self.0.gathered));
        if !gathered.is_empty() {
            self.decide(gathered);
        }
    }

    fn call(&self, job: Job, pace: Pace) {
        match pace {
            Pace::Aside => self.decide(vec![job]),
            Pace::Followed => {
                let mut gathered = lock(&self.0.gathered);
                gathered.push(job);
                if gathered.len() >= worker::CALLS_MAX {
                    drop(gathered);
                    self.settle();
                }
            }
            Pace::Alone => {
                if lock(&self.0.gathered).is_empty() {
                    if let Some(job) = self.at_once(job) {
                        self.decide(vec![job]);
                    }
                } else {
                    lock(&self.0.gathered).push(job);
                    self.settle();
                }
            }
        }
    }

    /// Does it here, on a lane that is idle and connected. Gives it back if there is none.
    fn at_once(&self, job: Job) -> Option<Job> {
        let started = self.0.started.load(Ordering::SeqCst);
        if self.0.closing.load(Ordering::SeqCst) {
            return Some(job);
        }
        let mut job = Some(job);
        for lane in self.0.lanes.iter().take(started) {
            if let Some(given) = job.take() {
                job = lane.at_once(given);
            }
        }
        job
    }

    /// Asks what would be decided. Nothing is recorded.
    pub fn preview(&self, calls: Vec<Sealed>, then: Answered) {
        for job in self.give(vec![Job::Preview(calls, then)]) {
            job.refuse();
        }
    }

    /// Records the end of a call.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a ticket is used up: what has ended cannot be ended again"
    )]
    pub fn end(&self, ticket: Ticket, ended: Ended) {
        let now = self.0.setting.clock.monotonic();
        if let Some(lane) = self.0.lanes.get(ticket.worker) {
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
        if let Some(lane) = self.0.lanes.get(holding.worker) {
            lane.put([job]);
        }
    }

    /// Records something notable about a running execution.
    pub fn signal(&self, signal: SignalBody) {
        // Without room the denials themselves say what happens.
        drop(self.give(vec![Job::Signal(Box::new(signal))]));
    }

    /// Records an attempt that never became an intent.
    pub fn refused(&self, denial: Denial, presented: String) {
        drop(self.give(vec![Job::Refused(Box::new((denial, presented)))]));
    }

    /// Takes no more, records what is left to record, and waits for it.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
        self.0.lanes.iter().for_each(Lane::wake);
        let mut threads = lock(&self.0.threads);
        for thread in threads.drain(..) {
            // A thread that panicked has nothing left to record.
            drop(thread.join());
        }
    }

    /// Time, as the governor has it.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.setting.clock
    }

    fn decide(&self, jobs: Vec<Job>) {
        self.give(jobs).into_iter().for_each(Job::refuse);
    }

    /// Gives jobs to whoever has least to do; another thread is started while all have something. What is given
    /// back there is no room for.
    fn give(&self, jobs: Vec<Job>) -> Vec<Job> {
        if self.0.closing.load(Ordering::SeqCst) {
            return jobs;
        }
        let started = self.0.started.load(Ordering::SeqCst);
        let load = |lane: &Lane| lane.jobs().len() + usize::from(lane.busy.load(Ordering::SeqCst));
        let least = self
            .0
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
            Some((load, _)) if load > WAITING_MAX / WORKERS_MAX => return jobs,
            Some((_, at)) => at,
            None => return jobs,
        };
        match self.0.lanes.get(at) {
            Some(lane) => {
                lane.put(jobs);
                Vec::new()
            }
            None => jobs,
        }
    }

    /// Starts the worker of this number, unless somebody did.
    fn start(&self, at: usize) -> bool {
        let mut threads = lock(&self.0.threads);
        if self.0.started.load(Ordering::SeqCst) != at {
            return true;
        }
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new()
            .name(format!("governor-{at}"))
            .stack_size(512 << 10)
            .spawn(move || shared.run(at));
        match thread {
            Ok(thread) => {
                threads.push(thread);
                self.0.started.store(at + 1, Ordering::SeqCst);
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
        let code = DenialCode::Overloaded;
        match self {
            Self::Submit(_, then) | Self::Again(_, then) | Self::Connect(_, then) => {
                let denial = Denial::new(code, "too many calls are waiting");
                then(Ruling::Unavailable(denial));
            }
            Self::Preview(calls, then) => then(vec![Err(code); calls.len()]),
            // Nobody waits for these, or whoever does hears that they were dropped.
            Self::Await
            | Self::HandAgain(..)
            | Self::Renew(..)
            | Self::End(_)
            | Self::Signal(_)
            | Self::Refused(_) => {}
        }
    }
}

fn end_of(exec: ExecutionId, ended: &Ended, wall: Duration) -> EndBody {
    EndBody {
        cause: ended.cause,
        exec,
        exit: None,
        outcome: match ended.cause {
            Some(_) => RunEnd::Terminated,
            None => ended.outcome,
        },
        usage: ended.output.map(|output| Usage {
            output: Some(output),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            ..Usage::default()
        }),
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
