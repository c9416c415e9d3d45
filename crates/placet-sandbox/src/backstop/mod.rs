//! What holds behind the empty network namespace: programs of the kernel on the cells' control
//! groups, which let internet sockets of the processes in them reach loopback and nothing else.
//!
//! A process of a cell that came to see another network, by whatever hole, would meet them there. They hold for sockets by the group in
//! which they were made, so those that the broker hands in are not concerned: the supervisor made them.
//!
//! | where | passes |
//! |---|---|
//! | connect, IPv4 and IPv6 | to loopback, v4-mapped included |
//! | sendmsg of UDP, IPv4 and IPv6 | the same |
//! | a new socket | TCP and UDP |
//! | a packet that leaves | to loopback: what fast open, or a way that nobody thought of, would send |
//!
//! Packet sockets are not internet sockets and are not seen here. They take a capability, and the system call filter refuses
//! their family.
//!
//! The programs are attached to the directory of groups, once for all cells and supervisors, and each group inherits
//! them. Attached to each group they would cost each launch a third of a millisecond, in which the kernel rewrites
//! its own code. They stay when supervisors die, and go with the directory. Who finds them
//! there, by a name that holds the digest of their instructions, loads nothing. Removing them takes CAP_NET_ADMIN
//! outside of any cell.

mod program;

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;
use sha2::{Digest, Sha256};

use self::program::Instruction;
use crate::error::SandboxError;
use crate::sys::{self, Errno};

/// One place in the kernel, and what stands there.
struct Hook {
    attach: u32,
    kind: u32,
    program: fn() -> Vec<Instruction>,
}

/// `enum bpf_prog_type`.
const CGROUP_SKB: u32 = 8;
const CGROUP_SOCK: u32 = 9;
const CGROUP_SOCK_ADDR: u32 = 18;

/// By `enum bpf_attach_type`.
const HOOKS: [Hook; 6] = [
    hook(1, CGROUP_SKB, program::packet),
    hook(2, CGROUP_SOCK, program::socket),
    hook(10, CGROUP_SOCK_ADDR, program::to_ipv4),
    hook(11, CGROUP_SOCK_ADDR, program::to_ipv6),
    hook(14, CGROUP_SOCK_ADDR, program::to_ipv4),
    hook(15, CGROUP_SOCK_ADDR, program::to_ipv6),
];

const fn hook(attach: u32, kind: u32, program: fn() -> Vec<Instruction>) -> Hook {
    Hook {
        attach,
        kind,
        program,
    }
}

/// What the kernel calls a program: 15 letters and a NUL.
pub(crate) type Name = [u8; 16];

/// Sees to it that the backstop stands on a directory of groups. `false`: this kernel, or what this process may
/// do, has no such thing.
///
/// # Errors
/// When it could stand there and does not.
pub(crate) fn stand(groups: &Path) -> Result<bool, SandboxError> {
    let failed = |source: io::Error| SandboxError::Supervisor {
        what: "set up the network backstop",
        source,
    };
    let dir = File::open(groups).map_err(failed)?;
    stand_on(&dir).map_err(|errno| failed(errno.into()))
}

fn stand_on(dir: &File) -> Result<bool, Errno> {
    match missing(dir) {
        Ok(missing) if missing.is_empty() => return Ok(true),
        Ok(_) => {}
        // A kernel without it, or a container that may not.
        Err(Errno(libc::EPERM | libc::ENOSYS | libc::EINVAL)) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    // One at a time, so that there is one of each.
    let turn = retry_on_intr(|| flock(dir, FlockOperation::LockExclusive));
    turn.map_err(|errno| Errno(errno.raw_os_error()))?;
    let attached = missing(dir).and_then(|missing| {
        missing.iter().try_for_each(|(hook, program, name)| {
            let loaded = load(hook, program, name)?;
            sys::bpf_attach(dir.as_raw_fd(), loaded.as_raw_fd(), hook.attach)
        })
    });
    flock(dir, FlockOperation::Unlock).unwrap_or(());
    match attached {
        Ok(()) => Ok(true),
        Err(Errno(libc::EPERM)) => Ok(false),
        // Also what the kernel's verifier says about a program: that is a fault of this crate.
        Err(errno) => Err(errno),
    }
}

/// A hook's program and what it is called.
type Program = (&'static Hook, Vec<Instruction>, Name);

fn programs() -> &'static [Program] {
    static PROGRAMS: OnceLock<Vec<Program>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let programs = HOOKS.iter().map(|hook| {
            let program = (hook.program)();
            let name = name(hook, &program);
            (hook, program, name)
        });
        programs.collect()
    })
}

/// What does not stand there.
fn missing(dir: &File) -> Result<Vec<&'static Program>, Errno> {
    let mut missing = Vec::new();
    for (program, known) in programs().iter().zip(&KNOWN) {
        let (hook, _, name) = program;
        if !stands(dir, hook, name, known)? {
            missing.push(program);
        }
    }
    Ok(missing)
}

/// The numbers of the programs where they were last seen; 0 for none. The kernel gives a number to another
/// program only after all others.
static KNOWN: [AtomicU32; 6] = [const { AtomicU32::new(0) }; 6];

fn name(hook: &Hook, program: &[Instruction]) -> Name {
    let text = format!("{}{program:?}", hook.attach);
    let digest = Sha256::digest(text.as_bytes());
    let mut name = [0; 16];
    let words = digest.iter().take(4).map(|byte| format!("{byte:02x}"));
    let text = format!("placet_{}", words.collect::<String>());
    for (slot, byte) in name.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    name
}

/// Whether a program of that name is attached.
fn stands(dir: &File, hook: &Hook, name: &Name, known: &AtomicU32) -> Result<bool, Errno> {
    let ids = sys::bpf_attached(dir.as_raw_fd(), hook.attach)?;
    if ids.contains(&known.load(Ordering::Relaxed)) {
        return Ok(true);
    }
    for id in ids {
        match sys::bpf_name_of(id) {
            Ok(found) if found == *name => {
                known.store(id, Ordering::Relaxed);
                return Ok(true);
            }
            // Another's, or gone since.
            Ok(_) | Err(Errno(libc::ENOENT)) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

fn load(hook: &Hook, program: &[Instruction], name: &Name) -> Result<OwnedFd, Errno> {
    let count = u32::try_from(program.len()).map_err(|_| Errno(libc::E2BIG))?;
    // SAFETY: instructions are eight bytes each, as the kernel has them, and live for the call.
    let loaded: c_int =
        unsafe { sys::bpf_load(hook.kind, hook.attach, program.as_ptr().cast(), count, name) }?;
    // SAFETY: bpf(2) has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(loaded) })
}
