//! A full disk: nothing runs without evidence, and nothing is lost.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::domain::{Domain, TERMINATED, UNVERIFIED};
use crate::job::Job;

/// A file system of its own for a domain, in a mount namespace that only [`Domain`]'s commands enter.
struct SmallDisk {
    holder: Child,
    domain: Option<Domain>,
}

impl SmallDisk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=2m none \"$0\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation=private", "sh", "-c", script]);
        command
            .arg(root.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare is in util-linux");
        let mut said = [0; 8];
        let stdout = holder.stdout.as_mut().unwrap();
        std::io::Read::read_exact(stdout, &mut said).expect("a small file system");
        let domain = Domain::inside(root, holder.id());
        Self {
            holder,
            domain: Some(domain),
        }
    }

    fn domain(&self) -> &Domain {
        self.domain.as_ref().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The domain's node ends before the file system goes.
        drop(self.domain.take());
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

/// Takes what is left of the disk.
fn fill(ballast: &Path) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(ballast)
        .unwrap();
    let full = file.write_all(&vec![0; 4 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_full_disk_denies_ends_what_runs_and_loses_nothing() {
    let disk = SmallDisk::new();
    let domain = disk.domain();
    let job = Job::begin(domain, &[]);
    let before = domain.json(&["log", "checkpoint"])["size"]
        .as_u64()
        .unwrap();
    let ballast = domain.path("ballast");
    fill(&ballast);
    // The log has some room of its own, which is used up first.
    let long = "x".repeat(100 << 10);
    let fills = || domain.run(&["run", "--", "true", &long]);
    let denied = (0..40).map(|_| fills()).find(|ran| ran.code != 0);
    let denied = denied.expect("the room comes to its end");
    assert_eq!(denied.code, UNVERIFIED, "{denied:?}");
    assert!(
        denied.stderr.contains("evidence_unavailable") && denied.stderr.contains("disk"),
        "{denied:?}"
    );
    // The node is gone with its log, and none comes up: what runs ends with its lease.
    let took = job.await_gone();
    assert!(took <= Duration::from_secs(3), "{took:?}");
    // What was left of the room is given back with the log.
    fill(&ballast);
    let said = domain.fails(UNVERIFIED, &["run", "--", "touch", "touched"]);
    assert!(said.contains("No space left on device"), "{said}");
    // Reading goes on.
    assert_eq!(domain.json(&["log", "fsck"])["sound"], true);
    domain.ok(&["log", "tail"]);
    assert!(!domain.work().join("touched").exists());

    fs::remove_file(&ballast).unwrap();
    let exec = job.exec.clone();
    let ran = job.end();
    assert_eq!(ran.code, TERMINATED, "{ran:?}");
    let one = domain.await_outcome(&exec);
    assert_eq!(
        one["ended"]["cause"], "authorization_discontinuity",
        "{one}"
    );
    domain.await_no_open_permit();
    assert!(
        domain.json(&["log", "checkpoint"])["size"]
            .as_u64()
            .unwrap()
            > before
    );
    domain.assert_intact();
}
