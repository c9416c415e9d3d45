//! The demo while it goes on: where it happens, what was seen so far, and how a step is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use placet_authority::clock::Clock;
use placet_types::Index;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::ground::Ground;
use super::process::{Finished, Running};
use super::report::{Report, Seen};
use super::step::{self, Trace, Try};
use crate::exit::{Failure, Status};
use crate::out::Out;

/// Exit status of a program that Ctrl-C ended, as shells write it.
const INTERRUPTED: u8 = 130;

/// The demo while it goes on.
pub(super) struct Stage {
    pub(super) ground: Ground,
    pub(super) report: Report,
    pub(super) clock: Arc<dyn Clock>,
    began: Duration,
    interrupted: Arc<AtomicBool>,
    /// A job whose end is looked for later, and where the log was when it began.
    pub(super) orphan: Option<(Index, Trace)>,
}

/// A governed command that was started and goes on.
pub(super) struct Job {
    pub(super) running: Running,
    /// Where the log was before it.
    pub(super) from: Index,
}

impl Stage {
    /// Makes the place where it happens.
    pub(super) fn new(keep: bool, out: Out, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        let (began, report) = (clock.monotonic(), Report::new(out));
        // After that: from here on there is something to clean up.
        let ground = Ground::make(keep)?;
        Ok(Self {
            ground,
            report,
            clock,
            began,
            interrupted,
            orphan: None,
        })
    }

    /// Adds a line, and goes on unless somebody has interrupted the demo.
    pub(super) fn add(&mut self, tried: &str, expected: &str, seen: Seen) -> Result<(), Failure> {
        // What an interrupted step came to says nothing.
        self.go_on()?;
        let elapsed = self.clock.monotonic().saturating_sub(self.began);
        self.report.add(elapsed, tried, expected, seen);
        Ok(())
    }

    /// An error once somebody has interrupted the demo.
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            let status = Status::Code(INTERRUPTED);
            return Err(Failure {
                status,
                ..Failure::new("interrupted; the demo cleans up and ends")
            });
        }
        Ok(())
    }

    /// Waits until `come` says so, for a while.
    pub(super) fn await_that(
        &self,
        patience: Duration,
        mut come: impl FnMut() -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        let until = self.clock.monotonic().saturating_add(patience);
        while !come()? {
            self.go_on()?;
            if self.clock.monotonic() > until {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(true)
    }

    /// Makes the steps of a table, one after the other.
    pub(super) fn attempt_all(&mut self, tries: &[Try]) -> Result<(), Failure> {
        tries.iter().try_for_each(|one| self.attempt(one).map(drop))
    }

    /// Makes one step: runs the command, reads what the log says of it, compares.
    pub(super) fn attempt(&mut self, one: &Try) -> Result<Trace, Failure> {
        let job = self.begin(one)?;
        let (finished, trace) = self.finish(job)?;
        let seen = self.judge(one, &finished, &trace);
        self.add(one.what, &one.end.to_string(), seen.at(trace.index()))?;
        Ok(trace)
    }

    /// What a finished command came to, beside what was expected of it.
    pub(super) fn judge(&self, one: &Try, finished: &Finished, trace: &Trace) -> Seen {
        let output = [finished.stdout.as_str(), &finished.stderr].concat();
        let seen = step::judge(one.end, finished, trace)
            .and_then(|observed| self.ground.is_free_of_canary(&output).map(|()| observed))
            .and_then(|observed| (one.also)(&self.ground).map(|()| observed))
            .and_then(|observed| match output.contains(one.says) {
                true => Ok(observed),
                false => Err(format!("it did not say {:?}", one.says)),
            });
        Seen::of(seen)
    }

    /// Starts a governed command.
    pub(super) fn begin(&self, one: &Try) -> Result<Job, Failure> {
        let mut args = vec!["run".to_owned(), format!("--as={}", one.principal)];
        args.extend(one.options.iter().map(|text| (*text).to_owned()));
        args.push("--".to_owned());
        args.extend(one.argv.iter().map(|text| self.ground.fill(text)));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let from = self.ground.size()?;
        Ok(Job {
            running: self.ground.start(&args)?,
            from,
        })
    }

    /// Waits for a governed command, and reads what was recorded since it began.
    pub(super) fn finish(&self, job: Job) -> Result<(Finished, Trace), Failure> {
        let finished = job.running.wait()?;
        Ok((finished, Trace::of(self.ground.records(job.from)?)))
    }

    /// Ends the node, removes what was made, and gives what was seen.
    pub(super) fn leave(mut self) -> Result<Report, Failure> {
        self.ground.clear()?;
        Ok(self.report)
    }
}
