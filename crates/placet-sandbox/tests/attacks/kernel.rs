//! System calls that would get around the namespaces, or that are only kernel surface.

use std::ffi::CString;
use std::fs;

use placet_sandbox::Status;

use crate::support::{Act, Test, is_root};
use crate::{SUCCESS, check, check_as_root, inside, outcome, outside};

pub(crate) const TESTS: &[Test] = &[
    ("io_uring", || check("io_uring", &[], EPERM)),
    ("ptrace_of_a_child", || {
        check("ptrace_of_a_child", &[], EPERM)
    }),
    ("process_vm_readv_of_a_child", || {
        check("process_vm_readv_of_a_child", &[], EPERM)
    }),
    ("pidfd_getfd_of_a_child", || {
        check("pidfd_getfd_of_a_child", &[], EPERM)
    }),
    ("bpf", || check_as_root("bpf", &[], EPERM)),
    ("perf_event_open", || {
        check_as_root("perf_event_open", &[], EPERM)
    }),
    ("userfaultfd", || check("userfaultfd", &[], EPERM)),
    ("keyrings", || check("keyrings", &[], EPERM)),
    ("add_key", || check("add_key", &[], EPERM)),
    ("request_key", || check("request_key", &[], EPERM)),
    ("open_by_handle_at", open_by_handle_at_is_refused),
    ("name_to_handle_at", || check("name_to_handle", &[], EPERM)),
    ("unshare_a_user_namespace", || check("unshare", &[], EPERM)),
    ("clone_a_user_namespace", || check("clone", &[], EPERM)),
    ("clone3_a_user_namespace", || {
        check("clone3", &[], Status::Exited(libc::ENOSYS))
    }),
    ("setns", || check_as_root("setns", &[], EPERM)),
    ("mount", || check_as_root("mount", &[], EPERM)),
    ("fsopen", || check_as_root("fsopen", &[], EPERM)),
    ("open_tree", || check_as_root("open_tree", &[], EPERM)),
    ("umount", || check("umount_own_proc", &[], EPERM)),
    ("chroot", || check_as_root("chroot", &[], EPERM)),
    ("typing_into_the_terminal", typing_into_the_terminal),
    ("memory_file_executes_nothing", memory_file_executes_nothing),
    ("seccomp_listener", || check("seccomp_listener", &[], EPERM)),
    ("personality", || check("personality", &[], EPERM)),
    ("readable_memory_that_executes", || {
        check("read_implies_exec", &[], EPERM)
    }),
    #[cfg(target_arch = "x86_64")]
    ("modify_ldt", || check("modify_ldt", &[], EPERM)),
    ("leaving_the_trace", || check("untraced_clone", &[], EPERM)),
    ("a_namespace_of_time", || {
        check_as_root("time_namespace", &[], EPERM)
    }),
    ("kernel_log", || check_as_root("kernel_log", &[], EPERM)),
    ("fanotify", || check("fanotify", &[], EPERM)),
    ("module_loading", || check_refused_differently("module")),
    ("clock_setting", || check_refused_differently("clock")),
    #[cfg(target_arch = "x86_64")]
    ("ia32_system_calls_kill", || {
        check("ia32", &[], Status::Signaled(libc::SIGSYS))
    }),
    #[cfg(target_arch = "x86_64")]
    ("x32_system_calls_kill", x32_system_calls_kill),
];

pub(crate) const ACTS: &[Act] = &[
    ("io_uring", |_| {
        let mut parameters = [0u64; 15];
        call(
            libc::SYS_io_uring_setup,
            [1, parameters.as_mut_ptr().addr(), 0, 0, 0],
        )
    }),
    ("ptrace_of_a_child", |_| {
        with_child(|pid| call(libc::SYS_ptrace, [0x4206, pid, 0, 0, 0]))
    }),
    ("process_vm_readv_of_a_child", |_| with_child(read_memory)),
    ("pidfd_getfd_of_a_child", |_| with_child(take_descriptor)),
    ("bpf", |_| {
        // BPF_MAP_CREATE of an array with one four-byte entry.
        let attributes: [u32; 20] =
            std::array::from_fn(|i| [2, 4, 4, 1].get(i).copied().unwrap_or(0));
        call(libc::SYS_bpf, [0, attributes.as_ptr().addr(), 80, 0, 0])
    }),
    ("perf_event_open", |_| {
        let mut attributes = [0u64; 16];
        // PERF_TYPE_SOFTWARE, size 128, PERF_COUNT_SW_CPU_CLOCK.
        attributes[0] = 1 | (128 << 32);
        call(
            libc::SYS_perf_event_open,
            [attributes.as_ptr().addr(), 0, usize::MAX, usize::MAX, 0],
        )
    }),
    ("userfaultfd", |_| {
        call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0])
    }),
    ("keyrings", |_| {
        call(libc::SYS_keyctl, [0, -3isize as usize, 1, 0, 0])
    }),
    ("add_key", |_| {
        let (kind, name) = (c"user".as_ptr().addr(), c"placet-test".as_ptr().addr());
        // Into the keyring of the process, which ends with it.
        let into = -2isize as usize;
        call(libc::SYS_add_key, [kind, name, name, 6, into])
    }),
    ("request_key", |_| {
        let (kind, name) = (c"keyring".as_ptr().addr(), c"_ses".as_ptr().addr());
        match call(libc::SYS_request_key, [kind, name, 0, 0, 0]) {
            // It was looked for.
            libc::ENOKEY => 0,
            end => end,
        }
    }),
    ("open_by_handle_at", |_| open_by_handle()),
    ("name_to_handle", |_| {
        let (mut handle, mut mount) = ([0u8; 136], 0i32);
        handle[0] = 128;
        let path = own_path();
        call(
            libc::SYS_name_to_handle_at,
            [
                libc::AT_FDCWD as usize,
                path.as_ptr().addr(),
                handle.as_mut_ptr().addr(),
                (&raw mut mount).addr(),
                0,
            ],
        )
    }),
    ("unshare", |_| {
        call(libc::SYS_unshare, [0x1000_0000, 0, 0, 0, 0])
    }),
    ("clone", |_| clone_with_namespace()),
    ("clone3", |_| clone3_with_namespace()),
    ("setns", |_| {
        let namespace = fs::File::open("/proc/self/ns/uts").unwrap();
        call(libc::SYS_setns, [descriptor(&namespace), 0, 0, 0, 0])
    }),
    ("mount", |_| {
        // MS_REC | MS_PRIVATE on the root, in a mount namespace of its own where it may have one.
        let path = c"/".as_ptr().addr();
        call(libc::SYS_unshare, [0x0002_0000, 0, 0, 0, 0]);
        call(libc::SYS_mount, [0, path, 0, 0x4000 | 0x4_0000, 0])
    }),
    ("fsopen", |_| {
        call(libc::SYS_fsopen, [c"tmpfs".as_ptr().addr(), 0, 0, 0, 0])
    }),
    ("open_tree", |_| {
        call(
            libc::SYS_open_tree,
            [libc::AT_FDCWD as usize, c"/".as_ptr().addr(), 1, 0, 0],
        )
    }),
    ("umount_own_proc", |_| umount()),
    ("chroot", |_| {
        call(libc::SYS_chroot, [c"/".as_ptr().addr(), 0, 0, 0, 0])
    }),
    ("tiocsti", |_| type_into_terminal()),
    ("memfd", |a| memfd(a[0].parse().unwrap())),
    ("seccomp_listener", |_| seccomp_listener()),
    ("personality", |_| {
        call(libc::SYS_personality, [0x0004_0000, 0, 0, 0, 0])
    }),
    ("read_implies_exec", |_| {
        call(libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0])
    }),
    #[cfg(target_arch = "x86_64")]
    ("modify_ldt", |_| {
        // A flat 32-bit segment of data.
        let segment = [0u32, 0, 0xf_ffff, 0b0101_0001];
        let segment = segment.as_ptr().addr();
        call(libc::SYS_modify_ldt, [1, segment, 16, 0, 0])
    }),
    ("untraced_clone", |_| {
        let flags = libc::CLONE_UNTRACED as usize | libc::SIGCHLD as usize;
        // SAFETY: like fork; the child exits at once.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        finish_child(pid)
    }),
    ("time_namespace", |_| {
        call(libc::SYS_unshare, [0x80, 0, 0, 0, 0])
    }),
    ("kernel_log", |_| call(libc::SYS_syslog, [10, 0, 0, 0, 0])),
    ("fanotify", |_| {
        call(libc::SYS_fanotify_init, [0x200, 0, 0, 0, 0])
    }),
    ("module", |_| {
        call(
            libc::SYS_init_module,
            [EMPTY.as_ptr().addr(), 4, c"".as_ptr().addr(), 0, 0],
        )
    }),
    ("clock", |_| {
        let invalid = libc::timespec {
            tv_sec: -1,
            tv_nsec: -1,
        };
        call(
            libc::SYS_clock_settime,
            [0, (&raw const invalid).addr(), 0, 0, 0],
        )
    }),
    #[cfg(target_arch = "x86_64")]
    ("ia32", |_| ia32_getpid()),
    #[cfg(target_arch = "x86_64")]
    ("x32", |_| call(0x4000_0000 + 39, [0, 0, 0, 0, 0])),
];

const EPERM: Status = Status::Exited(libc::EPERM);
const EMPTY: [u8; 4] = [0; 4];

pub(crate) fn call(number: i64, a: [usize; 5]) -> i32 {
    // SAFETY: every caller passes live buffers of the sizes that its call takes.
    outcome(unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], 0usize) })
}

pub(crate) fn descriptor(file: &impl std::os::fd::AsRawFd) -> usize {
    file.as_raw_fd() as usize
}

/// Root outside is stopped by the argument, so nothing happens to the machine; the cell refuses
/// before it looks at arguments.
fn check_refused_differently(act: &str) {
    if is_root() {
        let bare = outside(act, &[]);
        assert!(bare != EPERM && bare != SUCCESS, "{act} outside: {bare:?}");
    }
    assert_eq!(inside(act, &[]), EPERM, "{act} inside");
}

/// Runs `attack` on a child that waits.
fn with_child(attack: fn(usize) -> i32) -> i32 {
    // SAFETY: the child only sleeps and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: pause has no preconditions.
            unsafe { libc::pause() };
        }
    }
    let result = attack(child as usize);
    // SAFETY: the child is this function's own and not yet reaped.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    result
}

fn read_memory(pid: usize) -> i32 {
    let mut byte = 0u8;
    let there = EMPTY.as_ptr().addr();
    let local = [(&raw mut byte).addr(), 1];
    let remote = [there, 1];
    call(
        libc::SYS_process_vm_readv,
        [pid, local.as_ptr().addr(), 1, remote.as_ptr().addr(), 1],
    )
}

fn take_descriptor(pid: usize) -> i32 {
    // SAFETY: pidfd_open takes integers only.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    call(libc::SYS_pidfd_getfd, [pidfd as usize, 0, 0, 0, 0])
}

fn open_by_handle_at_is_refused() {
    if is_root() {
        assert_eq!(outside("open_by_handle_at", &[]), SUCCESS);
    }
    assert_eq!(inside("open_by_handle_at", &[]), EPERM);
}

fn open_by_handle() -> i32 {
    let mut handle = [0u8; 136];
    handle[0] = 128;
    let mut mount = 0i32;
    let path = own_path();
    let named = call(
        libc::SYS_name_to_handle_at,
        [
            libc::AT_FDCWD as usize,
            path.as_ptr().addr(),
            handle.as_mut_ptr().addr(),
            (&raw mut mount).addr(),
            0,
        ],
    );
    let directory = fs::File::open("/").or_else(|_| fs::File::open("/proc/self/exe"));
    let directory = directory.unwrap();
    let opened = call(
        libc::SYS_open_by_handle_at,
        [descriptor(&directory), handle.as_ptr().addr(), 0, 0, 0],
    );
    // Both have to be refused.
    if named == 0 {
        opened
    } else {
        named.max(opened)
    }
}

fn own_path() -> CString {
    CString::new(crate::support::own_executable().to_str().unwrap()).unwrap()
}

fn clone_with_namespace() -> i32 {
    let flags = 0x1000_0000 | libc::SIGCHLD as usize;
    // SAFETY: like fork; the child exits at once.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    finish_child(pid)
}

fn clone3_with_namespace() -> i32 {
    let arguments: [u64; 8] = [0x1000_0000, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    // SAFETY: like fork with a live clone_args; the child exits at once.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), 64) };
    finish_child(pid)
}

fn finish_child(pid: i64) -> i32 {
    if pid == 0 {
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(0) };
    }
    let result = outcome(pid);
    // SAFETY: reaps the child, if there is one.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
    result
}

/// Outside, in a user and mount namespace of its own so that the host keeps its /proc.
fn umount() -> i32 {
    call(libc::SYS_unshare, [0x1000_0000 | 0x0002_0000, 0, 0, 0, 0]);
    call(
        libc::SYS_mount,
        [
            c"t".as_ptr().addr(),
            c"/tmp".as_ptr().addr(),
            c"tmpfs".as_ptr().addr(),
            0,
            0,
        ],
    );
    call(libc::SYS_umount2, [c"/tmp".as_ptr().addr(), 2, 0, 0, 0])
}

fn typing_into_the_terminal() {
    // Kernels may refuse it to everybody but root (dev.tty.legacy_tiocsti).
    let legacy = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    if is_root() || legacy.map_or(true, |value| value.trim() == "1") {
        assert_eq!(outside("tiocsti", &[]), SUCCESS);
    }
    assert_eq!(inside("tiocsti", &[]), EPERM);
}

fn type_into_terminal() -> i32 {
    // SAFETY: plain calls on descriptors of this function; ptsname's buffer is read at once.
    unsafe {
        libc::setsid();
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        if master < 0 {
            // There is no terminal to be had: the one it was started from, then.
            return outcome(libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()));
        }
        assert_eq!(libc::unlockpt(master), 0);
        let terminal = libc::open(libc::ptsname(master), libc::O_RDWR);
        assert!(terminal >= 0);
        outcome(libc::ioctl(terminal, libc::TIOCSTI, c"x".as_ptr()))
    }
}

fn memory_file_executes_nothing() {
    check("memfd", &["0"], EPERM);
    // MFD_NOEXEC_SEAL: as memory it may be used, as a program not.
    assert_eq!(inside("memfd", &["8"]), Status::Exited(libc::EACCES));
}

/// Makes an executable memory file and becomes it.
fn memfd(flags: u32) -> i32 {
    // SAFETY: the name is NUL terminated.
    let fd = unsafe { libc::memfd_create(c"m".as_ptr(), flags) };
    if fd < 0 {
        return outcome(fd);
    }
    let path = format!("/proc/self/fd/{fd}");
    let image = fs::read("/proc/self/exe").unwrap();
    {
        use std::io::Write;
        use std::os::fd::FromRawFd;
        // SAFETY: the descriptor is this function's own, and forgotten below.
        let mut file = unsafe { fs::File::from_raw_fd(fd) };
        file.write_all(&image).unwrap();
        std::mem::forget(file);
    }
    let path = CString::new(path).unwrap();
    let argv = [
        c"actor".as_ptr(),
        c"--act".as_ptr(),
        c"exit_0".as_ptr(),
        std::ptr::null(),
    ];
    // SAFETY: path and arguments are NUL terminated, the array NULL terminated.
    outcome(unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) })
}

fn seccomp_listener() -> i32 {
    let allow = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: (&raw const allow).cast_mut(),
    };
    // SAFETY: prctl takes integers here.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    call(libc::SYS_seccomp, [1, 8, (&raw const program).addr(), 0, 0])
}

/// getpid by the 32-bit entry.
#[cfg(target_arch = "x86_64")]
fn ia32_getpid() -> i32 {
    let mut result: u64 = 20;
    // SAFETY: getpid has no arguments; the entry may clobber r8 to r11.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inout("rax") result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result == u64::from(std::process::id()) {
        0
    } else {
        255
    }
}

#[cfg(target_arch = "x86_64")]
fn x32_system_calls_kill() {
    // Where the kernel has no x32 it answers ENOSYS; the filter comes first.
    let bare = outside("x32", &[]);
    assert!(
        bare == SUCCESS || bare == Status::Exited(libc::ENOSYS),
        "{bare:?}"
    );
    assert_eq!(inside("x32", &[]), Status::Signaled(libc::SIGSYS));
}
