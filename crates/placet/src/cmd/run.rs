//! `placet run`: a command, governed.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use placet_authority::dir::gateways_of;
use placet_evidence::Exit;
use placet_process::door::{self, DoorReply, DoorRequest};
use placet_process::resident::is_offered;
use placet_process::terminal::{self, Front, InFront, Refused, in_front};
use placet_process::{CallError, Command, Notice, Outcome, ProgramError, RunError, Waits};
use placet_sandbox::{SandboxError, Step};
use placet_types::{DenialCode, PrincipalId, ProfileName, Seconds, Writes};
use serde_json::json;

use crate::cli::{Call, Global};
use crate::cmd::decide::rerouted_to;
use crate::cmd::doctor;
use crate::cmd::learn::in_force;
use crate::context::{
    Domain, PRINCIPAL_VARIABLE, arguments, domain_path, environment, program, user_principal,
};
use crate::exit::{Failure, Status};
use crate::out::{BAD, BOLD, DIM, Out, WARN, paint};
use crate::resident;
use crate::show::{self, many};

/// How a command is run, beside what its call says.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// A process at the user's terminal has started this one.
    pub(crate) front: bool,
    /// What the environment is changed by.
    pub(crate) env: BTreeMap<String, String>,
    /// Whether refusals of single programs are said where there is no terminal.
    pub(crate) announce: bool,
    /// Whether it waits for approvals, where some are needed.
    pub(crate) waits: Waits,
}

impl Manner {
    pub(crate) fn plain(front: bool, no_wait: bool) -> Self {
        Self {
            front,
            env: BTreeMap::new(),
            announce: false,
            waits: if no_wait { Waits::No } else { Waits::Yes },
        }
    }
}

pub(crate) fn run(
    global: &Global,
    call: &Call,
    manner: Manner,
    out: Out,
) -> Result<Status, Failure> {
    if door::is_inside() && global.domain.is_none() && !manner.front {
        return run_through_door(call, manner, out);
    }
    let caller = !manner.front && call.door.is_none();
    if caller && !terminal::is_at_terminal() && !is_offered(&gateways_of(&domain_path(global)?)) {
        // It will be done here: the sooner this begins, the less it is waited for.
        placet_process::attest::try_beside();
    }
    let domain = Domain::open(global)?;
    if caller && let Some(status) = resident::run(&domain.dir, call, &manner, out)? {
        return Ok(status);
    }
    let ended = by_itself(&domain, call, manner, out);
    if caller {
        resident::keep(&domain.dir);
    }
    ended
}

/// In processes of its own.
fn by_itself(domain: &Domain, call: &Call, manner: Manner, out: Out) -> Result<Status, Failure> {
    if !manner.front && terminal::is_at_terminal() {
        return at_terminal();
    }
    placet_process::attest::try_beside();
    // Before anything else: from here on no key of the terminal is for this process.
    let mut front = manner.front.then(Front::attach).transpose()?;
    let outcome = govern(domain, call, manner, front.as_mut(), out);
    // Whatever is said about it comes after what the command has said.
    if let Some(mut front) = front {
        if let Some(refused) = outcome.as_ref().ok().and_then(Refused::of) {
            front.denied(refused);
        }
        front.release();
    }
    Ok(report(&outcome?, out))
}

fn govern(
    domain: &Domain,
    call: &Call,
    manner: Manner,
    front: Option<&mut Front>,
    out: Out,
) -> Result<Outcome, Failure> {
    let mut command = command(call)?;
    command.env.extend(manner.env);
    command.announce |= manner.announce;
    command.waits = manner.waits;
    let mut gateway = domain.gateway()?;
    gateway.hear = call.hear;
    gateway.tell = Box::new(move |notice| tell(notice, out));
    let outcome = gateway
        .run(&command, front)
        .map_err(|error| failure(error, program_of(call)))?;
    if let (Outcome::Denied { .. }, Some(asked)) = (&outcome, &call.profile) {
        tell_of_profiles(domain, asked, out);
    }
    Ok(outcome)
}

/// Where a profile was asked for that the bundle in force does not have: those that it has.
pub(crate) fn tell_of_profiles(domain: &Domain, asked: &ProfileName, out: Out) {
    // What cannot be read is told of elsewhere.
    let Ok(policy) = in_force(domain) else { return };
    if policy.profile(asked).is_some() {
        return;
    }
    let names: Vec<&str> = policy
        .profiles()
        .map(|profile| profile.name().as_str())
        .collect();
    if out.is_json() {
        out.note(json!({ "unknown_profile": asked, "profiles": names }));
        return;
    }
    let names = names.join(", ");
    out.note(format!(
        "{} there is no profile `{asked}` in the bundle in force; there are {names}",
        paint(WARN, "placet:")
    ));
}

/// This process stays at the user's terminal, and another one supervises.
pub(crate) fn at_terminal() -> Result<Status, Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the supervisor is the process gateway itself"
    )]
    let mut supervisor = std::process::Command::new(program()?);
    supervisor
        .arg(door::FRONT_OPTION)
        .args(arguments().into_iter().skip(1));
    let InFront { status, was_lost } = in_front(&mut supervisor)?;
    if was_lost {
        let code = DenialCode::AuthorizationDiscontinuity;
        return Err(Failure {
            status: Status::Terminated,
            code: Some(code),
            ..Failure::new("the supervisor of the command was killed, and the command with it")
        });
    }
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(byte(code)),
        (None, signal) => Status::Signal(byte(signal.unwrap_or_default())),
    })
}

/// What would otherwise go unseen, in a line on standard error.
pub(crate) fn tell(notice: &Notice<'_>, out: Out) {
    if out.is_json() {
        out.note(match notice {
            Notice::Deferred(deferred) => json!({ "deferred": deferred }),
            Notice::Elsewhere {
                exec,
                rerouted,
                writes,
            } => json!({ "exec": exec, "rerouted": rerouted, "writes": writes }),
            Notice::Changed { exec, summary } => json!({ "exec": exec, "changes": summary }),
            Notice::Observed { exec, .. } => json!({ "exec": exec, "observed": true }),
            Notice::Refused { exec, count } => json!({ "exec": exec, "refused_inside": count }),
            Notice::ChangesLost { why } => json!({ "changes_lost": why }),
        });
        return;
    }
    let line = match notice {
        Notice::Deferred(deferred) => format!(
            "waiting for the approval of {}, until {}; to approve it: placet approve {}",
            deferred.waiting.in_words(),
            deferred.waiting.until,
            deferred.exec.short()
        ),
        Notice::Elsewhere {
            exec,
            rerouted,
            writes,
        } => {
            let rerouted: Vec<_> = rerouted.iter().cloned().collect();
            let how = if rerouted.is_empty() {
                String::new()
            } else {
                format!("rerouted {}: ", rerouted_to(&rerouted))
            };
            match writes {
                Writes::Direct => {
                    format!("{how}a stricter scope than asked for; `placet explain {exec}`")
                }
                Writes::Kept => {
                    format!("{how}writes go to a copy; review with `placet changes show {exec}`")
                }
                Writes::Discarded => {
                    format!("{how}a dry run: writes go to a copy, which is discarded")
                }
            }
        }
        Notice::Changed { summary, .. } if summary.count == 0 => "nothing was changed".to_owned(),
        Notice::Changed { exec, summary } => {
            let what = many(summary.count, "change");
            match summary.writes {
                Writes::Direct | Writes::Kept => {
                    format!("{what} kept; `placet changes show {exec}`, then apply or discard")
                }
                Writes::Discarded => {
                    format!(
                        "{what} discarded; `placet changes show {exec}` lists what would have been"
                    )
                }
            }
        }
        Notice::Observed { .. } => "what it did was noted".to_owned(),
        Notice::Refused { exec, count } => format!(
            "{} inside; which and why: placet lineage tree {exec}, placet explain {exec}",
            many(u64::try_from(*count).unwrap_or(u64::MAX), "refusal")
        ),
        Notice::ChangesLost { why } => format!("the changes are discarded: {why}"),
    };
    out.note(format!("{} {line}", paint(WARN, "placet:")));
}

/// The command that a command line describes.
pub(crate) fn command(call: &Call) -> Result<Command, Failure> {
    let cwd = std::env::current_dir()
        .map_err(|error| Failure::new(format!("the working directory: {error}")))?;
    Ok(Command {
        argv: call.argv.clone(),
        env: if call.door.is_some() {
            door::offered_environment()?
        } else {
            environment()
        },
        cwd,
        principal: principal(call)?,
        purpose: call.purpose.clone(),
        profile: call.profile.clone(),
        lifetime: call.lifetime.map(Seconds::new),
        parent: call.parent,
        door: call.door,
        waits: Waits::Yes,
        decide: call.decide,
        announce: call.announce,
    })
}

fn principal(call: &Call) -> Result<PrincipalId, Failure> {
    principal_or_own(call.principal.as_ref())
}

/// The principal that was named, else the one of the environment, else the user's own.
pub(crate) fn principal_or_own(named: Option<&PrincipalId>) -> Result<PrincipalId, Failure> {
    if let Some(principal) = named {
        return Ok(principal.clone());
    }
    match std::env::var(PRINCIPAL_VARIABLE) {
        Ok(name) if !name.is_empty() => PrincipalId::parse(&name)
            .map_err(|error| Failure::new(format!("{PRINCIPAL_VARIABLE}: {error}"))),
        _ => user_principal(),
    }
}

/// Inside a cell: its supervisor runs the command as a child of the cell's execution.
fn run_through_door(call: &Call, manner: Manner, out: Out) -> Result<Status, Failure> {
    if call.parent.is_some() || call.door.is_some() {
        let message = "a command inside of a governed one is its child, and nobody else's";
        return Err(Failure::new(message).hint("leave --parent out"));
    }
    let request = DoorRequest {
        argv: call.argv.clone(),
        cwd: std::env::current_dir()?,
        env: environment().into_iter().chain(manner.env).collect(),
        announce: manner.announce,
        decide: call.decide,
        lifetime: call.lifetime.map(Seconds::new),
        principal: call.principal.clone(),
        profile: call.profile.clone(),
        purpose: call.purpose.clone(),
    };
    match door::ask(&request) {
        Ok(DoorReply::Exited(code)) => Ok(Status::Code(u8::try_from(code).unwrap_or(u8::MAX))),
        Ok(DoorReply::Signaled(signal)) => {
            Ok(Status::Signal(u8::try_from(signal).unwrap_or(u8::MAX)))
        }
        Ok(DoorReply::Failed(reason)) => Err(Failure::unverified(reason)),
        Err(error) => {
            out.note(paint(DIM, "the door of this cell did not answer"));
            Err(Failure::unverified(error))
        }
    }
}

pub(crate) fn report(outcome: &Outcome, out: Out) -> Status {
    match outcome {
        Outcome::Ended {
            exit: Exit::Code(code),
            ..
        } => Status::Code(*code),
        Outcome::Ended {
            exit: Exit::Signal(signal),
            ..
        } => Status::Signal(*signal),
        Outcome::Denied {
            denial,
            exec,
            index,
        } => {
            if out.is_json() {
                out.note(serde_json::json!({
                    "denied": denial, "exec": exec, "index": index,
                    "remedy": denial.code.remedy(),
                }));
            } else {
                let code = paint(BOLD, denial.code);
                out.note(format!(
                    "{} {code}: {}",
                    paint(BAD, "placet: denied,"),
                    denial.reason
                ));
                out.note(format!(
                    "  {} {}",
                    paint(DIM, "to change that:"),
                    denial.code.remedy()
                ));
                if denial.code == DenialCode::Unenforceable {
                    for line in doctor::obstacles() {
                        out.note(format!("  {} {line}", paint(DIM, "missing here:")));
                    }
                }
                out.note(format!(
                    "  {} placet explain {index}",
                    paint(DIM, "the record:")
                ));
            }
            Status::Denied
        }
        Outcome::Deferred(deferred) => {
            if out.is_json() {
                out.note(serde_json::json!({ "deferred": deferred }));
            } else {
                out.note(format!(
                    "{} it needs the approval of {}\n  {} have it approved, and run it again",
                    paint(WARN, "placet: deferred,"),
                    deferred.waiting.in_words(),
                    paint(DIM, "to change that:"),
                ));
            }
            Status::Denied
        }
        Outcome::Terminated { exec, cause, why } => {
            let (meaning, remedy) = show::cause(*cause);
            if out.is_json() {
                out.note(serde_json::json!({
                    "terminated": exec, "cause": cause.as_str(), "why": why, "meaning": meaning,
                    "remedy": remedy,
                }));
            } else {
                let what = paint(BAD, "placet: terminated,");
                let happened = why.as_deref().unwrap_or(meaning);
                let happened = show::shown(happened);
                out.note(format!("{what} {}: {happened}", paint(BOLD, cause)));
                out.note(format!("  {} {remedy}", paint(DIM, "to change that:")));
                out.note(format!(
                    "  {} placet explain {exec}",
                    paint(DIM, "the record:")
                ));
            }
            Status::Terminated
        }
    }
}

/// The program's name, as it was given.
pub(crate) fn program_of(call: &Call) -> &str {
    call.argv.first().map(String::as_str).unwrap_or_default()
}

/// Statuses that shells use for a program that cannot be started.
pub(crate) fn failure(error: RunError, name: &str) -> Failure {
    let message = error.to_string();
    match error {
        RunError::Call(CallError::Program(ProgramError::NotFound(_))) => {
            Failure { status: Status::Code(127), ..Failure::new(message) }
        }
        RunError::Call(CallError::Program(_)) | RunError::Exec(_) => {
            Failure { status: Status::Code(126), ..Failure::new(message) }
        }
        RunError::Call(_) | RunError::Signals(_) | RunError::Terminal(_) => Failure::new(message),
        RunError::Unavailable(denial) => denial.into(),
        RunError::Copy(_) => Failure {
            status: Status::Denied,
            code: Some(DenialCode::Unenforceable),
            ..Failure::new(message).hint("nothing ran; a profile with `writes = \"direct\"` needs no copy")
        },
        RunError::Sandbox(
            SandboxError::NotCopyable { .. }
            | SandboxError::Setup {
                step: Step::MountOverlay,
                ..
            },
        ) => Failure {
            status: Status::Denied,
            code: Some(DenialCode::Unenforceable),
            ..Failure::new(message).hint(
                "nothing ran: a copy takes overlayfs with user namespaces (Linux 5.11), the domain \
                 directory on ext4, xfs, btrfs or tmpfs, and no mounts in the write trees",
            )
        },
        RunError::Sandbox(SandboxError::Unobservable(_)) => Failure {
            status: Status::Denied,
            code: Some(DenialCode::Unenforceable),
            ..Failure::new(message).hint("nothing ran: learning shows what was opened, or is refused")
        },
        RunError::Sandbox(_) | RunError::Pinned(_) | RunError::Uncounted(..) => Failure {
            status: Status::Denied,
            code: Some(DenialCode::Unenforceable),
            ..Failure::new(message).hint(format!(
                "`placet doctor` says what this machine can enforce; `placet decide -- {name}` shows the scope"
            ))
        },
        _ => Failure::unverified(message),
    }
}
