//! Execute: authority ends, and with it everything that ran under it. The times are measured from
//! outside: when the log was written, and when the kernel says that each process is gone.

use std::time::Duration;

use placet_evidence::Record;
use placet_types::{DenialCode, Index};

use super::children::{child, terminated};
use super::ground::hold;
use super::report::{Fallen, Seen, shown_duration};
use super::stage::{Job, Stage};
use super::step::{End, Trace, Try};
use super::tree::{Fall, HeadWatch, Tree, count_below};
use crate::exit::Failure;

/// Longest that a tree may outlive its authority: half of the shortest lease in the bundle.
const LIMIT: Duration = Duration::from_secs(1);
/// How long something that must happen is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// Pid 1 of the cell, a shell, three processes of its own and two of a grandchild that left the
/// session. All of them ignore the signals that they can ignore.
const PROCESSES: usize = 7;
const FAMILY: &str = "trap '' TERM INT HUP; \
    sleep 600 & setsid sleep 600 & setsid sh -c 'sleep 600 & sleep 600 & wait' & wait";

const REVOKED: Try = Try::new(
    "a job with children, while it runs: revoke",
    &["sh", "-c", FAMILY],
    End::Terminated(DenialCode::Revoked),
);

const SUBTREE: Try = Try::new(
    "a job and its child execution: revoke subtree",
    &["sh", "-c", "{placet} run -- sleep 600"],
    End::Terminated(DenialCode::Revoked),
);

const WINDOW: Try = Try::new(
    "a job that asked for two seconds",
    &["sleep", "600"],
    End::Terminated(DenialCode::Expired),
)
.with(&["--lifetime=2"]);

const HALTED: Try = Try::new(
    "a job, while it runs: halt",
    &["sleep", "600"],
    End::Terminated(DenialCode::Halted),
);
const WHILE_HALTED: Try = Try::new(
    "another one, while halted",
    &["ls"],
    End::Denied(DenialCode::Halted),
);
const RESUMED: Try = Try::done("another one, after resume", &["ls"]);

/// One execution with many processes is revoked, and its fall is timed.
pub(super) fn revoked(stage: &mut Stage) -> Result<(), Failure> {
    let job = begin_family(stage, &REVOKED)?;
    let exec = Trace::of(stage.ground.records(job.from)?).exec();
    let exec = exec.ok_or_else(|| Failure::new("the job was not decided"))?;
    let before = stage.ground.size()?;
    let tree = Tree::below(job.running.pid())?;
    let processes = tree.len();
    let head = HeadWatch::on(&stage.ground.domain()?.dir.log())?;
    let revoke = stage
        .ground
        .start(&["revoke", &exec.to_string(), "--reason", "demo"])?;
    let fall = tree.watch_fall(&head, &*stage.clock, PATIENCE)?;
    revoke.wait()?.successful("placet revoke")?;
    let (finished, trace) = stage.finish(job)?;
    let seen = stage.judge(&REVOKED, &finished, &trace).at(before);
    stage.add(REVOKED.what, &REVOKED.end.to_string(), seen)?;
    let timed = timed(&fall, &trace, before);
    stage.report.figures.revocation = timed.as_ref().ok().copied();
    stage.report.figures.revoked_processes = processes;
    let seen = Seen::of(timed.and_then(|Fallen { measured, at_most }| {
        in_time(at_most, processes).map(|_| shown(measured, processes))
    }));
    let what = "  from the durable record to the last gone";
    stage.add(what, &within_limit(), seen.at(before))
}

/// An execution and its child are revoked together.
pub(super) fn subtree_revoked(stage: &mut Stage) -> Result<(), Failure> {
    let job = stage.begin(&SUBTREE)?;
    let started = || -> Result<bool, Failure> {
        let parent = Trace::of(stage.ground.records(job.from)?);
        Ok(child(&parent).is_some_and(|child| child.started))
    };
    if !stage.await_that(PATIENCE, started)? {
        return Err(Failure::new("the child execution did not start"));
    }
    let exec = Trace::of(stage.ground.records(job.from)?).exec();
    let exec = exec.ok_or_else(|| Failure::new("the job was not decided"))?;
    let selector = format!("subtree:{exec}");
    stage
        .ground
        .placet(&["revoke", &selector])?
        .successful("placet revoke")?;
    let (finished, trace) = stage.finish(job)?;
    let seen = stage.judge(&SUBTREE, &finished, &trace).at(trace.index());
    stage.add(SUBTREE.what, &SUBTREE.end.to_string(), seen)?;
    let index = child(&trace).and_then(|child| child.index());
    let seen = Seen::of(terminated(&trace, DenialCode::Revoked)).at(index);
    stage.add("  the child", &SUBTREE.end.to_string(), seen)
}

/// The window that was asked for closes.
pub(super) fn window_closes(stage: &mut Stage) -> Result<(), Failure> {
    stage.attempt(&WINDOW).map(drop)
}

/// Whoever starts a command is killed. The command does not outlive it.
pub(super) fn supervisor_dies(stage: &mut Stage) -> Result<(), Failure> {
    let what = "a job, its supervisor killed with SIGKILL";
    let mut job = begin_family(stage, &Try { what, ..REVOKED })?;
    let tree = Tree::below(job.running.pid())?;
    let processes = tree.len();
    let head = HeadWatch::on(&stage.ground.domain()?.dir.log())?;
    let killed = stage.clock.monotonic();
    job.running.kill()?;
    let fall = tree.watch_fall(&head, &*stage.clock, PATIENCE)?;
    let from = job.from;
    let (_, trace) = stage.finish(job)?;
    let time = fall.gone.map(|gone| gone.saturating_sub(killed));
    let seen = Seen::of(
        time.ok_or_else(|| "a process was left".to_owned())
            .and_then(|time| in_time(time, processes)),
    );
    let seen = seen.at(trace.index());
    stage.orphan = Some((from, trace));
    stage.add(what, &within_limit(), seen)
}

/// Nobody reported the end of that job: the node finds out by itself, once the lease is over.
pub(super) fn orphan_is_recorded(stage: &mut Stage) -> Result<(), Failure> {
    let Some((from, begun)) = stage.orphan.take() else {
        return Ok(());
    };
    let exec = begun.exec();
    let find = || -> Result<Trace, Failure> {
        let about = |decided: &placet_evidence::Decided| Some(decided.facts.exec) == exec;
        Ok(Trace::about(stage.ground.records(from)?, about))
    };
    stage.await_that(PATIENCE, || Ok(find()?.ended.is_some()))?;
    let code = DenialCode::AuthorizationDiscontinuity;
    let (seen, index) = match find()?.ended {
        None => (Seen::differs("not recorded"), None),
        Some((index, ended)) => {
            let observed = ended.cause.map_or("no cause", DenialCode::as_str);
            (
                Seen::of(hold(ended.cause == Some(code), observed).map(|()| observed.to_owned())),
                Some(index),
            )
        }
    };
    stage.add(
        "the end of that job, as the node found it",
        code.as_str(),
        seen.at(index),
    )
}

/// The whole domain stops, and goes on.
pub(super) fn halted(stage: &mut Stage) -> Result<(), Failure> {
    let job = stage.begin(&HALTED)?;
    let started =
        || -> Result<bool, Failure> { Ok(Trace::of(stage.ground.records(job.from)?).started) };
    if !stage.await_that(PATIENCE, started)? {
        return Err(Failure::new("the job did not start"));
    }
    stage
        .ground
        .placet(&["halt", "--reason", "demo"])?
        .successful("placet halt")?;
    let (finished, trace) = stage.finish(job)?;
    let seen = stage.judge(&HALTED, &finished, &trace).at(trace.index());
    stage.add(HALTED.what, &HALTED.end.to_string(), seen)?;
    stage.attempt(&WHILE_HALTED)?;
    stage
        .ground
        .placet(&["resume", "--reason", "demo"])?
        .successful("placet resume")?;
    stage.attempt(&RESUMED).map(drop)
}

/// Starts a job and waits until all its processes are there.
fn begin_family(stage: &Stage, one: &Try) -> Result<Job, Failure> {
    let job = stage.begin(one)?;
    let complete = || Ok(count_below(job.running.pid())? >= PROCESSES || job.running.has_ended());
    if !stage.await_that(PATIENCE, complete)? || job.running.has_ended() {
        return Err(Failure::new(format!(
            "{}: the job did not come up",
            one.what
        )));
    }
    Ok(job)
}

/// How long the tree outlived the revocation at this index.
fn timed(fall: &Fall, trace: &Trace, index: Index) -> Result<Fallen, String> {
    let first = trace.records.iter().find(|(at, _)| *at == index);
    let Some((_, Record::Revoked(revoked))) = first else {
        return Err("the first record written is not the revocation".to_owned());
    };
    let (gone, written) = fall.gone.zip(fall.written).ok_or("a process was left")?;
    let measured = gone.saturating_sub(written);
    // Both times are cut to milliseconds.
    let at_most = Duration::from_millis(fall.gone_wall.since(revoked.time) + 1);
    Ok(Fallen { measured, at_most })
}

fn in_time(time: Duration, processes: usize) -> Result<String, String> {
    let observed = shown(time, processes);
    hold(time <= LIMIT && processes >= PROCESSES, &observed).map(|()| observed)
}

fn shown(time: Duration, processes: usize) -> String {
    format!("{}, {processes} processes", shown_duration(time))
}

fn within_limit() -> String {
    format!("all gone within {} s", LIMIT.as_secs())
}
