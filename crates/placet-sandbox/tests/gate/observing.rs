//! What a tracer notes of a tree, and that it looks at no other one.

use std::fs;
use std::io::Error;

use placet_sandbox::{
    Broker, Cell, CellSpec, ConnectReport, ExecRule, Gate, Observed, Peer, SandboxError, Status,
    Unobservable,
};

use crate::host::on_host;
use crate::support::{Act, Test, acting_spec, scratch};
use crate::{SUCCESS, gated, run, start, text};

pub(crate) const TESTS: &[Test] = &[
    ("what_an_observed_tree_opens_is_noted", what_it_opens),
    (
        "a_tree_that_wants_to_be_traced_is_not_unless_it_is_observed",
        a_tree_that_wants_to_be_traced,
    ),
    (
        "observing_is_refused_where_nothing_could_be_seen",
        observing_is_refused,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("open_and_connect", |a| {
        let _missing = fs::read(format!("{}.not", a[0]));
        fs::write(&a[1], fs::read(&a[0]).unwrap()).unwrap();
        let _refused = std::net::TcpStream::connect("192.0.2.1:443");
        0
    }),
    ("want_to_be_traced", |_| want_to_be_traced()),
];

fn observed(mut spec: CellSpec) -> CellSpec {
    spec.paths.observed = true;
    gated(spec, ExecRule::Any)
}

fn what_it_opens() {
    if on_host() {
        return observing_is_refused();
    }
    let dir = scratch();
    let (source, made) = (dir.path().join("source"), dir.path().join("made"));
    fs::write(&source, "text").unwrap();
    let mut spec = acting_spec("open_and_connect", &[text(&source), text(&made)]);
    spec.paths.write.push(dir.path().to_path_buf());
    let mut cell = start(observed(spec));
    assert_eq!(cell.wait().unwrap().status, SUCCESS);
    let seen = cell.gate().and_then(Gate::observed).unwrap();
    assert!(!seen.incomplete);
    let noted = |path| {
        let opened = seen.opened.get(path).copied();
        opened.map(|opened| (opened.read, opened.written, opened.missing))
    };
    assert_eq!(noted(&source), Some((true, false, false)));
    assert_eq!(noted(&made), Some((false, true, true)));
    assert_eq!(
        noted(&dir.path().join("source.not")),
        Some((true, false, true))
    );
    // Whom it wants to connect to the broker tells, beside it.
    let reports = cell.broker().map_or_else(Vec::new, Broker::reports);
    let wanted = Peer::Tcp("192.0.2.1:443".parse().unwrap());
    let refused = |report: &ConnectReport| matches!(report, ConnectReport::Refused { call, .. } if call.to == wanted);
    assert!(reports.iter().any(refused), "{reports:?}");
    assert!(!seen.programs.is_empty());
}

/// What was noted of a tree that has ended well.
fn seen_of(spec: CellSpec) -> Option<Observed> {
    let mut cell = start(spec);
    assert_eq!(cell.wait().unwrap().status, SUCCESS);
    cell.gate().and_then(Gate::observed)
}

/// A filter of its own that shows each getppid to a tracer. Without one that asked for it, the kernel
/// answers ENOSYS; one that did would be stopped for at each of them.
fn want_to_be_traced() -> i32 {
    let getppid = u32::try_from(libc::SYS_getppid).unwrap();
    let program = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, getppid),
        (0x06, 0, 0, libc::SECCOMP_RET_TRACE),
        (0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
    .map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
    let filter = libc::sock_fprog {
        len: 4,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program is live; prctl and getppid take integers beside it.
    let answer = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const filter), 0);
        libc::syscall(libc::SYS_getppid)
    };
    if answer < 0 {
        Error::last_os_error().raw_os_error().unwrap()
    } else {
        0
    }
}

fn a_tree_that_wants_to_be_traced() {
    let act = || acting_spec("want_to_be_traced", &[]);
    let unseen = Status::Exited(libc::ENOSYS);
    assert_eq!(run(act()).0, unseen);
    let mut cell = start(gated(act(), ExecRule::Any));
    assert_eq!(cell.wait().unwrap().status, unseen);
    assert!(cell.gate().unwrap().observed().is_none());
    if !on_host() {
        // Shown to one that notes nothing of it.
        assert!(seen_of(observed(act())).is_some());
    }
}

fn observing_is_refused() {
    let why = |spec| {
        let error = Cell::prepare(spec).unwrap_err();
        let SandboxError::Unobservable(why) = error else {
            panic!("{error}");
        };
        why
    };
    let act = || acting_spec("exit", &["0"]);
    let ungated = CellSpec {
        exec: act().exec,
        ..observed(act())
    };
    if on_host() {
        for spec in [observed(act()), ungated] {
            assert_eq!(why(spec), Unobservable::OnHost);
        }
        return;
    }
    drop(Cell::prepare(observed(act())).unwrap());
    assert_eq!(why(ungated), Unobservable::Ungated);
}
