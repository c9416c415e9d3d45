//! Where an execution stands: whether it may start, whether it runs.

use placet_evidence::CheckedDenial;
use placet_state::{Execution, Phase, State};
use placet_types::{Denial, DenialCode, Digest, ExecutionId, Index, Millis};

use crate::submission::Denied;

/// Whether an execution may start now; gives the digest of its intent.
pub(crate) fn may_start(
    state: &State,
    exec: ExecutionId,
    artifact: Digest,
    now: Millis,
) -> Result<Digest, Denial> {
    let replayed = || Denial::new(DenialCode::Replayed, "the artifact was used, or has lapsed");
    let execution = state.execution(&exec).ok_or_else(replayed)?;
    match execution.phase {
        Phase::Authorized => {}
        Phase::Running(_) => return Err(replayed()),
    }
    if execution.artifact != artifact {
        let reason = "the artifact is not the one that was issued for this execution";
        return Err(Denial::new(DenialCode::IntentMismatch, reason));
    }
    if state.is_halted() {
        return Err(Denial::new(DenialCode::Halted, "the domain is halted"));
    }
    if let Some(cause) = execution.ending {
        return Err(Denial::new(
            cause,
            "the authority was ended before the start",
        ));
    }
    if state.policy().map(|active| active.bundle) != Some(execution.bundle) {
        let reason = "another policy bundle came into force before the start";
        return Err(Denial::new(DenialCode::PolicyMismatch, reason));
    }
    if now >= execution.grant.not_after {
        return Err(Denial::new(DenialCode::Expired, "the window is over"));
    }
    parent_is_live(state, execution)?;
    Ok(execution.intent.digest())
}

fn parent_is_live(state: &State, execution: &Execution) -> Result<(), Denial> {
    let Some(parent) = execution.parent() else {
        return Ok(());
    };
    if state.execution(&parent).is_some_and(Execution::is_live) {
        return Ok(());
    }
    Err(Denial::new(
        DenialCode::LineageFragmented,
        "the parent does not run any more",
    ))
}

pub(crate) fn running(state: &State, exec: ExecutionId) -> Option<Digest> {
    let execution = state.execution(&exec)?;
    matches!(execution.phase, Phase::Running(_)).then_some(execution.intent.digest())
}

pub(crate) fn unknown_execution(index: Index, exec: ExecutionId) -> Denied {
    let reason = "no such execution is authorized or running".to_owned();
    let denial = CheckedDenial {
        check: 5,
        code: DenialCode::LineageFragmented,
        reason,
    };
    Denied {
        index,
        exec: Some(exec),
        denial,
    }
}
