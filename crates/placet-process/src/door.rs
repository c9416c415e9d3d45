//! The door of a cell: how a governed command asks for another one.
//!
//! The listener is bound inside the cell's own `/run`, so whoever connects was started in that
//! cell. A connection hands over its three standard streams and the command; the supervisor, which
//! is outside, starts `placet run` for it with the cell's execution as parent, and says how it
//! ended. The child gets a cell of its own, beside its parent's and within its parent's scope.
//!
//! The channel has three messages and no others: nothing can be revoked, resumed or read through a
//! door.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use placet_authority::node::wire;
use placet_sandbox::DOOR_PATH;
use placet_types::{ExecutionId, PrincipalId, ProfileName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// Children that one cell may have through its door at a time.
const CHILDREN_MAX: usize = 64;
/// How often a supervisor looks whether its door is to be closed.
const LOOK: Duration = Duration::from_millis(100);
/// How long a child has to end after its caller went away, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// A command that asks to be run, from inside a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorRequest {
    /// The program's name and its arguments.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The environment that is offered.
    pub env: BTreeMap<String, String>,
    /// Who it is to act as; the caller's own principal when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalId>,
    /// Asks for at most the scope of this profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// A signal that the caller was sent and passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorSignal {
    /// Its number.
    pub signal: i32,
}

/// How the child ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoorReply {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It was not started.
    Failed(String),
}

/// A door that is open. Dropping it closes it and ends every child that came through.
pub(crate) struct Door {
    closing: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Whether this process stands in a cell with a door.
#[must_use]
pub fn is_inside() -> bool {
    Path::new(DOOR_PATH).exists()
}

/// What one door serves.
struct Server {
    exec: ExecutionId,
    /// Who the cell's execution acts as.
    principal: PrincipalId,
    program: PathBuf,
    domain: PathBuf,
    closing: Arc<AtomicBool>,
    children: AtomicUsize,
}

/// Opens the door of a cell.
pub(crate) fn serve(
    listener: OwnedFd,
    exec: ExecutionId,
    principal: &PrincipalId,
    program: &Path,
    domain: &Path,
) -> io::Result<Door> {
    let closing = Arc::new(AtomicBool::new(false));
    let server = Arc::new(Server {
        exec,
        principal: principal.clone(),
        program: program.to_owned(),
        domain: domain.to_owned(),
        closing: Arc::clone(&closing),
        children: AtomicUsize::new(0),
    });
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    let thread = thread::Builder::new().name("door".into()).spawn(move || accept(&server, &listener))?;
    Ok(Door { closing, thread: Some(thread) })
}

fn accept(server: &Arc<Server>, listener: &UnixListener) {
    let mut visits = Vec::new();
    while !server.closing.load(Ordering::Relaxed) {
        readable(listener, LOOK);
        while let Ok((stream, _)) = listener.accept() {
            if server.children.fetch_add(1, Ordering::Relaxed) >= CHILDREN_MAX {
                server.children.fetch_sub(1, Ordering::Relaxed);
                drop(stream);
                continue;
            }
            let visit = Arc::clone(server);
            visits.extend(thread::Builder::new().spawn(move || {
                visit.receive(stream);
                visit.children.fetch_sub(1, Ordering::Relaxed);
            }));
        }
        visits.retain(|visit: &thread::JoinHandle<()>| !visit.is_finished());
    }
    for visit in visits {
        drop(visit.join());
    }
}

impl Server {
    /// One connection: one command.
    fn receive(&self, mut stream: UnixStream) {
        let reply = match self.start(&mut stream) {
            Ok(child) => self.follow(&mut stream, child),
            Err(error) => DoorReply::Failed(error.to_string()),
        };
        // A caller that went away needs no reply.
        drop(wire::write(&mut stream, &reply));
    }

    fn start(&self, stream: &mut UnixStream) -> io::Result<Child> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        let [input, output, error] = receive_streams(stream)?;
        let request: DoorRequest =
            wire::read(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut args: Vec<String> = vec!["run".into()];
        let mut option = |name: &str, value: Option<String>| {
            args.extend(value.map(|value| format!("--{name}={value}")));
        };
        option("domain", self.domain.to_str().map(str::to_owned));
        option("door", Some(self.exec.to_string()));
        let principal = request.principal.unwrap_or_else(|| self.principal.clone());
        option("as", Some(principal.to_string()));
        option("profile", request.profile.map(|profile| profile.to_string()));
        option("purpose", request.purpose);
        args.push("--".into());
        args.extend(request.argv);
        #[expect(clippy::disallowed_methods, reason = "the child is the process gateway itself")]
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env_clear()
            .envs(request.env)
            .current_dir(request.cwd)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(error))
            .spawn()
    }

    /// Waits for the child, passes signals on, and ends it when its caller or the cell is gone.
    fn follow(&self, stream: &mut UnixStream, mut child: Child) -> DoorReply {
        let mut asked_to_end = None::<Duration>;
        let mut waited = Duration::ZERO;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return reply_of(status),
                Ok(None) => {}
                Err(error) => return DoorReply::Failed(error.to_string()),
            }
            let gone = match next_signal(stream) {
                Heard::Signal(signal) => {
                    send(&child, signal);
                    false
                }
                Heard::Nothing => false,
                Heard::Gone => true,
            };
            waited = waited.saturating_add(STEP);
            match asked_to_end {
                None if gone || self.closing.load(Ordering::Relaxed) => {
                    send(&child, Signal::TERM.as_raw());
                    asked_to_end = Some(waited);
                }
                Some(since) if waited.saturating_sub(since) > GRACE => {
                    // Its cell dies with it.
                    drop(child.kill());
                }
                None | Some(_) => {}
            }
            if gone {
                thread::sleep(STEP);
            }
        }
    }
}

/// How long one look at a connection takes.
const STEP: Duration = Duration::from_millis(10);

enum Heard {
    Signal(i32),
    Nothing,
    Gone,
}

fn next_signal(stream: &mut UnixStream) -> Heard {
    if !readable(stream, STEP) {
        return Heard::Nothing;
    }
    match wire::read::<DoorSignal>(stream) {
        Ok(Some(DoorSignal { signal })) => Heard::Signal(signal),
        Ok(None) | Err(_) => Heard::Gone,
    }
}

fn send(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        // A child that has just ended needs no signal; it is not reaped before this.
        kill_process(pid, signal).unwrap_or(());
    }
}

fn reply_of(status: ExitStatus) -> DoorReply {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => DoorReply::Exited(code),
        (None, Some(signal)) => DoorReply::Signaled(signal),
        (None, None) => DoorReply::Failed("the child ended in an unknown way".into()),
    }
}

fn readable(fd: &impl std::os::fd::AsFd, patience: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

fn receive_streams(stream: &UnixStream) -> io::Result<[OwnedFd; 3]> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    fds.try_into().map_err(|_| io::Error::other("the caller did not hand over three streams"))
}

/// Asks, from inside a cell, for a command to be run; returns how it ended.
///
/// # Errors
///
/// What the operating system says; the supervisor's own refusal comes as [`DoorReply::Failed`].
pub fn ask(request: &DoorRequest) -> io::Result<DoorReply> {
    let mut signals = crate::signals::Signals::take_over()?;
    let mut stream = UnixStream::connect(DOOR_PATH)?;
    hand_over_streams(&stream)?;
    wire::write(&mut stream, request)?;
    loop {
        wait_for_either(&stream, &signals);
        for signal in signals.pending() {
            wire::write(&mut stream, &DoorSignal { signal })?;
        }
        if readable(&stream, Duration::ZERO) {
            return wire::read(&mut stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn wait_for_either(stream: &UnixStream, signals: &crate::signals::Signals) {
    let (stream, signals) = (stream.as_fd(), signals.as_fd());
    let mut fds = [PollFd::new(&stream, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
    // An interrupted wait is a short one.
    poll(&mut fds, None).unwrap_or(0);
}

fn hand_over_streams(stream: &UnixStream) -> io::Result<()> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let fds = [input.as_fd(), output.as_fd(), error.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("the streams do not fit the message"));
    }
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}
