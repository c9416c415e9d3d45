//! The system calls that a cell is refused, as data: each rule carries the reason it is there.
//!
//! A deny list, not an allow list: inside run ordinary build tools and interpreters. Namespaces,
//! mounts and Landlock already decide what can be touched; this table takes away what would get
//! around them, and kernel surface that such tools do not use. Nothing here looks at memory, so
//! nothing can be raced. [`crate::bpf`] turns the table into a program.

mod on_host;

use std::sync::OnceLock;

use crate::bpf;

pub(crate) use on_host::{SYS_FCHMODAT2, host_filter};

/// One refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) call: i64,
    pub(crate) when: When,
    pub(crate) answer: Answer,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the table"))]
    pub(crate) reason: &'static str,
}

/// Which calls of that number: `arg` counts from 0, and only its low 32 bits are compared, as the
/// kernel itself does for every argument used here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Always,
    Equals {
        arg: u32,
        value: u32,
    },
    NoneOf {
        arg: u32,
        values: &'static [u32],
    },
    AnyBit {
        arg: u32,
        mask: u32,
    },
    NoBit {
        arg: u32,
        mask: u32,
    },
    EqualsAndAnyBit {
        arg: u32,
        value: u32,
        other: u32,
        mask: u32,
    },
}

/// What the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Errno(i32),
    /// What the supervisor says.
    Trap,
    /// The tracer looks, and the call goes on.
    Observe,
}

const DENY: Answer = Answer::Errno(libc::EPERM);

const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .unsigned_abs();
/// CLONE_NEWTIME shares its bit with clone's exit signal, so only unshare can ask for it.
const NAMESPACES_AND_TIME: u32 = NAMESPACES | 0x80;

const FAMILIES: &[u32] = &[
    libc::AF_UNIX.unsigned_abs(),
    libc::AF_INET.unsigned_abs(),
    libc::AF_INET6.unsigned_abs(),
];
/// PER_LINUX, and the value that only asks.
const PERSONALITIES: &[u32] = &[0, 0xffff_ffff];
/// The family's own, AF_UNIX by its name and ICMP, TCP, UDP, and ICMP of version 6.
const PROTOCOLS: &[u32] = &[
    0,
    1,
    libc::IPPROTO_TCP.unsigned_abs(),
    libc::IPPROTO_UDP.unsigned_abs(),
    libc::IPPROTO_ICMPV6.unsigned_abs(),
];
const MFD_NOEXEC_SEAL: u32 = 8;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const PR_SET_PTRACER: u32 = 0x5961_6d61;
/// The same number on every architecture, and newer than the libc crate's tables.
const SYS_OPEN_TREE_ATTR: i64 = 467;

const fn deny(call: i64, reason: &'static str) -> Rule {
    Rule {
        call,
        when: When::Always,
        answer: DENY,
        reason,
    }
}

const fn deny_when(call: i64, when: When, reason: &'static str) -> Rule {
    Rule {
        call,
        when,
        answer: DENY,
        reason,
    }
}

const IO_URING: &str = "makes sockets and opens files without the calls this filter sees";
const FOREIGN_MEMORY: &str = "reads or writes another process: only its own code may decide for it";
const MOUNTS: &str = "the mount tree is the scope";
const NAMESPACE: &str = "a new user namespace hands out capabilities and their kernel surface";
const MODULE: &str = "loads code into the kernel";
const CLOCK: &str = "sets the clock that leases and records are read against";
const KEYS: &str = "kernel keyrings are not namespaced: they reach the user's other processes";
const HANDLES: &str = "opens files by inode, past every mount";
const ADMIN: &str = "administers the machine: no tool in a cell needs it";
const OBSOLETE: &str = "kernel surface without users";

/// Every refusal, on every architecture.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        call: libc::SYS_clone3,
        when: When::Always,
        answer: Answer::Errno(libc::ENOSYS),
        reason: "its flags lie in memory: ENOSYS makes the C library use clone, whose flags show",
    },
    deny_when(
        libc::SYS_clone,
        When::AnyBit {
            arg: 0,
            mask: NAMESPACES,
        },
        NAMESPACE,
    ),
    deny_when(
        libc::SYS_clone,
        When::AnyBit {
            arg: 0,
            mask: libc::CLONE_UNTRACED.unsigned_abs(),
        },
        "would leave the supervisor's trace, and so the exec gate",
    ),
    deny_when(
        libc::SYS_unshare,
        When::AnyBit {
            arg: 0,
            mask: NAMESPACES_AND_TIME,
        },
        NAMESPACE,
    ),
    deny(libc::SYS_setns, NAMESPACE),
    deny(libc::SYS_io_uring_setup, IO_URING),
    deny(libc::SYS_io_uring_enter, IO_URING),
    deny(libc::SYS_io_uring_register, IO_URING),
    deny(libc::SYS_ptrace, FOREIGN_MEMORY),
    deny(libc::SYS_process_vm_readv, FOREIGN_MEMORY),
    deny(libc::SYS_process_vm_writev, FOREIGN_MEMORY),
    deny(libc::SYS_process_madvise, FOREIGN_MEMORY),
    deny(
        libc::SYS_pidfd_getfd,
        "takes descriptors out of another process",
    ),
    deny(
        libc::SYS_kcmp,
        "compares kernel pointers of other processes",
    ),
    deny_when(
        libc::SYS_prctl,
        When::Equals {
            arg: 0,
            value: PR_SET_PTRACER,
        },
        "invites a tracer past Yama",
    ),
    deny_when(
        libc::SYS_seccomp,
        When::AnyBit { arg: 1, mask: 8 },
        "a listener of its own would take the place of the supervisor's",
    ),
    deny(libc::SYS_bpf, "runs programs in the kernel"),
    deny(
        libc::SYS_userfaultfd,
        "stops the kernel in the middle of a copy: an aid to exploits",
    ),
    deny(
        libc::SYS_perf_event_open,
        "observes the kernel and other processes",
    ),
    deny(libc::SYS_add_key, KEYS),
    deny(libc::SYS_request_key, KEYS),
    deny(libc::SYS_keyctl, KEYS),
    deny(libc::SYS_open_by_handle_at, HANDLES),
    deny(libc::SYS_name_to_handle_at, HANDLES),
    deny(libc::SYS_mount, MOUNTS),
    deny(libc::SYS_umount2, MOUNTS),
    deny(libc::SYS_move_mount, MOUNTS),
    deny(libc::SYS_open_tree, MOUNTS),
    deny(SYS_OPEN_TREE_ATTR, MOUNTS),
    deny(libc::SYS_fsopen, MOUNTS),
    deny(libc::SYS_fsconfig, MOUNTS),
    deny(libc::SYS_fsmount, MOUNTS),
    deny(libc::SYS_fspick, MOUNTS),
    deny(libc::SYS_mount_setattr, MOUNTS),
    deny(libc::SYS_pivot_root, MOUNTS),
    deny(libc::SYS_chroot, MOUNTS),
    deny_when(
        libc::SYS_ioctl,
        When::Equals {
            arg: 1,
            value: TIOCSTI,
        },
        "types into the terminal that the supervisor's user types into",
    ),
    deny_when(
        libc::SYS_ioctl,
        When::Equals {
            arg: 1,
            value: TIOCLINUX,
        },
        "pastes into a virtual console",
    ),
    deny_when(
        libc::SYS_socket,
        When::NoneOf {
            arg: 0,
            values: FAMILIES,
        },
        "vsock reaches the host of a virtual machine; packet and the rest are surface; of netlink \
         only the list of interfaces would be missed (node's os.networkInterfaces() fails)",
    ),
    deny_when(
        libc::SYS_socket,
        When::NoneOf {
            arg: 2,
            values: PROTOCOLS,
        },
        "Landlock's TCP rules do not cover MPTCP and SCTP, and a kernel that has others as modules would \
         load them for whoever asks",
    ),
    deny_when(
        libc::SYS_memfd_create,
        When::NoBit {
            arg: 1,
            mask: MFD_NOEXEC_SEAL,
        },
        "an executable file on no mount: neither noexec nor Landlock applies to it",
    ),
    deny_when(
        libc::SYS_personality,
        When::NoneOf {
            arg: 0,
            values: PERSONALITIES,
        },
        "turns off address randomization and brings back old, laxer behaviour",
    ),
    deny(libc::SYS_kexec_load, MODULE),
    deny(libc::SYS_kexec_file_load, MODULE),
    deny(libc::SYS_init_module, MODULE),
    deny(libc::SYS_finit_module, MODULE),
    deny(libc::SYS_delete_module, MODULE),
    deny(libc::SYS_settimeofday, CLOCK),
    deny(libc::SYS_clock_settime, CLOCK),
    deny(libc::SYS_adjtimex, CLOCK),
    deny(libc::SYS_clock_adjtime, CLOCK),
    deny(libc::SYS_reboot, ADMIN),
    deny(libc::SYS_swapon, ADMIN),
    deny(libc::SYS_swapoff, ADMIN),
    deny(libc::SYS_acct, ADMIN),
    deny(libc::SYS_quotactl, ADMIN),
    deny(libc::SYS_quotactl_fd, ADMIN),
    deny(libc::SYS_syslog, ADMIN),
    deny(libc::SYS_vhangup, ADMIN),
    deny(libc::SYS_fanotify_init, ADMIN),
    #[cfg(target_arch = "x86_64")]
    deny(libc::SYS_modify_ldt, OBSOLETE),
    deny(libc::SYS_lookup_dcookie, OBSOLETE),
    deny(libc::SYS_nfsservctl, OBSOLETE),
];

const DATAGRAMS: &str =
    "sends to a path without connecting, past the broker: also from a socket that has a peer";
/// SOCK_DGRAM and SOCK_RAW, which is another name for it, have this bit; SOCK_STREAM and
/// SOCK_SEQPACKET, and the flags beside a type, have not.
const UNIX_DATAGRAM: When = When::EqualsAndAnyBit {
    arg: 0,
    value: libc::AF_UNIX.unsigned_abs(),
    other: 1,
    mask: 2,
};

const FAST_OPEN: &str = "connects by sending: a socket that the broker has made and whose connect \
     failed would reach anybody that way";
const fn no_fast_open(call: i64, arg: u32) -> Rule {
    Rule {
        call,
        when: When::AnyBit {
            arg,
            mask: libc::MSG_FASTOPEN.unsigned_abs(),
        },
        // As where the administrator has turned it off: programs then connect.
        answer: Answer::Errno(libc::EOPNOTSUPP),
        reason: FAST_OPEN,
    }
}

/// What every cell has beside them: nobody is connected to behind the supervisor's back.
pub(crate) const CONNECTING: &[Rule] = &[
    Rule {
        call: libc::SYS_connect,
        when: When::Always,
        answer: Answer::Trap,
        reason: "the supervisor connects in the caller's place",
    },
    deny_when(libc::SYS_socket, UNIX_DATAGRAM, DATAGRAMS),
    deny_when(libc::SYS_socketpair, UNIX_DATAGRAM, DATAGRAMS),
];

/// What a broker needs as well that hands sockets out.
pub(crate) const LEADING_OUT: &[Rule] = &[
    Rule {
        call: libc::SYS_listen,
        when: When::Always,
        answer: Answer::Trap,
        reason: "a socket that the broker has made would listen on the host",
    },
    no_fast_open(libc::SYS_sendto, 3),
    no_fast_open(libc::SYS_sendmsg, 2),
    no_fast_open(libc::SYS_sendmmsg, 3),
];

const fn observe(call: i64) -> Rule {
    Rule {
        call,
        when: When::Always,
        answer: Answer::Observe,
        reason: "the tracer notes what is opened; it decides nothing",
    }
}

/// What is looked at in a tree that is observed.
pub(crate) const OBSERVED: &[Rule] = &[
    #[cfg(target_arch = "x86_64")]
    observe(libc::SYS_open),
    #[cfg(target_arch = "x86_64")]
    observe(libc::SYS_creat),
    observe(libc::SYS_openat),
    observe(libc::SYS_openat2),
];

/// Whoever may execute a file.
pub(crate) const EXECUTE_BITS: u32 = 0o111;

const fn making(call: i64, when: When) -> Rule {
    Rule {
        call,
        when,
        answer: Answer::Observe,
        reason: "the tracer notes who makes a file executable; it decides nothing",
    }
}

/// A mode that lets somebody execute. It lies in another place where no file is made.
const fn executable(arg: u32) -> When {
    When::AnyBit {
        arg,
        mask: EXECUTE_BITS,
    }
}

/// What is looked at in a tree that may execute what it makes: few calls, since few files are programs.
pub(crate) const MAKING: &[Rule] = &[
    making(libc::SYS_openat, executable(3)),
    making(libc::SYS_openat2, When::Always),
    making(libc::SYS_fchmod, executable(1)),
    making(libc::SYS_fchmodat, executable(2)),
    making(SYS_FCHMODAT2, executable(2)),
    #[cfg(target_arch = "x86_64")]
    making(libc::SYS_open, executable(2)),
    #[cfg(target_arch = "x86_64")]
    making(libc::SYS_creat, executable(1)),
    #[cfg(target_arch = "x86_64")]
    making(libc::SYS_chmod, executable(1)),
];

/// Programs that are built once, one for each way in which a tree may be watched.
type Programs = [OnceLock<Vec<libc::sock_filter>>; 8];

/// A new place for them.
const fn programs() -> Programs {
    [const { OnceLock::new() }; 8]
}

/// How a tree is watched, beyond what every tree is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watching {
    /// Connections leave its network.
    pub(crate) leads_out: bool,
    /// What is opened is shown.
    pub(crate) opens: bool,
    /// What is made executable is shown.
    pub(crate) making: bool,
}

impl Watching {
    fn place(self) -> usize {
        usize::from(self.leads_out) | usize::from(self.opens) << 1 | usize::from(self.making) << 2
    }
}

fn built(
    programs: &'static Programs,
    watching: Watching,
    rules: impl IntoIterator<Item = &'static Rule>,
) -> &'static [libc::sock_filter] {
    let only = |wanted: bool, rules: &'static [Rule]| if wanted { rules } else { &[] };
    let more = only(watching.opens, OBSERVED)
        .iter()
        .chain(only(watching.making, MAKING));
    // The rules that refuse come first, so they answer where both apply.
    let build = || bpf::compile(rules.into_iter().chain(more));
    programs
        .get(watching.place())
        .map_or(&[], |program| program.get_or_init(build))
}

/// The program of [`RULES`] and [`CONNECTING`], with what shows more of a tree.
pub(crate) fn filter(watching: Watching) -> &'static [libc::sock_filter] {
    static PROGRAMS: Programs = programs();
    let out: &[Rule] = if watching.leads_out { LEADING_OUT } else { &[] };
    built(
        &PROGRAMS,
        watching,
        RULES.iter().chain(CONNECTING).chain(out),
    )
}

#[cfg(test)]
mod tests {
    use super::on_host::{ON_HOST, ON_HOST_WITH_PEERS, ON_HOST_WITHOUT_PEERS};
    use super::*;

    #[test]
    fn every_rule_has_a_reason() {
        let host = ON_HOST
            .iter()
            .chain(ON_HOST_WITHOUT_PEERS)
            .chain(ON_HOST_WITH_PEERS);
        let mut rules = RULES
            .iter()
            .chain(CONNECTING)
            .chain(LEADING_OUT)
            .chain(OBSERVED)
            .chain(MAKING)
            .chain(host);
        assert!(rules.all(|rule| rule.reason.len() > 10));
    }

    /// In any of the programs: a host is never observed.
    #[test]
    fn no_rule_is_there_twice() {
        for more in [ON_HOST, OBSERVED] {
            let rules = RULES
                .iter()
                .chain(CONNECTING)
                .chain(LEADING_OUT)
                .chain(more);
            let mut seen: Vec<String> = rules
                .map(|rule| format!("{} {:?}", rule.call, rule.when))
                .collect();
            seen.sort();
            let before = seen.len();
            seen.dedup();
            assert_eq!(before, seen.len());
        }
    }
}
