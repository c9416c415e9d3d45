//! What a cell has that stands on the host's tree: on tier U1 the same holds by other means.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, SystemTime};

use placet_sandbox::{
    Cell, CellSpec, DOOR_PATH, EndedBy, SandboxError, Session, Status, TerminalStreams,
};

use crate::host::on_host;
use crate::support::{Act, Test, acting_spec, scratch};
use crate::{eventually, marked, marker, start};

pub(crate) const TESTS: &[Test] = &[
    (
        "modes_and_times_change_in_the_workspace",
        modes_and_times_change,
    ),
    (
        "the_door_is_reached_by_the_tree_and_by_nobody_else",
        the_door_is_reached_by_the_tree,
    ),
    (
        "what_a_worker_leaves_behind_ends_with_it",
        what_a_worker_leaves_behind,
    ),
    ("temporary_files_go_with_the_cell", temporary_files_go),
    (
        "a_hidden_path_is_hidden_or_the_cell_is_not_built",
        a_hidden_path,
    ),
    (
        "a_terminal_is_the_cells_own_or_the_cell_is_not_built",
        a_terminal,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("change_mode_and_times", |a| {
        change_mode_and_times(&a[0], &a[1])
    }),
    ("say_at_the_door", |_| say_at_the_door()),
    ("leave_daemons", |a| leave_daemons(&a[0])),
    ("daemon", |_| crate::pause_for_ever()),
    ("write_temporary", |a| {
        let dir = std::env::temp_dir();
        fs::write(dir.join("left"), "behind").unwrap();
        fs::write(&a[0], dir.to_str().unwrap()).unwrap();
        0
    }),
];

fn modes_and_times_change() {
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, "content").unwrap();
    let tier = if on_host() { "U0" } else { "U1" };
    let mut spec = acting_spec("change_mode_and_times", &[file.to_str().unwrap(), tier]);
    spec.paths.write.push(dir.path().to_path_buf());
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(0));
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert_eq!(metadata.mtime(), 1_000_000);
}

/// By path and by descriptor, relative and absolute, as programs do it.
fn change_mode_and_times(path: &str, tier: &str) -> i32 {
    let path = Path::new(path);
    let mode = fs::Permissions::from_mode;
    fs::set_permissions(path, mode(0o600)).unwrap();
    std::env::set_current_dir(path.parent().unwrap()).unwrap();
    let name = path.file_name().unwrap();
    fs::set_permissions(name, mode(0o755)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(name).unwrap();
    file.set_permissions(mode(0o640)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
        .unwrap();
    if tier == "U0" {
        // A program that somebody starts outside must not become somebody else's.
        let refused = file.set_permissions(mode(0o4755)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
    0
}

fn say_at_the_door() -> i32 {
    let mut door = UnixStream::connect(DOOR_PATH).unwrap();
    door.write_all(b"inside").unwrap();
    0
}

fn the_door_is_reached_by_the_tree() {
    // There is no such file out here, so nobody can knock.
    assert!(UnixStream::connect(DOOR_PATH).is_err());
    let mut spec = acting_spec("say_at_the_door", &[]);
    spec.door = true;
    let mut cell = start(spec);
    let door: UnixListener = cell.door().unwrap().try_clone().unwrap().into();
    let (mut visitor, _) = door.accept().unwrap();
    let mut said = String::new();
    visitor.read_to_string(&mut said).unwrap();
    assert_eq!(said, "inside");
    if on_host() {
        // By the supervisor's own hand: that is how it is known to come from the tree.
        let peer = rustix::net::sockopt::socket_peercred(visitor.as_fd()).unwrap();
        assert_eq!(peer.pid, rustix::process::getpid());
    }
    assert_eq!(cell.wait().unwrap().status, Status::Exited(0));
    let without = start(acting_spec("say_at_the_door", &[])).wait();
    assert_eq!(without.unwrap().status, Status::Exited(101));
}

/// Leaves processes behind that have left its session, its parenthood and each other.
fn leave_daemons(marker: &str) -> i32 {
    let own = std::env::current_exe().unwrap();
    for _ in 0..4 {
        // SAFETY: the child makes system calls and becomes another program, or exits.
        unsafe {
            if libc::fork() == 0 {
                libc::setsid();
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                if libc::fork() == 0 {
                    let own = std::ffi::CString::new(own.to_str().unwrap()).unwrap();
                    let marker = std::ffi::CString::new(marker).unwrap();
                    let words = [c"actor".as_ptr(), c"--act".as_ptr(), c"daemon".as_ptr()];
                    let argv = [
                        words[0],
                        words[1],
                        words[2],
                        marker.as_ptr(),
                        std::ptr::null(),
                    ];
                    libc::execv(own.as_ptr(), argv.as_ptr());
                }
                libc::_exit(0);
            }
        }
    }
    // Itself among them.
    eventually("the daemons", || marked(marker) >= 5);
    0
}

fn what_a_worker_leaves_behind() {
    let marker = marker();
    let exit = start(acting_spec("leave_daemons", &[&marker]))
        .wait()
        .unwrap();
    assert_eq!(
        (exit.status, exit.ended_by),
        (Status::Exited(0), EndedBy::Worker)
    );
    assert_eq!(marked(&marker), 0);
}

fn temporary_files_go() {
    let dir = scratch();
    let told = dir.path().join("told");
    let mut spec = acting_spec("write_temporary", &[told.to_str().unwrap()]);
    spec.paths.write.push(dir.path().to_path_buf());
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(0));
    let own = fs::read_to_string(&told).unwrap();
    assert!(!Path::new(&own).join("left").exists());
    if on_host() {
        assert!(own.contains("placet-u0-") && !Path::new(&own).exists());
        // A supervisor that was killed has left one behind, and holds no lock on it.
        let stale = format!("/tmp/placet-u0-stale-{}", std::process::id());
        fs::create_dir(&stale).unwrap();
        fs::write(Path::new(&stale).join("left"), "behind").unwrap();
        drop(Cell::prepare(acting_spec("exit", &["0"])).unwrap());
        assert!(!Path::new(&stale).exists());
    }
}

fn a_hidden_path() {
    let dir = scratch();
    let hidden = dir.path().join("hidden");
    fs::write(&hidden, "secret").unwrap();
    let mut spec: CellSpec = acting_spec("exit", &["0"]);
    spec.paths.read.push(dir.path().to_path_buf());
    spec.paths.hidden.push(hidden.clone());
    let built = Cell::prepare(spec);
    if on_host() {
        let error = built.unwrap_err();
        assert!(
            matches!(&error, SandboxError::HiddenInsideGranted { hidden: path, .. } if *path == hidden),
            "{error}"
        );
    } else {
        drop(built.unwrap());
    }
}

/// It is made in a /dev/pts of the cell's own; a session of its own needs none of that.
fn a_terminal() {
    let mut spec = acting_spec("exit", &["0"]);
    spec.session = Session::Own;
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(0));
    let mut spec = acting_spec("exit", &["0"]);
    spec.session = Session::Terminal(TerminalStreams {
        output: true,
        ..TerminalStreams::default()
    });
    if on_host() {
        let error = Cell::prepare(spec).unwrap_err();
        let says = error.to_string();
        assert!(
            matches!(error, SandboxError::Unsupported(_)) && says.contains("terminal"),
            "{says}"
        );
    } else {
        let mut waiting = Cell::prepare(spec).unwrap().spawn().unwrap();
        assert!(waiting.take_terminal().is_some());
        let mut cell = waiting.release().unwrap();
        assert_eq!(cell.wait().unwrap().status, Status::Exited(0));
    }
}
