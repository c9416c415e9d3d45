//! Tier P where one thing that it promises cannot be had: the probe says which, a cell of tier P is refused for it
//! when it is built, and one of tier U1 is not.

use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt as _;

use placet_sandbox::{Cell, CellSpec, ExecRule, SandboxError, State, Tier, examine};

use crate::support::{ACT, Act, Test, acting_spec, command, gate, is_root, own_executable};
use crate::{SUCCESS, start};

pub(crate) const TESTS: &[Test] = &[
    ("without_the_second_exec_gate_tier_p_is_refused", || {
        let gate = &["second_exec_gate"];
        tier_p_is_refused(gate, Tier::U1, "the second exec gate of tier P", || {
            refuse(libc::SYS_fanotify_init)
        });
    }),
    ("without_the_network_backstop_tier_p_is_refused", || {
        let backstop = &["network_backstop"];
        tier_p_is_refused(backstop, Tier::U1, "the network backstop of tier P", || {
            refuse(libc::SYS_bpf)
        });
    }),
    ("without_settings_of_its_own_tier_p_is_refused", || {
        let both = &["user_namespaces", "memfd_noexec"];
        tier_p_is_refused(both, Tier::U0, "memory files that", covered_settings);
    }),
];

pub(crate) const ACTS: &[Act] = &[("demand", |a| demand(&a[0], &a[1], &a[2]))];

/// In a process that has lost something, and only that: what is missing, which tier it leaves, and what a cell of tier P
/// is refused for.
fn tier_p_is_refused(missing: &[&str], leaves: Tier, said: &str, lose: fn() -> io::Result<()>) {
    if !is_root() {
        // Others have none of it, which another test says of each: a cell of tier P is refused all the same.
        let error = built(asking(Tier::P)).unwrap_err();
        return assert!(matches!(error, SandboxError::Unsupported(_)), "{error}");
    }
    let mut process = command(&own_executable());
    let missing = missing.join(" ");
    process.args([ACT, "demand", &missing, &leaves.to_string(), said]);
    // SAFETY: what is lost is lost by system calls on memory that was there before the fork.
    unsafe { process.pre_exec(lose) };
    assert!(process.status().unwrap().success(), "{missing}");
}

/// A cell whose programs are asked about, and that starts none.
fn asking(tier: Tier) -> CellSpec {
    let mut spec = acting_spec("exit", &["0"]);
    spec.exec = gate(ExecRule::Ask {
        patience: std::time::Duration::from_secs(60),
    });
    spec.tier = tier;
    spec
}

fn built(spec: CellSpec) -> Result<(), SandboxError> {
    Cell::prepare(spec)?.spawn().map(drop)
}

fn demand(missing: &str, leaves: &str, said: &str) -> i32 {
    let found = examine();
    let features: Vec<&str> = found.missing(Tier::P).map(|it| it.name).collect();
    let tier = found.tier().unwrap();
    assert_eq!(
        (&*features.join(" "), &*tier.to_string()),
        (missing, leaves)
    );
    for one in found.missing(Tier::P) {
        let State::Absent { why, remedy } = &one.state else {
            panic!("{one:?}");
        };
        println!("{}: {why}: {remedy}", one.name);
        assert!(!why.is_empty() && !remedy.is_empty());
    }
    let error = built(asking(Tier::P)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(said), "{text}");
    // What does not promise it does not need it.
    assert_eq!(start(asking(tier)).wait().unwrap().status, SUCCESS);
    0
}

const ERRNO: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();

/// As a container's filter does.
fn refuse(call: i64) -> io::Result<()> {
    let step = |code: u16, k: u32, jt: u8, jf: u8| libc::sock_filter { code, jt, jf, k };
    let call = u32::try_from(call).map_err(io::Error::other)?;
    let mut filter = [
        step(0x20, 0, 0, 0),
        step(0x15, call, 0, 1),
        step(0x06, ERRNO, 0, 0),
        step(0x06, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program points to live instructions.
    done(unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) })
}

/// As a container's settings are. A mount over a part of /proc also takes away that a user namespace gets a new one.
fn covered_settings() -> io::Result<()> {
    let (none, settings) = (std::ptr::null(), c"/proc/sys".as_ptr());
    let mount = |target: &CStr, flags: libc::c_ulong, source: *const libc::c_char| {
        // SAFETY: all strings are NUL terminated and live.
        done(unsafe { libc::mount(source, target.as_ptr(), none, flags, none.cast()) })
    };
    // SAFETY: unshare takes an integer.
    done(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(c"/", libc::MS_REC | libc::MS_PRIVATE, none)?;
    mount(c"/proc/sys", libc::MS_BIND, settings)?;
    let read_only = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
    mount(c"/proc/sys", read_only, none)
}

fn done(returned: libc::c_int) -> io::Result<()> {
    if returned == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
