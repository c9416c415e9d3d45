//! A bundle beside the one in force: each recorded decision is made again with it, and what differs is
//! counted and listed. Nothing waits for it, and it gives no authority.
//!
//! A thread of low priority follows the log as a reader does: the log is its queue, so however far it
//! falls behind, what it holds stays the same: a fold of its own, the counts, and the latest
//! differences. What it finds is what `placet policy replay` finds, since it is the same function of the same log.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use placet_evidence::Entry;
use placet_log::LogReader;
use placet_policy::Policy;
use placet_state::{ShadowPolicy, State};
use placet_types::{Digest, Index};
use serde::{Deserialize, Serialize};

use crate::activate::Bundles;
use crate::blobs::Blobs;
use crate::opening::{self, OpenError};
use crate::replay::Sources;
use crate::suppose::{Difference, Supposed};

/// Differences that are kept: the latest.
pub const KEPT_MAX: usize = 256;
/// Records that are looked at before what was found can be read.
const STEP: u64 = 64;
/// A node that starts looks at everything since the bundle was set, as long as the fold of what was before
/// it has no more records than this. Past that it begins where the log ends, and says so.
const CATCH_UP_MAX: u64 = 1_000_000;
/// How much less than the rest of the node the thread gets of a busy processor.
const NICENESS: i32 = 10;

/// What a bundle beside the one in force would have changed so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowReport {
    /// Digest of its manifest.
    pub bundle: Digest,
    /// What was found, with the latest [`KEPT_MAX`] differences.
    pub found: Supposed,
    /// Decisions are counted from this record on.
    pub from: Index,
    /// Its name.
    pub name: String,
    /// Why nothing is found: the bundle cannot be used here, or the log cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its revision.
    pub revision: u64,
    /// The record since which it is decided beside the one in force.
    pub since: Index,
    /// Number of records in the log. Those from `found.through` on were not looked at yet.
    pub size: Index,
}

/// What the sequencer, the thread and those who ask share.
#[derive(Debug)]
pub(crate) struct Shadow {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    stopped: bool,
    size: Index,
    /// The fold right after a record that says what is decided beside, not taken up yet.
    begin: Option<Box<State>>,
    report: Option<ShadowReport>,
    latest: VecDeque<Difference>,
}

/// The thread, for as long as its authority works.
#[derive(Debug)]
pub(crate) struct Follower {
    shadow: Arc<Shadow>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread reads from.
struct Reading {
    reader: LogReader,
    bundles: Bundles,
    blobs: Blobs,
    durable: Arc<RwLock<State>>,
}

/// A bundle, and how far the log was followed with it.
struct Following {
    state: State,
    policy: Policy,
    since: Index,
}

impl Shadow {
    pub(crate) fn new(size: Index) -> Self {
        let inner = Inner {
            size,
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock, so the data behind a poisoned one is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record says what is decided beside; `state` is the fold right after it.
    pub(crate) fn begin(&self, state: State) {
        let mut inner = self.lock();
        inner.latest.clear();
        inner.report = state.shadow().map(|it| report(it, state.next()));
        inner.begin = Some(Box::new(state));
        drop(inner);
        self.changed.notify_one();
    }

    /// The log has this many records. Costs next to nothing while no bundle is decided beside.
    pub(crate) fn grown(&self, size: Index) {
        let mut inner = self.lock();
        inner.size = size;
        let followed = inner.report.is_some();
        drop(inner);
        if followed {
            self.changed.notify_one();
        }
    }

    /// Waits until there is something to look at: a new beginning, or records from `next` on. `None`
    /// once nothing is to be done any more.
    fn wait(&self, next: Option<Index>) -> Option<(Option<Box<State>>, Index)> {
        let idle = |inner: &mut Inner| {
            let more = next.is_some_and(|next| next < inner.size);
            !inner.stopped && inner.begin.is_none() && !more
        };
        let inner = self.changed.wait_while(self.lock(), idle);
        let mut inner = inner.unwrap_or_else(PoisonError::into_inner);
        (!inner.stopped).then(|| (inner.begin.take(), inner.size))
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }
}

impl Follower {
    pub(crate) fn start(
        shadow: Arc<Shadow>,
        reader: &LogReader,
        bundles: &Bundles,
        blobs: &Blobs,
        durable: Arc<RwLock<State>>,
    ) -> io::Result<Self> {
        let reading = Reading {
            reader: reader.clone(),
            bundles: bundles.clone(),
            blobs: blobs.clone(),
            durable,
        };
        let own = Arc::clone(&shadow);
        let builder = thread::Builder::new().name("shadow".into());
        let thread = builder.spawn(move || run(&own, &reading))?;
        Ok(Self {
            shadow,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn report(&self) -> Option<ShadowReport> {
        let inner = self.shadow.lock();
        let mut report = inner.report.clone()?;
        report.size = inner.size;
        report.found.listed = inner.latest.iter().cloned().collect();
        Some(report)
    }

    /// Ends the thread. What it found is found again by the next one.
    pub(crate) fn stop(&self) {
        self.shadow.lock().stopped = true;
        self.shadow.changed.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It holds nothing that anybody waits for.
            drop(thread.join());
        }
    }
}

fn report(shadow: &ShadowPolicy, from: Index) -> ShadowReport {
    ShadowReport {
        bundle: shadow.bundle.digest,
        found: Supposed {
            through: from,
            ..Supposed::default()
        },
        from,
        name: shadow.bundle.name.clone(),
        problem: None,
        revision: shadow.bundle.revision,
        since: shadow.since,
        size: from,
    }
}

fn run(shadow: &Shadow, reading: &Reading) {
    let own = rustix::thread::gettid();
    // Where it cannot be less, it is as much as the others.
    rustix::process::setpriority_process(Some(own), NICENESS).unwrap_or_default();
    let mut following = resume(shadow, reading);
    while let Some((begin, size)) = shadow.wait(following.as_ref().map(|it| it.state.next())) {
        if let Some(state) = begin {
            following = take_up(shadow, reading, *state);
        }
        let Some(at) = &mut following else { continue };
        let to = Index::new(at.state.next().get().saturating_add(STEP)).min(size);
        match follow(reading, at, to) {
            Ok(step) => {
                let goes_on = at.state.shadow().is_some_and(|it| it.since == at.since);
                publish(shadow, at, step);
                if !goes_on {
                    ended(shadow, at);
                    following = None;
                }
            }
            Err(error) => {
                trouble(shadow, at.since, &error.to_string());
                following = None;
            }
        }
    }
}

/// What a node finds that starts while a bundle is decided beside.
fn resume(shadow: &Shadow, reading: &Reading) -> Option<Following> {
    let durable = reading
        .durable
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let since = durable.shadow()?.since;
    let state = folded_to(shadow, reading, since).unwrap_or(durable);
    let mut inner = shadow.lock();
    if inner.begin.is_none() {
        inner.report = state.shadow().map(|it| report(it, state.next()));
    }
    drop(inner);
    take_up(shadow, reading, state)
}

/// The fold right after the record at `since`.
fn folded_to(shadow: &Shadow, reading: &Reading, since: Index) -> Option<State> {
    if since.get() > CATCH_UP_MAX {
        return None;
    }
    let mut state = opening::begin(&reading.reader).ok()?;
    for entry in reading.reader.entries(Index::new(1)..since.next()) {
        let (index, bytes) = entry.ok()?;
        let record = Entry::from_bytes(bytes).read().ok()?;
        state.apply(index, &record).ok()?;
        if index.get().is_multiple_of(1024) && shadow.is_stopped() {
            return None;
        }
    }
    state.shadow().is_some().then_some(state)
}

fn take_up(shadow: &Shadow, reading: &Reading, state: State) -> Option<Following> {
    let beside = state.shadow()?;
    let since = beside.since;
    match reading.bundles.load(beside.bundle.digest) {
        Ok(policy) => Some(Following {
            state,
            policy,
            since,
        }),
        Err(error) => {
            trouble(shadow, since, &error.reason);
            None
        }
    }
}

/// What was found in a few records.
#[derive(Default)]
struct Step {
    found: Supposed,
    differences: Vec<Difference>,
}

fn follow(reading: &Reading, at: &mut Following, to: Index) -> Result<Step, OpenError> {
    let sources = Sources {
        reader: &reading.reader,
        bundles: &reading.bundles,
        blobs: &reading.blobs,
    };
    let mut step = Step::default();
    for entry in reading.reader.entries(at.state.next()..to) {
        let (index, bytes) = entry?;
        let record = Entry::from_bytes(bytes)
            .read()
            .map_err(|error| OpenError::Entry { index, error })?;
        let found = &mut step.found;
        let differs = found.look(sources, &at.policy, (&at.state, index, &record))?;
        step.differences.extend(differs);
        at.state
            .apply(index, &record)
            .map_err(|error| OpenError::Fold { index, error })?;
        // From here on another bundle, or none, is decided beside.
        if at.state.shadow().is_none_or(|it| it.since != at.since) {
            break;
        }
    }
    Ok(step)
}

fn publish(shadow: &Shadow, at: &Following, step: Step) {
    let mut inner = shadow.lock();
    let Some(report) = inner.report.as_mut().filter(|it| it.since == at.since) else {
        return;
    };
    report.found.add(&step.found);
    report.found.through = at.state.next();
    for difference in step.differences {
        if inner.latest.len() == KEPT_MAX {
            inner.latest.pop_front();
        }
        inner.latest.push_back(difference);
    }
    let caught_up = at.state.next() >= inner.size;
    if let Some(report) = inner.report.as_mut() {
        report.found.complete = caught_up;
    }
}

/// The log says that this bundle is decided beside no longer.
fn ended(shadow: &Shadow, at: &Following) {
    let mut inner = shadow.lock();
    if inner.report.as_ref().is_some_and(|it| it.since == at.since) {
        inner.report = None;
        inner.latest.clear();
    }
}

fn trouble(shadow: &Shadow, since: Index, reason: &str) {
    let mut inner = shadow.lock();
    let report = inner.report.as_mut().filter(|it| it.since == since);
    if let Some(report) = report {
        report.problem = Some(reason.to_owned());
    }
}
