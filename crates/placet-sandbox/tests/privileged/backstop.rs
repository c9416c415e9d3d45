//! The network backstop and the memory files of a cell, met by a process that is in nothing else of it: such a
//! one has another network, no filter and no Landlock domain.

use std::fs;
use std::mem::size_of_val;
use std::net::{
    Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket,
};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use crate::groups::group_of;
use crate::support::{ACT, Act, Test, acting_spec, command, is_root, own_executable};
use crate::{eventually, start};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_process_in_a_cells_group_reaches_only_loopback_on_any_network",
        reaches_only_loopback,
    ),
    (
        "memory_files_cannot_be_executed_in_a_cells_pid_namespace",
        memory_files,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("meet_the_backstop", |a| meet_the_backstop(&a[0])),
    ("make_memory_files", |a| make_memory_files(&a[0])),
    ("memory_file", |_| memory_file(0)),
];

const FOREIGN_4: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 7);
const FOREIGN_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);

/// The same act in the group of a cell, from outside.
fn met(act: &str, argument: impl Fn(u32) -> PathBuf) {
    let cell = start(acting_spec("sleep", &[]));
    let mut process = command(&own_executable());
    let process = process.args([ACT, act]).arg(argument(cell.pid()));
    let output = process.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {text}", output.status);
}

fn reaches_only_loopback() {
    if is_root() {
        met("meet_the_backstop", group_of);
    } else {
        // The group is what carries it, and a user's cell has none.
        let cell = start(acting_spec("sleep", &[]));
        assert_eq!(group_of(cell.pid()), group_of(std::process::id()));
    }
}

fn memory_files() {
    if is_root() {
        met("make_memory_files", |pid| {
            format!("/proc/{pid}/ns/pid").into()
        });
    } else {
        // The kernel lets nobody else set it; the system call filter is what refuses them.
        let status = start(acting_spec("memory_file", &[]))
            .wait()
            .unwrap()
            .status;
        assert_eq!(status, placet_sandbox::Status::Exited(libc::EPERM));
    }
}

fn memory_file(flags: u32) -> i32 {
    // SAFETY: the name is NUL terminated.
    let fd = unsafe { libc::memfd_create(c"m".as_ptr(), flags) };
    if fd < 0 { errno() } else { 0 }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn make_memory_files(namespace: &str) -> i32 {
    const NOEXEC_SEAL: u32 = 8;
    const EXEC: u32 = 0x10;
    assert_eq!(memory_file(EXEC), 0, "on the host");
    let namespace = fs::File::open(namespace).unwrap();
    // SAFETY: this process has one thread; the child makes files and exits.
    unsafe {
        assert_eq!(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID), 0);
        let child = libc::fork();
        if child == 0 {
            let sealed = memory_file(NOEXEC_SEAL);
            libc::_exit(if sealed == 0 { memory_file(EXEC) } else { 255 });
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        assert!(libc::WIFEXITED(status));
        i32::from(libc::WEXITSTATUS(status) != libc::EACCES)
    }
}

/// In a network of its own, with addresses that are not loopback: all of it works until the group
/// is joined, and then loopback works and nothing else.
fn meet_the_backstop(group: &str) -> i32 {
    own_network();
    // The kernel makes sure that nobody else has the address, even there.
    eventually("the address", || TcpListener::bind((FOREIGN_6, 0)).is_ok());
    let theirs = Listeners::new(FOREIGN_4.into(), FOREIGN_6.into());
    let loopback = Listeners::new(Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let client = Socket::tcp(libc::AF_INET);
    for (name, outcome) in theirs.attempts() {
        assert_eq!(outcome, 0, "{name}, outside");
    }
    assert_eq!(raw(), 0, "raw, outside");
    assert_eq!(ping(), 0, "ping, outside");
    fs::write(format!("{group}/cgroup.procs"), "0").unwrap();
    for (name, outcome) in theirs.attempts() {
        // What the empty network of a cell would answer.
        let expected = if name == "mptcp" {
            libc::EPERM
        } else {
            libc::ENETUNREACH
        };
        assert_eq!(outcome, expected, "{name}");
    }
    assert_eq!(raw(), libc::EPERM, "raw");
    assert_eq!(ping(), libc::EPERM, "ping");
    for (name, outcome) in loopback.attempts() {
        let expected = if name.starts_with("mptcp") {
            libc::EPERM
        } else {
            0
        };
        assert_eq!(outcome, expected, "{name}, loopback");
    }
    // Nothing looks at accepting; what would answer a stranger is a packet that does not leave.
    let listener = TcpListener::bind((FOREIGN_4, 0)).unwrap();
    let reached = client.connect_within(listener.local_addr().unwrap(), 300);
    assert!(!reached, "a service inside was reached");
    0
}

/// A network namespace with two addresses on its loopback device that are not loopback's.
fn own_network() {
    #[repr(C)]
    struct Ipv6Request {
        address: [u8; 16],
        prefix: u32,
        interface: i32,
    }
    // SAFETY: requests are live, zeroed where not set, and as the ioctls expect.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNET), 0);
        let four = Socket(OwnedFd::from_raw_fd(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM,
            0,
        )));
        let six = Socket(OwnedFd::from_raw_fd(libc::socket(
            libc::AF_INET6,
            libc::SOCK_DGRAM,
            0,
        )));
        let mut request: libc::ifreq = std::mem::zeroed();
        let name = |request: &mut libc::ifreq, text: &[u8]| {
            for (slot, byte) in request.ifr_name.iter_mut().zip(text) {
                *slot = i8::from_ne_bytes([*byte]) as libc::c_char;
            }
        };
        name(&mut request, b"lo");
        request.ifr_ifru.ifru_flags = 1; // IFF_UP
        let ioctl = |fd: &Socket, what, at: *const libc::c_void| {
            assert_eq!(libc::ioctl(fd.0.as_raw_fd(), what, at), 0, "{}", errno());
        };
        ioctl(&four, libc::SIOCSIFFLAGS, (&raw const request).cast());
        name(&mut request, b"lo:1");
        let address = sockaddr(SocketAddr::new(FOREIGN_4.into(), 0));
        request.ifr_ifru.ifru_addr = std::ptr::read(address.0.as_ptr().cast());
        ioctl(&four, libc::SIOCSIFADDR, (&raw const request).cast());
        let six_address = Ipv6Request {
            address: FOREIGN_6.octets(),
            prefix: 128,
            interface: 1,
        };
        ioctl(&six, libc::SIOCSIFADDR, (&raw const six_address).cast());
    }
}

struct Listeners {
    tcp: [TcpListener; 2],
    udp: [UdpSocket; 2],
    mptcp: (Socket, SocketAddr),
}

impl Listeners {
    fn new(four: std::net::IpAddr, six: std::net::IpAddr) -> Self {
        let tcp = [four, six].map(|address| TcpListener::bind((address, 0)).unwrap());
        let at = tcp[0].local_addr().unwrap();
        let mptcp = Socket::new(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP).unwrap();
        Self {
            udp: [four, six].map(|address| UdpSocket::bind((address, 0)).unwrap()),
            mptcp: (mptcp, at),
            tcp,
        }
    }

    /// Every way to one of them, with how it went: 0, or the error's number.
    fn attempts(&self) -> Vec<(&'static str, i32)> {
        let tcp = self
            .tcp
            .each_ref()
            .map(|listener| listener.local_addr().unwrap());
        let udp = self
            .udp
            .each_ref()
            .map(|socket| socket.local_addr().unwrap());
        let (four, six) = (libc::AF_INET, libc::AF_INET6);
        let connect =
            |family, kind, to| Socket::new(family, kind, 0).map_or_else(|e| e, |s| s.connect(to));
        let send = |family, to| {
            let socket = Socket::new(family, libc::SOCK_DGRAM, 0);
            socket.map_or_else(|e| e, |s| s.send_to(to, 0))
        };
        let fast_open = |family, to| Socket::tcp(family).send_to(to, libc::MSG_FASTOPEN);
        let mptcp = Socket::new(four, libc::SOCK_STREAM, libc::IPPROTO_MPTCP);
        assert!(self.mptcp.0.0.as_raw_fd() >= 0 && self.mptcp.1 == tcp[0]);
        vec![
            ("tcp, IPv4", connect(four, libc::SOCK_STREAM, tcp[0])),
            ("tcp, IPv6", connect(six, libc::SOCK_STREAM, tcp[1])),
            (
                "tcp, v4-mapped",
                connect(six, libc::SOCK_STREAM, mapped(tcp[0])),
            ),
            ("fast open, IPv4", fast_open(four, tcp[0])),
            ("fast open, IPv6", fast_open(six, tcp[1])),
            ("fast open, v4-mapped", fast_open(six, mapped(tcp[0]))),
            ("mptcp", mptcp.map_or_else(|e| e, |s| s.connect(tcp[0]))),
            ("udp, IPv4", send(four, udp[0])),
            ("udp, IPv6", send(six, udp[1])),
            ("udp, v4-mapped", send(six, mapped(udp[0]))),
            ("udp, an IPv4 address on IPv6", send(six, udp[0])),
            (
                "udp, connected, IPv4",
                connect(four, libc::SOCK_DGRAM, udp[0]),
            ),
            (
                "udp, connected, IPv6",
                connect(six, libc::SOCK_DGRAM, udp[1]),
            ),
            (
                "udp, connected, v4-mapped",
                connect(six, libc::SOCK_DGRAM, mapped(udp[0])),
            ),
        ]
    }
}

fn raw() -> i32 {
    Socket::new(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP).map_or_else(|e| e, |_| 0)
}

fn ping() -> i32 {
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
    Socket::new(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP).map_or_else(|e| e, |_| 0)
}

fn mapped(address: SocketAddr) -> SocketAddr {
    let SocketAddr::V4(four) = address else {
        panic!("{address}");
    };
    SocketAddrV6::new(four.ip().to_ipv6_mapped(), four.port(), 0, 0).into()
}

struct Socket(OwnedFd);

impl Socket {
    fn new(family: i32, kind: i32, protocol: i32) -> Result<Self, i32> {
        // SAFETY: socket takes integers only, and has made the descriptor for us alone.
        unsafe {
            let fd = libc::socket(family, kind, protocol);
            if fd < 0 {
                Err(errno())
            } else {
                Ok(Self(OwnedFd::from_raw_fd(fd)))
            }
        }
    }

    fn tcp(family: i32) -> Self {
        Self::new(family, libc::SOCK_STREAM, 0).unwrap()
    }

    fn connect(&self, to: SocketAddr) -> i32 {
        let (address, len) = sockaddr(to);
        // SAFETY: the address is live for its length.
        let done = unsafe { libc::connect(self.0.as_raw_fd(), address.as_ptr().cast(), len) };
        if done < 0 { errno() } else { 0 }
    }

    fn connect_within(&self, to: SocketAddr, millis: i32) -> bool {
        rustix::fs::fcntl_setfl(&self.0, rustix::fs::OFlags::NONBLOCK).unwrap();
        assert_eq!(self.connect(to), libc::EINPROGRESS);
        let mut polled = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: polled is one live pollfd.
        unsafe { libc::poll(&raw mut polled, 1, millis) == 1 }
    }

    fn send_to(&self, to: SocketAddr, flags: i32) -> i32 {
        let (address, len) = sockaddr(to);
        // SAFETY: the data and the address are live for their lengths.
        let sent = unsafe {
            let fd = self.0.as_raw_fd();
            libc::sendto(
                fd,
                b"x".as_ptr().cast(),
                1,
                flags,
                address.as_ptr().cast(),
                len,
            )
        };
        if sent < 0 { errno() } else { 0 }
    }
}

/// An address as the kernel takes it.
fn sockaddr(address: SocketAddr) -> ([u8; 28], u32) {
    let mut bytes = [0u8; 28];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    let (family, len) = match address {
        SocketAddr::V4(four) => {
            bytes[4..8].copy_from_slice(&SocketAddrV4::ip(&four).octets());
            (libc::AF_INET, 16)
        }
        SocketAddr::V6(six) => {
            bytes[8..24].copy_from_slice(&six.ip().octets());
            (libc::AF_INET6, 28)
        }
    };
    bytes[..2].copy_from_slice(&u16::try_from(family).unwrap().to_ne_bytes());
    assert!(size_of_val(&bytes) >= len as usize);
    (bytes, len)
}
