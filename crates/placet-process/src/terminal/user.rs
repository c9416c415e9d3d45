//! The user's terminal, as the front has it: found, set raw, and given back as it was found.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{getpgid, getpgrp, getppid, getsid};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, Winsize, isatty, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr,
};

/// The user's terminal. Dropping it restores it.
#[derive(Debug)]
pub(super) struct UserTerminal {
    file: OwnedFd,
    found: Termios,
    is_raw: bool,
    /// Whether the others of the job write to it themselves: then what is written to it is treated
    /// as it was found, for them.
    is_shared: bool,
}

/// Whether one of the standard streams is a terminal.
#[must_use]
pub fn any_stream_is_terminal() -> bool {
    streams_that_are_terminals().contains(&true)
}

/// Which of the standard streams are terminals.
pub(super) fn streams_that_are_terminals() -> [bool; 3] {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    [input.as_fd(), output.as_fd(), error.as_fd()].map(isatty)
}

impl UserTerminal {
    /// The controlling terminal, else the first standard stream that is one. Opened anew, so that
    /// not to wait at it is not forced on everyone who shares the stream.
    pub(super) fn find() -> io::Result<Self> {
        let file = open_own("/dev/tty").or_else(|_| open_stream())?;
        let found = tcgetattr(&file)?;
        Ok(Self {
            file,
            found,
            is_raw: false,
            is_shared: !isatty(io::stdout()),
        })
    }

    /// How it was found.
    pub(super) fn found(&self) -> &Termios {
        &self.found
    }

    pub(super) fn size(&self) -> io::Result<Winsize> {
        Ok(tcgetwinsize(&self.file)?)
    }

    /// Whether its keys are for the job that this process is in. One that is not the controlling
    /// terminal knows no jobs.
    pub(super) fn is_foreground(&self) -> bool {
        tcgetpgrp(&self.file).map_or(true, |group| group == getpgrp())
    }

    pub(super) fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// Whether a line end that is written to it now goes back to the beginning of the line.
    pub(super) fn returns_at_line_ends(&self) -> bool {
        let modes = self.found.output_modes;
        let as_found = !self.is_raw || self.is_shared;
        as_found && modes.contains(OutputModes::OPOST | OutputModes::ONLCR)
    }

    /// Every key as it is, nothing echoed, nothing translated.
    pub(super) fn set_raw(&mut self) {
        let mut raw = self.found.clone();
        raw.make_raw();
        if self.is_shared {
            raw.output_modes = self.found.output_modes;
        }
        self.is_raw = tcsetattr(&self.file, OptionalActions::Drain, &raw).is_ok();
    }

    /// As it was found. What was typed meanwhile was typed for the tree, and what the tree made the
    /// terminal say is not typed at all: nobody else is to read it.
    pub(super) fn restore(&mut self) {
        // From the background it would stop this job. Whoever has the foreground by then has set the
        // terminal as it needs it.
        if std::mem::take(&mut self.is_raw) && self.is_foreground() {
            // A terminal that is gone needs none of it.
            tcsetattr(&self.file, OptionalActions::Flush, &self.found).unwrap_or(());
        }
    }
}

impl AsFd for UserTerminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for UserTerminal {
    fn drop(&mut self) {
        self.restore();
    }
}

fn open_own(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// One whose owner is another user, as under `su`, is shared instead.
fn open_stream() -> io::Result<OwnedFd> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let stream = [input.as_fd(), output.as_fd(), error.as_fd()]
        .into_iter()
        .find(|stream| isatty(stream))
        .ok_or(io::ErrorKind::NotFound)?;
    open_own(&format!("/proc/self/fd/{}", stream.as_raw_fd()))
        .or_else(|_| Ok(fcntl_dupfd_cloexec(stream, 3)?))
}

/// Whether nobody in this session would continue this job: the kernel then does not stop it.
pub(super) fn is_orphaned() -> bool {
    let own = (getpgrp(), getsid(None));
    let Some(parent) = getppid() else {
        return true;
    };
    // A parent in the same job is itself stopped with it; only one beside it could continue it.
    !matches!(
        (getpgid(Some(parent)), getsid(Some(parent)), own),
        (Ok(group), Ok(session), (own_group, Ok(own_session)))
            if session == own_session && group != own_group
    )
}
