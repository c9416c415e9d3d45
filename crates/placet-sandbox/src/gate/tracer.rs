//! The thread that traces one tree: hears every stop, and decides at those that follow an execve.
//!
//! It never waits for the supervisor. An exec that has no answer or no room for its report stays
//! where it is, at its first instruction, while the rest of the tree is served; only then are
//! events polled for, since nothing waits for a tracee and a descriptor at once.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::call;
use super::ends::Ends;
use super::judge::{Judge, Judged, Judgement, Known};
use super::makers::Makers;
use super::observe::{Observer, Shown};
use super::stack::{Arguments, Stack};
use super::tasks::{Held, Task, Waits};
use super::{Arguments as Wanted, ExecCall, ExecGate, ExecId, ExecReport, ExecRule, ExecVerdict};
use super::{Gate, OnRefusal, Refusal, given};
use crate::error::SandboxError;
use crate::host::Host;
use crate::opens::Traced as TracedTasks;
use crate::process::{Process, pid_of};
use crate::queue::{Queue, Urgency};
use crate::spec::FileIdentity;
use crate::sys::{self, Errno, Inode, Traced};
use crate::tree::{Status, deadline_after, failed};

/// The supervisor's hold on the thread.
#[derive(Debug)]
pub(crate) struct Tracer {
    thread: Option<JoinHandle<()>>,
    gate: Option<Gate>,
    ended_tree: Arc<AtomicBool>,
    /// Whether it traces by now, until that was asked.
    told: Option<Receiver<Result<(), Errno>>>,
}

/// The processes that a tracer is started on.
pub(crate) struct Traces {
    pub(crate) worker: OwnedFd,
    pub(crate) pid1: OwnedFd,
    /// To be kept up to date with what is traced.
    pub(crate) traced: TracedTasks,
    /// What the tracer looks at beside execs.
    pub(crate) shown: Shown,
}

struct Trace {
    judge: Judge,
    /// Whether it looks at execs. Else it only follows, to end the tree.
    is_gate: bool,
    /// Where there is no pid namespace: this thread is what ends the tree, with its worker.
    host: Option<Arc<Host>>,
    worker: i32,
    ending: bool,
    patience: Duration,
    refused: OnRefusal,
    queue: Arc<Queue<ExecReport, ExecVerdict>>,
    ends: Arc<Ends>,
    ended_tree: Arc<AtomicBool>,
    pid1: OwnedFd,
    traced: TracedTasks,
    tasks: HashMap<i32, Task>,
    /// Tasks whose end was heard before the stop of their maker.
    ended_unborn: HashSet<i32>,
    held: Vec<Held>,
    /// Where what is opened is noted.
    observer: Option<Observer>,
    /// Where what is made executable is noted.
    makers: Option<Makers>,
    /// Whether anybody looks at arguments.
    reads_arguments: bool,
    execs: u64,
    /// How long to look away while nothing happens and something is held.
    pause: Duration,
}

/// Makers that were killed at their stop leave one behind; nothing worse than a wrong
/// [`ExecCall::made_by`] follows from forgetting.
const ENDED_UNBORN_MAX: usize = 1024;
/// A process that calls exec again and again is one end for so many.
const OWN_MAX: usize = 64;
/// The reaper and the worker.
const TASKS_MIN: u64 = 2;
const PAUSE_MIN: Duration = Duration::from_micros(100);
const PAUSE_MAX: Duration = Duration::from_millis(4);
const STACK_BYTES: usize = 256 << 10;

/// Starts tracing the waiting worker, which is not to be released before it [is traced](Tracer::stands).
///
/// # Errors
/// When there can be no thread.
pub(crate) fn start(
    gate: &ExecGate,
    known: Known,
    traces: Traces,
    host: Option<Arc<Host>>,
) -> Result<Tracer, SandboxError> {
    let queue = Queue::new().map_err(|errno| failed("gate execs", Errno(errno.raw_os_error())))?;
    let queue = Arc::new(queue);
    let ends = Arc::new(Ends::default());
    let ended_tree = Arc::new(AtomicBool::new(false));
    let patience = match gate.rule {
        ExecRule::Ask { patience } => patience,
        ExecRule::Ungated | ExecRule::Any | ExecRule::Listed(_) => Duration::ZERO,
    };
    let is_gate = !matches!(gate.rule, ExecRule::Ungated);
    let writable = host.as_ref().map(|host| host.writable.clone());
    let observer = Observer::new(traces.shown);
    let shown = traces.shown;
    let trace = Trace {
        judge: Judge::new(gate, known, writable),
        is_gate,
        host,
        worker: 0,
        ending: false,
        patience,
        refused: gate.refused,
        queue: Arc::clone(&queue),
        ends: Arc::clone(&ends),
        ended_tree: Arc::clone(&ended_tree),
        pid1: traces.pid1,
        traced: traces.traced,
        tasks: HashMap::new(),
        ended_unborn: HashSet::new(),
        held: Vec::new(),
        observer: observer.clone(),
        makers: shown.making.then(Makers::default),
        reads_arguments: gate.arguments == Wanted::Read || shown != Shown::default(),
        execs: 0,
        pause: PAUSE_MIN,
    };
    let (tell, told) = sync_channel(1);
    let thread = thread::Builder::new()
        .name("placet-gate".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || trace.run(&traces.worker, shown, &tell))
        .map_err(|source| SandboxError::Supervisor {
            what: "gate execs",
            source,
        })?;
    Ok(Tracer {
        thread: Some(thread),
        gate: is_gate.then_some(Gate {
            queue,
            ends,
            observer,
        }),
        ended_tree,
        told: Some(told),
    })
}

impl Tracer {
    /// Waits until it traces.
    ///
    /// # Errors
    /// [`SandboxError::Untraceable`], and when the thread is gone.
    pub(crate) fn stands(&mut self) -> Result<(), SandboxError> {
        match self.told.take().map(|told| told.recv()) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(errno))) => Err(SandboxError::Untraceable(errno.into())),
            Some(Err(_)) => Err(SandboxError::SetupDied),
        }
    }

    /// `None` where it only holds the tree together.
    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// Waits for the thread, which ends with the last process of the tree, so that all it had to
    /// report is there. Gives whether it ended the tree.
    pub(crate) fn finish(&mut self) -> bool {
        if let Some(thread) = self.thread.take() {
            // A panic in it has killed the tree, and there is nothing else to say about it.
            drop(thread.join());
        }
        self.ended_tree.load(Ordering::SeqCst)
    }
}

/// Traces the process behind a pidfd, and no other that may have got its number by now.
fn trace_process(pidfd: &OwnedFd, shown: Shown) -> Result<i32, Errno> {
    let gone = Errno(libc::ESRCH);
    let pid = pid_of(pidfd.as_fd()).ok_or(gone)?;
    sys::trace(pid, shown != Shown::default())?;
    if pid_of(pidfd.as_fd()) == Some(pid) {
        return Ok(pid);
    }
    // A stranger, who must not be killed when this thread ends.
    sys::untrace(pid)?;
    Err(gone)
}

impl Trace {
    fn run(mut self, worker: &OwnedFd, shown: Shown, tell: &SyncSender<Result<(), Errno>>) {
        let traced = sys::block_signals_of_others().and_then(|()| trace_process(worker, shown));
        let started = traced.map(|pid| {
            self.worker = pid;
            self.tasks.insert(pid, Task::default());
            self.traced.add(pid);
        });
        let serve = started.is_ok();
        if tell.send(started).is_ok() && serve {
            self.serve();
        }
    }

    /// Serves the tree to its end. Whatever goes wrong ends the thread, and so the tree.
    fn serve(&mut self) {
        loop {
            // The tree comes first: the supervisor is woken when there is a moment.
            let unheard = self.queue.has_unheard();
            match sys::next_traced(self.held.is_empty() && !unheard) {
                Ok(Some((pid, event))) => {
                    self.pause = PAUSE_MIN;
                    self.hear(pid, event);
                    if self.ending {
                        return self.end_all();
                    }
                }
                Ok(None) if unheard => self.queue.call_supervisor(),
                Ok(None) => self.look_away(),
                Err(_) => {
                    self.queue.call_supervisor();
                    return;
                }
            }
            if !self.held.is_empty() {
                self.settle();
            }
            if self.ending {
                return self.end_all();
            }
        }
    }

    /// Kills every task until none is left. Nobody is let go on any more, so nothing is made but what
    /// is being made, and that stops at its birth and is killed there.
    fn end_all(&mut self) {
        self.tasks.keys().copied().for_each(sys::kill_traced);
        while let Ok(Some((pid, event))) = sys::next_traced(true) {
            if matches!(event, Traced::Ended { .. }) {
                self.hear(pid, event);
            } else {
                sys::kill_traced(pid);
            }
        }
        self.queue.call_supervisor();
    }

    /// Counts a task that is seen for the first time, and kills one too many where it was born.
    fn is_one_too_many(&mut self, pid: i32) -> bool {
        let Some(max) = self.host.as_ref().and_then(|host| host.tasks_max) else {
            return false;
        };
        self.tasks.entry(pid).or_default();
        // The reaper is one of them.
        let tasks = u64::try_from(self.tasks.len()).unwrap_or(u64::MAX);
        let too_many = pid != self.worker && tasks.saturating_add(1) > max.max(TASKS_MIN);
        if too_many {
            sys::kill_traced(pid);
        }
        too_many
    }

    /// Waits a moment, or for the supervisor.
    fn look_away(&mut self) {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(self.pause.subsec_nanos()),
        };
        let news = self.queue.news();
        // An interrupted wait is a short one.
        poll(&mut [PollFd::new(&news, PollFlags::IN)], Some(&timeout)).unwrap_or(0);
        self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX);
    }

    fn hear(&mut self, pid: i32, event: Traced) {
        if event == Traced::Trap && !self.tasks.contains_key(&pid) && self.is_one_too_many(pid) {
            return;
        }
        // Before it goes on, and before its number can be another's.
        if matches!(event, Traced::Ended { .. }) {
            self.traced.remove(pid);
        } else {
            self.traced.add(pid);
        }
        // A tracee that is killed while it is stopped takes no requests (ESRCH); its end follows.
        match event {
            Traced::Exec => self.at_exec(pid),
            Traced::Birth => {
                self.at_birth(pid);
                sys::go_on(pid, 0).unwrap_or(());
            }
            Traced::GroupStop => sys::stay_stopped(pid).unwrap_or(()),
            Traced::Call => {
                if let Some(observer) = &self.observer {
                    observer.call(pid);
                }
                let by = self.image_of(pid);
                let makers = self.makers.as_mut();
                if makers.is_some_and(|makers| makers.before(pid, by)) {
                    sys::go_on_to_return(pid).unwrap_or(());
                } else {
                    sys::go_on(pid, 0).unwrap_or(());
                }
            }
            Traced::Returned => {
                let by = self.image_of(pid);
                if let Some(makers) = &mut self.makers {
                    makers.after(pid, by);
                }
                sys::go_on(pid, 0).unwrap_or(());
            }
            Traced::Trap => sys::go_on(pid, 0).unwrap_or(()),
            Traced::Signal(signal) => sys::go_on(pid, signal).unwrap_or(()),
            Traced::Ended { code, signal } => {
                let status = code.map_or(Status::Signaled(signal), Status::Exited);
                self.at_end(pid, status);
            }
        }
    }

    fn image_of(&self, pid: i32) -> Option<ExecId> {
        self.tasks.get(&pid).and_then(|task| task.image)
    }

    fn at_birth(&mut self, maker: i32) {
        let Ok(pid) = sys::event_pid(maker) else {
            return;
        };
        if self.ended_unborn.remove(&pid) {
            return;
        }
        if !self.tasks.contains_key(&pid) && self.is_one_too_many(pid) {
            return;
        }
        let image = self.tasks.get(&maker).and_then(|task| task.image);
        let task = self.tasks.entry(pid).or_default();
        let already = task.image.filter(|_| !task.born);
        *task = Task {
            image: already.or(image),
            own: std::mem::take(&mut task.own),
            made_by: Some(maker.unsigned_abs()),
            born: true,
        };
    }

    fn at_end(&mut self, pid: i32, status: Status) {
        // Where there is no pid 1, it ends with its worker all the same.
        self.ending |= self.host.is_some() && pid == self.worker;
        let known = self.tasks.remove(&pid);
        if let Some(task) = &known {
            self.ends.put(&task.own, status);
        }
        if known.is_none_or(|task| !task.born) {
            if self.ended_unborn.len() >= ENDED_UNBORN_MAX {
                self.ended_unborn.clear();
            }
            self.ended_unborn.insert(pid);
        }
        if let Some(at) = self.held.iter().position(|held| held.pid == pid) {
            self.queue.forget(self.held.swap_remove(at).call.id.0);
        }
    }

    fn at_exec(&mut self, pid: i32) {
        // The thread that called has become its process, and its own number is free.
        if let Ok(former) = sys::event_pid(pid)
            && former != pid
        {
            self.tasks.remove(&former);
            self.traced.remove(former);
        }
        if !self.is_gate {
            return sys::go_on(pid, 0).unwrap_or(());
        }
        self.execs = self.execs.saturating_add(1);
        let process = Process::traced(pid);
        let alive = || !sys::has_ended(pid);
        let judged = self.judge.judge(&process, self.execs == 1, &alive);
        if judged.judgement == Judgement::Refuse(Refusal::Unreadable) && !alive() {
            // Killed under our eyes: it did not run, and nobody refused it.
            return;
        }
        let judgement = judged.judgement;
        let call = self.call(pid, &process, judged);
        self.conclude(pid, Arc::new(call), judgement);
    }

    fn call(&self, pid: i32, process: &Process, judged: Judged) -> ExecCall {
        let task = self.tasks.get(&pid).cloned();
        let (by, made_by) = match task.filter(|task| task.born || task.image.is_some()) {
            Some(task) => (task.image, task.made_by),
            None if self.execs == 1 => (None, None),
            None => self.ask_kernel(process),
        };
        let mut stack = self.reads_arguments.then(|| Stack::of(pid)).flatten();
        let arguments = stack.as_ref().and_then(Stack::arguments);
        let Arguments { words, truncated } = arguments.unwrap_or(Arguments {
            words: Vec::new(),
            truncated: true,
        });
        let identity = judged.image.as_ref().map(|image| image.identity);
        let file = identity.map(|FileIdentity { dev, ino, .. }| Inode { dev, ino });
        let maker = file.and_then(|file| self.makers.as_ref()?.of(file));
        let script = stack
            .as_mut()
            .zip(identity)
            .and_then(|(stack, identity)| call::script(process, stack, &words, identity));
        let own_script = given::of(
            (pid, process),
            (judged.image.as_ref(), &words, script.as_ref()),
            (self.makers.as_ref(), self.judge.writable()),
        );
        ExecCall {
            id: ExecId(self.execs),
            by,
            pid: pid.unsigned_abs(),
            made_by,
            maker,
            script,
            own_script,
            image: judged.image,
            argv: words,
            argv_truncated: truncated,
        }
    }

    /// Where a process comes from whose maker's stop has not been heard.
    fn ask_kernel(&self, process: &Process) -> (Option<ExecId>, Option<u32>) {
        let Some(parent) = process.parent() else {
            return (None, None);
        };
        let image = self.tasks.get(&parent).and_then(|task| task.image);
        (image, Some(parent.unsigned_abs()))
    }

    /// Reports and does what was judged; an exec that cannot be reported is held back.
    fn conclude(&mut self, pid: i32, call: Arc<ExecCall>, judgement: Judgement) {
        let (about, id) = (Arc::clone(&call), call.id);
        let (report, urgency) = match judgement {
            Judgement::Start => (ExecReport::Started(about), Urgency::Later),
            Judgement::Ask => (ExecReport::Asked(about), Urgency::Answer(id.0)),
            Judgement::Refuse(why) => (ExecReport::Refused { call: about, why }, Urgency::Now),
        };
        if !self.queue.put(report, urgency) {
            return self.hold(pid, call, Waits::Room(judgement));
        }
        match judgement {
            Judgement::Start => {
                if let Some(observer) = &self.observer {
                    observer.started(&call);
                }
                let task = self.tasks.entry(pid).or_default();
                task.image = Some(id);
                if task.own.len() >= OWN_MAX {
                    task.own.remove(0);
                }
                task.own.push(id);
                sys::go_on(pid, 0).unwrap_or(());
            }
            Judgement::Ask => {
                let until_ns = deadline_after(self.patience);
                self.hold(pid, call, Waits::Answer { until_ns });
            }
            Judgement::Refuse(_) => self.refuse(pid),
        }
    }

    fn hold(&mut self, pid: i32, call: Arc<ExecCall>, waits: Waits) {
        self.held.push(Held { pid, call, waits });
    }

    /// Kills it where it stands: SIGKILL lets no stopped tracee run an instruction.
    fn refuse(&mut self, pid: i32) {
        sys::kill_traced(pid);
        if self.refused == OnRefusal::EndTree {
            self.ended_tree.store(true, Ordering::SeqCst);
            if self.host.is_some() {
                self.ending = true;
                return;
            }
            // One that has ended already has ended its tree.
            sys::signal(self.pid1.as_raw_fd(), libc::SIGKILL).unwrap_or(());
        }
    }

    /// Goes on with what has been answered, what has room, and what nobody answered in time.
    fn settle(&mut self) {
        let answers = self.queue.answers();
        for Held { pid, call, waits } in std::mem::take(&mut self.held) {
            let judgement = match waits {
                Waits::Room(judgement) => Some(judgement),
                Waits::Answer { until_ns } => match answers.get(&call.id.0) {
                    Some(ExecVerdict::Allow) => Some(Judgement::Start),
                    Some(ExecVerdict::Refuse) => Some(Judgement::Refuse(Refusal::Denied)),
                    None if sys::boot_time_ns() < until_ns => None,
                    None => Some(Judgement::Refuse(Refusal::Unanswered)),
                },
            };
            match judgement {
                Some(judgement) => {
                    self.queue.forget(call.id.0);
                    self.conclude(pid, call, judgement);
                }
                None => self.hold(pid, call, waits),
            }
        }
    }
}
