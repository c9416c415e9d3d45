//! A command that can be no intent, because no record can hold it: refused like any other, with a code and a record.

use placet_authority::node::Connection;
use placet_authority::node::wire::{Request, Response};
use placet_evidence::{CheckedDenial, Stage};
use placet_types::{Denial, DenialCode};

use super::unexpected;
use crate::call::{Call, CallError, Command};
use crate::outcome::{Outcome, RunError};

/// How much of the command is kept beside the record.
const PRESENTED_BYTES: usize = 16 << 10;

/// The call, or the outcome that there is in its place.
pub(super) fn or_refused(
    link: &mut Connection,
    command: &Command,
    call: Result<Call, CallError>,
) -> Result<Result<Call, Outcome>, RunError> {
    let error = match call {
        Ok(call) => return Ok(Ok(call)),
        Err(error @ (CallError::Malformed(_) | CallError::Path(_))) => error,
        Err(error) => return Err(error.into()),
    };
    let denial = Denial::new(DenialCode::Malformed, error.to_string());
    let request = Request::Refused {
        denial: denial.clone(),
        exec: None,
        presented: presented(command),
        stage: Stage::Intent,
    };
    match link.ask(&request)? {
        Response::Recorded { index } => Ok(Err(Outcome::Denied {
            denial: CheckedDenial {
                check: 1,
                code: denial.code,
                reason: denial.reason,
            },
            exec: None,
            index,
        })),
        other => Err(unexpected(other)),
    }
}

/// The beginning of the command, as words.
fn presented(command: &Command) -> String {
    let mut line = String::new();
    for word in &command.argv {
        let room = PRESENTED_BYTES.saturating_sub(line.len());
        if room == 0 {
            break;
        }
        line.extend(word.chars().take(room));
        line.push(' ');
    }
    line
}
