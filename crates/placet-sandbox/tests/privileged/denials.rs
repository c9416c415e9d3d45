//! What Landlock refuses is told, while the host's audit is on.

use std::fs::{self, File};
use std::path::Path;

use placet_sandbox::{CellSpec, Denial, Denials, DeniedAccess, Status};

use crate::support::{Act, Test, acting_spec, is_root, scratch};
use crate::{SUCCESS, eventually, start};

pub(crate) const TESTS: &[Test] = &[
    (
        "what_landlock_refuses_is_told_with_path_and_process",
        what_landlock_refuses,
    ),
    (
        "what_another_cell_is_refused_is_not_told",
        what_another_cell_is_refused,
    ),
    ("a_flood_of_refusals_is_bounded_and_counted", a_flood),
    ("without_audit_nothing_is_told", without_audit),
];

pub(crate) const ACTS: &[Act] = &[
    // Two refusals: to execute what may only be read, and to make a device.
    ("be_refused", |a| {
        let readable = c_string(&a[0]);
        let none = [std::ptr::null()];
        // SAFETY: the strings are NUL terminated and the arrays end with null.
        unsafe {
            let device = c_string(&format!("{}/device", a[1]));
            let made = libc::mknod(device.as_ptr(), libc::S_IFCHR | 0o600, 0x103);
            assert_eq!((made, errno()), (-1, libc::EACCES));
            libc::execve(readable.as_ptr(), none.as_ptr(), none.as_ptr());
        }
        i32::from(errno() != libc::EACCES)
    }),
    ("be_refused_often", |a| {
        let readable = c_string(&a[0]);
        let none = [std::ptr::null()];
        for _ in 0..a[1].parse().unwrap() {
            // SAFETY: the string is NUL terminated and the arrays end with null.
            unsafe { libc::execve(readable.as_ptr(), none.as_ptr(), none.as_ptr()) };
        }
        0
    }),
];

fn c_string(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).unwrap()
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

const STATUS_WORDS: usize = 11;

/// The host's audit switched on as long as this lives, for one user of this switch at a time.
struct AuditOn {
    was_on: bool,
    _turn: File,
}

/// One suite of this machine at a time: the lock is on a file that everybody has and nobody locks,
/// so that none is left behind.
fn turn() -> File {
    let turn = File::open("/etc/passwd").unwrap();
    rustix::fs::flock(&turn, rustix::fs::FlockOperation::LockExclusive).unwrap();
    turn
}

impl AuditOn {
    fn new() -> Self {
        let turn = turn();
        let was_on = audit(1000, &[]).unwrap()[1] != 0;
        set_audit(1);
        Self {
            was_on,
            _turn: turn,
        }
    }
}

impl Drop for AuditOn {
    fn drop(&mut self) {
        if !self.was_on {
            set_audit(0);
        }
    }
}

fn set_audit(enabled: u32) {
    let mut status = [0u32; STATUS_WORDS];
    (status[0], status[1]) = (1, enabled);
    audit(1001, &status);
}

/// One request to the kernel's audit, and the answer of AUDIT_GET.
fn audit(kind: u16, status: &[u32]) -> Option<Vec<u32>> {
    let words = |bytes: &[u8]| {
        let words = bytes.chunks_exact(4);
        words
            .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
            .collect::<Vec<u32>>()
    };
    // SAFETY: the socket is this function's own, and the buffers are live for their lengths.
    unsafe {
        let socket = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT);
        assert!(socket >= 0);
        let len = 16 + 4 * u32::try_from(status.len()).unwrap();
        let flags = 1 | if kind == 1001 { 4 } else { 0 };
        let mut message = len.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(u16::to_ne_bytes(flags));
        message.extend([0; 8]);
        message.extend(status.iter().flat_map(|word| word.to_ne_bytes()));
        assert!(libc::send(socket, message.as_ptr().cast(), message.len(), 0) > 0);
        loop {
            let mut answer = [0u8; 8192];
            let got = libc::recv(socket, answer.as_mut_ptr().cast(), answer.len(), 0);
            let body = words(&answer[16..usize::try_from(got).unwrap() / 4 * 4]);
            let answered = u16::from_ne_bytes([answer[4], answer[5]]);
            if answered == kind || (answered == 2 && kind == 1001) {
                assert!(answered != 2 || body[0] == 0, "{body:?}");
                libc::close(socket);
                return (answered == 1000).then_some(body);
            }
        }
    }
}

/// A cell that may read one file and write into one directory of this one.
fn spec(act: &str, dir: &Path, last: &str) -> CellSpec {
    let (readable, writable) = (dir.join("readable"), dir.join("writable"));
    fs::copy("/usr/bin/true", &readable).unwrap();
    fs::create_dir_all(&writable).unwrap();
    let writable_text = writable.to_str().unwrap();
    let last = if last.is_empty() { writable_text } else { last };
    let mut spec = acting_spec(act, &[readable.to_str().unwrap(), last]);
    spec.paths.read.push(readable);
    spec.paths.write.push(writable);
    spec
}

fn what_landlock_refuses() {
    let dir = scratch();
    let spec = spec("be_refused", dir.path(), "");
    if !is_root() {
        let mut cell = start(spec);
        assert!(cell.denials().is_none());
        assert_eq!(cell.wait().unwrap().status, SUCCESS);
        return;
    }
    let _on = AuditOn::new();
    let mut cell = start(spec);
    let denials = cell.denials().unwrap().clone();
    let pid1 = cell.pid();
    assert_eq!(cell.wait().unwrap().status, SUCCESS);
    let told = denials.reports();
    let worker = told.first().unwrap().pid;
    assert!(worker.is_some_and(|worker| worker != pid1), "{told:?}");
    let refusal = |access, rights: &str, path: &str| Denial {
        access,
        rights: rights.into(),
        path: Some(dir.path().join(path)),
        pid: worker,
    };
    let expected = [
        refusal(DeniedAccess::Write, "fs.make_char", "writable"),
        refusal(DeniedAccess::Execute, "fs.execute", "readable"),
    ];
    assert_eq!(told, expected);
    assert_eq!(denials.lost(), 0);
}

fn what_another_cell_is_refused() {
    if !is_root() {
        return without_audit();
    }
    let _on = AuditOn::new();
    let (here, there) = (scratch(), scratch());
    let mut quiet = start(acting_spec("be_refused_often", &["/nowhere", "1"]));
    let heard = quiet.denials().unwrap().clone();
    let mut loud = start(spec("be_refused", here.path(), ""));
    let mut louder = start(spec("be_refused", there.path(), ""));
    let of = [&loud, &louder].map(|cell| cell.denials().unwrap().clone());
    for cell in [&mut quiet, &mut loud, &mut louder] {
        assert_eq!(cell.wait().unwrap().status, SUCCESS);
    }
    assert_eq!(heard.reports(), []);
    for (denials, dir) in of.iter().zip([&here, &there]) {
        let told = denials.reports();
        assert_eq!(told.len(), 2, "{told:?}");
        let own = |denial: &Denial| denial.path.as_ref().unwrap().starts_with(dir.path());
        assert!(told.iter().all(own), "{told:?}");
    }
}

fn a_flood() {
    if !is_root() {
        return without_audit();
    }
    let _on = AuditOn::new();
    let dir = scratch();
    let mut cell = start(spec("be_refused_often", dir.path(), "4000"));
    let denials = cell.denials().unwrap().clone();
    assert!(matches!(cell.wait().unwrap().status, Status::Exited(0)));
    let told = denials.reports().len();
    assert!((1..=256).contains(&told), "{told}");
    eventually("the count", || denials.lost() > 0);
}

fn without_audit() {
    let _turn = turn();
    if is_root() && audit(1000, &[]).unwrap()[1] != 0 {
        // The host's administrator switched it on: then it is told.
        return;
    }
    let dir = scratch();
    let mut cell = start(spec("be_refused", dir.path(), ""));
    let denials: Option<Denials> = cell.denials().cloned();
    assert_eq!(denials.is_some(), is_root());
    assert_eq!(cell.wait().unwrap().status, SUCCESS);
    let told = denials.map_or_else(Vec::new, |denials| denials.reports());
    assert_eq!(told, []);
}
