//! Changing what is mounted where, by every call that there is for it, and leaving the root.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use placet_sandbox::Status;

use crate::host::on_host;
use crate::kernel::{call, descriptor};
use crate::support::{Act, Test, acting_spec, scratch};
use crate::{assert_refused, assert_succeeds, check_as_root, end_of, outcome, outcome_of};

pub(crate) const TESTS: &[Test] = &[
    ("fsconfig", || check_as_root("new_mount", &["1"], EPERM)),
    ("fsmount", || check_as_root("new_mount", &["2"], EPERM)),
    ("move_mount", || check_as_root("new_mount", &["3"], EPERM)),
    ("mount_setattr", || {
        check_as_root("new_mount", &["4"], EPERM)
    }),
    ("open_tree_attr", || check_as_root("tree_attr", &[], EPERM)),
    ("fspick", || check_as_root("pick", &[], EPERM)),
    ("remounting_for_writing", || {
        check_as_root("remount", &[], EPERM)
    }),
    ("pivot_root", || check_as_root("pivot", &[], EPERM)),
    ("chroot_to_leave_the_root", chroot_to_leave_the_root),
    ("dots_out_of_the_root", dots_out_of_the_root),
    ("a_file_system_of_its_own_processes", || {
        check_as_root("mount_proc", &[], EPERM)
    }),
];

pub(crate) const ACTS: &[Act] = &[
    ("new_mount", |a| new_mount(a[0].parse().unwrap())),
    ("tree_attr", |_| {
        own_mounts();
        let read_only = [1u64, 0, 0, 0];
        let path = c"/".as_ptr().addr();
        let here = libc::AT_FDCWD as usize;
        // OPEN_TREE_CLONE, with MOUNT_ATTR_RDONLY.
        six(467, [here, path, 1, read_only.as_ptr().addr(), 32, 0])
    }),
    ("pick", |_| {
        own_mounts();
        let path = c"/".as_ptr().addr();
        call(libc::SYS_fspick, [libc::AT_FDCWD as usize, path, 0, 0, 0])
    }),
    ("remount", |_| {
        own_mounts();
        let path = c"/tmp".as_ptr().addr();
        let tmpfs = c"tmpfs".as_ptr().addr();
        call(libc::SYS_mount, [tmpfs, path, tmpfs, 0, 0]);
        call(libc::SYS_mount, [0, path, 0, libc::MS_REMOUNT as usize, 0])
    }),
    ("mount_proc", |_| {
        own_mounts();
        let proc = c"proc".as_ptr().addr();
        call(libc::SYS_mount, [proc, c"/tmp".as_ptr().addr(), proc, 0, 0])
    }),
    ("pivot", |_| {
        own_mounts();
        let tmpfs = c"tmpfs".as_ptr().addr();
        let place = c"/tmp".as_ptr().addr();
        call(libc::SYS_mount, [tmpfs, place, tmpfs, 0, 0]);
        let old = c"/tmp/old";
        call(libc::SYS_mkdir, [old.as_ptr().addr(), 0o700, 0, 0, 0]);
        call(libc::SYS_pivot_root, [place, old.as_ptr().addr(), 0, 0, 0])
    }),
    ("leave_by_chroot", |a| leave_by_chroot(&a[0], &a[1])),
    ("leave_by_dots", |a| {
        let up = "../".repeat(64);
        let from = format!("/usr/lib/{up}{}", a[0].trim_start_matches('/'));
        outcome_of(fs::read(from))
    }),
];

const EPERM: Status = Status::Exited(libc::EPERM);
const ENOENT: Status = Status::Exited(libc::ENOENT);

fn six(number: i64, a: [usize; 6]) -> i32 {
    // SAFETY: every caller passes live buffers of the sizes that its call takes.
    outcome(unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) })
}

/// Where it may, so that the host keeps its mounts: a mount namespace of its own, shared with nobody.
fn own_mounts() {
    call(libc::SYS_unshare, [0x0002_0000, 0, 0, 0, 0]);
    let private = (libc::MS_REC | libc::MS_PRIVATE) as usize;
    call(libc::SYS_mount, [0, c"/".as_ptr().addr(), 0, private, 0]);
}

/// The calls that mount a tmpfs, one after the other; gives what one of them says. In a cell each is made
/// on its own: the ones before it have failed.
fn new_mount(wanted: usize) -> i32 {
    own_mounts();
    let tmpfs = c"tmpfs".as_ptr().addr();
    // SAFETY: the names are live; what failed before is no descriptor, and only makes the next one fail.
    let raw =
        |number: i64, a: [usize; 5]| unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4]) };
    let context = raw(libc::SYS_fsopen, [tmpfs, 0, 0, 0, 0]) as usize;
    // FSCONFIG_CMD_CREATE.
    let made = call(libc::SYS_fsconfig, [context, 6, 0, 0, 0]);
    if wanted == 1 {
        return made;
    }
    let mount = raw(libc::SYS_fsmount, [context, 0, 0, 0, 0]);
    if wanted == 2 {
        return outcome(mount);
    }
    let (mount, empty) = (mount as usize, c"".as_ptr().addr());
    let place = c"/tmp".as_ptr().addr();
    // MOVE_MOUNT_F_EMPTY_PATH.
    let here = libc::AT_FDCWD as usize;
    let moved = call(libc::SYS_move_mount, [mount, empty, here, place, 4]);
    if wanted == 3 {
        return moved;
    }
    let read_only = [1u64, 0, 0, 0];
    let attributes = read_only.as_ptr().addr();
    let at_empty = libc::AT_EMPTY_PATH as usize;
    call(
        libc::SYS_mount_setattr,
        [mount, empty, at_empty, attributes, 32],
    )
}

/// The oldest way out: a root below the working directory, and up from there.
fn leave_by_chroot(below: &str, secret: &str) -> i32 {
    let out = fs::File::open("/")
        .or_else(|_| fs::File::open("/proc"))
        .unwrap();
    let below = CString::new(below).unwrap();
    let entered = call(libc::SYS_chroot, [below.as_ptr().addr(), 0, 0, 0, 0]);
    if entered != 0 {
        return entered;
    }
    call(libc::SYS_fchdir, [descriptor(&out), 0, 0, 0, 0]);
    for _ in 0..64 {
        call(libc::SYS_chdir, [c"..".as_ptr().addr(), 0, 0, 0, 0]);
    }
    call(libc::SYS_chroot, [c".".as_ptr().addr(), 0, 0, 0, 0]);
    outcome_of(fs::read(secret))
}

fn a_secret(dir: &Path) -> String {
    let secret = dir.join("secret");
    fs::write(&secret, "the secret").unwrap();
    secret.to_str().unwrap().to_owned()
}

fn chroot_to_leave_the_root() {
    let (workspace, other) = (scratch(), scratch());
    let secret = a_secret(other.path());
    let below = workspace.path().to_str().unwrap();
    let arguments = [below, &secret];
    if crate::support::is_root() {
        assert_succeeds("leave_by_chroot", &arguments);
    }
    let mut spec = acting_spec("leave_by_chroot", &arguments);
    spec.paths.write.push(workspace.path().to_path_buf());
    assert_refused(end_of(spec), EPERM, "leave_by_chroot");
}

fn dots_out_of_the_root() {
    let other = scratch();
    let secret = a_secret(other.path());
    assert_succeeds("leave_by_dots", &[&secret]);
    let end = crate::inside("leave_by_dots", &[&secret]);
    assert!(end == ENOENT || on_host(), "{end:?}");
    assert_refused(end, ENOENT, "leave_by_dots");
}
