//! A front without a terminal: another gateway that holds a governed command by its streams.
//!
//! The command is supervised by a process of its own, as at a terminal. Whoever holds it is the front:
//! it hears the execution's id once the start is recorded, passes signals on, and by going away, even
//! by being killed, ends the tree.

use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use placet_types::ExecutionId;
use rustix::net::{RecvFlags, SendFlags, Shutdown, shutdown};
use rustix::process::Signal;

use super::{FromFront, Link, Refused, ToFront, WaitsFor};

/// A governed command that is held by its streams. Dropping it ends the tree.
#[derive(Debug)]
pub struct Holder {
    link: Link,
    child: Mutex<Child>,
}

/// The other ends of a command's standard streams.
#[derive(Debug)]
pub struct HeldStreams {
    /// What it reads.
    pub input: PipeWriter,
    /// What it writes.
    pub output: PipeReader,
    /// What it, and its supervisor, say beside that.
    pub errors: PipeReader,
}

/// What the supervisor of a held command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its start is recorded, and it runs.
    Started(ExecutionId),
    /// It waits for approvals, and starts once it has them.
    Waits(WaitsFor),
    /// It was denied: nothing ran.
    Denied(Refused),
    /// Something to be shown.
    Note(String),
}

impl Holder {
    /// Starts the supervisor of a command, which is a `placet run` that was told that it has a front.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn start(supervisor: &mut Command) -> io::Result<(Self, HeldStreams)> {
        let (link, theirs) = Link::pair()?;
        let (its_input, input) = pipe()?;
        let (output, its_output) = pipe()?;
        let (errors, its_errors) = pipe()?;
        let streams = [its_input.as_fd(), its_output.as_fd(), its_errors.as_fd()];
        link.send(&FromFront::Streams, &streams, SendFlags::empty())?;
        let child = supervisor
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(its_errors.try_clone()?))
            .spawn()?;
        // The command holds the supervisor's ends, and must not be the one who keeps them open.
        supervisor.stdin(Stdio::null()).stderr(Stdio::null());
        let holder = Self {
            link,
            child: Mutex::new(child),
        };
        let streams = HeldStreams {
            input,
            output,
            errors,
        };
        Ok((holder, streams))
    }

    /// Waits for what the supervisor says; `None` once nothing of the tree is left and its end is
    /// recorded, or the supervisor is gone.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn hear(&self) -> io::Result<Option<Heard>> {
        loop {
            let message = match self.link.receive(RecvFlags::empty()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            match message {
                Some((ToFront::Started(exec), _)) => return Ok(Some(Heard::Started(exec))),
                Some((ToFront::Waits(waits), _)) => return Ok(Some(Heard::Waits(waits))),
                Some((ToFront::Denied(refused), _)) => return Ok(Some(Heard::Denied(refused))),
                Some((ToFront::Note(text), _)) => return Ok(Some(Heard::Note(text))),
                Some((ToFront::Over, _)) => {
                    // There is no terminal to be given back.
                    drop(
                        self.link
                            .send(&FromFront::Restored, &[], SendFlags::empty()),
                    );
                    return Ok(None);
                }
                Some((ToFront::Terminal | ToFront::Stopped(_) | ToFront::Leave(_), _)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Asks the command to end.
    pub fn stop(&self) {
        let message = FromFront::Signal {
            signal: Signal::TERM.as_raw(),
            group: false,
        };
        // A supervisor that cannot be told has ended.
        drop(self.link.send(&message, &[], SendFlags::DONTWAIT));
    }

    /// Ends the whole tree.
    pub fn kill(&self) {
        // As if this process were gone, which ends it.
        shutdown(&self.link, Shutdown::Both).unwrap_or(());
    }

    /// Waits for the supervisor, which ends as the command did.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait()
    }
}
