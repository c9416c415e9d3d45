//! pid 1 of a cell: builds the confinement, forks the worker, holds the lease and reaps.
//!
//! Runs after clone in a copy of the supervisor, so it only walks the plan and makes system calls.
//! Its end is the end of the whole pid namespace: every error path is an exit. The supervisor's
//! death shows twice, as the parent death signal and as the end of the control socket; a supervisor
//! that merely hangs shows as a lease that is not renewed.

use std::ffi::{CStr, c_int, c_ulong};

use crate::error::Step;
use crate::plan::{Bind, Mount, Overlay, Plan};
use crate::reaper;
use crate::spec::{DNS_PORT, DOOR_PATH, PROXY_PORT, Session};
use crate::sys::{self, Errno, Forked, TerminalEnds};
use crate::wire::{AtStep, Failure, Group, NO_INDEX, Order, Report, Setup};
use crate::worker;

/// The cell's ends of the two sockets.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Sockets {
    /// Kept by pid 1: reports up, renewals down.
    pub(crate) control: c_int,
    /// Kept by the worker until execve: readiness and failure up, the release down.
    pub(crate) gate: c_int,
    /// Kept by pid 1, unused: as long as it is open, opens that nobody answers wait. -1 without.
    pub(crate) opens: c_int,
    /// For the worker: the ruleset as far as the supervisor could make it.
    pub(crate) ruleset: c_int,
}

/// The files of the cell's control groups of version 1 that take processes in, open for writing; -1
/// for none.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Entries([c_int; 3]);

impl Entries {
    /// Of at most three hierarchies: there are no more controllers that anything is bounded by.
    pub(crate) fn of(files: impl Iterator<Item = c_int>) -> Self {
        let mut entries = [-1; 3];
        for (slot, file) in entries.iter_mut().zip(files) {
            *slot = file;
        }
        Self(entries)
    }
}

const NEW_ROOT: &CStr = c"/proc";
const ROOT_FLAGS: c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
/// Directories and empty files only.
const ROOT_OPTIONS: &CStr = c"size=4m,mode=755";
/// SECBIT_NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE set and KEEP_CAPS clear, each with its
/// lock: uid 0 is an ordinary user for good.
const SECURE_BITS: c_ulong = 0b1110_1111;
/// Beyond every capability that any kernel has, so that a new one is dropped as well.
const CAPABILITIES_MAX: c_ulong = 63;
/// Stop reports are dropped while this much is unread, so that the end always finds room.
const UNREAD_BYTES_MAX: c_int = 4096;

/// The child side of the clone. `extern "C"` makes a panic abort instead of unwinding into a copy
/// of the supervisor.
pub(crate) extern "C" fn run(
    plan: &Plan,
    sockets: Sockets,
    groups: Entries,
    deadline_ns: u64,
) -> ! {
    let built = if plan.host.is_some() {
        build_on_host(plan, sockets, groups)
    } else {
        build(plan, sockets, groups)
    };
    match built {
        Ok(built) => hold(sockets.control, &built, deadline_ns),
        Err(failure) => {
            // The supervisor that cannot be told sees the end of the socket instead.
            let _told = sys::send(sockets.control, &Report::Failed(failure).encode(), &[]);
            sys::exit_now(1)
        }
    }
}

/// What is left to hold when the worker has been forked.
struct Built {
    /// Whether its end ends the rest by itself.
    is_pid1: bool,
    worker: c_int,
    children: c_int,
    lease: c_int,
    /// The programs' end of the cell's terminal.
    terminal: Option<c_int>,
}

/// What the supervisor serves in the cell: the worker must not have it.
struct Inlets {
    door: Option<c_int>,
    proxied: Option<[c_int; 2]>,
    terminal: Option<TerminalEnds>,
    credentials: Option<c_int>,
}

/// As many descriptors as [`Inlets`] hold.
const INLETS_MAX: usize = 5;

impl Inlets {
    /// In the order in which the supervisor takes them.
    fn each(&self) -> impl Iterator<Item = c_int> {
        let proxied = self.proxied.into_iter().flatten();
        let terminal = self.terminal.map(|ends| ends.master);
        self.door
            .into_iter()
            .chain(proxied)
            .chain(terminal)
            .chain(self.credentials)
    }
}

fn build(plan: &Plan, sockets: Sockets, groups: Entries) -> Setup<Built> {
    let kill = libc::SIGKILL.unsigned_abs().into();
    sys::prctl(libc::PR_SET_PDEATHSIG, kill, 0).at(Step::ParentDeathSignal)?;
    enter(groups)?;
    close_descriptors(sockets).at(Step::CloseDescriptors)?;
    map_ids(plan)?;
    if plan.memfd_noexec {
        write(c"/proc/sys/vm/memfd_noexec", b"2").at(Step::MemfdNoexec)?;
    }
    build_root(plan)?;
    let credentials = open_credentials(plan)?;
    if plan.loopback {
        sys::loopback_up().at(Step::Loopback)?;
    }
    sys::pivot_here().at(Step::PivotRoot)?;
    let inlets = Inlets {
        door: open_door(plan.door)?,
        proxied: open_proxied(plan.proxied)?,
        terminal: open_session(plan.session)?,
        credentials,
    };
    let terminal = inlets.terminal;
    if plan.meeting_place {
        read_only(c"/run/placet")?;
    }
    read_only(c"/")?;
    drop_privileges(Bounding::Required)?;
    let children = sys::child_signal_fd().at(Step::Events)?;
    let lease = sys::lease_timer().at(Step::Events)?;
    let worker = fork_worker(plan, sockets, &inlets)?;
    Ok(Built {
        is_pid1: true,
        worker,
        children,
        lease,
        terminal: terminal.map(|ends| ends.slave),
    })
}

fn enter(groups: Entries) -> Setup<()> {
    for entry in groups.0 {
        if entry >= 0 {
            // 0 is the writer: moving oneself spares version 1 a lock that stops every fork.
            sys::write_all(entry, b"0").at(Step::ControlGroup)?;
        }
    }
    Ok(())
}

/// Where there are no namespaces: a reaper of everything that the worker leaves behind.
fn build_on_host(plan: &Plan, sockets: Sockets, groups: Entries) -> Setup<Built> {
    let kill = libc::SIGKILL.unsigned_abs().into();
    sys::prctl(libc::PR_SET_PDEATHSIG, kill, 0).at(Step::ParentDeathSignal)?;
    enter(groups)?;
    close_descriptors(sockets).at(Step::CloseDescriptors)?;
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).at(Step::Subreaper)?;
    drop_privileges(Bounding::IfAllowed)?;
    let children = sys::child_signal_fd().at(Step::Events)?;
    let lease = sys::lease_timer().at(Step::Events)?;
    let inlets = Inlets {
        door: None,
        proxied: None,
        // Refused before: it is made in a `/dev/pts` of the cell's own. A session of its own is not.
        terminal: open_session(plan.session)?,
        credentials: None,
    };
    let worker = fork_worker(plan, sockets, &inlets)?;
    Ok(Built {
        is_pid1: false,
        worker,
        children,
        lease,
        terminal: None,
    })
}

/// Closes all but the standard streams and what the cell keeps, also what other threads of the
/// supervisor opened since the plan was made.
fn close_descriptors(sockets: Sockets) -> sys::Sys<()> {
    let mut kept = [
        sockets.control,
        sockets.gate,
        sockets.opens,
        sockets.ruleset,
    ];
    kept.sort_unstable();
    let mut next = 3;
    for fd in kept {
        if fd > next {
            sys::close_range(next, fd.wrapping_sub(1).unsigned_abs())?;
        }
        next = next.max(fd.wrapping_add(1));
    }
    sys::close_range(next, u32::MAX)
}

fn write(path: &CStr, bytes: &[u8]) -> sys::Sys<()> {
    let fd = sys::open_write(path)?;
    let written = sys::write_all(fd, bytes);
    sys::close(fd);
    written
}

fn map_ids(plan: &Plan) -> Setup<()> {
    write(c"/proc/self/setgroups", b"deny").at(Step::DenySetgroups)?;
    write(c"/proc/self/uid_map", &plan.uid_map).at(Step::UidMap)?;
    write(c"/proc/self/gid_map", &plan.gid_map).at(Step::GidMap)
}

/// Builds the new root over the old /proc, which the scope cannot name, and works inside it: paths
/// without a leading slash are the new root's, the others the host's.
fn build_root(plan: &Plan) -> Setup<()> {
    sys::mount(c"", c"/", libc::MS_REC | libc::MS_PRIVATE, c"").at(Step::PrivateMounts)?;
    sys::mount(c"tmpfs", NEW_ROOT, ROOT_FLAGS, ROOT_OPTIONS).at(Step::NewRoot)?;
    sys::change_dir(NEW_ROOT).at(Step::NewRoot)?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        make(mount, index)?;
    }
    Ok(())
}

fn make(mount: &Mount, index: usize) -> Setup<()> {
    match mount {
        Mount::Dir(path) => match sys::make_dir(path) {
            Err(Errno(libc::EEXIST)) => Ok(()),
            made => made.at_index(Step::MakeDir, index),
        },
        Mount::File(path) => sys::make_file(path).at_index(Step::MakeFile, index),
        Mount::Text { path, contents } => {
            sys::create_file(path, 0o444, contents).at_index(Step::MakeFile, index)
        }
        Mount::Symlink { path, target } => {
            sys::symlink(target, path).at_index(Step::MakeSymlink, index)
        }
        Mount::Private {
            kind,
            target,
            flags,
            data,
        } => sys::mount(kind, target, *flags, data).at_index(Step::MountPrivate, index),
        Mount::Bind(bind) => attach(bind, index),
        Mount::Overlay(overlay) => attach_overlay(overlay, index),
    }
}

/// Binds are checked by inode on both sides: others may have renamed things since the plan.
fn attach(bind: &Bind, index: usize) -> Setup<()> {
    let source = open_checked(&bind.source, bind.inode, Step::OpenSource, index)?;
    let tree = sys::open_tree(source).at_index(Step::CloneMounts, index)?;
    sys::mount_set_attributes(tree, bind.attributes).at_index(Step::RestrictMounts, index)?;
    sys::close(source);
    let attached = if bind.covers.is_some() {
        let target = open_checked(&bind.target, bind.covers, Step::OpenTarget, index)?;
        let attached = sys::move_mount(tree, target);
        sys::close(target);
        attached
    } else {
        // A place that was made a moment ago in the new root, where nobody else is.
        sys::move_mount_to(tree, &bind.target)
    };
    sys::close(tree);
    attached.at_index(Step::AttachMounts, index)
}

/// The lower layer is named by the working directory, so that it is the very directory that was checked.
fn attach_overlay(overlay: &Overlay, index: usize) -> Setup<()> {
    let lower = open_checked(&overlay.lower, Some(overlay.inode), Step::OpenSource, index)?;
    let target = open_checked(&overlay.target, overlay.covers, Step::OpenTarget, index)?;
    sys::change_dir_to(lower).at_index(Step::MountOverlay, index)?;
    let mount = sys::mount_overlay(&overlay.upper, &overlay.work, overlay.attributes)
        .at_index(Step::MountOverlay, index)?;
    sys::change_dir(NEW_ROOT).at(Step::NewRoot)?;
    sys::move_mount(mount, target).at_index(Step::AttachMounts, index)?;
    sys::close(lower);
    sys::close(mount);
    sys::close(target);
    Ok(())
}

fn open_checked(
    path: &CStr,
    expected: Option<sys::Inode>,
    step: Step,
    index: usize,
) -> Setup<c_int> {
    let fd = sys::open_path(libc::AT_FDCWD, path).at_index(step, index)?;
    let found = sys::inode(fd).at_index(step, index)?;
    if expected.is_some_and(|inode| inode != found) {
        return Err(Errno(libc::ESTALE)).at_index(Step::SourceChanged, index);
    }
    Ok(fd)
}

fn open_door(wanted: bool) -> Setup<Option<c_int>> {
    if !wanted {
        return Ok(None);
    }
    let door = sys::listen_unix(DOOR_PATH.as_bytes()).at(Step::Door)?;
    Ok(Some(door))
}

/// Before the capability to take a low port is given up.
fn open_proxied(wanted: bool) -> Setup<Option<[c_int; 2]>> {
    if !wanted {
        return Ok(None);
    }
    let proxy = sys::listen_loopback(PROXY_PORT).at(Step::Proxy)?;
    let dns = sys::hear_loopback(DNS_PORT).at(Step::Proxy)?;
    Ok(Some([proxy, dns]))
}

/// The way into the file system of the credentials, which is then covered by a view of it that
/// cannot be written: without capabilities nobody inside takes that away.
fn open_credentials(plan: &Plan) -> Setup<Option<c_int>> {
    let Some(view) = &plan.credentials_view else {
        return Ok(None);
    };
    let beneath = sys::open_path(libc::AT_FDCWD, &view.source).at(Step::Credentials)?;
    attach(view, NO_INDEX)?;
    Ok(Some(beneath))
}

/// Begins the cell's own session, with a terminal where it is to have one. Its leader never ends
/// before the tree: so the worker's group always has a parent in the session, without which the kernel would not stop it.
fn open_session(session: Session) -> Setup<Option<TerminalEnds>> {
    match session {
        Session::Shared => return Ok(None),
        Session::Own => return sys::new_session().at(Step::Terminal).map(|()| None),
        Session::Terminal(_) => sys::new_session().at(Step::Terminal)?,
    }
    let ends = sys::open_terminal().at(Step::Terminal)?;
    sys::control_terminal(ends.slave).at(Step::Terminal)?;
    Ok(Some(ends))
}

fn read_only(path: &CStr) -> Setup<()> {
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | ROOT_FLAGS;
    sys::mount(c"", path, flags, c"").at(Step::ReadOnly)
}

/// Whether the bounding set and the secure bits must be given up as well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounding {
    Required,
    /// It takes a capability that an ordinary user does not have. Nothing comes back without them
    /// either: under no_new_privs execve never gives more than there was, to root neither.
    IfAllowed,
}

/// Gives up everything the user namespace handed out, for pid 1 and so for the worker.
fn drop_privileges(bounding: Bounding) -> Setup<()> {
    match drop_bounding() {
        Err(failure) if bounding == Bounding::Required || failure.errno != Errno(libc::EPERM) => {
            return Err(failure);
        }
        Ok(()) | Err(_) => {}
    }
    let clear_ambient = libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs().into();
    sys::prctl(libc::PR_CAP_AMBIENT, clear_ambient, 0).at(Step::Capabilities)?;
    sys::drop_capability_sets().at(Step::Capabilities)?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Step::NoNewPrivs)?;
    // Its memory is a copy of the supervisor's.
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).at(Step::NotDumpable)
}

fn drop_bounding() -> Setup<()> {
    for capability in 0..=CAPABILITIES_MAX {
        match sys::prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(()) => {}
            Err(Errno(libc::EINVAL)) => break,
            Err(errno) => return Err(Failure::new(Step::BoundingSet, errno)),
        }
    }
    sys::prctl(libc::PR_SET_SECUREBITS, SECURE_BITS, 0).at(Step::SecureBits)
}

fn fork_worker(plan: &Plan, sockets: Sockets, inlets: &Inlets) -> Setup<c_int> {
    // SAFETY: the child branch only calls worker::run, which obeys the rules of this module and
    // does not return.
    match unsafe { sys::fork(0, libc::SIGCHLD) }.at(Step::ForkWorker)? {
        Forked::Child => worker::run(plan, sockets, inlets.terminal.map(|ends| ends.slave)),
        Forked::Parent { pid, pidfd } => {
            if plan.worker.leads_group {
                // Here too: whoever comes first. It has not executed anything.
                sys::lead_group(pid).at(Step::Terminal)?;
            }
            hand_over(sockets, pidfd, inlets).at(Step::HandOver)?;
            Ok(pid)
        }
    }
}

/// Sends up what only the supervisor needs, and keeps none of it. The standard streams go too: a
/// pipe to the worker must end with the worker.
fn hand_over(sockets: Sockets, pidfd: c_int, inlets: &Inlets) -> sys::Sys<()> {
    let words = Report::Forked.encode();
    let (mut fds, mut count) = ([pidfd; 1 + INLETS_MAX], 1);
    for (slot, fd) in fds.iter_mut().skip(1).zip(inlets.each()) {
        *slot = fd;
        count += 1;
    }
    sys::send(sockets.control, &words, fds.get(..count).unwrap_or(&fds))?;
    inlets.each().for_each(sys::close);
    sys::close(pidfd);
    sys::close(sockets.gate);
    sys::close(sockets.ruleset);
    sys::close_range(0, 2)
}

/// Waits for the worker's end, the supervisor's, or the lease's: whichever is first ends the tree.
fn hold(control: c_int, built: &Built, deadline_ns: u64) -> ! {
    if sys::arm(built.lease, deadline_ns).is_err() {
        end(built, 1);
    }
    loop {
        let Ok([ordered, lapsed, changed]) = sys::poll3([control, built.lease, built.children])
        else {
            end(built, 1);
        };
        if ordered {
            obey(control, built);
        } else if lapsed {
            let _told = sys::send(control, &Report::LeaseLapsed.encode(), &[]);
            end(built, 0);
        }
        if changed {
            sys::drain(built.children);
            reap(control, built);
        }
    }
}

/// Ends the tree: with its pid namespace, or process by process.
fn end(built: &Built, code: c_int) -> ! {
    if !built.is_pid1 {
        reaper::end_all(built.worker);
    }
    sys::exit_now(code)
}

/// Takes one order. The end of the socket, and anything that is no renewal, ends the tree.
fn obey(control: c_int, built: &Built) {
    let order = match sys::receive(control, libc::MSG_DONTWAIT) {
        Err(Errno(libc::EAGAIN)) => return,
        received => received.ok().flatten().and_then(Order::decode),
    };
    let obeyed = match order {
        Some(Order::RenewUntil(deadline)) => sys::arm(built.lease, deadline).is_ok(),
        Some(Order::Foreground) => {
            let group = sys::group_of(built.worker);
            turn_terminal(built, group)
        }
        Some(Order::Background) => turn_terminal(built, sys::group_of(0)),
        Some(Order::SignalGroup { group, signal }) => {
            signal_group(built, group, signal);
            true
        }
        Some(Order::Release | Order::Become) | None => false,
    };
    if !obeyed {
        end(built, 1);
    }
}

/// Gives the terminal's keys to a group, and lets the worker's go on.
fn turn_terminal(built: &Built, to: sys::Sys<c_int>) -> bool {
    let Some(terminal) = built.terminal else {
        return false;
    };
    // A terminal that was hung up has no keys, and a worker that has ended no group.
    to.and_then(|group| sys::set_foreground(terminal, group))
        .unwrap_or(());
    signal_group(built, Group::Worker, libc::SIGCONT);
    true
}

/// A group that is gone needs no signal.
fn signal_group(built: &Built, group: Group, signal: c_int) {
    let foreground = match (group, built.terminal) {
        (Group::Foreground, Some(terminal)) => {
            let own = sys::group_of(0);
            sys::foreground(terminal)
                .ok()
                .filter(|group| *group > 0 && Ok(*group) != own)
        }
        (Group::Foreground, None) | (Group::Worker, _) => None,
    };
    let to = foreground.map_or_else(|| sys::group_of(built.worker), Ok);
    to.and_then(|group| sys::signal_group(group, signal))
        .unwrap_or(());
}

/// Reaps all that ended. The worker's end is reported and is the end of everything.
fn reap(control: c_int, built: &Built) {
    while let Some(changed) = sys::next_changed_child() {
        let status = changed.status;
        if changed.pid != built.worker {
            continue;
        }
        if libc::WIFSTOPPED(status) {
            report_stop(control, Report::Stopped(libc::WSTOPSIG(status)));
        } else if libc::WIFCONTINUED(status) {
            report_stop(control, Report::Continued);
        } else {
            let ended = Report::Ended {
                status,
                max_rss_kib: changed.max_rss_kib,
            };
            let _told = sys::send(control, &ended.encode(), &[]);
            end(built, 0);
        }
    }
}

fn report_stop(control: c_int, report: Report) {
    if sys::unread_by_peer(control) < UNREAD_BYTES_MAX {
        let _told = sys::send(control, &report.encode(), &[]);
    }
}
