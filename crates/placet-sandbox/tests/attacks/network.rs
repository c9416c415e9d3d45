//! Reaching anything over a socket.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use placet_sandbox::{Network, Status};

use crate::host::on_host;
use crate::support::{Act, Test, acting_spec, is_root, scratch};
use crate::{
    SUCCESS, assert_refused, assert_succeeds, check, check_as_root, end_of, inside, outcome,
    outcome_of, outside, unstopped,
};

pub(crate) const TESTS: &[Test] = &[
    ("tcp_to_a_host_listener", tcp_to_a_host_listener),
    (
        "tcp_fast_open_to_a_host_listener",
        tcp_fast_open_to_a_host_listener,
    ),
    ("mptcp_to_a_host_listener", mptcp_to_a_host_listener),
    ("mapped_address_to_a_host_listener", mapped_address),
    ("ipv6_to_a_host_listener", ipv6_to_a_host_listener),
    ("fast_open_by_many_messages", fast_open_by_many_messages),
    ("udp_to_a_host_socket", udp_to_a_host_socket),
    ("udp_over_a_mapped_address", udp_over_a_mapped_address),
    ("loopback_is_the_cells_own", loopback_is_the_cells_own),
    ("listening_without_a_network", || {
        check("listen", &[], EACCES)
    }),
    ("raw_socket", || {
        check_as_root("socket", &["2", "3", "1"], EPERM)
    }),
    ("packet_socket", || {
        check_as_root("socket", &["17", "3", "0"], EPERM)
    }),
    ("netlink_socket", || {
        check("socket", &["16", "3", "0"], EPERM)
    }),
    ("vsock_and_kernel_crypto_sockets", kernel_families),
    ("rare_socket_families", rare_families),
    ("sctp_socket", || a_protocol("1", "132")),
    ("dccp_socket", || a_protocol("6", "33")),
    ("udp_lite_socket", || a_protocol("2", "136")),
    ("uevents_and_audit", || {
        check("socket", &["16", "3", "15"], EPERM);
        check("socket", &["16", "3", "9"], EPERM);
    }),
    (
        "socket_in_the_hosts_file_system",
        socket_in_the_hosts_file_system,
    ),
    (
        "hidden_socket_in_the_workspace",
        hidden_socket_in_the_workspace,
    ),
    (
        "listening_socket_in_a_granted_tree",
        listening_socket_in_a_granted_tree,
    ),
    (
        "datagram_socket_in_a_granted_tree",
        datagram_socket_in_a_granted_tree,
    ),
    (
        "linked_socket_in_a_granted_tree",
        linked_socket_in_a_granted_tree,
    ),
    ("abstract_socket_of_the_host", abstract_socket_of_the_host),
];

pub(crate) const ACTS: &[Act] = &[
    ("tcp", |a| {
        outcome_of(TcpStream::connect(("127.0.0.1", port(&a[0]))))
    }),
    ("fast_open", |a| fast_open(port(&a[0]))),
    ("mptcp", |a| mptcp(port(&a[0]))),
    ("mapped", |a| {
        outcome_of(TcpStream::connect(("::ffff:127.0.0.1", port(&a[0]))))
    }),
    ("tcp6", |a| {
        outcome_of(TcpStream::connect(("::1", port(&a[0]))))
    }),
    ("fast_open_many", |a| fast_open_many(port(&a[0]))),
    ("udp", |a| outcome_of(send_udp(port(&a[0])))),
    ("udp_mapped", |a| {
        outcome_of(
            UdpSocket::bind("[::]:0")
                .and_then(|socket| socket.send_to(b"x", ("::ffff:127.0.0.1", port(&a[0])))),
        )
    }),
    ("listen", |_| outcome_of(TcpListener::bind("127.0.0.1:0"))),
    ("talk_to_self", |_| outcome_of(talk_to_self())),
    ("socket", |a| socket(a)),
    ("rare_sockets", |_| rare_sockets()),
    ("unix", |a| outcome_of(UnixStream::connect(&a[0]))),
    ("unix_packets", |a| unix_packets(&a[0])),
    ("abstract", |a| outcome_of(connect_abstract(&a[0]))),
];

const EPERM: Status = Status::Exited(libc::EPERM);
const EACCES: Status = Status::Exited(libc::EACCES);
const ENOENT: Status = Status::Exited(libc::ENOENT);
const UNREACHABLE: Status = Status::Exited(libc::ENETUNREACH);
const REFUSED: Status = Status::Exited(libc::ECONNREFUSED);

fn port(text: &str) -> u16 {
    text.parse().unwrap()
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

fn with_loopback(act: &str, arguments: &[&str]) -> Status {
    let mut spec = acting_spec(act, arguments);
    spec.network = Network::Loopback;
    end_of(spec)
}

fn tcp_to_a_host_listener() {
    let (_listener, port) = listener();
    check("tcp", &[&port], EACCES);
    assert_refused(with_loopback("tcp", &[&port]), REFUSED, "tcp");
}

fn tcp_fast_open_to_a_host_listener() {
    let (_listener, port) = listener();
    check("fast_open", &[&port], UNREACHABLE);
    assert_refused(with_loopback("fast_open", &[&port]), REFUSED, "fast_open");
}

fn address(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: 2,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_be_bytes([127, 0, 0, 1]).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn fast_open(port: u16) -> i32 {
    let address = address(port);
    // SAFETY: the buffer and the address are live and of the stated sizes.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let to = (&raw const address).cast();
        outcome(libc::sendto(socket, c"x".as_ptr().cast(), 1, libc::MSG_FASTOPEN, to, 16) as i64)
    }
}

fn mptcp_to_a_host_listener() {
    let (_listener, port) = listener();
    check("mptcp", &[&port], EPERM);
}

fn mptcp(port: u16) -> i32 {
    let address = address(port);
    // SAFETY: the address is live and of the stated size.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 262);
        if socket < 0 {
            return outcome(socket);
        }
        outcome(libc::connect(socket, (&raw const address).cast(), 16))
    }
}

fn mapped_address() {
    let (_listener, port) = listener();
    check("mapped", &[&port], EACCES);
    assert_refused(with_loopback("mapped", &[&port]), REFUSED, "mapped");
}

fn ipv6_to_a_host_listener() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    check("tcp6", &[&port], EACCES);
    assert_refused(with_loopback("tcp6", &[&port]), REFUSED, "tcp6");
}

fn fast_open_by_many_messages() {
    let (_listener, port) = listener();
    check("fast_open_many", &[&port], UNREACHABLE);
    let end = with_loopback("fast_open_many", &[&port]);
    assert_refused(end, REFUSED, "fast_open_many");
}

fn fast_open_many(port: u16) -> i32 {
    let address = address(port);
    let mut part = libc::iovec {
        iov_base: c"x".as_ptr().cast_mut().cast(),
        iov_len: 1,
    };
    // SAFETY: an all-zero mmsghdr is a valid value of that plain C struct; what it is made to point to
    // is live and of the stated sizes.
    unsafe {
        let mut message: libc::mmsghdr = std::mem::zeroed();
        message.msg_hdr.msg_name = (&raw const address).cast_mut().cast();
        message.msg_hdr.msg_namelen = 16;
        message.msg_hdr.msg_iov = &raw mut part;
        message.msg_hdr.msg_iovlen = 1;
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        outcome(libc::sendmmsg(
            socket,
            &raw mut message,
            1,
            libc::MSG_FASTOPEN,
        ))
    }
}

fn udp_over_a_mapped_address() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    check("udp_mapped", &[&port], UNREACHABLE);
    if !on_host() {
        socket.recv(&mut [0]).unwrap();
    }
    assert!(socket.recv(&mut [0]).is_err());
}

fn udp_to_a_host_socket() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    check("udp", &[&port], UNREACHABLE);
}

fn send_udp(port: u16) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.send_to(b"x", ("127.0.0.1", port)).map(drop)
}

fn loopback_is_the_cells_own() {
    unstopped(with_loopback("talk_to_self", &[]), SUCCESS, "talk_to_self");
    assert_eq!(inside("talk_to_self", &[]), EACCES);
}

fn talk_to_self() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?)?;
    listener.accept().map(drop)
}

fn socket(a: &[String]) -> i32 {
    let number = |index: usize| a[index].parse::<i32>().unwrap();
    // SAFETY: socket takes integers only.
    outcome(unsafe { libc::socket(number(0), number(1), number(2)) })
}

/// Families that this kernel may not have: the filter answers before it can say so.
fn kernel_families() {
    for family in ["38", "40"] {
        assert_ne!(outside("socket", &[family, "5", "0"]), EPERM);
        assert_eq!(inside("socket", &[family, "5", "0"]), EPERM);
    }
}

/// Bluetooth, TIPC, SMC, XDP and others: a kernel that has them as modules would load them for whoever asks.
const RARE: &[i32] = &[3, 5, 9, 21, 29, 30, 31, 36, 39, 41, 42, 43, 44, 45];

fn rare_families() {
    if is_root() {
        assert_ne!(outside("rare_sockets", &[]), EPERM);
    }
    assert_eq!(inside("rare_sockets", &[]), EPERM);
}

/// EPERM when all of them are refused so, 0 when there was one to be had.
fn rare_sockets() -> i32 {
    let mut ends = Vec::new();
    for family in RARE {
        for kind in [1, 2, 3, 5] {
            // SAFETY: socket takes integers only.
            ends.push(outcome(unsafe { libc::socket(*family, kind, 0) }));
        }
    }
    let other = ends.iter().copied().filter(|end| *end != libc::EPERM).min();
    other.unwrap_or(libc::EPERM)
}

/// Of the internet families, which the filter of a cell does not refuse as such.
fn a_protocol(kind: &str, protocol: &str) {
    for family in ["2", "10"] {
        assert_ne!(outside("socket", &[family, kind, protocol]), EPERM);
        assert_refused(inside("socket", &[family, kind, protocol]), EPERM, family);
    }
}

fn socket_in_the_hosts_file_system() {
    let dir = scratch();
    let path = dir.path().join("host.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    check("unix", &[path.to_str().unwrap()], ENOENT);
}

/// How an act ends in a cell that sees the tree, once read-only and once writable.
fn beside(dir: &Path, act: &str, path: &Path) -> [Status; 2] {
    [false, true].map(|writable| {
        let mut spec = acting_spec(act, &[path.to_str().unwrap()]);
        let trees = if writable {
            &mut spec.paths.write
        } else {
            &mut spec.paths.read
        };
        trees.push(dir.to_path_buf());
        end_of(spec)
    })
}

/// docker.sock, D-Bus, an agent's keys: what no mount and no Landlock rule of this kernel stops.
fn listening_socket_in_a_granted_tree() {
    let dir = scratch();
    let path = dir.path().join("host.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    assert_succeeds("unix", &[path.to_str().unwrap()]);
    assert_eq!(beside(dir.path(), "unix", &path), [EACCES; 2]);
}

fn linked_socket_in_a_granted_tree() {
    let (dir, elsewhere) = (scratch(), scratch());
    let (path, link) = (elsewhere.path().join("host.sock"), dir.path().join("link"));
    let hard = dir.path().join("hard");
    let _listener = UnixListener::bind(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    std::fs::hard_link(&path, &hard).unwrap();
    assert_succeeds("unix", &[link.to_str().unwrap()]);
    assert_succeeds("unix", &[hard.to_str().unwrap()]);
    // The link leads to what is not there inside; the other name is another name of the same socket.
    let not_there = if on_host() { EACCES } else { ENOENT };
    assert_eq!(beside(dir.path(), "unix", &link), [not_there; 2]);
    assert_eq!(beside(dir.path(), "unix", &hard), [EACCES; 2]);
}

/// Datagrams need no connect: so there are no such sockets.
fn datagram_socket_in_a_granted_tree() {
    let dir = scratch();
    let path = dir.path().join("host.log");
    let log = UnixDatagram::bind(&path).unwrap();
    log.set_nonblocking(true).unwrap();
    assert_succeeds("unix_packets", &[path.to_str().unwrap()]);
    while log.recv(&mut [0]).is_ok() {}
    assert_eq!(beside(dir.path(), "unix_packets", &path), [EPERM; 2]);
    assert!(log.recv(&mut [0]).is_err());
}

/// By sending to the path, from a socket and from one end of a pair.
fn unix_packets(path: &str) -> i32 {
    let single = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"x", path));
    let pair = UnixDatagram::pair().and_then(|(socket, _)| socket.send_to(b"x", path));
    outcome_of(single).min(outcome_of(pair))
}

fn hidden_socket_in_the_workspace() {
    let dir = scratch();
    let path = dir.path().join("host.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let connect = |hide: bool| {
        let mut spec = acting_spec("unix", &[path.to_str().unwrap()]);
        spec.paths.read.push(dir.path().to_path_buf());
        if hide {
            spec.paths.hidden.push(path.clone());
        }
        end_of(spec)
    };
    assert_succeeds("unix", &[path.to_str().unwrap()]);
    assert_eq!(connect(false), EACCES);
    if on_host() {
        return crate::files::cannot_hide(dir.path(), &path);
    }
    // The mask is an empty file that nobody may write, which only root's own id gets past.
    let hidden = connect(true);
    assert!(hidden == REFUSED || hidden == EACCES, "{hidden:?}");
}

fn abstract_socket_of_the_host() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("placet-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    assert_eq!(outside("abstract", &[&name]), SUCCESS);
    assert_refused(inside("abstract", &[&name]), REFUSED, "abstract");
}

fn connect_abstract(name: &str) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)
}
