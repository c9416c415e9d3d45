//! A lane: what a worker is given to do, the thread that does it, and whoever does it in its place.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::worker::{CALLS_MAX, Tried, Worker};
use super::{AT_ONCE, Call, Job, LINGER, Lane, Over, Setting, Shared, lock};

impl Shared {
    /// What the thread of a lane does until the governor is closed and everything is recorded.
    pub(super) fn run(&self, at: usize) {
        let Some(lane) = self.lanes.get(at) else {
            return;
        };
        loop {
            let jobs = lane.take();
            let mut worker = lock(&lane.worker);
            let is_idle = jobs.is_empty();
            if !is_idle {
                // What is over goes with what is asked: by itself it would hold up the next call.
                worker.take_ended(lane.all_ended());
            }
            worker.work(jobs);
            // What could go with nothing, or was not heard before, is told now.
            worker.report();
            worker.let_go();
            lane.busy.store(false, Ordering::SeqCst);
            let closing = self.closing.load(Ordering::SeqCst);
            if is_idle && closing && lane.is_empty() {
                worker.take_ended(lane.all_ended());
                worker.report_all();
                return;
            }
            worker.hear();
            worker.end_what_must();
            let patience = worker.patience();
            drop(worker);
            if is_idle {
                let clock = &self.setting.clock;
                lane.wait(patience);
                let over = lane.lingered(clock.monotonic());
                if !over.is_empty() {
                    let mut worker = lock(&lane.worker);
                    worker.take_ended(over);
                    worker.report();
                }
            }
        }
    }
}

impl Lane {
    pub(super) fn new(setting: &Arc<Setting>, at: usize) -> std::io::Result<Self> {
        let events = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        for fd in [&wake, &timer] {
            epoll::add(&events, fd, EventData::new_u64(0), EventFlags::IN)?;
        }
        Ok(Self {
            worker: Mutex::new(Worker::new(setting, &events, at)),
            jobs: Mutex::default(),
            ended: Mutex::default(),
            wake,
            timer,
            events,
            busy: AtomicBool::new(false),
        })
    }

    pub(super) fn jobs(&self) -> MutexGuard<'_, std::collections::VecDeque<Job>> {
        lock(&self.jobs)
    }

    fn is_empty(&self) -> bool {
        self.jobs().is_empty()
    }

    /// The next jobs. Whoever looks for an idle lane sees either the jobs or that somebody does them.
    fn take(&self) -> Vec<Job> {
        let mut jobs = self.jobs();
        let count = jobs.len().min(CALLS_MAX);
        let taken: Vec<Job> = jobs.drain(..count).collect();
        self.busy.store(!taken.is_empty(), Ordering::SeqCst);
        taken
    }

    pub(super) fn put(&self, jobs: impl IntoIterator<Item = Job>) {
        self.jobs().extend(jobs);
        self.wake();
    }

    pub(super) fn wake(&self) {
        // A counter that is full wakes as well.
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).unwrap_or(0);
    }

    /// Keeps an end until there is something that it can go with. The thread sleeps on meanwhile: as long as calls
    /// come one after the other, each takes along what was over before it, and the timer never goes off.
    pub(super) fn linger(&self, over: Over) {
        let mut ended = lock(&self.ended);
        let is_first = ended.ended.is_empty();
        if is_first {
            ended.since = over.since;
        }
        ended.ended.push(over);
        drop(ended);
        if is_first {
            self.look_after(LINGER);
        }
    }

    /// Has the thread look after this time.
    fn look_after(&self, time: Duration) {
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(time).unwrap_or_default(),
        };
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).is_err() {
            self.wake();
        }
    }

    fn all_ended(&self) -> Vec<Over> {
        std::mem::take(&mut lock(&self.ended).ended)
    }

    /// Decides a call on the caller's thread, if nothing else happens here. Gives it back otherwise.
    pub(super) fn at_once(&self, call: Call) -> Option<Call> {
        if self.busy.load(Ordering::SeqCst) || !self.is_empty() {
            return Some(call);
        }
        let mut worker = match self.worker.try_lock() {
            Ok(worker) => worker,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Some(call),
        };
        if !worker.can_ask_at_once() {
            return Some(call);
        }
        worker.take_ended(self.all_ended());
        match worker.try_call(call, AT_ONCE) {
            Tried::Done => {
                let is_late = worker.looks_too_late();
                drop(worker);
                if is_late {
                    self.wake();
                }
                None
            }
            Tried::Waits => {
                self.busy.store(true, Ordering::SeqCst);
                drop(worker);
                self.put([Job::Await]);
                None
            }
            Tried::Lost(call) => Some(call),
        }
    }

    /// The ends that have waited long enough, and all that came after them.
    fn lingered(&self, now: Duration) -> Vec<Over> {
        let mut ended = lock(&self.ended);
        if ended.ended.is_empty() {
            return Vec::new();
        }
        let waited = now.saturating_sub(ended.since);
        match LINGER.checked_sub(waited).filter(|left| !left.is_zero()) {
            Some(left) => {
                self.look_after(left);
                Vec::new()
            }
            None => std::mem::take(&mut ended.ended),
        }
    }

    /// Waits until something happens, at most so long.
    fn wait(&self, patience: Duration) {
        let timeout = Timespec::try_from(patience).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let mut events = Vec::<epoll::Event>::with_capacity(3);
        // An interrupted wait is a short one.
        epoll::wait(&self.events, spare_capacity(&mut events), Some(&timeout)).unwrap_or(0);
        for fd in [&self.wake, &self.timer] {
            rustix::io::read(fd, &mut [0_u8; 8]).unwrap_or(0);
        }
    }
}

/// Whether the thread of a lane is woken by what comes on its worker's connection. While somebody waits for an
/// answer on it, the answer is not the thread's to hear.
pub(super) fn hears(events: &OwnedFd, link: impl AsFd, is_new: bool, hears: bool) {
    let flags = if hears {
        EventFlags::IN
    } else {
        EventFlags::empty()
    };
    let data = EventData::new_u64(1);
    // A connection that nobody is woken by is looked at with every beat that is due.
    if is_new {
        epoll::add(events, link, data, flags).unwrap_or(());
    } else {
        epoll::modify(events, link, data, flags).unwrap_or(());
    }
}
