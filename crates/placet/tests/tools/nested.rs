//! Sandboxes that a governed program sets up itself, as coding agents do: what narrows works inside as it does bare,
//! and what takes namespaces of its own is refused, harmlessly.

use crate::domain::Domain;

/// Forbids itself to make directories by Landlock, and links by a filter of system calls; then starts a shell that
/// tries both and something that stays allowed. Exits as that shell.
const NARROWS: &str = r#"
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    returned = libc.syscall(*args)
    assert returned >= 0, os.strerror(ctypes.get_errno())
    return returned
MAKE_DIR = 1 << 7
ruleset = call(444, ctypes.byref(ctypes.c_uint64(MAKE_DIR)), 8, 0)
assert libc.prctl(38, 1, 0, 0, 0) == 0
call(446, ruleset, 0)
step = lambda code, k, jt=0, jf=0: struct.pack("HBBI", code, jt, jf, k)
steps = [step(0x20, 0), step(0x15, SYMLINK, 0, 1), step(6, 0x50000 | 13), step(6, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(steps))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
program = Program(4, ctypes.addressof(code))
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv("/bin/sh", ["sh", "-c", "echo a > file; mkdir dir; python3 -c 'import os; os.symlink(\"file\", \"link\")'; ls"])
"#;

#[test]
fn a_sandbox_that_only_narrows_works_inside() {
    let domain = Domain::new();
    let symlink = if cfg!(target_arch = "x86_64") { 88 } else { 36 };
    let script = NARROWS.replace("SYMLINK", &symlink.to_string());
    std::fs::write(domain.work().join("narrow.py"), script).unwrap();
    let ran = domain.run(&["run", "--", "/usr/bin/python3", "narrow.py"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, "file\nnarrow.py\n", "{ran:?}");
    let refused = |what: &str| {
        let denied = |line: &&str| line.contains(what) && line.contains("ermission denied");
        ran.stderr.lines().any(|line| denied(&line))
    };
    assert!(refused("dir") && refused("link"), "{ran:?}");
    domain.assert_intact();
}

#[test]
fn a_sandbox_that_takes_namespaces_is_refused_and_nothing_else_is() {
    let domain = Domain::new();
    std::fs::write(domain.work().join("note"), "kept\n").unwrap();
    let script = "bwrap --ro-bind / / --unshare-all true; echo bwrap $?; unshare --user true; echo unshare $?; cat note";
    let ran = domain.run(&["run", "--", "sh", "-c", script]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, "bwrap 1\nunshare 1\nkept\n", "{ran:?}");
    assert!(ran.stderr.contains("namespace"), "{ran:?}");
    // An agent's own programs are decided about: there the policy says why.
    let ran = domain.run(&["run", "--as", "agent:coder", "--", "bwrap", "--version"]);
    assert_eq!(ran.code, crate::domain::DENIED, "{ran:?}");
    domain.assert_intact();
}
