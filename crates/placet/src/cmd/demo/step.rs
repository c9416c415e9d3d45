//! One step as data: a command, what must come of it, and how that is told from what is there.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;

use placet_evidence::{Decided, Ended, Exit, Outcome, Record, RunEnd};
use placet_types::{DenialCode, ExecutionId, Index};

use super::ground::{AGENT, Ground};
use super::process::Finished;
use crate::exit::{DENIED, TERMINATED};

/// A governed command and what must come of it.
#[derive(Clone, Copy)]
pub(super) struct Try {
    /// What is tried, in a few words.
    pub(super) what: &'static str,
    /// Who tries.
    pub(super) principal: &'static str,
    /// Options of `placet run`.
    pub(super) options: &'static [&'static str],
    /// The command. `{home}` and its like are filled in.
    pub(super) argv: &'static [&'static str],
    /// What must come of it.
    pub(super) end: End,
    /// What its output must contain.
    pub(super) says: &'static str,
    /// What must hold afterwards.
    pub(super) also: fn(&Ground) -> Result<(), String>,
}

/// What comes of a governed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Permitted, and ended by itself with this status.
    Exits(u8),
    /// Permitted; its cell kept it from what it tried, and the program said so in these words.
    Stopped(&'static str),
    /// Denied; nothing ran.
    Denied(DenialCode),
    /// Permitted, and ended because its authority ended.
    Terminated(DenialCode),
}

/// What the log says of a command: its decision, and the end of its execution.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub(super) decided: Option<(Index, Decided)>,
    pub(super) started: bool,
    pub(super) ended: Option<(Index, Ended)>,
    /// Everything that was recorded since the command began.
    pub(super) records: Vec<(Index, Record)>,
}

impl Try {
    /// The agent tries a command.
    pub(super) const fn new(what: &'static str, argv: &'static [&'static str], end: End) -> Self {
        Self {
            what,
            principal: AGENT,
            options: &[],
            argv,
            end,
            says: "",
            also: |_| Ok(()),
        }
    }

    /// The agent tries something that is permitted, and works.
    pub(super) const fn done(what: &'static str, argv: &'static [&'static str]) -> Self {
        Self::new(what, argv, End::Exits(0))
    }

    pub(super) const fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    pub(super) const fn also(self, also: fn(&Ground) -> Result<(), String>) -> Self {
        Self { also, ..self }
    }

    pub(super) const fn with(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }
}

impl Trace {
    /// The first decision of these records, and what belongs to it.
    pub(super) fn of(records: Vec<(Index, Record)>) -> Self {
        Self::about(records, |_| true)
    }

    /// The first decision of which `wanted` holds, and what belongs to it.
    pub(super) fn about(records: Vec<(Index, Record)>, wanted: impl Fn(&Decided) -> bool) -> Self {
        let mut trace = Self {
            decided: None,
            started: false,
            ended: None,
            records: Vec::new(),
        };
        let found = decided(&records).find(|(_, decided)| wanted(decided));
        trace.decided = found.map(|(index, decided)| (index, decided.clone()));
        for (index, record) in &records {
            if let Record::Started(started) = record {
                trace.started |= Some(started.exec) == trace.exec();
            }
            if let Record::Ended(ended) = record
                && Some(ended.exec) == trace.exec()
            {
                trace.ended = Some((*index, ended.clone()));
            }
        }
        Self { records, ..trace }
    }

    /// The execution that was decided about.
    pub(super) fn exec(&self) -> Option<ExecutionId> {
        self.decided.as_ref().map(|(_, decided)| decided.facts.exec)
    }

    /// Where the decision stands.
    pub(super) fn index(&self) -> Option<Index> {
        self.decided.as_ref().map(|(index, _)| *index)
    }
}

/// The decisions among some records.
pub(super) fn decided(records: &[(Index, Record)]) -> impl Iterator<Item = (Index, &Decided)> {
    records.iter().filter_map(|(index, record)| {
        let Record::Decided(decided) = record else {
            return None;
        };
        Some((*index, decided.as_ref()))
    })
}

/// Whether a command came to its end as expected. Says what was seen, either way.
///
/// The exit status and the log must say the same.
pub(super) fn judge(expected: End, finished: &Finished, trace: &Trace) -> Result<String, String> {
    let Some((_, decided)) = &trace.decided else {
        return Err(format!(
            "no decision, {}: {}",
            finished.how(),
            last_line(&finished.stderr)
        ));
    };
    match (decided.outcome, &trace.ended) {
        (Outcome::Deny, None)
            if finished.status.code() == Some(DENIED.into()) && !trace.started =>
        {
            denied(expected, decided)
        }
        (Outcome::Permit, Some((_, ended))) if trace.started => ran(expected, finished, ended),
        _ => Err(format!("{} does not fit what the log says", finished.how())),
    }
}

fn denied(expected: End, decided: &Decided) -> Result<String, String> {
    let Some(denial) = &decided.denial else {
        return Err("a denial without its code".into());
    };
    let observed = match decided.policy.determining.as_slice() {
        [] => denial.code.to_string(),
        policies => format!("{} by {}", denial.code, policies.join(", ")),
    };
    as_expected(expected == End::Denied(denial.code), observed)
}

fn ran(expected: End, finished: &Finished, ended: &Ended) -> Result<String, String> {
    let status = finished.status;
    if ended.outcome == RunEnd::Terminated {
        let Some(cause) = ended.cause else {
            return Err("terminated without a cause".into());
        };
        let fits = status.code() == Some(TERMINATED.into()) && expected == End::Terminated(cause);
        return as_expected(fits, format!("{cause}, {}", finished.how()));
    }
    let recorded = match ended.exit {
        Some(Exit::Code(code)) => status.code() == Some(code.into()),
        Some(Exit::Signal(signal)) => status.signal() == Some(signal.into()),
        None => false,
    };
    if !recorded {
        return Err(format!("{} does not fit what the log says", finished.how()));
    }
    let failed = || format!("{}: {}", finished.how(), last_line(&finished.stderr));
    match expected {
        End::Exits(code) if status.code() == Some(code.into()) => Ok(expected.to_string()),
        End::Stopped(words) if !status.success() && finished.stderr.contains(words) => {
            Ok(format!("{words}, {}", finished.how()))
        }
        End::Exits(_) | End::Stopped(_) | End::Denied(_) | End::Terminated(_) => Err(failed()),
    }
}

fn as_expected(fits: bool, observed: String) -> Result<String, String> {
    if fits { Ok(observed) } else { Err(observed) }
}

/// What a program said last.
fn last_line(text: &str) -> &str {
    text.trim_end()
        .lines()
        .next_back()
        .unwrap_or("nothing said")
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exits(0) => f.write_str("done"),
            Self::Exits(code) => write!(f, "exit {code}"),
            Self::Stopped(_) => f.write_str("stopped by its cell"),
            Self::Denied(code) => write!(f, "denied, {code}"),
            Self::Terminated(cause) => write!(f, "terminated, {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use placet_types::{Digest, Millis};

    use super::*;

    fn finished(status: i32, stderr: &str) -> Finished {
        let (stdout, stderr) = (String::new(), stderr.to_owned());
        Finished {
            status: ExitStatus::from_raw(status << 8),
            stdout,
            stderr,
        }
    }

    fn ended(outcome: RunEnd, exit: u8, cause: Option<DenialCode>) -> Ended {
        Ended {
            cause,
            exec: ExecutionId::new([1; 16]),
            exit: Some(Exit::Code(exit)),
            intent: Digest::of(b""),
            outcome,
            time: Millis::default(),
            usage: None,
        }
    }

    #[test]
    fn what_the_log_says_and_what_the_shell_sees_must_agree() {
        let done = ended(RunEnd::Completed, 0, None);
        assert!(ran(End::Exits(0), &finished(0, ""), &done).is_ok());
        assert!(ran(End::Exits(1), &finished(1, ""), &done).is_err());
        assert!(
            ran(
                End::Exits(0),
                &finished(0, ""),
                &ended(RunEnd::Failed, 1, None)
            )
            .is_err()
        );
    }

    #[test]
    fn a_command_that_gets_through_is_not_stopped() {
        let expected = End::Stopped("Permission denied");
        let failed = ended(RunEnd::Failed, 1, None);
        assert!(ran(expected, &finished(1, "x: Permission denied"), &failed).is_ok());
        assert!(ran(expected, &finished(1, "x: no such option"), &failed).is_err());
        let done = ended(RunEnd::Completed, 0, None);
        assert!(ran(expected, &finished(0, "x: Permission denied"), &done).is_err());
    }

    #[test]
    fn a_termination_counts_with_its_cause_and_its_status() {
        let expected = End::Terminated(DenialCode::Revoked);
        let status = i32::from(TERMINATED);
        let revoked = ended(RunEnd::Terminated, 0, Some(DenialCode::Revoked));
        assert!(ran(expected, &finished(status, ""), &revoked).is_ok());
        assert!(ran(expected, &finished(0, ""), &revoked).is_err());
        let halted = ended(RunEnd::Terminated, 0, Some(DenialCode::Halted));
        assert!(ran(expected, &finished(status, ""), &halted).is_err());
        let done = ended(RunEnd::Completed, 0, None);
        assert!(ran(expected, &finished(0, ""), &done).is_err());
    }

    #[test]
    fn a_command_of_which_nothing_is_recorded_is_never_as_expected() {
        let nothing = Trace::of(Vec::new());
        for expected in [End::Exits(0), End::Denied(DenialCode::NoPermit)] {
            assert!(judge(expected, &finished(0, ""), &nothing).is_err());
            assert!(judge(expected, &finished(i32::from(DENIED), ""), &nothing).is_err());
        }
    }
}
