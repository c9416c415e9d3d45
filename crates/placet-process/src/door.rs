//! The door of a cell: how a governed command asks for another one.
//!
//! The listener is bound inside the cell's own `/run`, so whoever connects was started in that
//! cell. A connection hands over its three standard streams and the command; the supervisor, which
//! is outside, starts `placet run` for it with the cell's execution as parent, and says how it
//! ended. The child gets a cell of its own, beside its parent's and within its parent's scope.
//!
//! The channel has three messages and no others: nothing can be revoked, resumed or read through a
//! door.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use placet_authority::node::wire;
use placet_sandbox::DOOR_PATH;
use placet_types::{ExecutionId, PrincipalId, ProfileName, Seconds, Tier};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::terminal::{Link, Relay};

/// Children that one cell may have through its door at a time.
const CHILDREN_MAX: usize = 64;
/// How long a child has to end after its caller went away, before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long after its callers a cell is known to be gone.
const MOMENT: Duration = Duration::from_millis(100);

/// Variable in which a gateway that was started for a door finds the environment that the caller
/// offers, as a JSON object.
const ENVIRONMENT_VARIABLE: &str = "PLACET_DOOR_ENVIRONMENT";

/// Tells a gateway that its standard input is the connection of a front.
pub const FRONT_OPTION: &str = "--front";

/// The environment that came through the door of a cell, for a gateway that was started for it.
///
/// # Errors
///
/// When there is none, or it does not read.
pub fn offered_environment() -> io::Result<BTreeMap<String, String>> {
    let text = std::env::var(ENVIRONMENT_VARIABLE)
        .map_err(|_| io::Error::other("only a gateway starts commands for a door"))?;
    wire::decode(text.as_bytes())
}

/// A command that asks to be run, from inside a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorRequest {
    /// Asks to be told of refusals of single programs.
    #[serde(default)]
    pub announce: bool,
    /// Asks to have each program that it starts decided as well.
    #[serde(default)]
    pub decide: bool,
    /// The program's name and its arguments.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The environment that is offered.
    pub env: BTreeMap<String, String>,
    /// Asks for at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Seconds>,
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

/// A door that is open. Dropping it closes it and waits until every child that came through is
/// gone.
pub(crate) struct Door {
    /// Closed by the drop, which everyone who waits hears.
    closing: Option<UnixStream>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Door {
    /// Lets nobody through any more. Children have [`GRACE`] to end by their own authority, which
    /// ends with the record of their parent's end.
    pub(crate) fn close(&mut self) {
        drop(self.closing.take());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Whether this process stands in a cell with a door.
#[must_use]
pub fn is_inside() -> bool {
    // Where a cell has no file tree of its own there is no such file, and the supervisor connects.
    Path::new(DOOR_PATH).exists() || UnixStream::connect(DOOR_PATH).is_ok()
}

/// How a process of the cell gets to its door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over a file that only the cell has: whoever connects is inside.
    OwnFile,
    /// By the hand of this process, which connects nobody but processes of the tree: whoever comes
    /// with another number does not come from the cell.
    Broker,
}

impl Way {
    pub(crate) fn of(tier: Option<Tier>) -> Self {
        if tier == Some(Tier::U0) {
            Self::Broker
        } else {
            Self::OwnFile
        }
    }

    fn is_inside(self, stream: &UnixStream) -> bool {
        match self {
            Self::OwnFile => true,
            Self::Broker => {
                socket_peercred(stream).is_ok_and(|peer| peer.pid == rustix::process::getpid())
            }
        }
    }
}

/// What one door serves.
struct Server {
    exec: ExecutionId,
    /// Variables that hold credentials of the cell: they do not go through.
    kept: BTreeSet<String>,
    /// Who the cell's execution acts as.
    principal: PrincipalId,
    program: PathBuf,
    domain: PathBuf,
    /// Readable once the door is to be closed.
    closing: UnixStream,
    children: AtomicUsize,
}

/// Opens the door of a cell.
pub(crate) fn serve(
    listener: OwnedFd,
    way: Way,
    exec: ExecutionId,
    principal: &PrincipalId,
    kept: BTreeSet<String>,
    (program, domain): (&Path, &Path),
) -> io::Result<Door> {
    let (outside, closing) = UnixStream::pair()?;
    let server = Arc::new(Server {
        exec,
        kept,
        principal: principal.clone(),
        program: program.to_owned(),
        domain: domain.to_owned(),
        closing,
        children: AtomicUsize::new(0),
    });
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    let thread = thread::Builder::new()
        .name("door".into())
        .spawn(move || accept(&server, &listener, way))?;
    Ok(Door {
        closing: Some(outside),
        thread: Some(thread),
    })
}

fn accept(server: &Arc<Server>, listener: &UnixListener, way: Way) {
    let mut visits = Vec::new();
    while !wait(&[listener.as_fd(), server.closing.as_fd()], None)
        .get(1)
        .is_some_and(|r| *r)
    {
        while let Ok((stream, _)) = listener.accept() {
            if !way.is_inside(&stream) {
                continue;
            }
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
        let (streams, front) = receive_streams(stream)?;
        let [input, output, error] = streams;
        let request: DoorRequest = wire::read(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        // One who is at a terminal talks to the child's supervisor about it.
        let mut args: Vec<String> = front.iter().map(|_| FRONT_OPTION.to_owned()).collect();
        args.push("run".into());
        let mut option = |name: &str, value: Option<String>| {
            args.extend(value.map(|value| format!("--{name}={value}")));
        };
        option("domain", self.domain.to_str().map(str::to_owned));
        option("door", Some(self.exec.to_string()));
        let principal = request.principal.unwrap_or_else(|| self.principal.clone());
        option("as", Some(principal.to_string()));
        option(
            "lifetime",
            request.lifetime.map(|lifetime| lifetime.get().to_string()),
        );
        option(
            "profile",
            request.profile.map(|profile| profile.to_string()),
        );
        option("purpose", request.purpose);
        let flags = [
            ("--decide", request.decide),
            ("--announce", request.announce),
        ];
        args.extend(
            flags
                .iter()
                .filter(|flag| flag.1)
                .map(|flag| flag.0.to_owned()),
        );
        args.push("--".into());
        args.extend(request.argv);
        let mut offered = request.env;
        // A child has the credentials of its own scope, and none of its parent's.
        offered.retain(|name, _| !self.kept.contains(name));
        let environment = serde_json::to_string(&offered).map_err(io::Error::other)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the child is the process gateway itself"
        )]
        let mut command = Command::new(&self.program);
        command
            .args(args)
            // Whoever chooses the environment of a program chooses what its loader loads, so the
            // caller's stays data: the gateway reads it from one variable that means nothing else.
            .env_clear()
            .env(ENVIRONMENT_VARIABLE, environment)
            .current_dir(request.cwd)
            .stdin(Stdio::from(front.unwrap_or(input)))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(error))
            .spawn()
    }

    /// Waits for the child, passes signals on, and ends it when its caller or the cell is gone.
    fn follow(&self, stream: &mut UnixStream, mut child: Child) -> DoorReply {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let Some(pidfd) = pidfd else {
            drop(child.kill());
            return ended(&mut child);
        };
        loop {
            let fds = [pidfd.as_fd(), stream.as_fd(), self.closing.as_fd()];
            let ready = wait(&fds, None);
            let is_ready = |at: usize| ready.get(at).is_some_and(|ready| *ready);
            if is_ready(0) {
                return ended(&mut child);
            }
            let heard = if is_ready(1) {
                wire::read::<DoorSignal>(stream).ok().flatten()
            } else {
                None
            };
            if let Some(DoorSignal { signal }) = heard {
                send(&child, signal);
            } else if is_ready(1) || is_ready(2) {
                self.end(&mut child, &pidfd);
                return ended(&mut child);
            }
        }
    }

    /// Ends a child whose caller is gone, or whose parent's cell is.
    fn end(&self, child: &mut Child, pidfd: &OwnedFd) {
        // A cell takes every caller in it along, and is known to be gone a moment later. Then the
        // child's own supervisor is told why it ends; a signal would only hide that.
        let ready = wait(&[pidfd.as_fd(), self.closing.as_fd()], Some(MOMENT));
        let cell_is_gone = ready.get(1) == Some(&true);
        if cell_is_gone && wait(&[pidfd.as_fd()], Some(GRACE)).first() == Some(&true) {
            return;
        }
        send(child, Signal::TERM.as_raw());
        if wait(&[pidfd.as_fd()], Some(GRACE)).first() != Some(&true) {
            // Its cell dies with it.
            drop(child.kill());
        }
    }
}

fn ended(child: &mut Child) -> DoorReply {
    child
        .wait()
        .map_or_else(|error| DoorReply::Failed(error.to_string()), reply_of)
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

/// Waits until one of the descriptors can be read, and says which.
fn wait(fds: &[BorrowedFd<'_>], patience: Option<Duration>) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    let timeout = patience.map(|patience| Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    });
    // An interrupted wait is a short one.
    poll(&mut polled, timeout.as_ref()).unwrap_or(0);
    polled.iter().map(|fd| !fd.revents().is_empty()).collect()
}

/// The caller's standard streams, and the connection of its front, if it has a terminal.
fn receive_streams(stream: &UnixStream) -> io::Result<([OwnedFd; 3], Option<OwnedFd>)> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
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
    let front = (fds.len() == 4).then(|| fds.pop()).flatten();
    let streams = fds
        .try_into()
        .map_err(|_| io::Error::other("the caller did not hand over three streams"))?;
    Ok((streams, front))
}

/// Asks, from inside a cell, for a command to be run; returns how it ended.
///
/// # Errors
///
/// What the operating system says; the supervisor's own refusal comes as [`DoorReply::Failed`].
pub fn ask(request: &DoorRequest) -> io::Result<DoorReply> {
    if crate::terminal::is_at_terminal() {
        return ask_in_front(request);
    }
    let mut signals = crate::signals::Signals::take_over()?;
    let mut stream = UnixStream::connect(DOOR_PATH)?;
    hand_over_streams(&stream, None)?;
    wire::write(&mut stream, request)?;
    loop {
        let ready = wait(&[stream.as_fd(), signals.as_fd()], None);
        for sent in signals.pending() {
            // The job's own signals, from a terminal that is no stream, have the caller only.
            let signal = sent.signal;
            wire::write(&mut stream, &DoorSignal { signal })?;
        }
        if ready.first() == Some(&true) {
            return wire::read(&mut stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// As the front of the child's supervisor.
fn ask_in_front(request: &DoorRequest) -> io::Result<DoorReply> {
    let mut stream = UnixStream::connect(DOOR_PATH)?;
    let (link, theirs) = Link::pair()?;
    hand_over_streams(&stream, Some(theirs.as_fd()))?;
    drop(theirs);
    wire::write(&mut stream, request)?;
    Relay::new(link)?.run();
    wire::read(&mut stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn hand_over_streams(stream: &UnixStream, front: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
    let fds: Vec<BorrowedFd<'_>> = streams.into_iter().chain(front).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("the streams do not fit the message"));
    }
    sendmsg(
        stream,
        &[IoSlice::new(&[0])],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}
