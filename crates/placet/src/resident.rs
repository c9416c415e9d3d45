//! Gateways that stay, as `placet run` meets them: one is asked first, and one is started where the domain offers it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;

use placet_authority::dir::DomainDir;
use placet_process::Waits;
use placet_process::resident::{
    Ended, Leaving, OWN_VARIABLES, Offer, hand_over, is_offered, own_variables,
};
use placet_types::{DenialCode, Seconds};

use crate::cli::Call;
use crate::cmd::run::{Manner, principal_or_own};
use crate::context::{environment, program};
use crate::exit::{Failure, Status};
use crate::out::Out;

/// What a gateway that stays says beside its work.
pub(crate) const LOG: &str = "gateways.log";

/// Has a gateway that waits run the command; `None` where there is none for this caller, who then runs it by itself.
pub(crate) fn run(
    dir: &DomainDir,
    call: &Call,
    manner: &Manner,
    out: Out,
) -> Result<Option<Status>, Failure> {
    let sockets = dir.gateways();
    if !is_offered(&sockets) {
        return Ok(None);
    }
    let Some(own) = own_variables() else {
        return Ok(None);
    };
    let mut env = environment();
    env.extend(manner.env.clone());
    let offer = Offer {
        announce: call.announce || manner.announce,
        argv: call.argv.clone(),
        decide: call.decide,
        env,
        json: out.is_json(),
        lifetime: call.lifetime.map(Seconds::new),
        no_wait: manner.waits == Waits::No,
        own_only: Offer::own_only(),
        own,
        parent: call.parent,
        principal: principal_or_own(call.principal.as_ref())?,
        profile: call.profile.clone(),
        purpose: call.purpose.clone(),
    };
    let ended = hand_over(&sockets, &offer)?;
    ended.map(status).transpose()
}

fn status(ended: Ended) -> Result<Status, Failure> {
    match ended {
        Ended::Left(Leaving::Code(code)) => Ok(Status::Code(code)),
        Ended::Left(Leaving::Signal(signal)) => Ok(Status::Signal(signal)),
        Ended::Lost { began: true } => {
            let code = DenialCode::AuthorizationDiscontinuity;
            Err(Failure {
                status: Status::Terminated,
                code: Some(code),
                ..Failure::new("the gateway of the command was killed, and the command with it")
            })
        }
        Ended::Lost { began: false } => Err(Failure::unverified(
            "the gateway of the command was killed before it ran",
        )),
    }
}

/// Starts a gateway for the commands that follow, where the domain offers one more. It goes on without this process, with what
/// its children would have of it, and with nothing else: no descriptor, and of the environment what it must have in common with its callers.
pub(crate) fn keep(dir: &DomainDir) {
    let sockets = dir.gateways();
    let free = |slot: &usize| {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(sockets.join(format!("{slot}.lock")));
        lock.is_ok_and(|lock| lock.try_lock().is_ok())
    };
    let Some(slot) = (0..dir.gateways_offered()).find(free) else {
        return;
    };
    // Without one everything goes on as before.
    drop(start(dir, slot));
}

fn start(dir: &DomainDir, slot: usize) -> Result<(), Failure> {
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(dir.root().join(LOG))?;
    placet_sandbox::keep_descriptors()?;
    let own: BTreeMap<&str, _> = OWN_VARIABLES
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .collect();
    #[expect(
        clippy::disallowed_methods,
        reason = "the gateway that stays is the process gateway itself"
    )]
    let mut command = std::process::Command::new(program()?);
    command
        .arg("gateway")
        .arg("serve")
        .arg(slot.to_string())
        .arg("--domain")
        .arg(dir.root())
        .env_clear()
        .envs(own)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(())
}
