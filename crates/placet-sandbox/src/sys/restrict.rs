//! Giving things up: privileges, limits, Landlock, seccomp.

use std::ffi::{CStr, c_int, c_uint, c_ulong, c_void};
use std::mem::size_of;

use super::{Sys, done, number};

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

pub(crate) fn prctl(option: c_int, a: c_ulong, b: c_ulong) -> Sys<()> {
    let none: c_ulong = 0;
    // SAFETY: only options that take integers are used here.
    done(unsafe { libc::prctl(option, a, b, none, none) }.into())
}

/// What this process is called until it executes something.
pub(crate) fn set_name(name: &CStr) -> Sys<()> {
    let none: c_ulong = 0;
    // SAFETY: the kernel reads up to 16 bytes, or to the end of the text, which is NUL terminated.
    done(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), none, none, none) }.into())
}

/// Clears the effective, permitted and inheritable sets.
pub(crate) fn drop_capability_sets() -> Sys<()> {
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let sets = [0u32; 6];
    // SAFETY: version 3 takes an 8-byte header and two 12-byte data structs.
    done(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
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
#[derive(Clone, Copy, PartialEq, Eq)]
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

/// LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON, of ABI 7: what is refused after an execve is logged too.
pub(crate) const LANDLOCK_LOG_NEW_EXEC: c_uint = 1 << 1;

pub(crate) fn landlock_restrict(ruleset: c_int, flags: c_uint) -> Sys<()> {
    // SAFETY: landlock_restrict_self takes integers only.
    done(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, flags) })
}

/// Whether this kernel can answer seccomp filters with an errno and kill a whole process.
pub(crate) fn seccomp_kills_processes() -> bool {
    filters_can(libc::SECCOMP_RET_KILL_PROCESS)
}

/// Whether seccomp filters can ask a supervisor.
pub(crate) fn seccomp_notifies() -> bool {
    filters_can(libc::SECCOMP_RET_USER_NOTIF)
}

fn filters_can(action: u32) -> bool {
    let ask = libc::SECCOMP_GET_ACTION_AVAIL;
    // SAFETY: the call reads one u32.
    done(unsafe { libc::syscall(libc::SYS_seccomp, ask, 0 as c_uint, &raw const action) }).is_ok()
}
