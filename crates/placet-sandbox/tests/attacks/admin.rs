//! Administering the machine. Whatever would do so for good is stopped by an argument outside, so that
//! nothing happens to it: there the kernel is reached, and inside it is not.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;

use placet_sandbox::Status;

use crate::kernel::{call, descriptor};
use crate::support::{Act, Test, is_root, scratch};
use crate::{SUCCESS, assert_succeeds, check, check_as_root, inside, outside};

pub(crate) const TESTS: &[Test] = &[
    ("kexec_load", || reaches_only_outside("kexec")),
    ("kexec_file_load", || reaches_only_outside("kexec_file")),
    ("reboot", || reaches_only_outside("reboot")),
    ("module_from_a_file", || reaches_only_outside("module_file")),
    ("module_removal", || reaches_only_outside("module_removal")),
    ("time_of_day_setting", || {
        reaches_only_outside("time_of_day")
    }),
    ("swapon", swapon),
    ("swapoff", || reaches_only_outside("swapoff")),
    ("accounting", || check_as_root("accounting", &[], EPERM)),
    ("quotactl", || check("quotas", &[], EPERM)),
    ("host_name", || check_as_root("host_name", &[], EPERM)),
    #[cfg(target_arch = "x86_64")]
    ("io_ports", || {
        if is_root() {
            outside("io_ports", &[]);
        }
        let end = inside("io_ports", &[]);
        // Without them in the kernel, it says so to everybody.
        let none = Status::Exited(libc::ENOSYS);
        assert!(end == EPERM || end == none, "inside: {end:?}");
    }),
    ("sysrq", || {
        a_setting("/proc/sysrq-trigger");
    }),
    ("program_that_the_kernel_starts_for_modules", || {
        a_setting("/proc/sys/kernel/modprobe");
    }),
    ("program_that_the_kernel_starts_for_devices", || {
        a_setting("/sys/kernel/uevent_helper");
    }),
    ("program_that_the_kernel_starts_for_core_dumps", || {
        a_setting("/proc/sys/kernel/core_pattern");
    }),
    ("program_that_the_kernel_starts_for_groups", release_agent),
    ("kernel_messages", || a_setting("/dev/kmsg")),
    ("physical_memory", || a_setting("/dev/mem")),
    ("pasting_into_a_console", pasting_into_a_console),
    ("raising_a_hard_limit", || {
        if is_root() {
            outside("raise_limit", &[]);
        }
        assert_eq!(inside("raise_limit", &[]), EPERM);
    }),
    ("locking_memory_for_real_time", || {
        check_as_root("real_time", &[], EPERM)
    }),
];

pub(crate) const ACTS: &[Act] = &[
    // No segments, from an address that is none, with a flag that there is not.
    ("kexec", |_| {
        call(libc::SYS_kexec_load, [0, 0, 0, 0x8000_0000, 0])
    }),
    ("kexec_file", |_| {
        call(
            libc::SYS_kexec_file_load,
            [usize::MAX, usize::MAX, 0, 0, 0x8000],
        )
    }),
    // Not the magic numbers.
    ("reboot", |_| call(libc::SYS_reboot, [0, 0, 0, 0, 0])),
    ("module_file", |_| {
        let options = c"".as_ptr().addr();
        call(libc::SYS_finit_module, [usize::MAX, options, 0, 0, 0])
    }),
    ("module_removal", |_| {
        let name = c"placet_no_such_module".as_ptr().addr();
        call(libc::SYS_delete_module, [name, 0x800, 0, 0, 0])
    }),
    ("time_of_day", |_| {
        let invalid = [-1i64, -1];
        let invalid = invalid.as_ptr().addr();
        call(libc::SYS_settimeofday, [invalid, 0, 0, 0, 0])
    }),
    ("swapon", |a| {
        let path = CString::new(a[0].as_bytes()).unwrap();
        call(libc::SYS_swapon, [path.as_ptr().addr(), 0, 0, 0, 0])
    }),
    ("swapoff", |_| {
        let path = c"/proc/self/exe".as_ptr().addr();
        call(libc::SYS_swapoff, [path, 0, 0, 0, 0])
    }),
    // Turns off what is off.
    ("accounting", |_| call(libc::SYS_acct, [0, 0, 0, 0, 0])),
    // Writes out the quotas of all file systems.
    ("quotas", |_| {
        call(libc::SYS_quotactl, [0x8000_0100, 0, 0, 0, 0])
    }),
    ("host_name", |_| {
        let mut name = fs::read("/proc/sys/kernel/hostname").unwrap();
        name.pop();
        let at = name.as_ptr().addr();
        call(libc::SYS_sethostname, [at, name.len(), 0, 0, 0])
    }),
    #[cfg(target_arch = "x86_64")]
    ("io_ports", |_| call(libc::SYS_iopl, [3, 0, 0, 0, 0])),
    ("paste", |a| {
        let console = fs::File::open(&a[0]);
        let console = console.map_or(-1, |file| {
            let fd = file.as_raw_fd();
            std::mem::forget(file);
            fd
        });
        // What is pressed on the keyboard, which is the harmless one of them.
        let mut code = [6u8; 8];
        let code = code.as_mut_ptr().addr();
        call(libc::SYS_ioctl, [console as usize, 0x541c, code, 0, 0])
    }),
    ("raise_limit", |_| {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: limit is live and writable.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit), 0);
            limit.rlim_max = 0;
            limit.rlim_cur = 0;
            assert_eq!(libc::setrlimit(libc::RLIMIT_CORE, &raw const limit), 0);
            limit.rlim_max = 4096;
            crate::outcome(libc::setrlimit(libc::RLIMIT_CORE, &raw const limit))
        }
    }),
    ("real_time", |_| {
        let priority = 1i32;
        let parameters = (&raw const priority).addr();
        // SCHED_FIFO, of itself.
        call(libc::SYS_sched_setscheduler, [0, 1, parameters, 0, 0])
    }),
];

const EPERM: Status = Status::Exited(libc::EPERM);
const ENOENT: Status = Status::Exited(libc::ENOENT);

/// Outside root gets as far as the arguments, or the kernel has no such thing; inside nobody does.
fn reaches_only_outside(act: &str) {
    if is_root() {
        let bare = outside(act, &[]);
        assert!(bare != EPERM && bare != SUCCESS, "{act} outside: {bare:?}");
    }
    assert_eq!(inside(act, &[]), EPERM, "{act} inside");
}

/// On a file that is no swap space.
fn swapon() {
    let dir = scratch();
    let file = dir.path().join("swap");
    fs::write(&file, vec![0; 40960]).unwrap();
    let path = file.to_str().unwrap();
    if is_root() {
        assert_eq!(outside("swapon", &[path]), Status::Exited(libc::EINVAL));
    }
    assert_eq!(inside("swapon", &[path]), EPERM);
}

/// A file through which the kernel is told something; whoever can open it for writing can.
fn a_setting(path: &str) {
    if is_root() && fs::metadata(path).is_ok() {
        assert_succeeds("open_for_writing", &[path]);
    }
    let end = inside("open_for_writing", &[path]);
    let refused = [
        ENOENT,
        EPERM,
        Status::Exited(libc::EACCES),
        Status::Exited(libc::EROFS),
    ];
    assert!(refused.contains(&end), "{path} inside: {end:?}");
}

fn release_agent() {
    for top in ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"] {
        a_setting(&format!("{top}/release_agent"));
    }
}

fn pasting_into_a_console() {
    let console = "/dev/tty1";
    let there = fs::File::open(console);
    if is_root() && there.as_ref().is_ok_and(|file| descriptor(file) > 0) {
        assert_succeeds("paste", &[console]);
    }
    drop(there);
    assert_eq!(inside("paste", &[console]), EPERM);
}
