//! Where a trapped connect leads, and whether it may go there.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;

use super::address::{self, ADDRESS_BYTES_MAX, Address};
use super::attempt::{Attempt, Caller, On};
use super::own::Own;
use super::rules::{is_own_host, plain};
use super::{ConnectRefusal, EgressRules, Listed, Others, Peer};
use crate::host::Host;
use crate::process::{self, Process};
use crate::spec::DOOR_PATH;
use crate::sys::{self, Errno, Sys, Trapped};

/// What is to be done about a connect that leads out of the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Make,
    Ask(Duration),
    Refuse(ConnectRefusal),
}

/// A connect that was understood.
pub(super) struct Judged {
    pub(super) attempt: Attempt,
    /// `None`: it stays inside, and is nobody's concern.
    pub(super) outside: Option<(Peer, Judgement)>,
}

/// What a call was about: the same again is the same call, taken up after a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) thread: i32,
    descriptor: i32,
    socket: sys::Inode,
    address: Vec<u8>,
}

/// A call as it was copied out of its thread.
pub(super) struct Copied {
    pub(super) subject: Subject,
    socket: OwnedFd,
}

/// A copy of the descriptor that a call is about, which is its first argument.
pub(super) fn socket_of(call: &Trapped) -> Sys<OwnedFd> {
    let descriptor = i32::from_ne_bytes(low_half(call.args[0]));
    let taken = sys::take_descriptor(call.thread, descriptor)?;
    // SAFETY: the call has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(taken) })
}

/// listen(2), which the supervisor does for a socket of the cell's own.
pub(super) fn listen(call: &Trapped, socket: &OwnedFd, ground: &Ground) -> Sys<()> {
    if ground.is_handed_out(socket)? {
        return Err(Errno(libc::EACCES));
    }
    let [_, backlog, ..] = call.args;
    sys::listen(socket.as_raw_fd(), i32::from_ne_bytes(low_half(backlog)))
}

/// Reads a trapped call. What was read is of this call only if it still waits afterwards.
pub(super) fn copy(call: &Trapped) -> Sys<Copied> {
    let [descriptor, at, len, ..] = call.args;
    // As the kernel's own int argument.
    let descriptor = i32::from_ne_bytes(low_half(descriptor));
    let len = usize::try_from(u32::from_ne_bytes(low_half(len))).unwrap_or(usize::MAX);
    if len > ADDRESS_BYTES_MAX {
        return Err(Errno(libc::EINVAL));
    }
    let socket = socket_of(call)?;
    let mut address = vec![0u8; len];
    if len > 0 && sys::read_memory(call.thread, at, &mut address)? != len {
        return Err(Errno(libc::EFAULT));
    }
    let inode = process::inode(&socket).map_err(|errno| Errno(errno.raw_os_error()))?;
    Ok(Copied {
        subject: Subject {
            thread: call.thread,
            descriptor,
            socket: inode,
            address,
        },
        socket,
    })
}

/// Both supported architectures are little-endian.
fn low_half(word: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = word.to_le_bytes();
    [a, b, c, d]
}

/// What a cell that stands on the host's tree has of its own. Its network and its abstract names are
/// the host's, so that only the first two of these are inside.
#[derive(Debug)]
pub(crate) struct OnHost {
    pub(crate) host: Arc<Host>,
    /// The socket's file that [`DOOR_PATH`] stands for: it has no name, and is reached through this.
    pub(crate) door: Option<OwnedFd>,
}

/// What an address is judged by.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) rules: EgressRules,
    /// Devices of the file systems that only the cell has.
    pub(crate) own_devices: Vec<u64>,
    /// For a cell without namespaces.
    pub(crate) on_host: Option<OnHost>,
    /// The supervisor's network, in which the sockets that were handed out live on; `None` where none
    /// is.
    pub(crate) network: Option<u64>,
    /// Tells which sockets are the cell's own.
    pub(super) own: Option<Own>,
    /// Whether the cell's own loopback may be used.
    pub(crate) loopback: bool,
}

impl Ground {
    /// The door that a path means where there is no such file.
    fn door_at(&self, path: &Path) -> Option<&OwnedFd> {
        let door = self.on_host.as_ref()?.door.as_ref();
        door.filter(|_| path == Path::new(DOOR_PATH))
    }

    /// Whether a path lies in the directory that only this cell has.
    fn is_in_scratch(&self, path: &Path) -> bool {
        let host = self.on_host.as_ref().map(|on_host| &on_host.host);
        let scratch = host.and_then(|host| host.scratch.as_ref());
        scratch.is_some_and(|scratch| path.starts_with(scratch.path()))
    }

    /// Whether a socket was made by the broker. Such a one must not be let loose again: what is
    /// inside for a socket of the cell is the host's own for this one.
    pub(super) fn is_handed_out(&self, socket: &OwnedFd) -> Sys<bool> {
        let Some(outside) = self.network else {
            return Ok(false);
        };
        let family = sys::number_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN)?;
        let network = sys::network_of(socket.as_raw_fd())?;
        Ok(family != libc::AF_UNIX && network == outside)
    }
}

/// Understands a call.
///
/// # Errors
/// What the caller is to be told, where the kernel would say so too.
pub(super) fn judge(
    copied: Copied,
    ground: &Ground,
    still_waits: &dyn Fn() -> bool,
) -> Sys<Judged> {
    let Copied { subject, socket } = copied;
    let family = sys::number_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    let flags = rustix::fs::fcntl_getfl(&socket).map_err(|errno| Errno(errno.raw_os_error()))?;
    let thread = subject.thread;
    let caller = Caller {
        descriptor: subject.descriptor,
        family,
        blocking: !flags.contains(OFlags::NONBLOCK),
        close_on_exec: false,
        socket,
    };
    let handed_out = ground.is_handed_out(&caller.socket)?;
    let address = subject.address;
    match (family, address::read(&address)) {
        // It would be a socket of the host's that is free to be used again.
        (_, Address::None) if handed_out => Err(Errno(libc::EACCES)),
        // They are the host's: whoever listens there may be anybody.
        (libc::AF_UNIX, Address::Abstract) if ground.on_host.is_some() => {
            let peer = Peer::Socket(abstract_name(&address));
            let refused = Judgement::Refuse(ConnectRefusal::Unlisted);
            Ok(Judged {
                outside: Some((peer, refused)),
                ..inside(caller, address)
            })
        }
        (_, Address::None) | (libc::AF_UNIX, Address::Abstract) => Ok(inside(caller, address)),
        (libc::AF_UNIX, Address::Path(path)) => {
            let process = open(thread, still_waits)?;
            unix(caller, &process, Path::new(&path), ground)
        }
        (libc::AF_INET | libc::AF_INET6, Address::Inet(peer)) => {
            let judged = inet(caller, peer, address, handed_out, ground)?;
            if judged.outside.is_none() {
                return Ok(judged);
            }
            let flags = open(thread, still_waits)?.descriptor_flags(subject.descriptor);
            let close_on_exec = flags.is_some_and(|flags| flags.contains(OFlags::CLOEXEC));
            Ok(Judged {
                attempt: judged.attempt.closing_on_exec(close_on_exec),
                ..judged
            })
        }
        (_, Address::Invalid) | (libc::AF_UNIX, _) => Err(Errno(libc::EINVAL)),
        _ => Err(Errno(libc::EAFNOSUPPORT)),
    }
}

/// The thread in /proc, for as long as its call waits.
fn open(thread: i32, still_waits: &dyn Fn() -> bool) -> Sys<Process> {
    let process = Process::open(thread).map_err(|errno| Errno(errno.raw_os_error()))?;
    if still_waits() {
        Ok(process)
    } else {
        Err(Errno(libc::ESRCH))
    }
}

/// As tools show it: with `@` for the byte that no path begins with.
fn abstract_name(address: &[u8]) -> PathBuf {
    let name = address.get(3..).unwrap_or_default();
    PathBuf::from(OsString::from_vec([b"@", name].concat()))
}

fn inside(caller: Caller, address: Vec<u8>) -> Judged {
    let on = On::Own { _pinned: None };
    Judged {
        attempt: Attempt::new(caller, on, address),
        outside: None,
    }
}

fn inet(
    caller: Caller,
    to: SocketAddr,
    address: Vec<u8>,
    handed_out: bool,
    ground: &Ground,
) -> Sys<Judged> {
    let fd = caller.socket.as_raw_fd();
    let protocol = sys::number_option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
    let is_tcp = protocol == libc::IPPROTO_TCP;
    if is_tcp && !sys::is_closed(fd)? {
        // The kernel says how far it is, and looks at no address: this one leads nowhere.
        return Ok(inside(caller, NOWHERE.to_vec()));
    }
    let rules = &ground.rules;
    let resolved = || rules.resolved.as_ref().is_some_and(|it| it.cover(to));
    let listed = rules.peers.iter().any(|peers| peers.cover(to)) || resolved();
    // Without a network of its own there is no host inside: this one is a peer like any other.
    let is_inside = is_own_host(to.ip()) && ground.on_host.is_none();
    if is_inside && !listed {
        return if handed_out || !ground.loopback {
            Err(Errno(libc::EACCES))
        } else {
            Ok(inside(caller, address))
        };
    }
    let to = SocketAddr::new(plain(to.ip()), to.port());
    let (peer, judgement) = if is_tcp {
        (Peer::Tcp(to), by_list(listed, rules))
    } else {
        let refused = Judgement::Refuse(ConnectRefusal::NotTcp);
        (Peer::NotTcp(to), refused)
    };
    Ok(Judged {
        attempt: Attempt::new(caller, On::New(None), address),
        outside: Some((peer, judgement)),
    })
}

/// A `struct sockaddr_in` with the broadcast address, which TCP does not connect to.
const NOWHERE: [u8; 16] = [2, 0, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];

fn by_list(listed: bool, rules: &EgressRules) -> Judgement {
    match (listed, rules.listed) {
        (false, _) => unlisted(rules),
        (true, Listed::Make) => Judgement::Make,
        (true, Listed::Ask { patience }) => Judgement::Ask(patience),
    }
}

fn unlisted(rules: &EgressRules) -> Judgement {
    match rules.others {
        Others::Refuse => Judgement::Refuse(ConnectRefusal::Unlisted),
        Others::Ask { patience } => Judgement::Ask(patience),
    }
}

/// The path is followed once, and the connect goes to what was found.
fn unix(caller: Caller, process: &Process, path: &Path, ground: &Ground) -> Sys<Judged> {
    let bare = |errno: rustix::io::Errno| Errno(errno.raw_os_error());
    if let Some(door) = ground.door_at(path) {
        let address = address_of(door);
        return Ok(inside(caller, address));
    }
    let found = process.resolve(path).map_err(bare)?;
    let inode = process::inode(&found).map_err(bare)?;
    let address = address_of(&found);
    let path = process::path_of(&found).map_err(bare)?;
    let own_place = ground.own_devices.contains(&inode.dev) || ground.is_in_scratch(&path);
    let is_own = own_place || ground.own.as_ref().is_some_and(|own| own.listens_at(inode));
    let rules = &ground.rules;
    let listed = rules.sockets.iter().any(|listed| path.starts_with(listed));
    let on = On::Own {
        _pinned: Some(found),
    };
    let judgement = if listed {
        Judgement::Make
    } else {
        unlisted(rules)
    };
    Ok(Judged {
        attempt: Attempt::new(caller, on, address),
        outside: (!is_own).then_some((Peer::Socket(path), judgement)),
    })
}

/// A `struct sockaddr_un` that leads to an open file, whatever its path is by now.
fn address_of(file: &OwnedFd) -> Vec<u8> {
    let mut address = 1u16.to_ne_bytes().to_vec();
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    address.extend(std::ffi::OsStr::new(&link).as_bytes());
    address.push(0);
    address
}
