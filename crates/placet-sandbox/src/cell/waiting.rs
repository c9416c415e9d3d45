//! A cell between its set-up and its program: what it is given, and what of it the supervisor takes.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::{ReleasedCell, RunningCell, WaitingCell, explain};
use crate::broker::{Broker, Server};
use crate::credentials;
use crate::denials::Denials;
use crate::error::SandboxError;
use crate::gate::{Gate, Tracer};
use crate::hear::{SETUP_SECS_MAX, next_report};
use crate::sys::{self, StringArray};
use crate::tree::deadline_after;
use crate::wire::{Order, Report};

impl WaitingCell {
    /// Lets the worker verify the program and execute it.
    ///
    /// # Errors
    /// [`SandboxError::ProgramChanged`], [`SandboxError::Exec`] with execve's reason, and
    /// [`SandboxError::SetupDied`] when the cell has ended, as it does when its lease lapses.
    /// Nothing is left running.
    pub fn release(self) -> Result<RunningCell, SandboxError> {
        self.let_go()?.finish()
    }

    /// As [`WaitingCell::release`], without waiting for what becomes of it.
    ///
    /// # Errors
    /// [`SandboxError::SetupDied`] when the cell has ended; nothing is left running.
    pub fn let_go(mut self) -> Result<ReleasedCell, SandboxError> {
        if !self.given.is_all_of(&self.plan.credentials) {
            return Err(SandboxError::CredentialNotGiven);
        }
        // Nobody writes there any more.
        drop(self.tree.take_credentials());
        let gate = self.gate.as_fd();
        match &self.streams {
            None => sys::send(gate.as_raw_fd(), &Order::Release.encode(), &[]),
            Some(streams) => {
                let streams: Vec<i32> = streams.iter().map(|fd| fd.as_raw_fd()).collect();
                sys::send(gate.as_raw_fd(), &Order::Become.encode(), &streams)
            }
        }
        .map_err(|_| SandboxError::SetupDied)?;
        self.streams = None;
        Ok(ReleasedCell(self))
    }

    fn finish(self) -> Result<RunningCell, SandboxError> {
        let gate = self.gate.as_fd();
        let deadline = deadline_after(Duration::from_secs(SETUP_SECS_MAX));
        let report = next_report(gate, deadline);
        // The kernel has copied the environment before it closed the gate, or it never will.
        if let Some(variables) = &self.plan.variables {
            variables.wipe();
        }
        if let Some(later) = self
            .later
            .as_ref()
            .and_then(|plan| plan.worker.later.as_ref())
        {
            later.wipe();
        }
        match report? {
            // execve closed the gate.
            None => Ok(RunningCell {
                tree: self.tree,
                // What it has on the host goes with its tree, and not later.
                plans: [
                    Some(self.plan).filter(|plan| plan.host.is_none()),
                    self.later,
                ],
            }),
            Some(Report::Failed(failure)) => Err(explain(&self.plan, &self.program, failure)),
            Some(_) => Err(SandboxError::SetupDied),
        }
    }

    /// Says what a cell that waited becomes, with this environment; `false` where that is too long, or it is none.
    pub(crate) fn tell(&self, env: &StringArray) -> bool {
        let later = self.later.as_ref();
        let later = later.and_then(|plan| plan.worker.later.as_ref());
        later.is_some_and(|later| later.put(&self.plan.worker.program, env))
    }

    /// Puts the value of a variable that [`CellSpec::credentials`](crate::CellSpec::credentials) names.
    ///
    /// # Errors
    /// When it names no such variable, or the value is too long or holds a zero byte.
    pub fn put_variable(&mut self, name: &OsStr, value: &[u8]) -> Result<(), SandboxError> {
        self.given
            .put_variable(self.plan.variables.as_ref(), name, value)
    }

    /// Puts a file that [`CellSpec::credentials`](crate::CellSpec::credentials) names, by its path below
    /// [`crate::CREDENTIALS_PATH`].
    ///
    /// # Errors
    /// When it names no files, or the value is too long, or the file was put before.
    pub fn put_file(&mut self, path: &Path, value: &[u8]) -> Result<(), SandboxError> {
        let handed = self.tree.handed();
        let dir = handed.and_then(|handed| handed.credentials.as_ref());
        credentials::check_file(path)?;
        self.given.put_file(dir, path, value)
    }

    /// Renews the lease while the program waits, as [`RunningCell::renew`].
    ///
    /// # Errors
    /// When the tree has ended.
    pub fn renew(&self, lease: Duration) -> Result<(), SandboxError> {
        self.tree.renew(lease)
    }

    /// The listener at [`crate::DOOR_PATH`], if the spec asked for one.
    #[must_use]
    pub fn door(&self) -> Option<&OwnedFd> {
        self.tree.handed().and_then(|handed| handed.door.as_ref())
    }

    /// Copies of the sockets of a proxied cell: the TCP listener at [`crate::PROXY_PORT`] and the UDP
    /// socket at [`crate::DNS_PORT`] of its loopback. Whoever is heard there is a process of this cell.
    ///
    /// # Errors
    /// When there are no descriptors for the copies.
    pub fn proxied(&self) -> std::io::Result<Option<[OwnedFd; 2]>> {
        let sockets = self
            .tree
            .handed()
            .and_then(|handed| handed.proxied.as_ref());
        let copy = |[proxy, dns]: &[OwnedFd; 2]| Ok([proxy.try_clone()?, dns.try_clone()?]);
        sockets.map(copy).transpose()
    }

    /// The supervisor's end of the cell's terminal, once, if the spec asked for one.
    #[must_use]
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.tree.take_terminal()
    }

    /// As [`RunningCell::to_foreground`].
    ///
    /// # Errors
    /// When the tree has ended.
    pub fn to_foreground(&self) -> Result<(), SandboxError> {
        self.tree.order("turn the terminal", Order::Foreground)
    }

    /// The connect broker, unless the spec has none.
    #[must_use]
    pub fn broker(&self) -> Option<&Broker> {
        self.tree.server().map(Server::broker)
    }

    /// The exec gate, unless the spec has none.
    #[must_use]
    pub fn gate(&self) -> Option<&Gate> {
        self.tree.tracer().and_then(Tracer::gate)
    }

    /// What Landlock refuses the tree, while the host's audit is on, and what the second exec gate
    /// refuses; `None` where this process may not read audit and there is no such gate. What the kernel tells within some
    /// milliseconds of the end is there once the end is.
    #[must_use]
    pub fn denials(&self) -> Option<&Denials> {
        self.tree.denials()
    }

    /// Process id of the cell's pid 1 in the supervisor's pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.tree.pid()
    }
}

impl ReleasedCell {
    /// Waits until the program was executed.
    ///
    /// # Errors
    /// As [`WaitingCell::release`].
    pub fn finish(self) -> Result<RunningCell, SandboxError> {
        self.0.finish()
    }

    /// As [`WaitingCell::door`].
    #[must_use]
    pub fn door(&self) -> Option<&OwnedFd> {
        self.0.door()
    }
}

impl fmt::Debug for WaitingCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingCell")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}
