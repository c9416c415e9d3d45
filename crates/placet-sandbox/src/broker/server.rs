//! The thread that serves the connects of one tree.
//!
//! One loop over descriptors; no call in it waits. A connect that has no answer, no room for its
//! report or no result yet stays with its caller blocked, while the others are served.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Peer;
use super::attempt::{Attempt, Progress};
use super::judge::{self, Ground, Judged, Judgement, OnHost, Subject};
use super::metadata;
use super::meter::Meter;
use super::options::Fresh;
use super::own::Own;
use super::{
    Broker, ConnectCall, ConnectId, ConnectRefusal, ConnectReport, ConnectVerdict, EgressRules,
};
use crate::error::SandboxError;
use crate::queue::{Queue, Urgency};
use crate::sys::{self, Errno, Trapped};
use crate::tree::{deadline_after, failed};

/// What a server works with.
pub(crate) struct Setting {
    pub(crate) listener: OwnedFd,
    pub(crate) rules: EgressRules,
    /// Devices of the file systems that only the cell has.
    pub(crate) own_devices: Vec<u64>,
    /// For a cell without namespaces.
    pub(crate) on_host: Option<OnHost>,
    /// Tells which sockets are the cell's own, where it has a network of its own.
    pub(crate) own: Option<Own>,
    /// Whether its own loopback may be used.
    pub(crate) loopback: bool,
}

/// The supervisor's hold on the thread.
#[derive(Debug)]
pub(crate) struct Server {
    thread: Option<JoinHandle<()>>,
    broker: Broker,
}

struct Serving {
    listener: OwnedFd,
    ground: Ground,
    queue: Arc<Queue<ConnectReport, ConnectVerdict>>,
    meter: Option<Meter>,
    fresh: Fresh,
    waiting: Vec<Waiting>,
    /// Ends for which there was no room; as many as the meter counts at most.
    closed: Vec<ConnectReport>,
    connects: u64,
}

/// A trapped connect.
struct Waiting {
    /// Its number at the listener, another one after each signal.
    id: u64,
    subject: Subject,
    attempt: Attempt,
    /// `None`: it stays inside.
    call: Option<Arc<ConnectCall>>,
    stage: Stage,
    /// Since when its caller has not waited.
    left_ns: Option<u64>,
}

#[derive(Clone, Copy)]
enum Stage {
    Judged(Judgement),
    Asked {
        until_ns: u64,
    },
    Begin,
    UnderWay,
    Busy {
        until_ns: u64,
    },
    /// To be reported, with the caller's answer.
    Over(i32),
    /// To be answered.
    Reported(i32),
}

/// Connects of one tree that wait at once. Each holds two descriptors of the supervisor.
const WAITING_MAX: usize = 128;
/// How long a caller that was interrupted may take to call again.
const LEFT_NS_MAX: u64 = 1_000_000_000;
/// How often it is looked after those that wait, and after a listener that is busy.
const LOOK_NS: u64 = 100_000_000;
const BUSY_NS: u64 = 5_000_000;
/// How long to wait for the kernel's last numbers.
const LAST_LOOKS: u32 = 30;
const STACK_BYTES: usize = 256 << 10;

/// Starts serving a tree.
///
/// # Errors
/// When the kernel gives no descriptors or no thread for it.
pub(crate) fn start(setting: Setting) -> Result<Server, SandboxError> {
    let what = "broker connects";
    let queue = Queue::new().map_err(|errno| failed(what, Errno(errno.raw_os_error())))?;
    let queue = Arc::new(queue);
    let Setting {
        listener,
        rules,
        own_devices,
        on_host,
        own,
        loopback,
    } = setting;
    // Where nothing leaves, no socket is ever handed out: there is nothing to count and none to know again.
    let meter = rules.leads_out().then(Meter::new).transpose();
    let meter = meter.map_err(|errno| failed(what, errno))?;
    let network = |meter: &Meter| sys::network_of(meter.as_fd().as_raw_fd());
    let network = meter.as_ref().map(network).transpose();
    let network = network.map_err(|errno| failed(what, errno))?;
    sys::take_turns(listener.as_raw_fd());
    let open = meter.as_ref().map(Meter::open);
    let serving = Serving {
        listener,
        ground: Ground {
            rules,
            own_devices,
            on_host,
            network,
            own,
            loopback,
        },
        queue: Arc::clone(&queue),
        meter,
        fresh: Fresh::default(),
        waiting: Vec::new(),
        closed: Vec::new(),
        connects: 0,
    };
    let thread = thread::Builder::new()
        .name("placet-broker".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || serving.run())
        .map_err(|source| SandboxError::Supervisor { what, source })?;
    Ok(Server {
        thread: Some(thread),
        broker: Broker { queue, open },
    })
}

impl Server {
    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Waits for the thread, which ends with the last process of the tree.
    pub(crate) fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            // After a panic in it connects were answered ENOSYS; there is nothing else to say.
            drop(thread.join());
        }
    }
}

/// What a wait has found.
#[derive(Default)]
struct Ready {
    trapped: bool,
    over: bool,
    /// The numbers of the calls whose sockets are writable.
    writable: Vec<u64>,
}

impl Serving {
    fn run(mut self) {
        // Without blocked signals a handler of the supervisor could run here; nothing else.
        sys::block_signals().unwrap_or(());
        loop {
            let ready = self.wait();
            if ready.over {
                return self.end();
            }
            self.settle(&ready.writable);
            if ready.trapped {
                self.take_trapped();
            }
            self.report_closed();
        }
    }

    fn listener(&self) -> i32 {
        self.listener.as_raw_fd()
    }

    fn wait(&self) -> Ready {
        if self.queue.has_unheard() {
            self.queue.call_supervisor();
        }
        let always = [Some(self.listener.as_fd()), Some(self.queue.news())];
        let counted = self.meter.as_ref().map(AsFd::as_fd);
        let always: Vec<BorrowedFd<'_>> = always.into_iter().chain([counted]).flatten().collect();
        let under_way = |waiting: &&Waiting| matches!(waiting.stage, Stage::UnderWay);
        let under_way: Vec<&Waiting> = self.waiting.iter().filter(under_way).collect();
        let sockets: Vec<BorrowedFd<'_>> = under_way
            .iter()
            .map(|waiting| waiting.attempt.socket())
            .collect();
        let heard = always.iter().map(|fd| PollFd::new(fd, PollFlags::IN));
        let written = sockets.iter().map(|fd| PollFd::new(fd, PollFlags::OUT));
        let mut polled: Vec<PollFd<'_>> = heard.chain(written).collect();
        let timeout = self.timeout().map(|nanos| Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(nanos).unwrap_or(0),
        });
        // An interrupted wait is a short one.
        poll(&mut polled, timeout.as_ref()).unwrap_or(0);
        let (Some(listener), Some(sockets)) = (polled.first(), polled.get(always.len()..)) else {
            return Ready::default();
        };
        let found = listener.revents();
        let trapped = found.contains(PollFlags::IN);
        let writable = under_way.iter().zip(sockets);
        let writable = writable.filter(|(_, socket)| !socket.revents().is_empty());
        Ready {
            trapped,
            over: !trapped && found.intersects(PollFlags::HUP | PollFlags::ERR),
            writable: writable.map(|(waiting, _)| waiting.id).collect(),
        }
    }

    fn timeout(&self) -> Option<u64> {
        let now = sys::boot_time_ns();
        let until = self.waiting.iter().map(|waiting| match waiting.stage {
            Stage::Asked { until_ns } | Stage::Busy { until_ns } => {
                until_ns.saturating_sub(now).clamp(1, LOOK_NS)
            }
            Stage::Judged(_)
            | Stage::Begin
            | Stage::UnderWay
            | Stage::Over(_)
            | Stage::Reported(_) => LOOK_NS,
        });
        until.min()
    }

    fn take_trapped(&mut self) {
        let listener = self.listener();
        let Ok(Some(call)) = sys::next_trapped(listener) else {
            return;
        };
        let understood = match (i64::from(call.call), &self.ground.on_host) {
            (libc::SYS_listen, _) => self.listen(&call),
            (libc::SYS_connect, _) | (_, None) => self.understand(&call),
            (_, Some(on_host)) => self.change_metadata(&call, on_host),
        };
        if let Err(Errno(errno)) = understood {
            // One that is gone needs no answer.
            sys::answer(listener, call.id, errno).unwrap_or(());
        }
    }

    fn change_metadata(&self, call: &Trapped, on_host: &OnHost) -> Result<(), Errno> {
        let still_waits = || sys::still_waits(self.listener(), call.id);
        metadata::serve(call, &on_host.host.writable, &still_waits)?;
        sys::answer(self.listener(), call.id, 0).or(Ok(()))
    }

    fn listen(&self, call: &Trapped) -> Result<(), Errno> {
        let socket = judge::socket_of(call).map_err(as_answer)?;
        if !sys::still_waits(self.listener(), call.id) {
            return Ok(());
        }
        judge::listen(call, &socket, &self.ground)?;
        sys::answer(self.listener(), call.id, 0).or(Ok(()))
    }

    /// Takes a connect up, or says what its caller is to be told at once.
    fn understand(&mut self, call: &Trapped) -> Result<(), Errno> {
        let copied = judge::copy(call).map_err(as_answer)?;
        if !sys::still_waits(self.listener(), call.id) {
            return Ok(());
        }
        let subject = copied.subject.clone();
        let before = |waiting: &Waiting| waiting.subject.thread == subject.thread;
        if let Some(at) = self.waiting.iter().position(before) {
            let mut waiting = self.waiting.swap_remove(at);
            if waiting.subject == subject {
                waiting.id = call.id;
                waiting.left_ns = None;
                self.go_on(waiting, None, false);
                return Ok(());
            }
            self.forget(&waiting);
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(Errno(libc::EAGAIN));
        }
        let listener = self.listener();
        let still_waits = || sys::still_waits(listener, call.id);
        let judged = judge::judge(copied, &self.ground, &still_waits)?;
        let waiting = self.waiting(call.id, subject, judged);
        self.go_on(waiting, None, false);
        Ok(())
    }

    fn waiting(&mut self, id: u64, subject: Subject, judged: Judged) -> Waiting {
        let Judged { attempt, outside } = judged;
        let (call, stage) = match outside {
            None => (None, Stage::Begin),
            Some((to, judgement)) => {
                self.connects = self.connects.saturating_add(1);
                let call = Arc::new(ConnectCall {
                    id: ConnectId(self.connects),
                    thread: subject.thread.unsigned_abs(),
                    to,
                });
                (Some(call), Stage::Judged(judgement))
            }
        };
        Waiting {
            id,
            subject,
            attempt,
            call,
            stage,
            left_ns: None,
        }
    }

    /// Takes one connect as far as it goes now.
    fn go_on(&mut self, mut waiting: Waiting, verdict: Option<ConnectVerdict>, writable: bool) {
        loop {
            let next = match waiting.stage {
                Stage::Judged(judgement) => self.announce(&waiting, judgement),
                Stage::Asked { until_ns } => answered(verdict, until_ns),
                Stage::Begin => Some(after(waiting.attempt.begin(&mut self.fresh))),
                Stage::UnderWay => writable.then(|| after(waiting.attempt.go_on())),
                Stage::Busy { until_ns } => {
                    (sys::boot_time_ns() >= until_ns).then_some(Stage::Begin)
                }
                Stage::Over(errno) => self.report(&waiting, errno),
                Stage::Reported(errno) => {
                    let delivered = waiting.attempt.deliver(self.listener(), waiting.id, errno);
                    if delivered != Err(Errno(libc::ENOENT)) {
                        return;
                    }
                    None
                }
            };
            match next {
                Some(stage) => waiting.stage = stage,
                None => return self.waiting.push(waiting),
            }
        }
    }

    /// Asks or refuses; `None` when there is no room to say so.
    fn announce(&self, waiting: &Waiting, judgement: Judgement) -> Option<Stage> {
        let call = Arc::clone(waiting.call.as_ref()?);
        match judgement {
            Judgement::Make => Some(Stage::Begin),
            Judgement::Refuse(why) => {
                let refused = ConnectReport::Refused { call, why };
                let told = self.queue.put(refused, Urgency::Now);
                told.then_some(Stage::Reported(libc::EACCES))
            }
            Judgement::Ask(patience) => {
                let question = Urgency::Answer(call.id.0);
                let told = self.queue.put(ConnectReport::Asked(call), question);
                let until_ns = deadline_after(patience);
                told.then_some(Stage::Asked { until_ns })
            }
        }
    }

    /// Reports how it went; `None` when there is no room to say so.
    fn report(&mut self, waiting: &Waiting, errno: i32) -> Option<Stage> {
        let Some(call) = waiting.call.as_ref().map(Arc::clone) else {
            return Some(Stage::Reported(errno));
        };
        let id = call.id;
        let to = match &call.to {
            Peer::Tcp(to) => Some(*to),
            Peer::NotTcp(_) | Peer::Socket(_) => None,
        };
        let opened = errno == 0 || errno == libc::EINPROGRESS;
        let report = if opened {
            ConnectReport::Opened(call)
        } else {
            ConnectReport::Failed { call, errno }
        };
        if !self.queue.put(report, Urgency::Later) {
            return None;
        }
        if let Some((socket, to)) = waiting.attempt.outside().filter(|_| opened).zip(to)
            && !self
                .meter
                .as_mut()
                .is_some_and(|meter| meter.expect(socket, id, to))
        {
            self.closed.push(ConnectReport::Closed { id, bytes: None });
        }
        Some(Stage::Reported(errno))
    }

    /// Goes on with every connect for which something may have changed.
    fn settle(&mut self, writable: &[u64]) {
        let mut answers = self.queue.answers();
        let now = sys::boot_time_ns();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let id = waiting.call.as_ref().map_or(0, |call| call.id.0);
            let verdict = answers.remove(&id);
            if !sys::still_waits(self.listener(), waiting.id) {
                let left = *waiting.left_ns.get_or_insert(now);
                if now.saturating_sub(left) > LEFT_NS_MAX {
                    self.forget(&waiting);
                    continue;
                }
            }
            let writable = writable.contains(&waiting.id);
            self.go_on(waiting, verdict, writable);
        }
    }

    fn forget(&self, waiting: &Waiting) {
        if let Some(call) = &waiting.call {
            self.queue.forget(call.id.0);
        }
    }

    fn report_closed(&mut self) {
        let ended = self.meter.as_mut().map(Meter::ended).unwrap_or_default();
        for (id, traffic) in ended {
            let bytes = Some(traffic);
            self.closed.push(ConnectReport::Closed { id, bytes });
        }
        let queue = &self.queue;
        self.closed
            .retain(|report| !queue.put(report.clone(), Urgency::Later));
    }

    /// The tree is gone: says what is left to say.
    fn end(mut self) {
        for _ in 0..LAST_LOOKS {
            self.report_closed();
            if self.meter.as_ref().is_none_or(Meter::is_idle) {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(1));
        }
        for (id, bytes) in self.meter.as_mut().map(Meter::rest).unwrap_or_default() {
            self.closed.push(ConnectReport::Closed { id, bytes });
        }
        self.queue.put_last(std::mem::take(&mut self.closed));
    }
}

/// What a caller is told of whom nothing could be copied.
fn as_answer(errno: Errno) -> Errno {
    match errno {
        Errno(libc::EBADF | libc::EFAULT | libc::EINVAL) => errno,
        // Undumpable, or gone.
        _ => Errno(libc::EACCES),
    }
}

fn after(progress: Progress) -> Stage {
    match progress {
        Progress::Finished(errno) => Stage::Over(errno),
        Progress::UnderWay => Stage::UnderWay,
        Progress::Busy => Stage::Busy {
            until_ns: sys::boot_time_ns().saturating_add(BUSY_NS),
        },
    }
}

fn answered(verdict: Option<ConnectVerdict>, until_ns: u64) -> Option<Stage> {
    let judgement = match verdict {
        Some(ConnectVerdict::Allow) => Judgement::Make,
        Some(ConnectVerdict::Refuse) => Judgement::Refuse(ConnectRefusal::Denied),
        None if sys::boot_time_ns() < until_ns => return None,
        None => Judgement::Refuse(ConnectRefusal::Unanswered),
    };
    Some(Stage::Judged(judgement))
}
