//! No room: a limit on the size of files, and a file system that is full.

use std::fs;
use std::process::Command;

use crate::common;
use crate::writer::{Plan, Told, program};

/// Blocks of 512 bytes, the unit of `ulimit -f` in a POSIX shell.
const BLOCK: u64 = 512;

pub(crate) fn file_size_limits() {
    let mut stopped = 0;
    for blocks in 16..48 {
        let dir = common::tempdir();
        let plan = Plan {
            appends: 30,
            segment_bytes: 1 << 20,
            ..Plan::new(dir.path())
        };
        // Without the signal, a write beyond the limit is cut short, and the next one fails.
        let script = "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, "sh", &blocks.to_string()])
            .arg(program())
            .args(plan.args());
        let output = shell.output().unwrap();
        let told = Told::read(&*output.stdout);
        let error = told.error.clone().expect("the limit was never met");
        if error.starts_with("error NotWritten") {
            stopped += 1;
            let segment = common::segments(dir.path()).pop().unwrap();
            let len = fs::metadata(segment).unwrap().len();
            assert_eq!(len, blocks * BLOCK, "the write was not cut short");
        }
        told.assert_kept(&plan);
    }
    assert!(stopped > 20, "only {stopped} writes were cut short");
}

pub(crate) fn full_file_system() {
    let mut full = 0;
    for kib in (48..112).step_by(8) {
        let dir = common::tempdir();
        let mount = dir.path().join("small");
        fs::create_dir(&mount).unwrap();
        let plan = Plan {
            dir: mount.join("log"),
            appends: 1_000,
            segment_bytes: 20_000,
            ballast: Some(mount.join("ballast")),
        };
        // The mount is private to the shell and goes with it, so the log is copied out at the end.
        let script = "mount -t tmpfs -o size=\"$1\"k none \"$2\" && head -c 24576 /dev/zero > \
                      \"$2/ballast\" && out=$3 && from=$2 && shift 3 && { \"$@\"; code=$?; \
                      cp -r \"$from/log\" \"$out\"; exit $code; }";
        let copied = dir.path().join("copied");
        let output = unshare()
            .args(["sh", "-c", script, "sh", &kib.to_string()])
            .args([&mount, &copied])
            .arg(program())
            .args(plan.args())
            .output()
            .expect("unshare is needed for this test: install the package util-linux");
        let told = Told::read(&*output.stdout);
        assert!(
            output.status.success(),
            "with room the log must go on: {output:?}"
        );
        full += u32::from(
            told.error
                .as_ref()
                .is_some_and(|error| error.contains("StorageFull")),
        );
        Told {
            error: None,
            ..told
        }
        .assert_kept(&Plan {
            dir: copied,
            ..plan
        });
    }
    assert_eq!(full, 8, "some file system never filled");
}

/// A private mount namespace; for an unprivileged user, in a user namespace of its own.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    let root =
        fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    command.args(if root { &["-m"][..] } else { &["-r", "-m"] });
    command
}
