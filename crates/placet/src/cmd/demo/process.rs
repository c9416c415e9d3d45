//! Programs that the demo starts, and waits for.
//!
//! Output goes to memory rather than to pipes: a process that survives its parent, which the demo
//! looks for, would keep a pipe open.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::exit::Failure;

/// Longest that one program may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs. Dropping it kills it.
pub(super) struct Running {
    name: String,
    child: Child,
    ended: OwnedFd,
    stdout: File,
    stderr: File,
}

/// A program that has ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A program with its arguments, nothing of this process's environment, and no input.
pub(super) fn command(program: &Path, args: &[&str], cwd: &Path) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo does what its user would do"
    )]
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .current_dir(cwd)
        .stdin(Stdio::null());
    command
}

/// Starts a program.
pub(super) fn start(mut command: Command) -> Result<Running, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| Failure::new(format!("{name}: {error}"));
    let (stdout, stderr) = (memory().map_err(failed)?, memory().map_err(failed)?);
    let streams = stdout
        .try_clone()
        .and_then(|out| Ok((out, stderr.try_clone()?)));
    let (out, err) = streams.map_err(failed)?;
    let mut child = command.stdout(out).stderr(err).spawn().map_err(failed)?;
    let ended = match pidfd(child.id()) {
        Ok(ended) => ended,
        Err(error) => {
            drop(child.kill());
            return Err(failed(error));
        }
    };
    Ok(Running {
        name,
        child,
        ended,
        stdout,
        stderr,
    })
}

/// Starts a program and waits for its end.
pub(super) fn run(command: Command) -> Result<Finished, Failure> {
    start(command)?.wait()
}

fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("output", MemfdFlags::CLOEXEC)?))
}

/// A descriptor that is readable once the process is gone.
pub(super) fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether `fd` gets readable in time.
pub(super) fn readable(fd: &impl AsFd, patience: Duration) -> bool {
    let timeout = timespec(patience);
    // An interrupted wait is begun anew: what interrupts it is asked for between the steps.
    loop {
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return outcome.is_ok_and(|ready| ready > 0),
        }
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Everything that was written, whoever wrote it last.
fn text(mut of: &File) -> String {
    let mut bytes = Vec::new();
    match of.rewind().and_then(|()| of.read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("the output is not there: {error}"),
    }
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a chance to clean up.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .map_err(|error| Failure::new(format!("{}: {error}", self.name)))
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        readable(&self.ended, Duration::ZERO)
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> Result<Finished, Failure> {
        if !readable(&self.ended, PATIENCE) {
            let secs = PATIENCE.as_secs();
            return Err(Failure::new(format!(
                "{} did not end within {secs} s",
                self.name
            )));
        }
        let status = self.child.wait()?;
        Ok(Finished {
            status,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was waited for is gone, and neither does anything then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Finished {
    /// Itself, when it ended with status 0.
    pub(super) fn successful(self, what: &str) -> Result<Self, Failure> {
        if self.status.success() {
            return Ok(self);
        }
        let (how, said) = (self.how(), self.stderr.trim());
        Err(Failure::new(format!("{what} failed with {how}: {said}")))
    }

    /// How it ended, in words.
    pub(super) fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown end".to_owned(),
        }
    }

    /// Its standard output as JSON.
    pub(super) fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_str(self.stdout.trim())
            .map_err(|error| Failure::new(format!("the output is no JSON: {error}")))
    }
}
