//! Ways to reach what is not listed.

use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use placet_sandbox::{ConnectRefusal, ConnectReport, EgressRules, Peer, Status};

use crate::host::on_host;
use crate::support::{Test, acting_spec, scratch};
use crate::{EACCES, EPERM, SUCCESS, Service, acting_with, nobody, outside, run, text};

pub(crate) const TESTS: &[Test] = &[
    ("tcp_to_an_unlisted_service", tcp_to_an_unlisted_service),
    ("private_networks_and_metadata", private_networks),
    ("udp_to_a_host_socket", udp_to_a_host_socket),
    ("tcp_fast_open", || {
        only_outside("fast_open", libc::EOPNOTSUPP)
    }),
    ("tcp_fast_open_by_connect", || {
        only_outside("fast_open_connect", libc::ECONNREFUSED);
    }),
    ("mptcp", || only_outside("mptcp", libc::EPERM)),
    ("v4_mapped_address", || {
        only_outside("mapped", libc::ECONNREFUSED)
    }),
    ("io_uring", || {
        assert_eq!(outside("io_uring", &[]), SUCCESS);
        assert_eq!(run(acting_with("io_uring", &[], nobody())).0, EPERM);
    }),
    ("sending_a_message_to_an_address", sending_a_message),
    ("unix_socket_of_the_host", unix_socket_of_the_host),
    (
        "an_abstract_socket_of_the_host_is_not_reached_and_told",
        an_abstract_socket_of_the_host,
    ),
    (
        "unix_datagram_socket_of_the_host",
        unix_datagram_socket_of_the_host,
    ),
    (
        "a_flipping_port_never_reaches_the_other_service",
        a_flipping_port,
    ),
    (
        "a_flipping_descriptor_never_reaches_a_unix_socket",
        a_flipping_descriptor,
    ),
    (
        "a_flipping_path_never_reaches_the_hosts_socket",
        a_flipping_path,
    ),
    (
        "a_path_that_flips_between_two_services",
        a_path_between_services,
    ),
    ("a_used_socket_reaches_nobody_else", a_used_socket),
    (
        "a_used_socket_does_not_listen_on_the_host",
        a_used_socket_listens,
    ),
];

fn tcp_to_an_unlisted_service() {
    only_outside("tcp", libc::ECONNREFUSED);
}

/// The host's own loopback is another one: an unlisted port is nobody's inside.
fn only_outside(act: &str, refusal: i32) {
    let (listed, service) = (Service::start(), Service::start());
    let address = service.address.to_string();
    assert_eq!(outside(act, &[&address]), SUCCESS, "{act} outside");
    let before = service.visitors();
    let (status, _) = run(acting_with(act, &[&address], listed.rules()));
    // Without a network of its own it is the host's, and refused.
    let refused = status == EACCES && on_host();
    assert!(
        status == Status::Exited(refusal) || refused,
        "{act} inside: {status:?}"
    );
    assert_eq!(service.visitors(), before);
}

fn private_networks() {
    for host in [
        "10.0.0.1:80",
        "169.254.169.254:80",
        "192.168.1.1:22",
        "8.8.8.8:53",
        "[fd00:ec2::254]:80",
        "[fe80::1%1]:80",
    ] {
        let host = host.replace("%1", "");
        let (status, reports) = run(acting_with("tcp", &[&host], nobody()));
        assert_eq!(status, EACCES, "{host}");
        let [ConnectReport::Refused { call, why }] = &reports[..] else {
            panic!("{reports:?}");
        };
        assert_eq!(*why, ConnectRefusal::Unlisted);
        assert_eq!(call.to, Peer::Tcp(host.parse().unwrap()));
    }
}

fn udp_to_a_host_socket() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let rules = EgressRules {
        peers: vec![placet_sandbox::Peers::one(address)],
        ..nobody()
    };
    let address = address.to_string();
    assert_eq!(outside("udp_send", &[&address]), SUCCESS);
    socket.recv(&mut [0]).unwrap();
    // Listed, and still: only TCP leaves. Without a network of its own there is not even the socket.
    let refused = if on_host() { EPERM } else { EACCES };
    assert_eq!(
        run(acting_with("udp", &[&address], rules.clone())).0,
        refused
    );
    run(acting_with("udp_send", &[&address], rules));
    assert!(socket.recv(&mut [0]).is_err());
    let (status, reports) = run(acting_with("udp", &["8.8.8.8:53"], nobody()));
    assert_eq!(status, refused);
    if on_host() {
        return assert!(reports.is_empty(), "{reports:?}");
    }
    let why = ConnectRefusal::NotTcp;
    assert!(matches!(&reports[..], [ConnectReport::Refused { why: found, .. }] if *found == why));
}

fn sending_a_message() {
    let service = Service::start();
    let address = service.address.to_string();
    assert_eq!(outside("send_message", &[&address]), SUCCESS);
    let before = service.visitors();
    for host in [&address, "8.8.8.8:53"] {
        let status = run(acting_with("send_message", &[host], service.rules())).0;
        // The datagram inside goes to nobody, which is no error of a send.
        let refused = Status::Exited(libc::EOPNOTSUPP);
        // There is no such socket to send from, there.
        let none = on_host() && status == Status::Exited(libc::EBADF);
        assert!(status == SUCCESS || status == refused || none, "{status:?}");
    }
    assert_eq!(service.visitors(), before);
}

/// A listener outside, in a directory that the cell sees, that counts its visitors.
struct HostSocket {
    dir: tempfile::TempDir,
    path: PathBuf,
    visitors: Arc<AtomicUsize>,
}

fn host_socket() -> HostSocket {
    let dir = scratch();
    let path = dir.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let visitors = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&visitors);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    HostSocket {
        dir,
        path,
        visitors,
    }
}

impl HostSocket {
    fn visitors(&self) -> usize {
        // Whoever connected has been accepted by then.
        std::thread::sleep(Duration::from_millis(50));
        self.visitors.load(Ordering::SeqCst)
    }

    fn visible(
        &self,
        act: &str,
        arguments: &[&str],
        rules: EgressRules,
    ) -> placet_sandbox::CellSpec {
        let mut spec = acting_with(act, arguments, rules);
        spec.paths.write.push(self.dir.path().to_path_buf());
        spec
    }
}

fn unix_socket_of_the_host() {
    let host = host_socket();
    let path = text(&host.path);
    assert_eq!(outside("unix", &[path]), SUCCESS);
    // It is the escape that a read-only mount does not stop.
    let mut bare = acting_spec("unix", &[path]);
    bare.paths.read.push(host.dir.path().to_path_buf());
    assert_eq!(run(bare).0, EACCES);
    let (status, reports) = run(host.visible("unix", &[path], nobody()));
    assert_eq!(status, EACCES);
    let [ConnectReport::Refused { call, .. }] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(call.to, Peer::Socket(host.path.clone()));
    let round = format!("/proc/self/root{path}");
    let (status, _) = run(host.visible("unix", &[&round], nobody()));
    assert_ne!(status, SUCCESS);
    let relative = host.visible(
        "unix_relative",
        &[text(host.dir.path()), "docker.sock"],
        nobody(),
    );
    assert_eq!(run(relative).0, EACCES);
}

fn an_abstract_socket_of_the_host() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("placet-broker-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    assert_eq!(outside("unix_abstract_of_others", &[&name]), SUCCESS);
    let (status, reports) = run(acting_with("unix_abstract_of_others", &[&name], nobody()));
    if !on_host() {
        // In the cell's own network nobody has that name.
        assert_eq!(status, Status::Exited(libc::ECONNREFUSED));
        return assert!(reports.is_empty(), "{reports:?}");
    }
    assert_eq!(status, EACCES);
    let [ConnectReport::Refused { call, why }] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(*why, ConnectRefusal::Unlisted);
    assert_eq!(call.to, Peer::Socket(format!("@{name}").into()));
}

fn unix_datagram_socket_of_the_host() {
    let dir = scratch();
    let path = dir.path().join("log");
    let log = UnixDatagram::bind(&path).unwrap();
    log.set_nonblocking(true).unwrap();
    assert_eq!(outside("unix_datagram", &[text(&path)]), SUCCESS);
    while log.recv(&mut [0]).is_ok() {}
    let mut bare = acting_spec("unix_datagram", &[text(&path)]);
    bare.paths.read.push(dir.path().to_path_buf());
    assert_eq!(run(bare).0, EPERM);
    assert!(log.recv(&mut [0]).is_err());
}

/// A race that is lost by chance is run again, without a cell, until it is won.
fn works(act: &str, arguments: &[&str], won: impl Fn() -> usize) {
    let wins = |_| {
        outside(act, arguments);
        won() > 0
    };
    assert!((0..20).any(wins), "the attack does not work");
}

fn a_flipping_port() {
    let (allowed, forbidden) = (Service::start(), Service::start());
    let arguments = [&*allowed.port(), &*forbidden.port()];
    let attack = [arguments[0], arguments[1], "200"];
    works("flip_port", &attack, || forbidden.visitors());
    let (seen, met) = (forbidden.visitors(), allowed.visitors());
    let begin = Instant::now();
    let arguments = [arguments[0], arguments[1], "5000"];
    assert_eq!(
        run(acting_with("flip_port", &arguments, allowed.rules())).0,
        SUCCESS
    );
    let reached = allowed.visitors() - met;
    println!(
        "5000 connects in {:?}: {reached} reached the listed service",
        begin.elapsed()
    );
    assert_eq!(forbidden.visitors(), seen);
    assert!(reached > 50 && reached < 5000, "{reached}");
}

fn a_flipping_descriptor() {
    let (host, service) = (host_socket(), Service::start());
    let port = service.port();
    let attack = [&*port, text(&host.path), "500"];
    works("flip_descriptor", &attack, || host.visitors());
    let seen = host.visitors();
    let arguments = [&*port, text(&host.path), "5000"];
    let spec = host.visible("flip_descriptor", &arguments, service.rules());
    assert_eq!(run(spec).0, SUCCESS);
    assert!(service.visitors() > 0);
    assert_eq!(host.visitors(), seen);
}

fn a_flipping_path() {
    let host = host_socket();
    let own = scratch();
    let place = own.path().join("own");
    let attack = [text(&place), text(&host.path), "500"];
    works("flip_path", &attack, || {
        // It binds there once more.
        drop(std::fs::remove_file(&place));
        drop(std::fs::remove_file(own.path().join("own.link")));
        host.visitors()
    });
    let seen = host.visitors();
    let arguments = ["/dev/shm/own", text(&host.path), "5000"];
    let spec = host.visible("flip_path", &arguments, nobody());
    let (status, reports) = run(spec);
    assert_eq!(status, SUCCESS);
    assert!(reports.len() > 50, "{}", reports.len());
    assert_eq!(host.visitors(), seen);
}

/// As above, between two services of the host of which one is listed.
fn a_path_between_services() {
    let (listed, host) = (host_socket(), host_socket());
    let attack = [text(&listed.path), text(&host.path), "500"];
    let link = std::env::temp_dir().join("flip.link");
    works("flip_services", &attack, || {
        drop(std::fs::remove_file(&link));
        host.visitors()
    });
    let (met, seen) = (listed.visitors(), host.visitors());
    let arguments = [text(&listed.path), text(&host.path), "5000"];
    let rules = EgressRules {
        sockets: vec![listed.path.clone()],
        ..nobody()
    };
    let mut spec = host.visible("flip_services", &arguments, rules);
    spec.paths.write.push(listed.dir.path().to_path_buf());
    let (status, reports) = run(spec);
    assert_eq!(status, SUCCESS);
    let refused = |report: &&ConnectReport| matches!(report, ConnectReport::Refused { .. });
    assert!(reports.iter().filter(refused).count() > 50);
    assert!(listed.visitors() > met);
    assert_eq!(host.visitors(), seen);
}

/// A port that nobody listens at.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A socket from outside stays one: neither fast open, nor a dissolved or failed connection, nor
/// the host's loopback may let it reach somebody who is not listed.
fn a_used_socket() {
    let (service, forbidden, refusing) = (Service::start(), Service::start(), refusing());
    let addresses = [
        service.address.to_string(),
        refusing.clone(),
        forbidden.address.to_string(),
    ];
    let arguments = addresses.each_ref().map(String::as_str);
    outside("reuse", &arguments);
    assert!(forbidden.visitors() >= 4, "the attack does not work");
    let seen = forbidden.visitors();
    let mut rules = service.rules();
    rules
        .peers
        .push(placet_sandbox::Peers::one(refusing.parse().unwrap()));
    run(acting_with("reuse", &arguments, rules));
    assert_eq!(forbidden.visitors(), seen);
    assert!(service.visitors() > 0);
}

fn a_used_socket_listens() {
    let refusing = refusing();
    assert_eq!(outside("listen_again", &[&refusing]), SUCCESS);
    let rules = EgressRules {
        peers: vec![placet_sandbox::Peers::one(refusing.parse().unwrap())],
        ..nobody()
    };
    assert_eq!(
        run(acting_with("listen_again", &[&refusing], rules)).0,
        EACCES
    );
}
