//! Supervision: one loop that hears the node, the signals, the door and the cell.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use placet_authority::clock::Clock;
use placet_authority::node::{Connection, Pushed};
use placet_enforce::{Event, Verdict, Watch};
use placet_evidence::NetworkUsage;
use placet_sandbox::{Change, EndedBy, Exit, RunningCell, SandboxError};
use placet_types::{DenialCode, ExecutionId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::changes::Copies;
use crate::conduct::Ending;
use crate::contacts::Contacts;
use crate::drift::LOOK_EVERY;
use crate::gate::Keeper;
use crate::outcome::RunError;
use crate::signals::Signals;
use crate::terminal::{FromFront, Front, ToFront};

/// How often a lost node is looked for.
const RETRY: Duration = Duration::from_millis(100);

/// What a supervisor works with.
pub(crate) struct Supervisor<'a> {
    pub(crate) exec: ExecutionId,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) watch: Watch,
    pub(crate) lease: Duration,
    pub(crate) link: Option<Connection>,
    /// Finds the node again and takes the execution up there.
    pub(crate) relink: &'a dyn Fn() -> Option<(Connection, Option<DenialCode>)>,
    /// Attests again what the work runs on.
    pub(crate) attest: &'a mut dyn FnMut(&mut Connection) -> Result<(), RunError>,
    pub(crate) signals: &'a mut Signals,
    /// Who is at the user's terminal, if the command has one.
    pub(crate) front: Option<&'a mut Front>,
    /// Whether the command stands still because the front was stopped, or the other way round.
    pub(crate) front_stopped: bool,
    /// Whether refusals are said where there is no front.
    pub(crate) announce: bool,
    pub(crate) keeper: Keeper<'a>,
    /// The copies that it writes to, if it does.
    pub(crate) copies: Option<&'a Copies>,
    /// What happened, where the cause of the end alone does not say.
    pub(crate) why: Option<Ending>,
    /// Refusals that were not said, because there is no front and nobody asked for it.
    pub(crate) unsaid: usize,
    /// When it was last looked what became of the cell.
    pub(crate) changes_taken: Duration,
}

/// What there is to be heard.
struct Ready {
    cell: bool,
    signals: bool,
    notices: bool,
}

/// How a supervised cell ended.
pub(crate) struct Supervised {
    pub(crate) exit: Exit,
    /// Why it was ended, if it was.
    pub(crate) cause: Option<DenialCode>,
    /// What happened, where the cause alone does not say.
    pub(crate) why: Option<String>,
    /// What went over the network, where there was one.
    pub(crate) network: Option<NetworkUsage>,
    /// Whom it wanted to reach, where that was noted.
    pub(crate) contacts: Option<Contacts>,
    /// Refusals that were not said while it ran.
    pub(crate) unsaid: usize,
    pub(crate) link: Option<Connection>,
}

impl Supervisor<'_> {
    /// Watches the cell until nothing of it is left.
    pub(crate) fn run(mut self, cell: &mut RunningCell) -> Result<Supervised, SandboxError> {
        loop {
            let now = self.clock.monotonic();
            let until = match self.watch.verdict(now) {
                Verdict::End(cause) => {
                    self.keeper.cut();
                    self.keeper.settle(cell);
                    let exit = cell.terminate()?;
                    return Ok(self.over(cell, exit, Some(cause)));
                }
                Verdict::Continue { until } => until,
            };
            let patience = until.saturating_sub(now).min(LOOK_EVERY);
            let patience = patience.min(self.keeper.patience(cell));
            let patience = if self.link.is_some() {
                patience
            } else {
                patience.min(RETRY)
            };
            let ready = self.wait(cell, patience);
            // A program that stands still is what somebody waits for.
            self.keeper.take_execs(cell, self.clock.monotonic());
            if ready.cell
                && let Some(exit) = self.changes(cell)?
            {
                if exit.ended_by == EndedBy::Lease && self.link.is_some() {
                    // What lies unread tells whose silence it was.
                    self.hear(cell);
                }
                let cause = cause_of(&exit, self.watch.verdict(self.clock.monotonic()));
                return Ok(self.over(cell, exit, cause));
            }
            let sent = ready.signals.then(|| self.signals.pending());
            for sent in sent.into_iter().flatten() {
                // A command that has just ended needs no signal.
                drop(if sent.by_kernel {
                    cell.signal_group(sent.signal)
                } else {
                    cell.signal(sent.signal)
                });
            }
            if !self.obey_front(cell) {
                // As if it were the command that was killed: nobody's authority has ended.
                self.keeper.cut();
                self.keeper.settle(cell);
                let exit = cell.terminate()?;
                return Ok(self.over(cell, exit, None));
            }
            self.hear(cell);
            if self.copies.is_some_and(Copies::is_over) {
                self.take(Event::Ending(DenialCode::Anomaly));
            }
            if let Some(ending) = self
                .keeper
                .attend(cell, (self.clock.monotonic(), ready.notices))
            {
                self.take(Event::Ending(ending.cause));
                self.why = self.why.or(Some(ending));
            }
            self.say_refusals();
        }
    }

    /// What was just refused is said where the person looks.
    fn say_refusals(&mut self) {
        for text in self.keeper.take_said() {
            if let Some(front) = told_of_all(&mut self.front) {
                front.tell(ToFront::Note(text));
            } else if self.announce {
                // Who has closed that stream does not want to know.
                writeln!(std::io::stderr(), "{text}").unwrap_or(());
            } else {
                self.unsaid += 1;
            }
        }
    }

    /// Waits until something can be heard, or the time is up; says what need not be asked for in vain.
    fn wait(&mut self, cell: &RunningCell, patience: Duration) -> Ready {
        let mut fds: Vec<BorrowedFd<'_>> = vec![cell.pidfd(), self.signals.as_fd(), cell.as_fd()];
        // Only a front is told of stops.
        if self.front.as_ref().is_none_or(|front| front.is_plain()) {
            fds.pop();
        }
        let told = fds.len();
        fds.extend(self.keeper.notices());
        let noticed = fds.len();
        fds.extend(self.front.as_ref().map(|front| front.as_fd()));
        fds.extend(self.link.as_ref().map(|link| link.as_fd()));
        fds.extend(cell.gate().map(|gate| gate.as_fd()));
        fds.extend(cell.broker().map(|broker| broker.as_fd()));
        fds.extend(self.keeper.network());
        fds.extend(cell.denials().map(|denials| denials.as_fd()));
        fds.extend(self.keeper.link_fd());
        let mut fds: Vec<PollFd<'_>> = fds
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        // One that was interrupted, as by a signal, says nothing.
        let interrupted = poll(&mut fds, Some(&timeout)).is_err();
        let is_ready = |at: usize| {
            let fd = fds.get(at);
            interrupted || fd.is_some_and(|fd| !fd.revents().is_empty())
        };
        let now = self.clock.monotonic();
        // Stops that nobody is told of are taken away all the same.
        let due = now.saturating_sub(self.changes_taken) >= LOOK_EVERY;
        let ready = Ready {
            cell: due || is_ready(0) || (told > 2 && is_ready(2)),
            signals: is_ready(1),
            notices: noticed > told && is_ready(told),
        };
        if ready.cell {
            self.changes_taken = now;
        }
        ready
    }

    /// Tells the front of stops; gives the end, if it has come.
    fn changes(&mut self, cell: &mut RunningCell) -> Result<Option<Exit>, SandboxError> {
        while let Some(change) = cell.next_change(Some(Duration::ZERO))? {
            match (change, told_of_all(&mut self.front)) {
                (Change::Ended(exit), _) => return Ok(Some(exit)),
                (Change::Stopped(signal), Some(front)) if !self.front_stopped => {
                    self.front_stopped = true;
                    front.tell(ToFront::Stopped(signal));
                }
                (Change::Stopped(_) | Change::Continued, _) => {}
            }
        }
        Ok(None)
    }

    /// Does what the front says; `false` when it has ended.
    fn obey_front(&mut self, cell: &RunningCell) -> bool {
        let Some(front) = &mut self.front else {
            return true;
        };
        for said in front.heard() {
            // A command that has just ended needs none of it.
            drop(match said {
                FromFront::Signal { signal, .. }
                    if front.is_plain()
                        && self.front_stopped
                        && signal == Signal::CONT.as_raw() =>
                {
                    self.front_stopped = false;
                    cell.signal_group(signal)
                }
                FromFront::Foreground => {
                    self.front_stopped = false;
                    cell.to_foreground()
                }
                FromFront::Background => {
                    self.front_stopped = false;
                    cell.to_background()
                }
                FromFront::Signal {
                    signal,
                    group: true,
                } => cell.signal_foreground(signal),
                FromFront::Signal {
                    signal,
                    group: false,
                } => cell.signal(signal),
                FromFront::Offer
                | FromFront::Streams
                | FromFront::Ready { .. }
                | FromFront::Restored => Ok(()),
            });
        }
        !front.is_gone()
    }

    /// A front that somebody stopped stands for a command that somebody stopped.
    fn look_at_front(&mut self, cell: &RunningCell) {
        let stopped = self.front.as_ref().is_some_and(|front| front.is_stopped());
        if stopped && !self.front_stopped {
            self.front_stopped = true;
            // A command that has just ended needs no signal.
            drop(cell.signal_group(Signal::STOP.as_raw()));
        }
    }

    /// Takes what the node says, and looks for it when it is gone.
    fn hear(&mut self, cell: &RunningCell) {
        let Some(link) = &mut self.link else {
            if let Some((link, ending)) = (self.relink)() {
                self.link = Some(link);
                // A node that is found once the lease has lapsed was not there in time, and that
                // is what the end is recorded with.
                if !self.watch.left(self.clock.monotonic()).is_zero() {
                    self.take(Event::LinkBack);
                }
                ending
                    .into_iter()
                    .for_each(|cause| self.take(Event::Ending(cause)));
            }
            return;
        };
        match link.pushed() {
            Ok(pushes) => {
                if let Some(bundle) = link.in_force() {
                    self.keeper.in_force(bundle);
                }
                let mut attest = false;
                for push in pushes {
                    match push {
                        Pushed::Beat { age, attest: asked } => {
                            attest |= asked;
                            self.look_at_front(cell);
                            self.take(Event::Beat { age });
                            let left = self.watch.left(self.clock.monotonic());
                            // A cell that cannot be told ends by its own lease.
                            drop(cell.renew(left.min(self.lease)));
                        }
                        Pushed::Ending { exec, cause } if exec == self.exec => {
                            self.take(Event::Ending(cause));
                        }
                        Pushed::Ending { .. } => {}
                    }
                }
                if attest {
                    self.attest_again();
                }
            }
            Err(_) => {
                self.link = None;
                self.take(Event::LinkLost);
            }
        }
    }

    fn attest_again(&mut self) {
        let Some(link) = &mut self.link else { return };
        if (self.attest)(link).is_err() {
            self.link = None;
            self.take(Event::LinkLost);
        }
    }

    fn take(&mut self, event: Event) {
        self.watch.take(event, self.clock.monotonic());
    }

    fn over(mut self, cell: &RunningCell, exit: Exit, cause: Option<DenialCode>) -> Supervised {
        let now = self.clock.monotonic();
        let network = self.keeper.finish(cell, cause, now);
        self.say_refusals();
        let why = self.why.filter(|why| Some(why.cause) == cause);
        Supervised {
            exit,
            cause,
            why: why.and_then(|why| why.why),
            network,
            contacts: self.keeper.contacts().cloned(),
            unsaid: self.unsaid,
            link: self.link,
        }
    }
}

/// The front, unless it stands for a caller without a terminal, who hears of neither stops nor single refusals.
fn told_of_all<'a>(front: &'a mut Option<&mut Front>) -> Option<&'a mut Front> {
    front.as_deref_mut().filter(|front| !front.is_plain())
}

/// Why a cell ended that its supervisor did not end.
fn cause_of(exit: &Exit, verdict: Verdict) -> Option<DenialCode> {
    match exit.ended_by {
        EndedBy::Worker => None,
        EndedBy::Lease => Some(match verdict {
            Verdict::End(cause) => cause,
            Verdict::Continue { .. } => DenialCode::AuthorizationDiscontinuity,
        }),
        EndedBy::Terminated => None,
        EndedBy::Outside => Some(DenialCode::RuntimeIntegrity),
    }
}
