//! The log, checked by the node that writes it: read through and hashed again (`fsck`), and every
//! decision in it made again (`replay`).
//!
//! Each node reads its log through when it starts. One that stays does both beside its service, every so
//! often and when an operator asks: on one thread of low priority, which rests so that it takes no more than
//! its share of a core, and which holds one frame and one fold at a time. What is found is looked for a
//! second time before it counts, since a reader may see half of what is being written. What is damaged, or
//! does not follow from its own records, ends the service; a saved finding is looked at again before the next
//! node serves. What only cannot be told, or can be computed again, is a remark.

mod look;
mod pace;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use placet_types::{Index, Millis};
use serde::{Deserialize, Serialize};

use super::server::{Node, ServeError};
use crate::clock::Clock;
use crate::dir::{DomainDir, write_durably};

use look::{Found, Place, twice};
use pace::Pace;

/// A node that stays begins no sooner after it serves.
const FIRST: Duration = Duration::from_secs(10);
/// When what could not be read is tried again.
const AGAIN: Duration = Duration::from_mins(10);
/// How often a wall clock that jumped is noticed.
const LOOK: Duration = Duration::from_secs(60);
/// How much less than the rest of the node the thread gets of a busy processor.
const NICENESS: i32 = 19;
/// Most bytes of the file that keeps what was found.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Records up to which the whole log is read before the node serves: about a second's work.
const FIRST_RECORDS_MAX: u64 = 500_000;

/// When a node that stays checks its log, and at what cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From one check to the next; `None` for only when an operator asks.
    pub every: Option<Duration>,
    /// Of one core, in percent, at most.
    pub percent: Percent,
}

/// A share of a core: 1 to 100 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u8);

/// Which check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every frame read and hashed again, up to the signed head.
    Fsck,
    /// Every decision made again from what is recorded.
    Replay,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Nothing amiss.
    Sound,
    /// Something that can be computed again, or that cannot be told any more. The evidence is whole.
    Remark,
    /// The evidence is damaged, or does not follow from its own records.
    Damaged,
    /// The check could not be carried out.
    Unread,
}

/// A check that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// When it began.
    pub began: Millis,
    /// What is amiss, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it was over.
    pub ended: Millis,
    /// What was found.
    pub finding: Finding,
    /// The first record that is amiss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Index>,
    /// Records that were looked at: those from 0 to before this one.
    pub records: u64,
}

/// A check that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnderWay {
    /// When it began.
    pub began: Millis,
    /// Records that there were then.
    pub of: u64,
    /// Records that were looked at so far.
    pub records: u64,
}

/// How it stands with one check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckBody {
    /// When it begins next, where it begins by itself.
    pub due: Option<Millis>,
    /// The last one.
    pub last: Option<Checked>,
    /// The one that goes on.
    pub running: Option<UnderWay>,
}

/// How it stands with the checks of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChecksBody {
    /// Whether the log is what was written.
    pub fsck: CheckBody,
    /// Whether its decisions follow from it.
    pub replay: CheckBody,
}

/// What is kept of them from one node to the next. It is no evidence, and what it says is looked at again.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fsck: Option<Checked>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<Checked>,
}

/// The checks of one log, as the thread that makes them and those who ask share them.
pub(super) struct Checks {
    file: PathBuf,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    body: ChecksBody,
    /// Somebody makes checks here.
    staffed: bool,
    asked: bool,
    stopped: bool,
}

impl Percent {
    /// A share between 1 and 100 percent.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        match percent {
            1..=100 => Some(Self(percent)),
            _ => None,
        }
    }

    /// In percent.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Check {
    /// Both, in the order in which they are made.
    pub const ALL: [Self; 2] = [Self::Fsck, Self::Replay];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsck => "fsck",
            Self::Replay => "replay",
        }
    }
}

impl ChecksBody {
    /// How it stands with this one.
    #[must_use]
    pub const fn of(&self, check: Check) -> &CheckBody {
        match check {
            Check::Fsck => &self.fsck,
            Check::Replay => &self.replay,
        }
    }

    const fn of_mut(&mut self, check: Check) -> &mut CheckBody {
        match check {
            Check::Fsck => &mut self.fsck,
            Check::Replay => &mut self.replay,
        }
    }
}

impl Checks {
    /// With what an earlier node found.
    pub(super) fn open(dir: &DomainDir, clock: Arc<dyn Clock>) -> Self {
        let file = dir.checks();
        let kept = read(&file).unwrap_or_default();
        let mut inner = Inner::default();
        inner.body.fsck.last = kept.fsck;
        inner.body.replay.last = kept.replay;
        Self {
            file,
            clock,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock, so the data behind a poisoned one is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub(super) fn body(&self) -> ChecksBody {
        self.lock().body.clone()
    }

    /// Has both made now, unless they are. `false` where nobody makes any.
    pub(super) fn ask(&self) -> bool {
        let mut inner = self.lock();
        let running = Check::ALL
            .iter()
            .any(|it| inner.body.of(*it).running.is_some());
        inner.asked |= !running;
        let staffed = inner.staffed;
        drop(inner);
        self.changed.notify_all();
        staffed
    }

    /// Makes no more of them, and rests no more within one.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Sleeps, until they are stopped.
    fn rest(&self, time: Duration) {
        let waits = |inner: &mut Inner| !inner.stopped;
        drop(self.changed.wait_timeout_while(self.lock(), time, waits));
    }

    fn tell(&self, check: Check, records: u64) {
        if let Some(running) = &mut self.lock().body.of_mut(check).running {
            running.records = records.min(running.of);
        }
    }

    /// Makes one, and remembers what came of it.
    fn make(&self, check: Check, place: &Place) -> Found {
        let (found, last) = self.look(check, place, None);
        self.remember(check, last);
        found
    }

    /// The same for the next node as well, which knows it before anybody hears of it: whoever does may end this one.
    fn make_and_keep(&self, check: Check, place: &Place, percent: Option<Percent>) -> Found {
        let (found, last) = self.look(check, place, percent);
        let mut body = self.body();
        body.of_mut(check).last = Some(last.clone());
        let kept = Kept {
            fsck: body.fsck.last,
            replay: body.replay.last,
        };
        if let Ok(bytes) = serde_json::to_vec(&kept) {
            // One that cannot be kept is found again.
            write_durably(&self.file, &bytes).unwrap_or(());
        }
        self.remember(check, last);
        found
    }

    fn look(&self, check: Check, place: &Place, percent: Option<Percent>) -> (Found, Checked) {
        let (began, of) = (self.clock.wall(), place.reader.size().get());
        self.lock().body.of_mut(check).running = Some(UnderWay {
            began,
            of,
            records: 0,
        });
        let found = twice(|| {
            let mut pace = Pace::new(self, check, percent);
            place.look(check, &mut |records| pace.step(records))
        });
        let last = Checked {
            began,
            detail: found.detail.clone(),
            ended: self.clock.wall(),
            finding: found.finding,
            index: found.index,
            records: found.records,
        };
        (found, last)
    }

    fn remember(&self, check: Check, last: Checked) {
        let mut inner = self.lock();
        let body = inner.body.of_mut(check);
        body.running = None;
        body.last = Some(last);
    }

    /// Says when the next ones are due.
    fn schedule(&self, schedule: Schedule, first: bool) {
        let mut inner = self.lock();
        let now = self.clock.wall();
        let due = schedule.every.map(|every| {
            let next = |check: &Check| {
                let last = inner.body.of(*check).last.as_ref();
                last.map_or(Millis::new(0), |last| match last.finding {
                    Finding::Unread => after(last.ended, AGAIN.min(every)),
                    Finding::Sound | Finding::Remark | Finding::Damaged => after(last.ended, every),
                })
            };
            let next = Check::ALL.iter().map(next).min().unwrap_or(now);
            let least = if first { after(now, FIRST) } else { now };
            // A clock that went back puts nothing off for longer than that.
            next.max(least).min(after(now, every.max(FIRST)))
        });
        for check in Check::ALL {
            inner.body.of_mut(check).due = due;
        }
    }

    /// Waits until they are due or asked for; `false` once they are stopped.
    fn wait(&self) -> bool {
        let mut inner = self.lock();
        loop {
            if inner.stopped {
                return false;
            }
            let now = self.clock.wall();
            let due = inner.body.fsck.due;
            if inner.asked || due.is_some_and(|due| due <= now) {
                inner.asked = false;
                return true;
            }
            let left = due.map_or(LOOK, |due| Duration::from_millis(due.since(now)));
            let waited = self.changed.wait_timeout(inner, left.min(LOOK));
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Looks at the log before the node serves, or, where it is a very long one, beside it. A replay is made
/// only where the last one said that the log does not follow from its own records.
pub(super) fn first(node: &Arc<Node>, dir: &DomainDir) -> Result<(), ServeError> {
    let place = Place::new(dir, &node.authority)?;
    let doubted = |it: &Checked| it.finding == Finding::Damaged;
    if node.checks.body().replay.last.as_ref().is_some_and(doubted) {
        node.checks
            .make_and_keep(Check::Replay, &place, None)
            .verdict(Check::Replay)?;
    }
    if place.reader.size().get() <= FIRST_RECORDS_MAX {
        return node.checks.make(Check::Fsck, &place).verdict(Check::Fsck);
    }
    let node = Arc::clone(node);
    let read_through = move || {
        if let Err(error) = node.checks.make(Check::Fsck, &place).verdict(Check::Fsck) {
            // The first one counts.
            drop(node.damage.set(error));
        }
    };
    spawn(read_through)
}

/// Makes checks beside the service for as long as the node serves.
pub(super) fn start(
    node: &Arc<Node>,
    dir: &DomainDir,
    schedule: Schedule,
) -> Result<(), ServeError> {
    let place = Place::new(dir, &node.authority)?;
    let (checks, node) = (Arc::clone(&node.checks), Arc::downgrade(node));
    checks.lock().staffed = true;
    checks.schedule(schedule, true);
    spawn(move || run(&checks, &node, &place, schedule))
}

fn run(checks: &Checks, node: &Weak<Node>, place: &Place, schedule: Schedule) {
    let own = rustix::thread::gettid();
    // Where it cannot be less, it is as much as the others.
    rustix::process::setpriority_process(Some(own), NICENESS).unwrap_or_default();
    while checks.wait() {
        for check in Check::ALL {
            let found = checks.make_and_keep(check, place, Some(schedule.percent));
            if found.finding != Finding::Damaged {
                continue;
            }
            if let (Err(error), Some(node)) = (found.verdict(check), node.upgrade()) {
                drop(node.damage.set(error));
            }
            return;
        }
        checks.schedule(schedule, false);
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), ServeError> {
    let thread = thread::Builder::new().name("checks".into()).spawn(work);
    thread
        .map(drop)
        .map_err(|error| ServeError::Scrub(error.to_string()))
}

fn read(file: &Path) -> Option<Kept> {
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).ok()?;
    opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn after(time: Millis, by: Duration) -> Millis {
    let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    Millis::new(time.get().saturating_add(by))
}
