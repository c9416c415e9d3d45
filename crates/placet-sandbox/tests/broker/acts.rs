//! What processes in a cell try. An act gives 0 where it succeeds, and the errno where it fails.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::Act;

pub(crate) const ACTS: &[Act] = &[
    ("talk", |a| outcome_of(talk(&a[0]))),
    ("tcp", |a| outcome_of(TcpStream::connect(&*a[0]))),
    ("udp", |a| outcome_of(udp(&a[0]))),
    ("udp_send", |a| outcome_of(udp_send(&a[0]))),
    ("unix", |a| outcome_of(UnixStream::connect(&a[0]))),
    ("unix_relative", |a| {
        std::env::set_current_dir(&a[0]).unwrap();
        outcome_of(UnixStream::connect(&a[1]))
    }),
    ("unix_of_its_own", |a| outcome_of(unix_of_its_own(&a[0]))),
    ("unix_abstract", |_| outcome_of(unix_abstract())),
    ("unix_abstract_of_others", |a| {
        outcome_of(unix_abstract_of_others(&a[0]))
    }),
    ("unix_datagram", |a| unix_datagram(&a[0])),
    ("own_loopback", |_| outcome_of(own_loopback())),
    ("mptcp", |a| by_socket(libc::AF_INET, 262, &a[0])),
    ("mapped", |a| by_socket(libc::AF_INET6, 0, &a[0])),
    ("fast_open", |a| fast_open(&a[0])),
    ("fast_open_connect", |a| fast_open_connect(&a[0])),
    ("send_message", |a| send_message(&a[0])),
    ("io_uring", |_| io_uring()),
    ("flip_port", |a| flip_port(&a[0], &a[1], &a[2])),
    ("flip_descriptor", |a| flip_descriptor(&a[0], &a[1], &a[2])),
    ("flip_path", |a| {
        let _listener = UnixListener::bind(&a[0]).unwrap();
        flip_path(&a[0], [&a[0], &a[1]], &a[2])
    }),
    ("flip_services", |a| {
        let link = std::env::temp_dir().join("flip");
        flip_path(link.to_str().unwrap(), [&a[0], &a[1]], &a[2])
    }),
    ("epoll", |a| epoll(&a[0])),
    ("keeps_settings", |a| keeps_settings(&a[0])),
    ("interrupted", |a| interrupted(&a[0])),
    ("bad_addresses", |a| bad_addresses(a[0].parse().unwrap())),
    ("undumpable", |a| {
        // SAFETY: prctl takes integers only here.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
        outcome_of(TcpStream::connect(&*a[0]))
    }),
    ("disconnect", |a| disconnect(&a[0])),
    ("reuse", |a| reuse(&a[0], &a[1], &a[2])),
    ("listen_again", |a| listen_again(&a[0])),
    ("many", |a| many(&a[0], &a[1])),
    ("talk_long", |a| outcome_of(talk_long(&a[0]))),
];

fn outcome_of<T>(result: io::Result<T>) -> i32 {
    result.map_or_else(|error| error.raw_os_error().unwrap_or(255), |_| 0)
}

fn outcome(ret: impl Into<i64>) -> i32 {
    if ret.into() < 0 {
        io::Error::last_os_error().raw_os_error().unwrap()
    } else {
        0
    }
}

/// The other end of `talk`.
pub(crate) fn serve(mut stream: TcpStream) {
    let mut bytes = [0u8; 1000];
    let mut got = 0;
    while got < bytes.len() {
        match stream.read(&mut bytes[got..]) {
            Ok(0) | Err(_) => return,
            Ok(count) => got += count,
        }
    }
    drop(stream.write_all(&[7; 300]));
    // Until the visitor has closed.
    drop(stream.read(&mut bytes));
}

fn talk(to: &str) -> io::Result<()> {
    exchange(&mut TcpStream::connect(to)?)
}

fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[1; 1000])?;
    let mut answer = [0u8; 300];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, [7; 300]);
    Ok(())
}

/// Keeps its connection open past its own end.
fn talk_long(to: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    exchange(&mut stream)?;
    std::mem::forget(stream);
    Ok(())
}

fn udp(to: &str) -> io::Result<()> {
    UdpSocket::bind("0.0.0.0:0")?.connect(to)
}

fn udp_send(to: &str) -> io::Result<()> {
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", to).map(drop)
}

fn unix_of_its_own(path: &str) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    let mut client = UnixStream::connect(path)?;
    client.write_all(b"x")?;
    let (mut stream, _) = listener.accept()?;
    stream.read_exact(&mut [0])
}

fn unix_abstract() -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let address = SocketAddr::from_abstract_name(b"placet-test")?;
    let listener = UnixListener::bind_addr(&address)?;
    UnixStream::connect_addr(&address)?;
    listener.accept().map(drop)
}

fn unix_abstract_of_others(name: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
}

fn unix_address(path: &str) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: an all-zero sockaddr_un is a valid value of that plain C struct.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = 1;
    for (slot, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    (address, 110)
}

/// From an unconnected socket, and past the peer of a connected one.
fn unix_datagram(path: &str) -> i32 {
    let (address, len) = unix_address(path);
    let mut results = Vec::new();
    for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
        let mut pair = [-1; 2];
        // SAFETY: the buffers and the address are live and of the stated sizes.
        unsafe {
            let single = libc::socket(libc::AF_UNIX, kind, 0);
            let single_errno = outcome(single);
            let pair_errno = outcome(libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()));
            for (socket, errno) in [(single, single_errno), (pair[0], pair_errno)] {
                let to = (&raw const address).cast();
                results.push(match errno {
                    0 => outcome(libc::sendto(socket, c"x".as_ptr().cast(), 1, 0, to, len) as i64),
                    errno => errno,
                });
            }
        }
    }
    // Success if any of the ways succeeds.
    results.iter().copied().min().unwrap()
}

fn own_loopback() -> io::Result<()> {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(host)?;
        let address = listener.local_addr()?;
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"x")?;
        listener.accept()?.0.read_exact(&mut [0])?;
        // The unspecified address leads there too.
        let unspecified = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
        if address.is_ipv4() {
            TcpStream::connect(unspecified)?;
        }
    }
    let service = UdpSocket::bind("127.0.0.1:0")?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.connect(service.local_addr()?)?;
    client.send(b"x")?;
    service.recv(&mut [0]).map(drop)
}

fn v4(port: u16, host: [u8; 4]) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: 2,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(host),
        },
        sin_zero: [0; 8],
    }
}

fn parse(to: &str) -> (u16, [u8; 4]) {
    match to.parse().unwrap() {
        SocketAddr::V4(address) => (address.port(), address.ip().octets()),
        SocketAddr::V6(_) => panic!("{to}"),
    }
}

/// An IPv6 socket gets the address as a v4-mapped one.
fn by_socket(family: i32, protocol: i32, to: &str) -> i32 {
    let (port, host) = parse(to);
    // SAFETY: socket takes integers only.
    let socket = unsafe { libc::socket(family, libc::SOCK_STREAM, protocol) };
    if socket < 0 {
        return outcome(socket);
    }
    let mut mapped = [0u8; 28];
    mapped[0] = 10;
    mapped[2..4].copy_from_slice(&port.to_be_bytes());
    mapped[18..20].copy_from_slice(&[0xff, 0xff]);
    mapped[20..24].copy_from_slice(&host);
    let plain = v4(port, host);
    let (at, len) = match family {
        libc::AF_INET6 => (mapped.as_ptr().cast(), 28),
        _ => ((&raw const plain).cast(), 16),
    };
    // SAFETY: the address is live and of the stated size.
    outcome(unsafe { libc::connect(socket, at, len) })
}

fn fast_open(to: &str) -> i32 {
    let (port, host) = parse(to);
    let address = v4(port, host);
    // SAFETY: the buffer and the address are live and of the stated sizes.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let to = (&raw const address).cast();
        outcome(libc::sendto(socket, c"x".as_ptr().cast(), 1, libc::MSG_FASTOPEN, to, 16) as i64)
    }
}

/// A connect that the kernel puts off until the first write.
fn fast_open_connect(to: &str) -> i32 {
    let (port, host) = parse(to);
    let address = v4(port, host);
    let on: i32 = 1;
    // SAFETY: option, buffer and address are live and of the stated sizes.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let at = (&raw const on).cast();
        libc::setsockopt(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, at, 4);
        if libc::connect(socket, (&raw const address).cast(), 16) < 0 {
            return outcome(-1);
        }
        outcome(libc::send(socket, c"x".as_ptr().cast(), 1, libc::MSG_NOSIGNAL) as i64)
    }
}

/// sendmsg with an address, over UDP and as TCP fast open: success if either gets out.
fn send_message(to: &str) -> i32 {
    let (port, host) = parse(to);
    let mut address = v4(port, host);
    let send = |kind, flags| {
        let mut part = libc::iovec {
            iov_base: c"x".as_ptr().cast_mut().cast(),
            iov_len: 1,
        };
        // SAFETY: message points to live buffers of the stated sizes.
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_name = (&raw mut address).cast();
            message.msg_namelen = 16;
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            let socket = libc::socket(libc::AF_INET, kind, 0);
            outcome(libc::sendmsg(socket, &raw const message, flags) as i64)
        }
    };
    let mut send = send;
    send(libc::SOCK_DGRAM, 0).min(send(libc::SOCK_STREAM, libc::MSG_FASTOPEN))
}

fn io_uring() -> i32 {
    let mut parameters = [0u64; 15];
    // SAFETY: parameters is as large as struct io_uring_params.
    outcome(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })
}

/// How often a second thread has flipped: before it has begun there is no race.
static FLIPS: AtomicUsize = AtomicUsize::new(0);

/// Numbers of tries, each after the second thread had a chance to run.
fn tries(text: &str) -> impl Iterator<Item = usize> {
    while FLIPS.load(Ordering::Relaxed) < 10 {
        std::thread::yield_now();
    }
    (0..text.parse().unwrap()).inspect(|number| {
        if number % 50 == 0 {
            std::thread::yield_now();
        }
    })
}

/// Connects all the time while a second thread flips the port between the two.
fn flip_port(allowed: &str, forbidden: &str, times: &str) -> i32 {
    static DONE: AtomicBool = AtomicBool::new(false);
    let ports = [allowed, forbidden].map(|port| port.parse::<u16>().unwrap().to_be());
    let address = Box::leak(Box::new(v4(0, [127, 0, 0, 1])));
    let at: *mut libc::sockaddr_in = address;
    let port = (&raw mut address.sin_port).addr();
    let flipper = std::thread::spawn(move || {
        // Each stands there as long as the other, however fast this loop is.
        while !DONE.load(Ordering::Relaxed) {
            let value = ports[FLIPS.fetch_add(1, Ordering::Relaxed) % 2];
            // SAFETY: the address is leaked, and a torn half-word is part of the attack.
            unsafe { std::ptr::with_exposed_provenance_mut::<u16>(port).write_volatile(value) };
        }
    });
    at.expose_provenance();
    for _ in tries(times) {
        // SAFETY: the address is live and of the stated size.
        unsafe {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
            libc::connect(socket, at.cast(), 16);
            libc::close(socket);
        }
    }
    DONE.store(true, Ordering::Relaxed);
    flipper.join().unwrap();
    0
}

/// Connects all the time while a second thread puts a socket of the other family in its place,
/// and the other's address in the place of its own.
fn flip_descriptor(port: &str, path: &str, times: &str) -> i32 {
    static DONE: AtomicBool = AtomicBool::new(false);
    const LEN: usize = 110;
    let inet = v4(port.parse().unwrap(), [127, 0, 0, 1]);
    let mut addresses = [[0u8; LEN]; 2];
    // SAFETY: both structs are plain bytes of at least the copied sizes.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const inet).cast(), addresses[0].as_mut_ptr(), 16);
        let unix = unix_address(path).0;
        std::ptr::copy_nonoverlapping((&raw const unix).cast(), addresses[1].as_mut_ptr(), LEN);
    }
    let shared: &'static mut [u8; LEN] = Box::leak(Box::new(addresses[0]));
    let at = shared.as_mut_ptr().expose_provenance();
    // SAFETY: socket and dup take integers only.
    let slot = unsafe { libc::dup(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
    let flipper = std::thread::spawn(move || {
        while !DONE.load(Ordering::Relaxed) {
            FLIPS.fetch_add(1, Ordering::Relaxed);
            for (family, address) in [libc::AF_INET, libc::AF_UNIX].into_iter().zip(&addresses) {
                // SAFETY: the buffer is leaked and as long; torn copies are part of the attack.
                unsafe {
                    let socket = libc::socket(family, libc::SOCK_STREAM, 0);
                    libc::dup2(socket, slot);
                    libc::close(socket);
                    let to = std::ptr::with_exposed_provenance_mut::<u8>(at);
                    std::ptr::copy_nonoverlapping(address.as_ptr(), to, LEN);
                }
            }
        }
    });
    for _ in tries(times) {
        // SAFETY: the address is live and of the stated size.
        unsafe {
            let address = std::ptr::with_exposed_provenance::<u8>(at);
            libc::connect(slot, address.cast(), LEN as u32);
        }
    }
    DONE.store(true, Ordering::Relaxed);
    flipper.join().unwrap();
    0
}

/// Connects to a link that a second thread points to one of two sockets all the time.
fn flip_path(beside: &str, targets: [&str; 2], times: &str) -> i32 {
    static DONE: AtomicBool = AtomicBool::new(false);
    let (link, next) = (format!("{beside}.link"), format!("{beside}.next"));
    std::os::unix::fs::symlink(targets[0], &link).unwrap();
    let (flipped, targets) = (link.clone(), targets.map(str::to_owned));
    let flipper = std::thread::spawn(move || {
        while !DONE.load(Ordering::Relaxed) {
            FLIPS.fetch_add(1, Ordering::Relaxed);
            for target in &targets {
                std::os::unix::fs::symlink(target, &next).unwrap();
                std::fs::rename(&next, &flipped).unwrap();
            }
        }
    });
    for _ in tries(times) {
        // Its own queue is full in between: nobody accepts.
        connect_at_once(&link);
    }
    DONE.store(true, Ordering::Relaxed);
    flipper.join().unwrap();
    0
}

fn connect_at_once(path: &str) -> i32 {
    let (address, len) = unix_address(path);
    // SAFETY: the address is live and of the stated size.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        let socket = libc::socket(libc::AF_UNIX, kind, 0);
        let connected = libc::connect(socket, (&raw const address).cast(), len);
        libc::close(socket);
        connected
    }
}

/// As event loops do: connect without blocking, then wait for writability.
fn epoll(to: &str) -> i32 {
    let (port, host) = parse(to);
    let address = v4(port, host);
    // SAFETY: all buffers are live and of the stated sizes; the socket is owned from there on.
    let mut stream = unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let socket = libc::socket(libc::AF_INET, kind, 0);
        let connected = libc::connect(socket, (&raw const address).cast(), 16);
        if connected < 0 && outcome(connected) != libc::EINPROGRESS {
            return outcome(connected);
        }
        let queue = libc::epoll_create1(0);
        let mut event = libc::epoll_event {
            events: libc::EPOLLOUT as u32,
            u64: 5,
        };
        assert_eq!(
            libc::epoll_ctl(queue, libc::EPOLL_CTL_ADD, socket, &raw mut event),
            0
        );
        assert_eq!(libc::epoll_wait(queue, &raw mut event, 1, 5000), 1);
        TcpStream::from(OwnedFd::from_raw_fd(socket))
    };
    if let Some(error) = stream.take_error().unwrap() {
        return error.raw_os_error().unwrap();
    }
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    stream.set_nonblocking(false).unwrap();
    outcome_of(exchange(&mut stream))
}

fn option(socket: i32, level: i32, name: i32) -> i32 {
    let (mut value, mut len) = (0, 4);
    // SAFETY: value and len are live and writable.
    let got =
        unsafe { libc::getsockopt(socket, level, name, (&raw mut value).cast(), &raw mut len) };
    assert_eq!(got, 0);
    value
}

/// What was set before a connect is there after it; what was not, is as ever.
fn keeps_settings(to: &str) -> i32 {
    let (port, host) = parse(to);
    let address = v4(port, host);
    let options = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1, 1),
        (libc::SOL_SOCKET, libc::SO_SNDBUF, 50_000, 100_000),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 77, 77),
        (libc::IPPROTO_IP, libc::IP_TOS, 16, 16),
    ];
    for kind in [0, libc::SOCK_CLOEXEC] {
        // SAFETY: options and addresses are live and of the stated sizes.
        unsafe {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | kind, 0);
            let untouched = option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL);
            for (level, name, value, _) in options {
                libc::setsockopt(socket, level, name, (&raw const value).cast(), 4);
            }
            assert_eq!(libc::connect(socket, (&raw const address).cast(), 16), 0);
            for (level, name, _, expected) in options {
                assert_eq!(option(socket, level, name), expected, "{level} {name}");
            }
            assert_eq!(
                option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
                untouched
            );
            let flags = libc::fcntl(socket, libc::F_GETFD);
            assert_eq!(flags == libc::FD_CLOEXEC, kind != 0);
            assert_eq!(libc::fcntl(socket, libc::F_GETFL) & libc::O_NONBLOCK, 0);
        }
    }
    0
}

extern "C" fn ignore(_signal: i32) {}

/// A blocking connect with a timer that keeps interrupting it.
fn interrupted(to: &str) -> i32 {
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: 20_000,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: the handler does nothing; all structs are live.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = (ignore as extern "C" fn(i32)) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
    }
    outcome_of(talk(to))
}

/// Each is refused as the kernel would, and none disturbs the next.
fn bad_addresses(of_nobody: i32) -> i32 {
    let good = v4(1, [127, 0, 0, 1]);
    // SAFETY: addresses are live, or not mapped, which is what is tried.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let at: *const libc::sockaddr = (&raw const good).cast();
        let call = |fd, at: *const libc::sockaddr, len| outcome(libc::connect(fd, at, len));
        assert_eq!(
            call(socket, std::ptr::without_provenance(8), 16),
            libc::EFAULT
        );
        assert_eq!(call(socket, at, 4), libc::EINVAL);
        let foreign = [16u8; 16];
        assert_eq!(
            call(socket, foreign.as_ptr().cast(), 16),
            libc::EAFNOSUPPORT
        );
        assert_eq!(call(socket, at, 5000), libc::EINVAL);
        assert_eq!(call(999, at, 16), libc::EBADF);
        assert_eq!(call(0, at, 16), libc::ENOTSOCK);
        let unix = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        assert_eq!(call(unix, at, 16), libc::EINVAL);
        assert_eq!(call(socket, at, 16), of_nobody);
    }
    0
}

/// Connects, dissolves that, and connects again.
fn disconnect(to: &str) -> i32 {
    let (port, host) = parse(to);
    let address = v4(port, host);
    let none = [0u8; 16];
    // SAFETY: the addresses are live and of the stated sizes.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let at = (&raw const address).cast();
        assert_eq!(libc::connect(socket, at, 16), 0);
        assert_eq!(outcome(libc::connect(socket, at, 16)), libc::EISCONN);
        outcome(libc::connect(socket, none.as_ptr().cast(), 16))
    }
}

/// Uses a socket that had a connection for another one. Gives what stopped the last way.
fn reuse(service: &str, refusing: &str, forbidden: &str) -> i32 {
    let (port, host) = parse(service);
    let (service, refusing) = (v4(port, host), v4(parse(refusing).0, [127, 0, 0, 1]));
    let forbidden = v4(parse(forbidden).0, [127, 0, 0, 1]);
    let (on, none) = (1i32, [0u8; 16]);
    let mut ways = Vec::new();
    // SAFETY: addresses, options and buffers are live and of the stated sizes.
    unsafe {
        let connect = |socket, to: &libc::sockaddr_in| {
            outcome(libc::connect(socket, std::ptr::from_ref(to).cast(), 16))
        };
        let send = |socket: i32| {
            let to = (&raw const forbidden).cast();
            outcome(
                libc::sendto(socket, c"x".as_ptr().cast(), 1, libc::MSG_FASTOPEN, to, 16) as i64,
            )
        };
        // One whose connect is refused while it is under way is free again.
        for first in [&refusing, &service] {
            for step in 0..4 {
                let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
                let socket = libc::socket(libc::AF_INET, kind, 0);
                connect(socket, first);
                libc::usleep(20_000);
                connect(socket, first);
                if step > 0 {
                    libc::connect(socket, none.as_ptr().cast(), 16);
                }
                ways.push(match step {
                    0 | 1 => send(socket),
                    2 => connect(socket, &forbidden),
                    _ => {
                        let at = (&raw const on).cast();
                        let level = libc::IPPROTO_TCP;
                        libc::setsockopt(socket, level, libc::TCP_FASTOPEN_CONNECT, at, 4);
                        connect(socket, &forbidden);
                        outcome(libc::send(socket, at, 1, libc::MSG_NOSIGNAL) as i64)
                    }
                });
            }
        }
        libc::usleep(50_000);
    }
    *ways.last().unwrap()
}

/// Makes a socket that had a connection listen. Gives the port, which must be none of the host.
fn listen_again(refusing: &str) -> i32 {
    let refusing = v4(parse(refusing).0, [127, 0, 0, 1]);
    // SAFETY: the address is live and of the stated size.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        libc::connect(socket, (&raw const refusing).cast(), 16);
        libc::usleep(20_000);
        libc::connect(socket, (&raw const refusing).cast(), 16);
        outcome(libc::listen(socket, 1))
    }
}

/// Talks from many threads at once.
fn many(to: &str, threads: &str) -> i32 {
    let threads: Vec<_> = (0..threads.parse().unwrap())
        .map(|_| {
            let to = to.to_owned();
            std::thread::spawn(move || outcome_of(talk(&to)))
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .max()
        .unwrap()
}
