//! Tracing: the supervisor's side of ptrace(2), for one thread that traces one tree.
//!
//! Every wait here is `__WNOTHREAD`: it sees what this thread traces, and not the children and
//! tracees of the supervisor's other threads.

use std::ffi::{c_int, c_long, c_ulong, c_void};

use super::{Errno, Sys, done, last_errno};

/// What a tracee did, as far as the exec gate tells events apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traced {
    /// It executed a program and has not run an instruction of it.
    Exec,
    /// It made a process or thread, which is traced as well.
    Birth,
    /// It stopped with its whole group by this job control signal.
    GroupStop,
    /// A stop of the trace's own: the first of a new tracee, or after SIGCONT.
    Trap,
    /// A system call that the filter shows the tracer, before it is made.
    Call,
    /// The system call that it was let go on into by [`go_on_to_return`] has been made.
    Returned,
    /// A signal is about to be delivered.
    Signal(c_int),
    /// It is gone, and reaped as far as the tracer is concerned. With its exit code, or with the
    /// signal that killed it.
    Ended {
        /// The code, unless it was killed.
        code: Option<c_int>,
        /// The signal, if it was killed.
        signal: c_int,
    },
}

/// Traces the process and all that it will make. They are killed when the calling thread ends. With
/// `shown_calls`, also calls that a filter of theirs wants to be shown stop; else those answer ENOSYS.
pub(crate) fn trace(pid: c_int, shown_calls: bool) -> Sys<()> {
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | if shown_calls {
            libc::PTRACE_O_TRACESECCOMP | libc::PTRACE_O_TRACESYSGOOD
        } else {
            0
        };
    request(
        libc::PTRACE_SEIZE,
        pid,
        c_ulong::from(options.unsigned_abs()),
    )
}

/// Lets a stopped tracee go on, with a signal or with 0.
pub(crate) fn go_on(pid: c_int, signal: c_int) -> Sys<()> {
    request(libc::PTRACE_CONT, pid, c_ulong::from(signal.unsigned_abs()))
}

/// Lets a tracee that stands before a call make it, and stops it again after it.
pub(crate) fn go_on_to_return(pid: c_int) -> Sys<()> {
    request(libc::PTRACE_SYSCALL, pid, 0)
}

/// Leaves a tracee in its group stop, from which SIGCONT wakes it as it would without a tracer.
pub(crate) fn stay_stopped(pid: c_int) -> Sys<()> {
    request(libc::PTRACE_LISTEN, pid, 0)
}

/// Gives up a tracee, which goes on untraced.
pub(crate) fn untrace(pid: c_int) -> Sys<()> {
    request(libc::PTRACE_DETACH, pid, 0)
}

fn request(request: libc::c_uint, pid: c_int, data: c_ulong) -> Sys<()> {
    let none: *mut c_void = std::ptr::null_mut();
    // SAFETY: the requests used here take integers and touch no memory of this process.
    done(unsafe { libc::ptrace(request, pid, none, data) })
}

/// The new task of a birth; the former thread of an exec.
pub(crate) fn event_pid(pid: c_int) -> Sys<c_int> {
    let none: *mut c_void = std::ptr::null_mut();
    let mut message: c_ulong = 0;
    // SAFETY: message is a live word, which the request fills in.
    done(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, none, &raw mut message) })?;
    c_int::try_from(message).map_err(|_| Errno(libc::EOVERFLOW))
}

/// The next event of any tracee of this thread; `None` only without `block`. ECHILD: no tracee is
/// left.
pub(crate) fn next_traced(block: bool) -> Sys<Option<(c_int, Traced)>> {
    let mut status: c_int = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD | if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: status is live and writable.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        match done(c_long::from(pid)) {
            Ok(()) if pid == 0 => return Ok(None),
            Ok(()) => return Ok(Some((pid, read_status(status)))),
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn read_status(status: c_int) -> Traced {
    if !libc::WIFSTOPPED(status) {
        return Traced::Ended {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WTERMSIG(status),
        };
    }
    let signal = libc::WSTOPSIG(status);
    let job_control = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    match status >> 16 {
        libc::PTRACE_EVENT_EXEC => Traced::Exec,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            Traced::Birth
        }
        libc::PTRACE_EVENT_SECCOMP => Traced::Call,
        0 if signal == libc::SIGTRAP | 0x80 => Traced::Returned,
        libc::PTRACE_EVENT_STOP if job_control.contains(&signal) => Traced::GroupStop,
        0 => Traced::Signal(signal),
        _ => Traced::Trap,
    }
}

const PTRACE_GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const SYSCALL_INFO_EXIT: u8 = 2;
const SYSCALL_INFO_SECCOMP: u8 = 3;

/// `struct ptrace_syscall_info` at a seccomp stop. After a call, its result stands in place of the number.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SyscallInfo {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    number: u64,
    arguments: [u64; 6],
    data: u64,
}

/// Number and arguments of the call at which a tracee was shown.
pub(crate) fn shown_call(pid: c_int) -> Sys<(i64, [u64; 6])> {
    let info = syscall_info(pid)?;
    match (info.op, i64::try_from(info.number)) {
        (SYSCALL_INFO_SECCOMP, Ok(number)) => Ok((number, info.arguments)),
        _ => Err(Errno(libc::EINVAL)),
    }
}

/// The descriptor that a call gave, after which a tracee stands; EINVAL where it gave none.
pub(crate) fn returned(pid: c_int) -> Sys<c_int> {
    let info = syscall_info(pid)?;
    match (info.op, c_int::try_from(info.number)) {
        (SYSCALL_INFO_EXIT, Ok(descriptor)) => Ok(descriptor),
        _ => Err(Errno(libc::EINVAL)),
    }
}

fn syscall_info(pid: c_int) -> Sys<SyscallInfo> {
    let mut info = SyscallInfo::default();
    let size = std::ptr::without_provenance_mut::<c_void>(size_of::<SyscallInfo>());
    // SAFETY: info is live and writable for the stated size, which the kernel does not exceed.
    done(unsafe { libc::ptrace(PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info) })?;
    Ok(info)
}

/// Words of the general registers that the kernel copies out, at most.
const REGISTERS: usize = 40;
/// Where among them the stack pointer is: `struct user_regs_struct`, `struct user_pt_regs`.
#[cfg(target_arch = "x86_64")]
const STACK_POINTER: usize = 19;
#[cfg(target_arch = "aarch64")]
const STACK_POINTER: usize = 31;

/// The stack pointer of a stopped tracee; `None` for a 32-bit program, whose registers are other
/// ones.
pub(crate) fn stack_pointer(pid: c_int) -> Sys<Option<u64>> {
    let mut registers = [0u64; REGISTERS];
    let mut buffer = libc::iovec {
        iov_base: registers.as_mut_ptr().cast::<c_void>(),
        iov_len: size_of::<[u64; REGISTERS]>(),
    };
    let kind =
        std::ptr::without_provenance_mut::<c_void>(libc::NT_PRSTATUS.unsigned_abs() as usize);
    // SAFETY: buffer describes live, writable memory of the stated length, which the kernel does
    // not exceed and shortens to what it has filled.
    done(unsafe { libc::ptrace(libc::PTRACE_GETREGSET, pid, kind, &raw mut buffer) })?;
    let enough = buffer.iov_len > STACK_POINTER.wrapping_mul(8);
    Ok(registers.get(STACK_POINTER).copied().filter(|_| enough))
}

/// Copies memory of another process, as much as is mapped without a gap; gives how much.
pub(crate) fn read_memory(pid: c_int, at: u64, buffer: &mut [u8]) -> Sys<usize> {
    let Ok(there) = usize::try_from(at) else {
        return Err(Errno(libc::EFAULT));
    };
    let here = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast::<c_void>(),
        iov_len: buffer.len(),
    };
    let there = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(there),
        iov_len: buffer.len(),
    };
    // SAFETY: here describes live, writable memory; what there names is the other process's, and
    // checked by the kernel.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    usize::try_from(read).map_err(|_| last_errno())
}

/// Whether a tracee of this thread has been killed and waits to be reaped.
pub(crate) fn has_ended(pid: c_int) -> bool {
    // SAFETY: an all-zero siginfo_t is a valid value of that plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: info is live and writable.
    let waited = unsafe { libc::waitid(libc::P_PID, pid.unsigned_abs(), &raw mut info, flags) };
    // SAFETY: waitid has filled in the SIGCHLD fields of info, or left it zero.
    waited < 0 || unsafe { info.si_pid() } != 0
}

/// Kills a process by its number, which a tracee keeps until its tracer has reaped it.
pub(crate) fn kill_traced(pid: c_int) {
    // SAFETY: kill takes integers only. A tracee that is gone needs no signal.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
