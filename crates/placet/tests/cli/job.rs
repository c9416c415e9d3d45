//! A governed job with a family of processes, and who of it is left.

use std::fs;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::domain::{Domain, Ran, await_some};

/// Ends nothing that is not told to end: they ignore what can be ignored, and two have left the
/// session. `MARK` stands in the command line of each.
const FAMILY: &str = "trap '' TERM INT HUP; \
    sleep MARK & setsid sleep MARK & setsid sh -c 'sleep MARK & sleep MARK & wait' & wait";
/// Pid 1 of the cell, a shell, its two, and a shell of a session of its own with its two.
pub(crate) const FAMILY_SIZE: usize = 7;

/// A governed job that runs until it is ended.
pub(crate) struct Job {
    child: Child,
    mark: String,
    /// Its execution.
    pub(crate) exec: String,
}

/// A length of sleep that nobody else on this machine has chosen.
pub(crate) fn mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("600.{:010}{n:04}", std::process::id())
}

impl Job {
    /// Starts one, and waits until all of it is there.
    pub(crate) fn begin(domain: &Domain, options: &[&str]) -> Self {
        let mark = mark();
        let script = FAMILY.replace("MARK", &mark);
        let args = [&["run"], options, &["--", "sh", "-c", &script]].concat();
        let child = domain.start(&args);
        let mut job = Self {
            child,
            mark,
            exec: String::new(),
        };
        await_some("the job", || {
            let ended = job.child.try_wait().unwrap();
            assert_eq!(ended, None, "the job did not come up");
            (job.tree().len() >= FAMILY_SIZE).then_some(())
        });
        let last = domain.json(&["executions", "--limit", "1"]);
        assert_eq!(last[0]["status"], "running", "{last}");
        job.exec = last[0]["exec"].as_str().unwrap().to_owned();
        job
    }

    /// The processes of the cell that are left.
    pub(crate) fn tree(&self) -> Vec<u32> {
        let mut pids = living(&self.mark);
        pids.retain(|pid| *pid != self.child.id());
        pids
    }

    /// Waits until nothing of the cell is left, and tells how long that took.
    pub(crate) fn await_gone(&self) -> Duration {
        let began = Instant::now();
        await_some("the end of the tree", || {
            self.tree().is_empty().then(|| began.elapsed())
        })
    }

    /// Sends the supervisor a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Waits for the supervisor's end.
    pub(crate) fn end(mut self) -> Ran {
        let mut text = [String::new(), String::new()];
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        std::io::Read::read_to_string(&mut stdout.unwrap(), &mut text[0]).unwrap();
        std::io::Read::read_to_string(&mut stderr.unwrap(), &mut text[1]).unwrap();
        let status = self.child.wait().unwrap();
        assert!(self.tree().is_empty(), "something is left of it");
        let [stdout, stderr] = text;
        let code = status.code().unwrap_or(-1);
        Ran {
            code,
            stdout,
            stderr,
        }
    }

    /// Kills the supervisor, and waits for it.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind; one that ended has nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a process a signal.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The processes with `mark` in their command lines. What is dead and not buried has none.
pub(crate) fn living(mark: &str) -> Vec<u32> {
    let marked = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(marked)
        .collect()
}

impl Domain {
    /// The process that serves the domain, if one does.
    pub(crate) fn node(&self) -> Option<u32> {
        let status = self.json(&["node", "status"]);
        status["pid"]
            .as_u64()
            .map(|pid| u32::try_from(pid).unwrap())
    }

    /// What became of an execution.
    pub(crate) fn outcome(&self, exec: &str) -> Value {
        let all = self.executions();
        all.into_iter().find(|one| one["exec"] == exec).unwrap()
    }

    /// Waits until an execution is over, and tells how.
    pub(crate) fn await_outcome(&self, exec: &str) -> Value {
        await_some("the end of the execution", || {
            let one = self.outcome(exec);
            (one["status"] != "running" && one["status"] != "authorized").then_some(one)
        })
    }

    /// Nothing is lost, nothing is open, and the domain is of use.
    pub(crate) fn assert_intact(&self) {
        self.ok(&["run", "--", "true"]);
        self.await_no_open_permit();
        assert_eq!(self.json(&["log", "fsck"])["sound"], true);
        assert_eq!(self.json(&["log", "replay"])["holds"], true);
    }

    /// A permit that was not used lapses by itself, soon after its gateway is gone.
    pub(crate) fn await_no_open_permit(&self) {
        self.await_no_open_permit_but(0);
    }

    /// As much runs, and nothing waits to.
    pub(crate) fn await_no_open_permit_but(&self, running: usize) {
        await_some("nothing open", || {
            let open = self.json(&["executions", "--running"]);
            (open.as_array()?.len() == running).then_some(())
        });
    }
}
