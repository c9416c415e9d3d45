//! The worker: restricts itself, waits for its release, verifies the program and becomes it.
//!
//! Runs in a fork of pid 1 and obeys the same rules: no allocation, no locks, no return. It keeps
//! the supervisor's session and process group, unless the cell has a session of its own: then it leads
//! a group of that.

use std::ffi::c_int;

use crate::error::Step;
use crate::landlock;
use crate::later::Start;
use crate::pid1::Sockets;
use crate::plan::{Plan, WorkerPlan};
use crate::spec::FileIdentity;
use crate::sys::{self, Errno, Image};
use crate::wire::{AtStep, Failure, Order, Report};

/// What a shell answers for a command it cannot execute. The supervisor is told the reason.
const EXIT_NOT_EXECUTED: c_int = 127;

pub(crate) fn run(plan: &Plan, sockets: Sockets, terminal: Option<c_int>) -> ! {
    sys::close(sockets.control);
    if sockets.opens >= 0 {
        sys::close(sockets.opens);
    }
    let Err(failure) = become_program(&plan.worker, sockets, terminal);
    let _told = sys::send(sockets.gate, &Report::Failed(failure).encode(), &[]);
    sys::exit_now(EXIT_NOT_EXECUTED)
}

fn become_program(
    plan: &WorkerPlan,
    sockets: Sockets,
    terminal: Option<c_int>,
) -> Result<std::convert::Infallible, Failure> {
    let gate = sockets.gate;
    if plan.on_host {
        let kill = libc::SIGKILL.unsigned_abs().into();
        sys::prctl(libc::PR_SET_PDEATHSIG, kill, 0).at(Step::ParentDeathSignal)?;
    }
    if plan.leads_group {
        sys::lead_group(0).at(Step::Terminal)?;
    }
    if let Some(terminal) = terminal {
        take_terminal(plan, terminal).at(Step::Terminal)?;
    }
    if plan.later.is_none() {
        sys::change_dir(&plan.program.cwd).at_index(Step::ChangeDir, 0)?;
    }
    restrict_paths(plan, sockets.ruleset)?;
    for limit in &plan.limits {
        sys::set_limit(limit.resource, limit.soft, limit.hard).at(Step::ResourceLimit)?;
    }
    // Without it no socket in the file system is known to be the cell's own, and none is reached.
    let questions = (!plan.on_host)
        .then(|| sys::socket_questions().ok())
        .flatten();
    let listener = sys::install_trapping_filter(plan.filter).at(Step::SeccompFilter)?;
    // A supervisor without privileges needs it to trace, and to look at /proc. Who can read this memory outside could read the
    // supervisor's; inside there is nobody but pid 1.
    sys::prctl(libc::PR_SET_DUMPABLE, 1, 0).at(Step::Traceable)?;
    if plan.later.is_some() {
        // Seen by whoever looks at what runs; the program gives it a name of its own.
        sys::set_name(c"placet-spare").at(Step::AwaitRelease)?;
    }
    report_ready(gate, listener, questions)?;
    let start = match &plan.later {
        None => await_release(gate).map(|()| plan.program.start())?,
        Some(later) => {
            await_program(plan, gate)?;
            let start = later.start().at(Step::AwaitRelease)?;
            sys::change_dir(start.cwd).at_index(Step::ChangeDir, 0)?;
            start
        }
    };
    let program = verified_program(&start)?;
    sys::default_signals();
    sys::unblock_signals().at(Step::Signals)?;
    let image = if start.is_script {
        Image::Path(start.path)
    } else {
        Image::Inode(program)
    };
    Err(Failure::new(
        Step::Exec,
        sys::execute(&image, start.argv, start.env),
    ))
}

/// Has the cell's terminal for the streams that it is.
fn take_terminal(plan: &WorkerPlan, terminal: c_int) -> sys::Sys<()> {
    for (stream, own) in (0..).zip(plan.terminal) {
        if own {
            sys::put_in_place(terminal, stream)?;
        }
    }
    Ok(())
}

/// Adds to the ruleset what stands in the cell only, and is restricted by it.
fn restrict_paths(plan: &WorkerPlan, ruleset: c_int) -> Result<(), Failure> {
    let left = plan.rules.iter().enumerate();
    for (index, rule) in left.filter(|(_, rule)| rule.file.is_none()) {
        add_rule(ruleset, rule).at_index(Step::LandlockRule, index)?;
    }
    sys::landlock_restrict(ruleset, plan.landlock_flags).at(Step::LandlockRestrict)?;
    sys::close(ruleset);
    Ok(())
}

/// A path inside a larger grant is no mount of its own, so it is compared here.
fn add_rule(ruleset: c_int, rule: &landlock::Rule) -> sys::Sys<()> {
    let path = sys::open_path(libc::AT_FDCWD, &rule.path)?;
    let found = sys::inode(path)?;
    if rule.inode.is_some_and(|inode| inode != found) {
        return Err(Errno(libc::ESTALE));
    }
    sys::landlock_allow(ruleset, path, rule.access)?;
    sys::close(path);
    Ok(())
}

/// The listener goes up with the message and is not kept: who has it answers every trapped call. So does
/// the socket that the cell's own sockets are asked about over.
fn report_ready(gate: c_int, listener: c_int, questions: Option<c_int>) -> Result<(), Failure> {
    let ready = Report::Ready.encode();
    match questions {
        None => sys::send(gate, &ready, &[listener]).at(Step::AwaitRelease)?,
        Some(questions) => {
            sys::send(gate, &ready, &[listener, questions]).at(Step::AwaitRelease)?;
            sys::close(questions);
        }
    }
    sys::close(listener);
    Ok(())
}

fn await_release(gate: c_int) -> Result<(), Failure> {
    let words = sys::receive(gate, 0).at(Step::AwaitRelease)?;
    match words.and_then(Order::decode) {
        Some(Order::Release) => Ok(()),
        Some(_) | None => Err(Failure::new(Step::AwaitRelease, Errno(libc::EPIPE))),
    }
}

/// Waits without the supervisor's standard streams, which may end meanwhile, and takes those that come with the program. They
/// get the free places, the lowest first, and so must be where they belong.
fn await_program(plan: &WorkerPlan, gate: c_int) -> Result<(), Failure> {
    let outside = (0..).zip(plan.terminal).filter(|(_, own)| !own);
    outside.clone().for_each(|(stream, _)| sys::close(stream));
    let message = sys::receive_with_streams(gate).at(Step::AwaitRelease)?;
    let (words, came) =
        message.ok_or_else(|| Failure::new(Step::AwaitRelease, Errno(libc::EPIPE)))?;
    let in_place = outside
        .map(|(stream, _)| stream)
        .eq(came.into_iter().flatten());
    match Order::decode(words) {
        Some(Order::Become) if in_place => Ok(()),
        Some(_) | None => Err(Failure::new(Step::AwaitRelease, Errno(libc::EPROTO))),
    }
}

/// Opens the program and compares it with what was decided on, after the release: nothing but
/// execve itself comes later, and execve gets this very inode.
fn verified_program(start: &Start<'_>) -> Result<c_int, Failure> {
    let program = sys::open_path(libc::AT_FDCWD, start.path).at(Step::VerifyProgram)?;
    let stat = sys::stat(program).at(Step::VerifyProgram)?;
    let found = FileIdentity::of_stat(&stat);
    if found == start.identity || (start.in_copy && start.identity.is_shown_as(&found)) {
        Ok(program)
    } else {
        Err(Failure::new(Step::VerifyProgram, Errno(libc::ESTALE)))
    }
}
