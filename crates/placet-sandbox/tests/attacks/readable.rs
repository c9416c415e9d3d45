//! Changing what may only be read, by every way past opening it for writing.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;

use placet_sandbox::Status;

use crate::files::{SECRET, secret, text, with};
use crate::support::{Act, Test, scratch};
use crate::{SUCCESS, assert_refused, outcome, outcome_of, outside};

pub(crate) const TESTS: &[Test] = &[
    ("reopening_what_is_only_readable_for_writing", || {
        readable_is_not("reopen", EROFS)
    }),
    ("truncating_what_is_only_readable", || {
        readable_is_not("truncate", EROFS)
    }),
    ("attributes_of_what_is_only_readable", || {
        readable_is_not("set_attribute", EROFS)
    }),
    ("times_of_what_is_only_readable", || {
        readable_is_not("set_times", EROFS)
    }),
    ("owner_of_what_is_only_readable", || {
        readable_is_not("set_owner", EROFS)
    }),
    ("memory_of_what_is_only_readable", || {
        readable_is_not("map_writable", EACCES)
    }),
    ("swapping_two_directories", swapping_two_directories),
];

pub(crate) const ACTS: &[Act] = &[
    ("reopen", |a| {
        let file = fs::File::open(&a[0]).unwrap();
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        outcome_of(fs::write(again, "overwritten"))
    }),
    ("truncate", |a| {
        let path = CString::new(a[0].as_bytes()).unwrap();
        // SAFETY: path is NUL terminated.
        outcome(unsafe { libc::truncate(path.as_ptr(), 0) })
    }),
    ("set_attribute", |a| {
        let path = CString::new(a[0].as_bytes()).unwrap();
        let (name, value) = (c"user.placet".as_ptr(), c"x".as_ptr().cast());
        // SAFETY: the strings are NUL terminated, and the value is one byte.
        outcome(unsafe { libc::setxattr(path.as_ptr(), name, value, 1, 0) })
    }),
    ("set_times", |a| {
        let path = CString::new(a[0].as_bytes()).unwrap();
        let times = [libc::timespec {
            tv_sec: 1,
            tv_nsec: 0,
        }; 2];
        // SAFETY: path is NUL terminated, and times are the two that are read.
        outcome(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) })
    }),
    ("set_owner", |a| {
        let path = CString::new(a[0].as_bytes()).unwrap();
        let group = rustix::process::getegid().as_raw();
        // SAFETY: path is NUL terminated. To the group it has: that is allowed to its owner.
        outcome(unsafe { libc::chown(path.as_ptr(), u32::MAX, group) })
    }),
    ("map_writable", |a| {
        let file = fs::OpenOptions::new().read(true).write(true).open(&a[0]);
        let file = file.or_else(|_| fs::File::open(&a[0])).unwrap();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapped = unsafe {
            let any = std::ptr::null_mut();
            libc::mmap(any, 4096, rights, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if mapped == libc::MAP_FAILED {
            outcome(-1)
        } else {
            0
        }
    }),
    ("exchange", |a| {
        let [from, to] = [0, 1].map(|at| CString::new(a[at].as_bytes()).unwrap());
        let here = libc::AT_FDCWD;
        // SAFETY: the paths are NUL terminated. RENAME_EXCHANGE.
        outcome(unsafe {
            libc::syscall(
                libc::SYS_renameat2,
                here,
                from.as_ptr(),
                here,
                to.as_ptr(),
                2,
            )
        })
    }),
];

const EACCES: Status = Status::Exited(libc::EACCES);
const EROFS: Status = Status::Exited(libc::EROFS);
const EXDEV: Status = Status::Exited(libc::EXDEV);

/// A file that the cell may read and nothing else.
fn readable_is_not(act: &str, refusal: Status) {
    let dir = scratch();
    let file = secret(dir.path());
    assert_eq!(outside(act, &[text(&file)]), SUCCESS, "{act} outside");
    fs::write(&file, SECRET).unwrap();
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    let status = with(act, &[text(&file)], |spec| {
        spec.paths.read.push(dir.path().to_path_buf());
    });
    assert_refused(status, refusal, act);
    assert_eq!(fs::read_to_string(&file).unwrap(), SECRET);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
}

/// What is only readable in the place of what may be written.
fn swapping_two_directories() {
    let dir = scratch();
    let (readable, writable) = (dir.path().join("r"), dir.path().join("w"));
    fs::create_dir(&readable).unwrap();
    fs::create_dir(&writable).unwrap();
    let file = secret(&readable);
    let arguments = [text(&readable), text(&writable)];
    assert_eq!(outside("exchange", &arguments), SUCCESS);
    assert_eq!(outside("exchange", &arguments), SUCCESS);
    let status = with("exchange", &arguments, |spec| {
        spec.paths.read.push(readable.clone());
        spec.paths.write.push(writable.clone());
    });
    let refusals = [EXDEV, EACCES, EROFS, Status::Exited(libc::EBUSY)];
    assert!(refusals.contains(&status), "{status:?}");
    assert!(file.exists());
}
