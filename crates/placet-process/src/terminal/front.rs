//! The front as its supervisor has it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use placet_authority::node::wire::DeferredBody;
use placet_sandbox::TerminalStreams;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt::{socket_peercred, socket_type};
use rustix::net::{RecvFlags, SendFlags, SocketType};
use rustix::process::{Pid, Signal, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use super::user::streams_that_are_terminals;
use super::{FromFront, Link, Refused, ToFront, WaitsFor};
use crate::resident::Parting;

/// How long a front may take to set up its side.
const SETUP_SECS: i64 = 10;
/// Messages that wait for a front that does not read; notes beyond it are dropped.
const WAITING_MAX: usize = 256;

/// The process at the user's terminal, for which this process supervises.
#[derive(Debug)]
pub struct Front {
    link: Link,
    pid: Option<Pid>,
    streams: [bool; 3],
    /// The user's terminal and how it was found: a front that was killed cannot restore it.
    terminal: Option<(OwnedFd, Termios)>,
    waiting: VecDeque<ToFront>,
    is_gone: bool,
    /// Whether it stands for a caller without a terminal, who is told no more than such a caller is.
    is_plain: bool,
}

impl Front {
    /// Takes the place that a front has started this process for: its connection is standard input,
    /// and the streams come over it. This process leaves the session, whose keys are not for it.
    ///
    /// # Errors
    ///
    /// When no front has started it, and what the operating system says.
    pub fn attach() -> io::Result<Self> {
        let nobody = || io::Error::other("only a front starts a supervisor");
        let link = fcntl_dupfd_cloexec(io::stdin(), 3)?;
        if !socket_type(&link).is_ok_and(|kind| kind == SocketType::SEQPACKET) {
            return Err(nobody());
        }
        let pid = socket_peercred(&link).ok().map(|peer| peer.pid);
        let link = Link(link);
        let Some((FromFront::Streams, streams)) = link.receive(RecvFlags::empty())? else {
            return Err(nobody());
        };
        let streams = <[OwnedFd; 3]>::try_from(streams).map_err(|_| nobody())?;
        let [input, output, error] = &streams;
        dup2_stdin(input)?;
        dup2_stdout(output)?;
        dup2_stderr(error)?;
        setsid()?;
        Ok(Self {
            is_plain: false,
            ..Self::handed(link, pid, streams)
        })
    }

    /// A caller whose standard streams are this process's already.
    pub(crate) fn handed(link: Link, pid: Option<Pid>, streams: [OwnedFd; 3]) -> Self {
        let terminal = streams.into_iter().find(|stream| isatty(stream));
        let terminal = terminal.and_then(|fd| tcgetattr(&fd).ok().map(|found| (fd, found)));
        let streams = streams_that_are_terminals();
        Self {
            link,
            pid,
            is_plain: !streams.contains(&true),
            streams,
            terminal,
            waiting: VecDeque::new(),
            is_gone: false,
        }
    }

    /// Whether it stands for a caller without a terminal.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// As [`Front::release`], for a front that is told afterwards how to leave.
    pub fn part(mut self) -> Parting {
        if !self.is_plain {
            self.await_restored();
        }
        Parting(self.link)
    }

    /// The streams that the cell's own terminal is to take the place of; `None` where none of them is
    /// a terminal.
    pub(crate) fn streams(&self) -> Option<TerminalStreams> {
        let [input, output, error] = self.streams;
        (input || output || error).then_some(TerminalStreams {
            input,
            output,
            error,
        })
    }

    /// Hands the other end of the cell's terminal over, and waits until it is set up. Gives whether
    /// the command begins in the foreground.
    pub(crate) fn hand_over(&mut self, terminal: OwnedFd) -> io::Result<bool> {
        self.link
            .send(&ToFront::Terminal, &[terminal.as_fd()], SendFlags::DONTWAIT)?;
        drop(terminal);
        let mut polled = [PollFd::new(&self.link, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: SETUP_SECS,
            tv_nsec: 0,
        };
        if poll(&mut polled, Some(&patience))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match self.link.receive(RecvFlags::DONTWAIT)? {
            Some((FromFront::Ready { foreground }, _)) => Ok(foreground),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Waits this long while nothing runs yet, or until the front speaks. Gives whether it wants no
    /// more of it: a key or a signal that would end a command, or its own end.
    pub(crate) fn gives_up_within(&mut self, patience: Duration) -> bool {
        let timeout = Timespec::try_from(patience).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        // An interrupted wait is a short one.
        poll(
            &mut [PollFd::new(&self.link, PollFlags::IN)],
            Some(&timeout),
        )
        .unwrap_or(0);
        let ending = [Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP].map(Signal::as_raw);
        let gives_up = self.heard().iter().any(
            |said| matches!(said, FromFront::Signal { signal, .. } if ending.contains(signal)),
        );
        gives_up || self.is_gone
    }

    /// Tells the front that the command waits for approvals.
    pub(crate) fn waits(&mut self, deferred: &DeferredBody) {
        self.tell(ToFront::Waits(WaitsFor::of(deferred)));
    }

    /// Tells the front that the command was denied.
    pub fn denied(&mut self, refused: Refused) {
        self.tell(ToFront::Denied(refused));
    }

    /// Tells the front something, at the latest when it reads again.
    pub(crate) fn tell(&mut self, message: ToFront) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(message);
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(message) = self.waiting.front() {
            match self.link.send(message, &[], SendFlags::DONTWAIT) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.waiting.clear(),
            }
        }
    }

    /// What the front has said since; a front that says what cannot be read is gone.
    pub(crate) fn heard(&mut self) -> Vec<FromFront> {
        self.flush();
        let mut heard = Vec::new();
        while !self.is_gone {
            match self.link.receive(RecvFlags::DONTWAIT) {
                Ok(Some((message, _))) => heard.push(message),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(None) | Err(_) => self.is_gone = true,
            }
        }
        heard
    }

    /// Whether the front has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether the front was stopped, from outside too.
    pub(crate) fn is_stopped(&self) -> bool {
        let Some(pid) = self.pid else {
            return false;
        };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        // The second field, the name, is in parentheses and may hold anything.
        stat.is_ok_and(|stat| {
            stat.rsplit_once(')')
                .is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
        })
    }

    /// Nothing runs any more: waits until the front has shown all that was written and has given the
    /// user's terminal back, or has ended. What this process prints from here on comes after that.
    pub fn release(mut self) {
        self.await_restored();
    }

    fn await_restored(&mut self) {
        self.waiting.push_back(ToFront::Over);
        while !self.is_gone {
            if self.heard().contains(&FromFront::Restored) {
                return;
            }
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, !self.waiting.is_empty());
            // An interrupted wait is a short one.
            poll(&mut [PollFd::new(&self.link, events)], None).unwrap_or(0);
        }
        self.restore();
    }

    /// In the place of a front that was killed.
    fn restore(&mut self) {
        if let Some((terminal, found)) = self.terminal.take() {
            // A terminal that is gone needs none of it.
            tcsetattr(&terminal, OptionalActions::Flush, &found).unwrap_or(());
        }
    }
}

impl AsFd for Front {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}
