//! Finding the node of a domain directory, and starting one where there is none.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::client::{Connection, LinkError};
use crate::dir::DomainDir;

/// Word that a node writes to its standard output once it listens.
pub const READY: &str = "ready\n";

/// How often, and how many times, a node that leaves is looked at: two seconds in all.
const LEAVING_LOOK: Duration = Duration::from_millis(20);
const LEAVING_LOOKS: usize = 100;

/// Why there is no node to talk to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// None runs, and none was to be started.
    #[error("no node serves this domain")]
    NotRunning,
    /// One runs and does not talk.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// One was started and did not come up.
    #[error("the node did not start: {0}")]
    Failed(String),
    /// The operating system refused to start one.
    #[error("no node could be started: {0}")]
    Io(#[from] io::Error),
}

/// Connects to the node that serves `dir`.
///
/// # Errors
///
/// [`StartError::NotRunning`] when none does.
pub fn connect(dir: &DomainDir) -> Result<Connection, StartError> {
    // A node that leaves, or was killed, closes what it does not serve any more; soon there is none.
    for _ in 0..LEAVING_LOOKS {
        match connect_once(dir) {
            Err(StartError::Link(LinkError::Closed)) => thread::sleep(LEAVING_LOOK),
            other => return other,
        }
    }
    connect_once(dir)
}

fn connect_once(dir: &DomainDir) -> Result<Connection, StartError> {
    match UnixStream::connect(dir.socket()) {
        Ok(stream) => Ok(Connection::greet(stream)?),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Err(StartError::NotRunning)
        }
        Err(error) => Err(LinkError::Io(error).into()),
    }
}

/// Connects to the node that serves `dir`; starts one with `program node serve` where none does.
///
/// # Errors
///
/// [`StartError`]; a node that did not come up says why.
pub fn connect_or_start(dir: &DomainDir, program: &Path) -> Result<Connection, StartError> {
    // One that was just started may leave before it is reached; the next attempt starts another.
    for _ in 0..3 {
        match connect(dir) {
            Err(StartError::NotRunning) => {}
            other => return other,
        }
        let turn = Turn::take(dir)?;
        // Someone else may have started one while this process waited for its turn.
        match connect(dir) {
            Err(StartError::NotRunning) => start(dir, program)?,
            other => return other,
        }
        drop(turn);
    }
    connect(dir)
}

/// The right to start a node; one process at a time has it.
struct Turn {
    _lock: File,
}

impl Turn {
    fn take(dir: &DomainDir) -> io::Result<Self> {
        let path = dir.start_lock();
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        lock.lock()?;
        Ok(Self { _lock: lock })
    }
}

fn start(dir: &DomainDir, program: &Path) -> Result<(), StartError> {
    let mut node = spawn(dir, program)?;
    let mut said = String::new();
    if let Some(mut stdout) = node.stdout.take() {
        // The node closes its output once it listens, or dies.
        stdout.read_to_string(&mut said)?;
    }
    if said == READY {
        // It goes on without us and is nobody's child once we leave.
        return Ok(());
    }
    node.wait()?;
    Err(StartError::Failed(said.trim().to_owned()))
}

fn spawn(dir: &DomainDir, program: &Path) -> io::Result<Child> {
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(dir.node_log())?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the node is not governed: it governs"
    )]
    let mut command = Command::new(program);
    command
        .arg("node")
        .arg("serve")
        .arg("--detached")
        .arg("--domain")
        .arg(dir.root())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
}
