//! What stands in for namespaces where there are none: the refusals of a cell on the host's own tree.

use super::{
    Answer, CONNECTING, LEADING_OUT, Programs, RULES, Rule, Watching, When, built, deny, deny_when,
    programs,
};

const SHARED_IPC: &str = "System V and POSIX queues, semaphores and memory are the host's here";
const OTHERS_PROCESSES: &str = "without a pid namespace it reaches the user's other processes";
const OWNERS: &str = "Landlock does not restrict it, and no mount is read-only here";
const CHANGED_BY_SUPERVISOR: &str =
    "Landlock does not restrict it: the supervisor changes what lies in a writable tree";
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
pub(crate) const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_FILE_SETATTR: i64 = 469;

const fn trap(call: i64, reason: &'static str) -> Rule {
    Rule {
        call,
        when: When::Always,
        answer: Answer::Trap,
        reason,
    }
}

/// As a file system without them answers, which programs expect.
const fn no_attributes(call: i64) -> Rule {
    Rule {
        call,
        when: When::Always,
        answer: Answer::Errno(libc::EOPNOTSUPP),
        reason: OWNERS,
    }
}

/// Only on the caller itself.
const fn only_self(call: i64, arg: u32) -> Rule {
    deny_when(call, When::NoneOf { arg, values: &[0] }, OTHERS_PROCESSES)
}

/// What stands in for namespaces where there are none, beside [`CONNECTING`] and [`LEADING_OUT`].
pub(super) const ON_HOST: &[Rule] = &[
    deny(libc::SYS_shmget, SHARED_IPC),
    deny(libc::SYS_shmat, SHARED_IPC),
    deny(libc::SYS_shmctl, SHARED_IPC),
    deny(libc::SYS_semget, SHARED_IPC),
    deny(libc::SYS_semop, SHARED_IPC),
    deny(libc::SYS_semtimedop, SHARED_IPC),
    deny(libc::SYS_semctl, SHARED_IPC),
    deny(libc::SYS_msgget, SHARED_IPC),
    deny(libc::SYS_msgsnd, SHARED_IPC),
    deny(libc::SYS_msgrcv, SHARED_IPC),
    deny(libc::SYS_msgctl, SHARED_IPC),
    deny(libc::SYS_mq_open, SHARED_IPC),
    deny(libc::SYS_mq_unlink, SHARED_IPC),
    only_self(libc::SYS_prlimit64, 0),
    only_self(libc::SYS_setpriority, 0),
    only_self(libc::SYS_setpriority, 1),
    deny_when(
        libc::SYS_ioprio_set,
        // IOPRIO_WHO_PROCESS
        When::NoneOf {
            arg: 0,
            values: &[1],
        },
        OTHERS_PROCESSES,
    ),
    only_self(libc::SYS_ioprio_set, 1),
    only_self(libc::SYS_sched_setscheduler, 0),
    only_self(libc::SYS_sched_setparam, 0),
    only_self(libc::SYS_sched_setattr, 0),
    only_self(libc::SYS_sched_setaffinity, 0),
    only_self(libc::SYS_migrate_pages, 0),
    only_self(libc::SYS_move_pages, 0),
    deny(libc::SYS_process_mrelease, OTHERS_PROCESSES),
    deny(libc::SYS_fchown, OWNERS),
    deny(libc::SYS_fchownat, OWNERS),
    #[cfg(target_arch = "x86_64")]
    deny(libc::SYS_chown, OWNERS),
    #[cfg(target_arch = "x86_64")]
    deny(libc::SYS_lchown, OWNERS),
    no_attributes(libc::SYS_setxattr),
    no_attributes(libc::SYS_lsetxattr),
    no_attributes(libc::SYS_fsetxattr),
    no_attributes(libc::SYS_removexattr),
    no_attributes(libc::SYS_lremovexattr),
    no_attributes(libc::SYS_fremovexattr),
    no_attributes(SYS_SETXATTRAT),
    no_attributes(SYS_REMOVEXATTRAT),
    no_attributes(SYS_FILE_SETATTR),
    deny_when(
        libc::SYS_ioctl,
        When::Equals {
            arg: 1,
            value: FS_IOC_SETFLAGS,
        },
        OWNERS,
    ),
    deny_when(
        libc::SYS_ioctl,
        When::Equals {
            arg: 1,
            value: FS_IOC_FSSETXATTR,
        },
        OWNERS,
    ),
    trap(libc::SYS_fchmod, CHANGED_BY_SUPERVISOR),
    trap(libc::SYS_fchmodat, CHANGED_BY_SUPERVISOR),
    trap(SYS_FCHMODAT2, CHANGED_BY_SUPERVISOR),
    trap(libc::SYS_utimensat, CHANGED_BY_SUPERVISOR),
    #[cfg(target_arch = "x86_64")]
    trap(libc::SYS_chmod, CHANGED_BY_SUPERVISOR),
    #[cfg(target_arch = "x86_64")]
    trap(libc::SYS_utime, CHANGED_BY_SUPERVISOR),
    #[cfg(target_arch = "x86_64")]
    trap(libc::SYS_utimes, CHANGED_BY_SUPERVISOR),
    #[cfg(target_arch = "x86_64")]
    trap(libc::SYS_futimesat, CHANGED_BY_SUPERVISOR),
];

const NO_NETWORK: &str = "the network would be the host's";

/// Where nobody is to be connected to.
pub(super) const ON_HOST_WITHOUT_PEERS: &[Rule] = &[Rule {
    call: libc::SYS_socket,
    when: When::NoneOf {
        arg: 0,
        values: &[libc::AF_UNIX.unsigned_abs()],
    },
    answer: Answer::Errno(libc::EACCES),
    reason: NO_NETWORK,
}];

/// Bits of every socket type but SOCK_STREAM.
const NOT_STREAM: u32 = 0b1110;
const fn only_streams(family: i32) -> Rule {
    deny_when(
        libc::SYS_socket,
        When::EqualsAndAnyBit {
            arg: 0,
            value: family.unsigned_abs(),
            other: 1,
            mask: NOT_STREAM,
        },
        "sends to an address without connecting, on the host's network",
    )
}

/// Where the broker connects to some.
pub(super) const ON_HOST_WITH_PEERS: &[Rule] = &[
    only_streams(libc::AF_INET),
    only_streams(libc::AF_INET6),
    deny_when(
        libc::SYS_socket,
        When::NoneOf {
            arg: 2,
            // The default, AF_UNIX by its own name, and TCP.
            values: &[0, 1, libc::IPPROTO_TCP.unsigned_abs()],
        },
        "other protocols associate by sending",
    ),
    Rule {
        call: libc::SYS_bind,
        when: When::Always,
        answer: Answer::Errno(libc::EACCES),
        reason: "an address of the host's network would be taken",
    },
];

/// The program for a cell on the host's tree and network; who makes a file executable is shown as far as
/// the supervisor does not do it in the caller's place.
pub(crate) fn host_filter(watching: Watching) -> &'static [libc::sock_filter] {
    static PROGRAMS: Programs = programs();
    let more = if watching.leads_out {
        ON_HOST_WITH_PEERS
    } else {
        ON_HOST_WITHOUT_PEERS
    };
    let brokered = RULES.iter().chain(CONNECTING).chain(LEADING_OUT);
    built(&PROGRAMS, watching, brokered.chain(ON_HOST).chain(more))
}
