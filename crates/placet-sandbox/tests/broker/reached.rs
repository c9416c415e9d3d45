//! Who is reached, and that a program hardly notices how.

use std::os::unix::net::UnixListener;

use placet_sandbox::{ConnectRefusal, ConnectReport, EgressRules, Peer, Status};

use crate::host::on_host;
use crate::support::{Test, is_root, scratch};
use crate::{EACCES, SUCCESS, Service, acting_with, nobody, run, text};

pub(crate) const TESTS: &[Test] = &[
    ("a_listed_service_is_reached", || reached("talk")),
    ("a_connect_without_blocking_and_epoll", || reached("epoll")),
    ("options_and_flags_are_kept", || reached("keeps_settings")),
    ("a_v4_mapped_listed_service_is_reached", || {
        reached("mapped")
    }),
    ("a_connect_that_signals_interrupt", || {
        reached("interrupted")
    }),
    ("many_threads_connect_at_once", many_threads),
    (
        "a_connection_is_not_dissolved",
        a_connection_is_not_dissolved,
    ),
    ("the_cells_own_loopback_works", || own("own_loopback", &[])),
    ("abstract_names_are_the_cells_own", || {
        own("unix_abstract", &[])
    }),
    ("unix_sockets_in_the_cells_own_directories", || {
        for path in ["/tmp/s", "/dev/shm/s", "/run/s"] {
            own("unix_of_its_own", &[path]);
        }
    }),
    (
        "unix_sockets_of_the_cell_in_a_granted_tree",
        unix_sockets_in_a_granted_tree,
    ),
    ("a_listed_unix_socket_is_reached", a_listed_unix_socket),
    ("bad_addresses_are_refused_as_by_the_kernel", bad_addresses),
    ("an_undumpable_process_is_served", an_undumpable_process),
    ("a_peer_that_refuses_is_told_so", a_peer_that_refuses),
];

fn reached(act: &str) {
    let service = Service::start();
    let address = service.address.to_string();
    let (status, reports) = run(acting_with(act, &[&address], service.rules()));
    assert_eq!(status, SUCCESS, "{reports:?}");
    assert!(service.visitors() > 0);
    assert!(reports.iter().all(|report| matches!(
        report,
        ConnectReport::Opened(_) | ConnectReport::Closed { .. }
    )));
}

/// Works, and is nobody's concern.
fn own(act: &str, arguments: &[&str]) {
    let (status, reports) = run(acting_with(act, arguments, nobody()));
    assert_eq!(status, SUCCESS);
    assert!(reports.is_empty(), "{reports:?}");
}

/// A build or a test makes its sockets where it writes.
fn unix_sockets_in_a_granted_tree() {
    let dir = scratch();
    let path = dir.path().join("own.sock");
    let mut spec = acting_with("unix_of_its_own", &[text(&path)], nobody());
    spec.paths.write.push(dir.path().to_path_buf());
    let (status, reports) = run(spec);
    assert_eq!(status, SUCCESS);
    assert!(reports.is_empty(), "{reports:?}");
    // What it has left behind is nobody's.
    std::fs::remove_file(&path).unwrap();
    let _listener = UnixListener::bind(&path).unwrap();
    let mut spec = acting_with("unix", &[text(&path)], nobody());
    spec.paths.write.push(dir.path().to_path_buf());
    assert_eq!(run(spec).0, EACCES);
}

fn many_threads() {
    const MANY: usize = 100;
    let service = Service::start();
    let arguments = [&*service.address.to_string(), &*MANY.to_string()];
    let (status, reports) = run(acting_with("many", &arguments, service.rules()));
    assert_eq!(status, SUCCESS);
    assert_eq!(service.visitors(), MANY);
    assert_eq!(reports.len(), 2 * MANY);
}

fn a_connection_is_not_dissolved() {
    let service = Service::start();
    let address = service.address.to_string();
    let (status, _) = run(acting_with("disconnect", &[&address], service.rules()));
    assert_eq!(status, EACCES);
}

fn a_listed_unix_socket() {
    let dir = scratch();
    let path = dir.path().join("service.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::os::unix::fs::symlink("service.sock", dir.path().join("link")).unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    for name in ["service.sock", "link"] {
        let rules = EgressRules {
            resolved: None,
            sockets: vec![path.clone()],
            ..nobody()
        };
        let arguments = [text(dir.path()), name];
        let mut spec = acting_with("unix_relative", &arguments, rules);
        spec.paths.read.push(dir.path().to_path_buf());
        let (status, reports) = run(spec);
        assert_eq!(status, SUCCESS);
        let [ConnectReport::Opened(call)] = &reports[..] else {
            panic!("{reports:?}");
        };
        assert_eq!(call.to, Peer::Socket(path.clone()));
    }
}

/// The kernel's own answers, and at last nobody at a port of the loopback: the cell's, or the host's.
fn bad_addresses() {
    if !on_host() {
        return own("bad_addresses", &[&libc::ECONNREFUSED.to_string()]);
    }
    let refused = libc::EACCES.to_string();
    let (status, reports) = run(acting_with("bad_addresses", &[&refused], nobody()));
    assert_eq!(status, SUCCESS);
    // There it is the host's, and so told.
    let why = ConnectRefusal::Unlisted;
    assert!(
        matches!(&reports[..], [ConnectReport::Refused { why: found, .. }] if *found == why),
        "{reports:?}"
    );
}

/// Its memory belongs to the cell's user namespace, which is the supervisor's. Where there is none it is
/// the kernel's, and only root may read it: what nobody can read is refused.
fn an_undumpable_process() {
    if !on_host() || is_root() {
        return reached("undumpable");
    }
    let service = Service::start();
    let address = service.address.to_string();
    let (status, _) = run(acting_with("undumpable", &[&address], service.rules()));
    assert_eq!(status, EACCES);
    assert_eq!(service.visitors(), 0);
}

fn a_peer_that_refuses() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let rules = EgressRules {
        peers: vec![placet_sandbox::Peers::one(address)],
        ..nobody()
    };
    let (status, reports) = run(acting_with("tcp", &[&address.to_string()], rules));
    assert_eq!(status, Status::Exited(libc::ECONNREFUSED));
    let [ConnectReport::Failed { errno, .. }] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(*errno, libc::ECONNREFUSED);
}
