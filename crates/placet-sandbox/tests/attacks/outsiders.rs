//! Reaching a process of the same user outside: its memory, its descriptors, its signals and what the
//! kernel lets one process set for another.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use placet_sandbox::Status;

use crate::host::on_host;
use crate::kernel::call;
use crate::support::{ACT, Act, Test, acting_spec, command, is_root, own_executable};
use crate::{SUCCESS, assert_refused, end_of, outside};

pub(crate) const TESTS: &[Test] = &[
    ("process_vm_readv_of_an_outside_process", || {
        refused("vm_read", EPERM)
    }),
    ("process_vm_writev_of_an_outside_process", || {
        changes_nothing("vm_write", EPERM)
    }),
    ("memory_file_of_an_outside_process", || {
        changes_nothing("mem_write", ENOENT)
    }),
    ("process_madvise_of_an_outside_process", || {
        refused_to_root("madvise", EPERM)
    }),
    ("ptrace_of_an_outside_process", || refused("seize", EPERM)),
    ("ptrace_of_the_supervisor", ptrace_of_the_supervisor),
    ("being_traced_by_the_parent", || {
        crate::check("trace_me", &[], EPERM)
    }),
    ("descriptor_of_an_outside_process", || {
        refused("take_descriptor", EPERM)
    }),
    ("pidfd_signal_to_an_outside_process", || {
        refused("pidfd_signal", ESRCH)
    }),
    ("queued_signal_to_an_outside_process", || {
        refused("queue_signal", ESRCH)
    }),
    ("signal_to_a_group_outside", || {
        refused("signal_group", ESRCH)
    }),
    ("signal_by_owning_a_pipe", signal_by_owning_a_pipe),
    ("kcmp_with_an_outside_process", || refused("kcmp", EPERM)),
    ("limits_of_an_outside_process", || refused("prlimit", ESRCH)),
    ("priority_of_an_outside_process", || {
        refused("priority", ESRCH)
    }),
    ("affinity_of_an_outside_process", || {
        refused("affinity", ESRCH)
    }),
    ("scheduler_of_an_outside_process", || {
        refused("scheduler", ESRCH)
    }),
    ("io_priority_of_an_outside_process", || {
        refused("io_priority", ESRCH)
    }),
];

pub(crate) const ACTS: &[Act] = &[
    ("victim", |_| victim()),
    ("vm_read", |a| vm(libc::SYS_process_vm_readv, a)),
    ("vm_write", |a| vm(libc::SYS_process_vm_writev, a)),
    ("mem_write", |a| mem_write(a)),
    ("madvise", |a| {
        let range = [page_of(number(&a[1])), 4096];
        let pidfd = pidfd(&a[0]);
        call(
            libc::SYS_process_madvise,
            [pidfd, range.as_ptr().addr(), 1, 20, 0],
        )
    }),
    ("seize", |a| {
        call(libc::SYS_ptrace, [0x4206, number(&a[0]), 0, 0, 0])
    }),
    ("trace_me", |_| call(libc::SYS_ptrace, [0, 0, 0, 0, 0])),
    ("take_descriptor", |a| {
        call(libc::SYS_pidfd_getfd, [pidfd(&a[0]), 0, 0, 0, 0])
    }),
    ("pidfd_signal", |a| {
        let opened = call(libc::SYS_pidfd_open, [number(&a[0]), 0, 0, 0, 0]);
        let sent = call(libc::SYS_pidfd_send_signal, [pidfd(&a[0]), 0, 0, 0, 0]);
        if opened == 0 { sent } else { opened }
    }),
    ("queue_signal", |a| {
        let mut info = [0u64; 16];
        // SI_QUEUE, as a process may say.
        info[1] = u64::from(0xffff_ffffu32);
        let info = info.as_ptr().addr();
        call(libc::SYS_rt_sigqueueinfo, [number(&a[0]), 0, info, 0, 0])
    }),
    ("signal_group", |a| {
        call(libc::SYS_kill, [number(&a[0]).wrapping_neg(), 0, 0, 0, 0])
    }),
    ("own_a_pipe", |a| own_a_pipe(a[0].parse().unwrap())),
    ("kcmp", |a| {
        let own = std::process::id() as usize;
        // KCMP_VM.
        call(libc::SYS_kcmp, [own, number(&a[0]), 1, 0, 0])
    }),
    ("prlimit", |a| {
        let none = [0u64; 2];
        let limit = none.as_ptr().addr();
        let core = libc::RLIMIT_CORE as usize;
        call(libc::SYS_prlimit64, [number(&a[0]), core, limit, 0, 0])
    }),
    ("priority", |a| {
        call(libc::SYS_setpriority, [0, number(&a[0]), 19, 0, 0])
    }),
    ("affinity", |a| {
        let first = 1u64;
        let set = (&raw const first).addr();
        call(libc::SYS_sched_setaffinity, [number(&a[0]), 8, set, 0, 0])
    }),
    ("scheduler", |a| {
        let priority = 0i32;
        let parameters = (&raw const priority).addr();
        // SCHED_BATCH.
        let arguments = [number(&a[0]), 3, parameters, 0, 0];
        call(libc::SYS_sched_setscheduler, arguments)
    }),
    ("io_priority", |a| {
        // IOPRIO_WHO_PROCESS, best effort at its lowest.
        call(
            libc::SYS_ioprio_set,
            [1, number(&a[0]), (2 << 13) | 7, 0, 0],
        )
    }),
];

const EPERM: Status = Status::Exited(libc::EPERM);
const ENOENT: Status = Status::Exited(libc::ENOENT);
const ESRCH: Status = Status::Exited(libc::ESRCH);

fn number(text: &str) -> usize {
    text.parse().unwrap()
}

fn page_of(address: usize) -> usize {
    address & !4095
}

/// Wrong where there is no such process: the call that takes it then says what it says first.
fn pidfd(pid: &str) -> usize {
    // SAFETY: pidfd_open takes integers only.
    unsafe { libc::syscall(libc::SYS_pidfd_open, number(pid), 0) as usize }
}

static WORD: AtomicU64 = AtomicU64::new(UNTOUCHED);
const UNTOUCHED: u64 = 0x5afe_5afe;
const TOUCHED: u64 = 0x0bad_0bad;

/// A process of the same user outside, in a group of its own.
struct Victim {
    child: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
    address: String,
}

/// Tells where its word is, and what it is each time it is asked.
fn victim() -> i32 {
    println!("{}", (&raw const WORD).addr());
    for _ in std::io::stdin().lines() {
        println!("{}", WORD.load(Ordering::SeqCst));
    }
    0
}

impl Victim {
    fn start() -> Self {
        use std::os::unix::process::CommandExt;
        let mut child = command(&own_executable())
            .args([ACT, "victim"])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let mut address = String::new();
        told.read_line(&mut address).unwrap();
        Self {
            child,
            ask,
            told,
            address: address.trim().to_owned(),
        }
    }

    /// `None` once it has ended.
    fn word(&mut self) -> Option<u64> {
        self.ask.write_all(b"\n").ok()?;
        let mut line = String::new();
        self.told.read_line(&mut line).ok()?;
        line.trim().parse().ok()
    }

    fn arguments(&self) -> [String; 2] {
        [self.child.id().to_string(), self.address.clone()]
    }

    /// How an act on it ends outside.
    fn met_outside(&self, act: &str) -> Status {
        let arguments = self.arguments();
        outside(act, &arguments.each_ref().map(String::as_str))
    }

    /// How an act on it ends in a cell, where its number is what it is outside.
    fn met_inside(&self, act: &str) -> Status {
        let arguments = self.arguments();
        end_of(acting_spec(act, &arguments.each_ref().map(String::as_str)))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// It works on somebody else's process outside, and inside ends so.
fn refused(act: &str, refusal: Status) {
    let mut victim = Victim::start();
    if !on_host() {
        assert_eq!(victim.met_outside(act), SUCCESS, "{act} outside");
    }
    assert_refused(victim.met_inside(act), refusal, act);
    assert!(victim.word().is_some());
}

fn refused_to_root(act: &str, refusal: Status) {
    if is_root() {
        refused(act, refusal);
    } else {
        assert_refused(Victim::start().met_inside(act), refusal, act);
    }
}

/// As [`refused`], by what becomes of the other process.
fn changes_nothing(act: &str, refusal: Status) {
    if !on_host() {
        let mut victim = Victim::start();
        assert_eq!(victim.met_outside(act), SUCCESS, "{act} outside");
        assert_eq!(victim.word(), Some(TOUCHED));
    }
    let mut victim = Victim::start();
    assert_refused(victim.met_inside(act), refusal, act);
    assert_eq!(victim.word(), Some(UNTOUCHED));
}

fn vm(call_number: i64, a: &[String]) -> i32 {
    let word = TOUCHED;
    let local = [(&raw const word).addr(), 8];
    let remote = [number(&a[1]), 8];
    call(
        call_number,
        [
            number(&a[0]),
            local.as_ptr().addr(),
            1,
            remote.as_ptr().addr(),
            1,
        ],
    )
}

fn mem_write(a: &[String]) -> i32 {
    let memory = fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/{}/mem", a[0]));
    let written =
        memory.and_then(|file| file.write_all_at(&TOUCHED.to_ne_bytes(), number(&a[1]) as u64));
    crate::outcome_of(written)
}

/// The suite is the supervisor of the cells that it builds.
fn ptrace_of_the_supervisor() {
    let own = std::process::id().to_string();
    if !on_host() {
        assert_eq!(outside("seize", &[&own]), SUCCESS);
    }
    assert_refused(crate::inside("seize", &[&own]), EPERM, "seize");
}

/// Makes the kernel signal another process when something can be read.
fn own_a_pipe(pid: i32) -> i32 {
    let mut ends = [0; 2];
    // SAFETY: ends is live and writable; the other calls take integers and one byte of a live string.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let owned = crate::outcome(libc::fcntl(ends[0], libc::F_SETOWN, pid));
        // F_SETSIG.
        assert_eq!(libc::fcntl(ends[0], 10, libc::SIGTERM), 0);
        assert_eq!(libc::fcntl(ends[0], libc::F_SETFL, libc::O_ASYNC), 0);
        assert_eq!(libc::write(ends[1], c"x".as_ptr().cast(), 1), 1);
        owned
    }
}

/// By whether the other process lives: on tier U0 it may be named as the owner, and gets no signal.
fn signal_by_owning_a_pipe() {
    if !on_host() {
        let mut victim = Victim::start();
        assert_eq!(victim.met_outside("own_a_pipe"), SUCCESS);
        let status = victim.child.wait().unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(status.signal(), Some(libc::SIGTERM));
    }
    let mut victim = Victim::start();
    let end = victim.met_inside("own_a_pipe");
    assert!(
        end == ESRCH || (on_host() && end == SUCCESS),
        "inside: {end:?}"
    );
    assert_eq!(victim.word(), Some(UNTOUCHED));
}
