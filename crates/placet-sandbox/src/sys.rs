//! Thin wrappers over the system calls the cell is built with.
//!
//! Everything here may run between clone and execve in a copy of a multi-threaded process: no
//! wrapper allocates, takes a lock or panics, and failures are bare errno values. It is not a
//! general binding: flags that never vary are fixed here. The supervisor's own calls go through
//! `rustix` where it has them.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::mem::size_of;

/// A failed system call's error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

pub(crate) type Sys<T> = Result<T, Errno>;

/// What identifies a file for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// Seven words: every message between the supervisor and the cell has this one size.
pub(crate) type Words = [u64; 7];

/// `struct open_how` of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `struct clone_args` of clone3(2), as long as `set_tid_size`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Who returns from [`fork`].
pub(crate) enum Forked {
    /// This is the new process.
    Child,
    /// This is the caller; the pidfd is close-on-exec.
    Parent { pid: c_int, pidfd: c_int },
}

const OPEN_TREE_CLONE: c_uint = 1;
const AT_RECURSIVE: c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

pub(crate) fn last_errno() -> Errno {
    // SAFETY: __errno_location returns the calling thread's valid errno slot.
    Errno(unsafe { *libc::__errno_location() })
}

fn done(ret: c_long) -> Sys<()> {
    if ret < 0 { Err(last_errno()) } else { Ok(()) }
}

fn number(ret: c_long) -> Sys<c_int> {
    // Descriptors and pids fit c_int by the kernel's own limits.
    c_int::try_from(ret).map_or(Err(Errno(libc::EOVERFLOW)), |value| {
        if value < 0 {
            Err(last_errno())
        } else {
            Ok(value)
        }
    })
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}

/// clone3 without a new stack: the child continues here, like fork. No exit signal reaches a
/// supervisor when `exit_signal` is 0, and such a child is only reaped by a wait with `__WALL`.
///
/// # Safety
/// The child is a copy of one thread of a possibly multi-threaded process. Until execve it must
/// not allocate, take locks, unwind out of the caller or return into code that would.
pub(crate) unsafe fn fork(flags: u64, exit_signal: c_int) -> Sys<Forked> {
    let mut pidfd: c_int = -1;
    let args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: address(&raw mut pidfd),
        exit_signal: u64::from(exit_signal.unsigned_abs()),
        ..CloneArgs::default()
    };
    // SAFETY: args is a live clone_args of the stated size, its pidfd points to a live c_int, and
    // with no CLONE_VM the child runs on its own copy of this stack.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match number(ret)? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent { pid, pidfd }),
    }
}

/// Ends this process at once, running no destructor.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Opens `path` as O_PATH, refusing any symbolic link in it. `at` may be `AT_FDCWD`.
pub(crate) fn open_path(at: c_int, path: &CStr) -> Sys<c_int> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let how = OpenHow {
        flags: u64::from(flags.unsigned_abs()),
        mode: 0,
        resolve: libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS,
    };
    // SAFETY: path is NUL terminated and how is a live open_how of the stated size.
    number(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            at,
            path.as_ptr(),
            &raw const how,
            size_of::<OpenHow>(),
        )
    })
}

/// Opens an existing file for writing.
pub(crate) fn open_write(path: &CStr) -> Sys<c_int> {
    // SAFETY: path is NUL terminated.
    let ret = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    number(ret.into())
}

/// Creates an empty regular file under the working directory, to mount another file on.
pub(crate) fn create_file(path: &CStr, mode: c_uint) -> Sys<()> {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: path is NUL terminated.
    let fd = number(unsafe { libc::open(path.as_ptr(), flags, mode) }.into())?;
    close(fd);
    Ok(())
}

pub(crate) fn close(fd: c_int) {
    // SAFETY: callers pass descriptors they own; close invalidates nothing else. Its result says
    // nothing that matters for the descriptors used here.
    unsafe { libc::close(fd) };
}

pub(crate) fn close_range(first: c_int, last: c_uint) -> Sys<()> {
    // SAFETY: runs only in the child, whose remaining code uses none of these descriptors.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0 as c_uint) })
}

pub(crate) fn write_all(fd: c_int, bytes: &[u8]) -> Sys<()> {
    // SAFETY: the buffer is live for its length.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    match usize::try_from(written) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(Errno(libc::EIO)),
        Err(_) => Err(last_errno()),
    }
}

pub(crate) fn stat(fd: c_int) -> Sys<libc::stat> {
    // SAFETY: an all-zero stat is a valid value of that plain C struct.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: stat is a live, writable struct stat.
    done(unsafe { libc::fstat(fd, &raw mut stat) }.into())?;
    Ok(stat)
}

pub(crate) fn inode(fd: c_int) -> Sys<Inode> {
    stat(fd).map(|stat| Inode {
        dev: stat.st_dev,
        ino: stat.st_ino,
    })
}

pub(crate) fn make_dir(path: &CStr) -> Sys<()> {
    // SAFETY: path is NUL terminated.
    done(unsafe { libc::mkdir(path.as_ptr(), 0o755) }.into())
}

pub(crate) fn symlink(target: &CStr, path: &CStr) -> Sys<()> {
    // SAFETY: both paths are NUL terminated.
    done(unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) }.into())
}

pub(crate) fn change_dir(path: &CStr) -> Sys<()> {
    // SAFETY: path is NUL terminated.
    done(unsafe { libc::chdir(path.as_ptr()) }.into())
}

/// mount(2) of a new file system, or of flags on an existing mount when `kind` is empty.
pub(crate) fn mount(kind: &CStr, target: &CStr, flags: c_ulong, data: &CStr) -> Sys<()> {
    // SAFETY: all strings are NUL terminated; the kernel ignores source and type where it must.
    done(
        unsafe {
            libc::mount(
                kind.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                flags,
                data.as_ptr().cast(),
            )
        }
        .into(),
    )
}

/// A detached, recursive copy of the mounts below `fd`.
pub(crate) fn open_tree(fd: c_int) -> Sys<c_int> {
    let flags = OPEN_TREE_CLONE
        | AT_RECURSIVE
        | libc::AT_EMPTY_PATH.unsigned_abs()
        | libc::O_CLOEXEC.unsigned_abs();
    // SAFETY: the path is an empty NUL-terminated string.
    number(unsafe { libc::syscall(libc::SYS_open_tree, fd, c"".as_ptr(), flags) })
}

/// Adds attributes to every mount of a detached tree.
pub(crate) fn mount_set_attributes(fd: c_int, set: u64) -> Sys<()> {
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = AT_RECURSIVE | libc::AT_EMPTY_PATH.unsigned_abs();
    // SAFETY: attr is a live mount_attr of the stated size; the path is empty.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
}

/// Attaches a detached tree on the file or directory behind `target`.
pub(crate) fn move_mount(tree: c_int, target: c_int) -> Sys<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty NUL-terminated strings.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree,
            c"".as_ptr(),
            target,
            c"".as_ptr(),
            flags,
        )
    })
}

/// Makes the working directory the root and detaches the old one.
pub(crate) fn pivot_here() -> Sys<()> {
    // SAFETY: both paths are NUL terminated.
    done(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: the path is NUL terminated.
    done(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into())?;
    change_dir(c"/")
}

pub(crate) fn prctl(option: c_int, a: c_ulong, b: c_ulong) -> Sys<()> {
    let none: c_ulong = 0;
    // SAFETY: only options that take integers are used here.
    done(unsafe { libc::prctl(option, a, b, none, none) }.into())
}

/// Clears the effective, permitted and inheritable sets.
pub(crate) fn drop_capability_sets() -> Sys<()> {
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let sets = [0u32; 6];
    // SAFETY: version 3 takes an 8-byte header and two 12-byte data structs.
    done(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
}

/// Sets the flags of the loopback device to up, in this network namespace.
pub(crate) fn loopback_up() -> Sys<()> {
    // SAFETY: socket takes integers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let socket = number(socket.into())?;
    // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *slot = c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_flags = 1; // IFF_UP
    // SAFETY: request is a live ifreq, which SIOCSIFFLAGS reads.
    let result =
        done(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) }.into());
    close(socket);
    result
}

/// A listening stream socket bound at `path`, which must be shorter than 108 bytes.
pub(crate) fn listen_unix(path: &[u8]) -> Sys<c_int> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes integers only.
    let socket = number(unsafe { libc::socket(libc::AF_UNIX, kind, 0) }.into())?;
    // SAFETY: an all-zero sockaddr_un is a valid value of that plain C struct.
    let mut name: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    name.sun_family = 1; // AF_UNIX
    for (slot, byte) in name.sun_path.iter_mut().zip(path) {
        *slot = c_char::from_ne_bytes([*byte]);
    }
    let size = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: name is a live sockaddr_un of the stated size, NUL terminated since it was zeroed.
    done(unsafe { libc::bind(socket, (&raw const name).cast(), size) }.into())?;
    // SAFETY: listen takes integers only.
    done(unsafe { libc::listen(socket, 64) }.into())?;
    Ok(socket)
}

/// Sends one message with up to two descriptors; never blocks, never raises SIGPIPE.
pub(crate) fn send(socket: c_int, words: &Words, fds: &[c_int]) -> Sys<()> {
    let mut data = libc::iovec {
        iov_base: words.as_ptr().cast_mut().cast::<c_void>(),
        iov_len: size_of::<Words>(),
    };
    let mut control = [0u64; 4];
    // SAFETY: an all-zero msghdr is a valid value of that plain C struct.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = attach(&mut control, fds)? as _;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: message points to live iovec and control buffers of the stated lengths.
    done(unsafe { libc::sendmsg(socket, &raw const message, flags) } as c_long)
}

/// Writes an SCM_RIGHTS header with `fds` and gives the control length.
fn attach(control: &mut [u64; 4], fds: &[c_int]) -> Sys<usize> {
    let payload = size_of::<c_int>().wrapping_mul(fds.len());
    let header = size_of::<libc::cmsghdr>();
    if header.wrapping_add(payload) > size_of::<[u64; 4]>() {
        return Err(Errno(libc::E2BIG));
    }
    let start = control.as_mut_ptr().cast::<u8>();
    let head = start.cast::<libc::cmsghdr>();
    // SAFETY: control is 32 bytes, aligned for cmsghdr (16 bytes on 64-bit targets), and the
    // length check above keeps the descriptors inside it.
    unsafe {
        (*head).cmsg_len = header.wrapping_add(payload) as _;
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), start.add(header), payload);
    }
    Ok(header.wrapping_add(payload.next_multiple_of(8)))
}

/// Receives one message. `None` is the end: the other side has closed.
pub(crate) fn receive(socket: c_int, flags: c_int) -> Sys<Option<Words>> {
    let mut words: Words = [0; 7];
    let size = size_of::<Words>();
    loop {
        // SAFETY: words is a live buffer of the stated size.
        let got = unsafe { libc::recv(socket, words.as_mut_ptr().cast(), size, flags) };
        match usize::try_from(got) {
            Ok(0) => return Ok(None),
            Ok(count) if count == size => return Ok(Some(words)),
            Ok(_) => return Err(Errno(libc::EPROTO)),
            Err(_) if last_errno() == Errno(libc::EINTR) => {}
            Err(_) => return Err(last_errno()),
        }
    }
}

/// Bytes sent on a socket that the other side has not yet read.
pub(crate) fn unread_by_peer(socket: c_int) -> c_int {
    let mut count: c_int = c_int::MAX;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int. On failure the count stays at its maximum.
    unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut count) };
    count
}

/// Blocks every signal in this thread; used before clone, so that no handler runs in the child.
pub(crate) fn block_signals() -> Sys<()> {
    set_signal_mask(u64::MAX)
}

pub(crate) fn unblock_signals() -> Sys<()> {
    set_signal_mask(0)
}

fn set_signal_mask(mask: u64) -> Sys<()> {
    let none: *mut u64 = std::ptr::null_mut();
    // SAFETY: the kernel's sigset is 8 bytes, as the last argument says.
    done(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            none,
            8usize,
        )
    })
}

/// Gives every signal its default action, ignored ones included.
pub(crate) fn default_signals() {
    // All zero is SIG_DFL, no flags, empty mask in the kernel's layout on every architecture.
    let default = [0u64; 4];
    let none: *mut u64 = std::ptr::null_mut();
    for signal in 1..=64 {
        // SAFETY: default is as large as any architecture's kernel sigaction. SIGKILL and SIGSTOP
        // answer EINVAL, which is what they always are.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                none,
                8usize,
            );
        }
    }
}

/// A descriptor that is readable while a child has changed state; SIGCHLD must be blocked.
pub(crate) fn child_signal_fd() -> Sys<c_int> {
    let mask: u64 = 1 << (libc::SIGCHLD - 1);
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the kernel's sigset is 8 bytes, as the third argument says.
    number(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1 as c_int,
            &raw const mask,
            8usize,
            flags,
        )
    })
}

/// Empties a non-blocking event descriptor.
pub(crate) fn drain(fd: c_int) {
    let mut buffer = [0u8; 128];
    // SAFETY: buffer is live for its length.
    while unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

pub(crate) fn lease_timer() -> Sys<c_int> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: timerfd_create takes integers only.
    number(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, flags) }.into())
}

/// Arms the timer at an absolute CLOCK_BOOTTIME instant; one in the past fires at once.
pub(crate) fn arm(timer: c_int, deadline_ns: u64) -> Sys<()> {
    let nanos = i64::try_from(deadline_ns.max(1)).unwrap_or(i64::MAX);
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let at = libc::timespec {
        tv_sec: nanos / 1_000_000_000,
        tv_nsec: nanos % 1_000_000_000,
    };
    let spec = libc::itimerspec {
        it_interval: zero,
        it_value: at,
    };
    let none = std::ptr::null_mut();
    // SAFETY: spec is a live itimerspec; no old value is asked for.
    done(
        unsafe { libc::timerfd_settime(timer, libc::TFD_TIMER_ABSTIME, &raw const spec, none) }
            .into(),
    )
}

/// CLOCK_BOOTTIME in nanoseconds: it also runs while the machine sleeps, so a lease does not
/// outlive a suspended supervisor.
pub(crate) fn boot_time_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: now is a live timespec. CLOCK_BOOTTIME exists on every supported kernel.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Waits for any of three descriptors; gives which are ready or hung up.
pub(crate) fn poll3(fds: [c_int; 3]) -> Sys<[bool; 3]> {
    let mut polled = fds.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: polled is a live array of three pollfd.
    match done(unsafe { libc::poll(polled.as_mut_ptr(), 3, -1) }.into()) {
        Ok(()) => Ok(polled.map(|entry| entry.revents != 0)),
        Err(Errno(libc::EINTR)) => Ok([false; 3]),
        Err(errno) => Err(errno),
    }
}

/// A child's change of state, as wait4(2) tells it.
pub(crate) struct Changed {
    pub(crate) pid: c_int,
    pub(crate) status: c_int,
    pub(crate) max_rss_kib: u64,
}

/// The next child that changed state, without waiting.
pub(crate) fn next_changed_child() -> Option<Changed> {
    let mut status: c_int = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let flags = libc::WNOHANG | libc::__WALL | libc::WUNTRACED | libc::WCONTINUED;
    // SAFETY: status and usage are live and writable.
    let pid = unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) };
    let max_rss_kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    (pid > 0).then_some(Changed {
        pid,
        status,
        max_rss_kib,
    })
}

/// How a whole tree ended, as the supervisor's wait for pid 1 tells it.
pub(crate) struct Reaped {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) status: c_int,
}

/// Reaps the process behind a pidfd. `Ok(None)` only without `block`: it still runs.
pub(crate) fn reap(pidfd: c_int, block: bool) -> Sys<Option<Reaped>> {
    // SAFETY: all-zero siginfo_t and rusage are valid values of those plain C structs.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let flags = libc::WEXITED | libc::__WALL | if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: info and usage are live and writable; this is the raw call with five arguments.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd,
                &raw mut info,
                flags,
                &raw mut usage,
            )
        };
        match done(ret) {
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
            Ok(()) => break,
        }
    }
    // SAFETY: waitid has filled in the SIGCHLD fields of info, or left it zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then(|| Reaped {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        status,
    }))
}

fn micros(time: libc::timeval) -> u64 {
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000)
        .saturating_add(u64::try_from(time.tv_usec).unwrap_or(0))
}

pub(crate) fn signal(pidfd: c_int, signal: c_int) -> Sys<()> {
    let none: *const c_void = std::ptr::null();
    // SAFETY: a null siginfo is allowed.
    done(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd,
            signal,
            none,
            0 as c_uint,
        )
    })
}

pub(crate) fn set_limit(resource: c_uint, soft: u64, hard: u64) -> Sys<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let none: *mut libc::rlimit64 = std::ptr::null_mut();
    // SAFETY: limit is a live rlimit64; pid 0 is the caller.
    done(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0 as c_int,
            resource,
            &raw const limit,
            none,
        )
    })
}

pub(crate) fn hard_limit(resource: c_uint) -> Sys<u64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let none: *const libc::rlimit64 = std::ptr::null();
    // SAFETY: limit is a live, writable rlimit64; pid 0 is the caller.
    done(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0 as c_int,
            resource,
            none,
            &raw mut limit,
        )
    })?;
    Ok(limit.rlim_max)
}

/// `struct landlock_ruleset_attr`, as long as the `scoped` field of ABI 6.
#[repr(C)]
pub(crate) struct LandlockRuleset {
    pub(crate) fs: u64,
    pub(crate) net: u64,
    pub(crate) scoped: u64,
}

#[repr(C, packed)]
struct LandlockPathBeneath {
    access: u64,
    parent: c_int,
}

/// The Landlock ABI version of this kernel.
pub(crate) fn landlock_abi() -> Sys<c_int> {
    let none: *const c_void = std::ptr::null();
    // SAFETY: asking for the version takes a null attribute of size 0.
    number(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, 1 as c_uint) })
}

pub(crate) fn landlock_create(ruleset: &LandlockRuleset) -> Sys<c_int> {
    let ruleset: *const LandlockRuleset = ruleset;
    // Older kernels know fewer fields and accept a longer struct whose surplus is zero.
    let size = size_of::<LandlockRuleset>();
    // SAFETY: ruleset is live and of the stated size.
    number(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ruleset,
            size,
            0 as c_uint,
        )
    })
}

pub(crate) fn landlock_allow(ruleset: c_int, parent: c_int, access: u64) -> Sys<()> {
    let rule = LandlockPathBeneath { access, parent };
    let path_beneath: c_uint = 1;
    // SAFETY: rule is a live landlock_path_beneath_attr.
    done(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset,
            path_beneath,
            &raw const rule,
            0 as c_uint,
        )
    })
}

pub(crate) fn landlock_restrict(ruleset: c_int) -> Sys<()> {
    // SAFETY: landlock_restrict_self takes integers only.
    done(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0 as c_uint) })
}

/// Installs a seccomp filter on this thread; no_new_privs must be set.
pub(crate) fn install_filter(filter: &[libc::sock_filter]) -> Sys<()> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno(libc::E2BIG))?;
    let program = libc::sock_fprog {
        len,
        filter: filter.as_ptr().cast_mut(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: program points to len live instructions, which the kernel only reads.
    done(unsafe { libc::syscall(libc::SYS_seccomp, mode, 0 as c_uint, &raw const program) })
}

/// Whether this kernel can answer seccomp filters with an errno and kill a whole process.
pub(crate) fn seccomp_kills_processes() -> bool {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    let ask = libc::SECCOMP_GET_ACTION_AVAIL;
    // SAFETY: the call reads one u32.
    done(unsafe { libc::syscall(libc::SYS_seccomp, ask, 0 as c_uint, &raw const action) }).is_ok()
}

/// A NULL-terminated array of C strings, as execve takes it, built before clone.
pub(crate) struct StringArray {
    // Owns what `pointers` points to; the heap buffers do not move with the Vec.
    _strings: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are to heap buffers that this value owns and never mutates.
unsafe impl Send for StringArray {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for StringArray {}

impl StringArray {
    pub(crate) fn new(strings: Vec<std::ffi::CString>) -> Self {
        let end = std::iter::once(std::ptr::null());
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain(end)
            .collect();
        Self {
            _strings: strings,
            pointers,
        }
    }
}

/// What execve is to start.
pub(crate) enum Image<'a> {
    /// Exactly the inode behind this descriptor.
    Inode(c_int),
    /// Whatever the path names: the kernel hands a script's path on to its interpreter.
    Path(&'a CStr),
}

/// Replaces this process; returns only on failure.
pub(crate) fn execute(image: &Image<'_>, argv: &StringArray, env: &StringArray) -> Errno {
    let (argv, env) = (argv.pointers.as_ptr(), env.pointers.as_ptr());
    let (at, path, flags) = match image {
        Image::Inode(fd) => (*fd, c"".as_ptr(), libc::AT_EMPTY_PATH),
        Image::Path(path) => (libc::AT_FDCWD, path.as_ptr(), 0),
    };
    // SAFETY: the path is NUL terminated; both arrays are NULL terminated and own their strings.
    unsafe { libc::syscall(libc::SYS_execveat, at, path, argv, env, flags) };
    last_errno()
}
