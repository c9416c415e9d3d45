//! Between calls and the node: each governed request is decided, admitted and started, and watched
//! until it ends.
//!
//! Some threads each hold one connection to the node and do one thing after the other: so many calls
//! wait for one write of the log together. What starts on a connection is watched there; beats renew
//! it, and an order to end comes on it.
//!
//! Out of scope: frames. A call is an intent with its parameters here, and what became of it.

mod secrets;
mod worker;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use placet_artifact::verify::Pins;
use placet_authority::clock::Clock;
use placet_authority::node::wire::{DeferredBody, SignalBody, SubmitBody, Welcome};
use placet_authority::node::{Connection, StartError};
use placet_evidence::{CheckedDenial, Environment, OutputUsage, RunEnd};
use placet_secrets::Secret;
use placet_types::{
    Commitment, Denial, DenialCode, ExecutionId, Fixed, Index, Intent, Salt, Scope, SecretName,
};
use rustix::event::{EventfdFlags, eventfd};

use crate::redact::Redactor;
use crate::subject::Sealed;
use worker::Worker;

/// Threads with a connection to the node.
pub const WORKERS_MAX: usize = 16;
/// What waits for one of them. Beyond it calls are answered `overloaded`.
const WAITING_MAX: usize = 512;

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
    body: SubmitBody,
    connects: bool,
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
#[derive(Clone, Debug)]
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

enum Job {
    Submit(Box<Sealed>, Then),
    Again(Box<Held>, Then),
    Connect(Box<Sealed>, Then),
    HandAgain(Holding, SecretName, Handed),
    Renew(Holding, SecretName, Secret, Renewed),
    Preview(Vec<Sealed>, Answered),
    End(Box<(Ticket, Ended, Duration)>),
    Signal(Box<SignalBody>),
    Refused(Box<(Denial, String)>),
}

/// Governs calls.
#[derive(Clone)]
pub struct Governor(Arc<Shared>);

struct Shared {
    setting: Setting,
    lanes: Vec<Lane>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    started: AtomicUsize,
    closing: AtomicBool,
}

/// One worker's work.
struct Lane {
    jobs: Mutex<VecDeque<Job>>,
    wake: OwnedFd,
    busy: AtomicBool,
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
    pub fn redactor(&self) -> Option<&Redactor> {
        self.redactor.as_deref()
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
        let lane = || {
            Ok(Lane {
                jobs: Mutex::new(VecDeque::new()),
                wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                busy: AtomicBool::new(false),
            })
        };
        let lanes: std::io::Result<Vec<Lane>> = (0..WORKERS_MAX).map(|_| lane()).collect();
        Ok(Self(Arc::new(Shared {
            setting,
            lanes: lanes?,
            threads: Mutex::new(Vec::new()),
            started: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        })))
    }

    /// Has a call decided and started.
    pub fn submit(&self, call: Sealed, then: Then) {
        self.decide(Job::Submit(Box::new(call), then));
    }

    /// Has a connection to a server elsewhere decided and started; takes the credentials for it.
    pub fn connect(&self, call: Sealed, then: Then) {
        self.decide(Job::Connect(Box::new(call), then));
    }

    /// Asks again about a call that waited for approvals.
    pub fn submit_again(&self, held: Held, then: Then) {
        self.decide(Job::Again(Box::new(held), then));
    }

    /// Asks what would be decided. Nothing is recorded.
    pub fn preview(&self, calls: Vec<Sealed>, then: Answered) {
        if let Err(Job::Preview(calls, then)) = self.give(Job::Preview(calls, then)) {
            then(vec![Err(DenialCode::Overloaded); calls.len()]);
        }
    }

    /// Records the end of a call.
    pub fn end(&self, ticket: Ticket, ended: Ended) {
        let wall = ticket.since(self.0.setting.clock.monotonic());
        if let Some(lane) = self.0.lanes.get(ticket.worker) {
            // An end is never turned away: there are no more of them than there were starts.
            lane.put(Job::End(Box::new((ticket, ended, wall))));
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
            lane.put(job);
        }
    }

    /// Records something notable about a running execution.
    pub fn signal(&self, signal: SignalBody) {
        // Without room the denials themselves say what happens.
        drop(self.give(Job::Signal(Box::new(signal))));
    }

    /// Records an attempt that never became an intent.
    pub fn refused(&self, denial: Denial, presented: String) {
        drop(self.give(Job::Refused(Box::new((denial, presented)))));
    }

    /// Takes no more, records what is left to record, and waits for it.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
        self.0.lanes.iter().for_each(Lane::wake);
        let mut threads = self
            .0
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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

    fn decide(&self, job: Job) {
        if let Err(Job::Submit(_, then) | Job::Again(_, then) | Job::Connect(_, then)) =
            self.give(job)
        {
            let denial = Denial::new(DenialCode::Overloaded, "too many calls are waiting");
            then(Ruling::Unavailable(denial));
        }
    }

    /// Gives a job to whoever has least to do; another thread is started while all have something.
    fn give(&self, job: Job) -> Result<(), Job> {
        if self.0.closing.load(Ordering::SeqCst) {
            return Err(job);
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
                        None => return Err(job),
                    }
                }
            }
            Some((load, _)) if load > WAITING_MAX / WORKERS_MAX => return Err(job),
            Some((_, at)) => at,
            None => return Err(job),
        };
        match self.0.lanes.get(at) {
            Some(lane) => {
                lane.put(job);
                Ok(())
            }
            None => Err(job),
        }
    }

    /// Starts the worker of this number, unless somebody did.
    fn start(&self, at: usize) -> bool {
        let mut threads = self
            .0
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.0.started.load(Ordering::SeqCst) != at {
            return true;
        }
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new()
            .name(format!("governor-{at}"))
            .stack_size(512 << 10)
            .spawn(move || Worker::new(&shared, at).run());
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

impl Lane {
    fn jobs(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job. Whoever looks for an idle lane sees either the job or that somebody does it: a call
    /// must not wait behind an end that is in no hurry.
    fn take(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        let job = jobs.pop_front();
        self.busy.store(job.is_some(), Ordering::SeqCst);
        job
    }

    fn put(&self, job: Job) {
        self.jobs().push_back(job);
        self.wake();
    }

    fn wake(&self) {
        // A counter that is full wakes as well.
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).unwrap_or(0);
    }
}
