//! How a run ended, as it is recorded.

use std::time::Duration;

use placet_authority::node::wire::EndBody;
use placet_evidence::{Exit as RecordedExit, RunEnd, Usage};
use placet_sandbox::{EndedBy, Exit, Status};
use placet_types::{DenialCode, ExecutionId};

pub(crate) fn end_body(
    exec: ExecutionId,
    outcome: RunEnd,
    cause: Option<DenialCode>,
    exit: Option<RecordedExit>,
) -> EndBody {
    EndBody {
        cause,
        exec,
        exit,
        outcome,
        usage: None,
    }
}

pub(crate) fn ended(
    exec: ExecutionId,
    exit: &Exit,
    cause: Option<DenialCode>,
    wall: Duration,
) -> EndBody {
    let outcome = match (cause, exit.ended_by, exit.status) {
        (Some(_), _, _) => RunEnd::Terminated,
        (None, EndedBy::Worker, Status::Exited(0)) => RunEnd::Completed,
        (None, _, _) => RunEnd::Failed,
    };
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let usage = Usage {
        output: None,
        changes: None,
        cpu_ms: millis(exit.user.saturating_add(exit.system)),
        rss_kib_max: exit.max_rss_bytes / 1024,
        network: None,
        wall_ms: millis(wall),
    };
    let exit = Some(recorded_exit(exit.status));
    EndBody {
        cause,
        exec,
        exit,
        outcome,
        usage: Some(usage),
    }
}

pub(crate) fn recorded_exit(status: Status) -> RecordedExit {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match status {
        Status::Exited(code) => RecordedExit::Code(byte(code)),
        Status::Signaled(signal) => RecordedExit::Signal(byte(signal)),
    }
}
