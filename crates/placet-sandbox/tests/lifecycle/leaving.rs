//! That what a test leaves behind is found: one of each kind is left on purpose.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use placet_sandbox::Cell;

use crate::host::on_host;
use crate::support::leftovers::Leftovers;
use crate::support::{ACT, Test, acting_spec, command, is_root, own_executable};

pub(crate) const TESTS: &[Test] = &[
    ("what_is_left_behind_is_found", what_is_left_is_found),
    ("a_cell_that_is_held_is_found", a_held_cell_is_found),
];

/// Whether something is found, by what is said of it.
fn found(before: &Leftovers, what: &str) -> bool {
    let now = before.now();
    now.iter().any(|left| left.contains(what))
}

/// The same, of a process that has just been started: for a moment it has no command line yet.
fn soon_found(before: &Leftovers, what: &str) -> bool {
    (0..200).any(|_| {
        let is_found = found(before, what);
        if !is_found {
            thread::sleep(Duration::from_millis(10));
        }
        is_found
    })
}

fn what_is_left_is_found() {
    let before = Leftovers::look();
    // In a session of its own, and an orphan by the time it is looked for.
    let mut child = command(&own_executable())
        .args([ACT, "marked_sleep"])
        .process_group(0)
        .spawn()
        .unwrap();
    assert!(soon_found(&before, "marked_sleep"), "a process");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!found(&before, "marked_sleep"));
    if on_host() {
        let dir = format!("/tmp/placet-u0-left-{}", std::process::id());
        fs::create_dir(&dir).unwrap();
        assert!(found(&before, &dir), "a directory");
        fs::remove_dir(&dir).unwrap();
    } else if is_root() {
        let place = Path::new("/sys/fs/cgroup/unified/placet");
        let group = place.join(format!("{}-left", std::process::id()));
        let made = fs::create_dir_all(&group);
        assert!(made.is_err() || found(&before, "-left"), "a group");
        drop(fs::remove_dir(&group));
    }
    let pidfd = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    );
    assert!(found(&before, "descriptor pidfd"), "a descriptor");
    drop(pidfd);
    assert!(before.now().is_empty(), "{:?}", before.now());
}

/// Its processes, its pidfds and, where it has them, its threads and its group.
fn a_held_cell_is_found() {
    let before = Leftovers::look();
    let waiting = Cell::prepare(acting_spec("exit", &["0"])).unwrap().spawn();
    let waiting = waiting.unwrap();
    assert!(found(&before, "process "), "its processes");
    assert!(found(&before, "descriptor pidfd"), "its descriptors");
    if on_host() {
        assert!(found(&before, "thread "), "its threads");
    }
    drop(waiting);
    assert!(before.left().is_empty(), "{:?}", before.left());
}
