//! Processor time of a whole tree while it lives, added up from /proc.
//!
//! Each living process says what it used and what its children used that it has waited for; orphans
//! are waited for by the cell's pid 1. So the sum is what the tree has used, but for children whose
//! parent had the kernel throw their status away (SIGCHLD ignored): those count while they live.

use std::fs;
use std::time::Duration;

/// Processes that are looked at; a tree has no more, by its scope's limit.
const PROCESSES_MAX: usize = 65_536;

/// What the process and everything below it has used.
pub(crate) fn of_tree(root: u32) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let mut open = vec![root];
    let (mut ticks, mut seen) = (0_u64, 0_usize);
    while let Some(pid) = open.pop() {
        seen = seen.saturating_add(1);
        if seen > PROCESSES_MAX {
            break;
        }
        // One that has just ended shows in its parent's next sum.
        ticks = ticks.saturating_add(ticks_of(pid).unwrap_or(0));
        open.extend(children(pid));
    }
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

/// Whether this kernel tells who the children of a process are.
pub(crate) fn is_measurable() -> bool {
    fs::exists("/proc/thread-self/children").unwrap_or(false)
}

/// utime, stime, cutime and cstime: fields 14 to 17 of proc_pid_stat(5).
fn ticks_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, is in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let times = fields.split_whitespace().skip(11).take(4);
    times.map(|field| field.parse::<u64>().ok()).sum()
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the test measures a real process against the real clock"
)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[test]
    fn children_that_work_and_children_that_have_ended_count() {
        // One that works and goes on, below one that has waited for one that worked.
        let script = "sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done'; \
            sh -c 'while :; do :; done' & echo; wait";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let first = of_tree(child.id());
        let began = Instant::now();
        let enough = || of_tree(child.id()) >= first + Duration::from_millis(200);
        let mut grew = enough();
        while !grew && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
            grew = enough();
        }
        for pid in children(child.id()) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(grew, "{first:?}");
        assert!(first > Duration::ZERO, "what had ended was not counted");
    }
}
