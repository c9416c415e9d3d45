//! The same suite where user namespaces are refused, as Docker's default filter and Ubuntu's rule
//! refuse them: the probe finds tier U0 there, and every cell of the suite is built with it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use placet_sandbox::Tier;

use crate::support::{
    OWN_GROUP, SETUID_COPY, Suite, command, is_root, main_with, own_executable, tier,
};

/// Tells that this process runs where user namespaces are refused.
pub(crate) const WITHOUT_NAMESPACES: &str = "PLACET_TEST_WITHOUT_NAMESPACES";

/// Whether cells stand on the host's tree here.
pub(crate) fn on_host() -> bool {
    tier() == Tier::U0
}

/// A suite's `main` that runs it on tier U0 as well, but for what is not given there.
pub(crate) fn main_on_both(suite: &Suite<'_>) -> ExitCode {
    let without = std::env::var_os(WITHOUT_NAMESPACES).is_some();
    if without {
        return main_with(suite);
    }
    let is_suite = std::env::var_os(OWN_GROUP).is_some();
    let with = main_with(&Suite {
        not_given: &[],
        ..*suite
    });
    // The user that root has run it as has no need to run it elsewhere: root does.
    let is_top = is_suite && std::env::var_os(SETUID_COPY).is_none();
    if is_top && !run_without_namespaces() {
        return ExitCode::FAILURE;
    }
    with
}

fn run_without_namespaces() -> bool {
    let mut command = command(&own_executable());
    let filters = std::env::args().skip(1);
    command.args(filters).env(WITHOUT_NAMESPACES, "1");
    let filter = filter();
    // SAFETY: the closure makes two system calls on memory that was there before the fork.
    unsafe { command.pre_exec(move || refuse_namespaces(&filter)) };
    command.status().unwrap().success()
}

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
const NEW_USER: u32 = libc::CLONE_NEWUSER.unsigned_abs();

const fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// clone3 answers ENOSYS, as in a container: its flags cannot be looked at. clone and unshare with
/// CLONE_NEWUSER answer EPERM.
fn filter() -> Vec<libc::sock_filter> {
    let call = |number: i64| u32::try_from(number).unwrap();
    vec![
        step(LOAD, 0, 0, 0),
        step(EQUAL, call(libc::SYS_clone3), 5, 0),
        step(EQUAL, call(libc::SYS_clone), 1, 0),
        step(EQUAL, call(libc::SYS_unshare), 0, 2),
        step(LOAD, 16, 0, 0),
        step(ANY_BIT, NEW_USER, 2, 0),
        step(RETURN, ALLOW, 0, 0),
        step(RETURN, ENOSYS, 0, 0),
        step(RETURN, EPERM, 0, 0),
    ]
}

fn refuse_namespaces(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap(),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: prctl takes integers here; the program points to live instructions.
    let installed = unsafe {
        // Root needs no no_new_privs for it, and tests whether setuid programs gain anything.
        if !is_root() {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        }
        libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program)
    };
    if installed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
