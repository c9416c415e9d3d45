//! What a cell is asked to be: the program, what it sees, and its limits.
//!
//! Plain owned data in the sandbox's own terms. It decides nothing: whether a scope is justified
//! was settled before, and whether it can be enforced is settled by [`crate::Cell::prepare`].

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::broker::EgressRules;
use crate::credentials::CredentialSlots;
use crate::gate::ExecGate;
use crate::looked::Looked;
use crate::tier::Tier;

/// One confined process tree, in full.
#[derive(Clone, Debug)]
pub struct CellSpec {
    /// What it is built with: [`Tier::U0`] stands on the host's own tree and network, every other in
    /// namespaces of its own. A weaker one is never taken instead.
    pub tier: Tier,
    /// The first program image.
    pub program: Program,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Values that come with the release.
    pub credentials: CredentialSlots,
    /// Working directory, as seen inside the cell.
    pub cwd: PathBuf,
    /// The only parts of the file system the cell sees.
    pub paths: Paths,
    /// What is done about the programs that the tree starts.
    pub exec: ExecGate,
    /// Whether the tree may talk to itself over TCP.
    pub network: Network,
    /// Who is reached outside of that network.
    pub egress: EgressRules,
    /// Resource limits.
    pub limits: Limits,
    /// Whose session and terminal the tree is in.
    pub session: Session,
    /// How long the tree lives without [`crate::RunningCell::renew`], counted from spawn on
    /// CLOCK_BOOTTIME, and so also while the machine sleeps.
    pub lease: Duration,
    /// Whether the supervisor gets two sockets on the loopback of the cell: a TCP listener at
    /// [`PROXY_PORT`] and a UDP socket at [`DNS_PORT`], to serve there what nobody else in the cell
    /// could: see [`crate::WaitingCell::proxied`]. Takes [`Network::Loopback`].
    pub proxied: bool,
    /// Files of the cell's own, in place of what the scope would show there.
    pub own_files: Vec<OwnFile>,
    /// Whether to listen at [`DOOR_PATH`]. The socket lives in a file system that exists only in
    /// this cell, so whoever connects was started inside it: lineage that a child cannot forge.
    pub door: bool,
    /// The program that talks to the door, by its canonical path on the host. It is a part of the
    /// cell, like `/proc` and `/dev`, and not of the scope: it appears at [`CLIENT_PATH`], to be
    /// read and executed, whether or not the scope or [`Paths::hidden`] covers it. What it needs
    /// to start does come from the scope: its ELF interpreter from [`Paths::exec`] and its
    /// libraries from [`Paths::read`]. Where the scope shows the file as well, it can be executed
    /// there too. One in a writable path is refused unless [`Paths::exec_in_writable`], which lets
    /// the tree change it; a second hard link in a writable path is not noticed. `None`: nothing
    /// is at [`CLIENT_PATH`].
    pub client: Option<PathBuf>,
    /// What was looked at of the paths when they were written down, for this one cell; empty where nothing was.
    pub looked: Looked,
}

impl CellSpec {
    /// Whether it is this very cell but for its environment and its lease, which come with the release.
    pub(crate) fn is_but_for_environment(&self, other: &Self) -> bool {
        self.is_but_for_program(other) && (&self.program, &self.cwd) == (&other.program, &other.cwd)
    }

    /// As [`Self::is_but_for_environment`], whatever its program is, and where that works.
    ///
    /// Every field is named, so that a new one has to be thought about.
    pub(crate) fn is_but_for_program(&self, other: &Self) -> bool {
        let Self {
            tier,
            program: _,
            env: _,
            credentials,
            cwd: _,
            paths,
            exec,
            network,
            egress,
            limits,
            session,
            lease: _,
            proxied,
            own_files,
            door,
            client,
            // Of the same paths at another time.
            looked: _,
        } = self;
        *tier == other.tier
            && *credentials == other.credentials
            && *paths == other.paths
            && *exec == other.exec
            && *network == other.network
            && egress.covers_the_same_as(&other.egress)
            && (limits, session) == (&other.limits, &other.session)
            && (proxied, own_files) == (&other.proxied, &other.own_files)
            && (door, client) == (&other.door, &other.client)
    }
}

/// Where on 127.0.0.1 a proxied cell finds its proxy.
pub const PROXY_PORT: u16 = 3128;

/// Where on 127.0.0.1 a proxied cell finds its name server: where the C library looks for one without
/// being told.
pub const DNS_PORT: u16 = 53;

/// A small file that a cell has of its own, to be read only.
///
/// It stands in the place of the host's file, where the scope shows one, and appears where the scope
/// shows no directory around it. In a directory of the scope that has no such file it does not appear.
/// Where the path is a symbolic link on the host, the file also stands where that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    /// Absolute and normal.
    pub path: PathBuf,
    /// Not more than fits a page, 4096 bytes.
    pub contents: Vec<u8>,
}

/// Where a cell with a door finds it.
pub const DOOR_PATH: &str = "/run/placet/door.sock";

/// Where a cell with a client finds it.
pub const CLIENT_PATH: &str = "/run/placet/placet";

/// The first program of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Canonical absolute path; must lie in [`Paths::exec`]. The program's ELF interpreter has to
    /// be in it too, and the interpreter's path as the program spells it has to lead there: see
    /// [`crate::elf_interpreter`]. Without that execve answers ENOENT or EACCES.
    pub path: PathBuf,
    /// The file the decision was about. A different one at launch is refused.
    pub identity: FileIdentity,
    /// All arguments, the zeroth included.
    pub argv: Vec<OsString>,
}

/// One state of one file: changed contents or another file at the path give another identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last modification of the contents, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Last change of the inode, nanoseconds since the epoch.
    pub ctime_ns: i64,
}

impl FileIdentity {
    /// The identity of the file at `path` now, following symbolic links.
    ///
    /// # Errors
    /// Those of stat(2).
    pub fn of_path(path: &Path) -> std::io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::of_metadata(&metadata))
    }

    /// The identity that a file's metadata describe.
    #[must_use]
    pub fn of_metadata(metadata: &std::fs::Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether this is the same state of a file that an overlay shows under a device number of its
    /// own.
    pub(crate) fn is_shown_as(&self, other: &Self) -> bool {
        *other
            == Self {
                dev: other.dev,
                ..*self
            }
    }

    pub(crate) fn of_stat(stat: &libc::stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size.unsigned_abs(),
            mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

fn nanos(secs: i64, nanos: i64) -> i64 {
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The visible file system. Every path is canonical and absolute; a directory means all below it.
///
/// What is not named does not exist inside, apart from the cell's own `/proc`, `/dev`, `/tmp`,
/// `/run` and the host root's symbolic links into the scope. A listening AF_UNIX socket of the host that
/// lies in a visible path is seen, and connected to only where [`EgressRules::sockets`] lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Readable; libraries here can be loaded, programs not started.
    pub read: Vec<PathBuf>,
    /// Readable and writable, and without execution unless `exec_in_writable`.
    pub write: Vec<PathBuf>,
    /// As `write`, except that changes go elsewhere and the trees stay as they are.
    pub copied: Vec<Copied>,
    /// Readable, and programs here may be started.
    pub exec: Vec<PathBuf>,
    /// Lets programs that were written inside the cell run. Build tools and test runners need it;
    /// it gives up the protection against dropped binaries and preloaded libraries.
    pub exec_in_writable: bool,
    /// Whether the tracer notes what is opened and connected to, for [`crate::Gate::observed`]. It takes
    /// an exec gate, no broker and a tier above U0; else it is refused,
    /// [`crate::SandboxError::Unobservable`]. A note decides nothing: what was read by name may be another
    /// file by the time of the call.
    pub observed: bool,
    /// Masked by nothing, also inside the paths above. A path that does not exist when the cell
    /// is prepared is not masked. Each is masked under this path only: a second bind mount of the
    /// same directory elsewhere in the scope has to be named too.
    pub hidden: Vec<PathBuf>,
    /// Size of each of the private file systems `/tmp`, `/dev/shm` and `/run`, in bytes.
    pub tmp_bytes_max: u64,
}

/// A directory that a cell sees and changes as a copy: an overlay whose lower layer it is. Nothing
/// else that the cell treats differently may lie in it, and no other file system be mounted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The tree.
    pub tree: PathBuf,
    /// An empty directory that takes the changes, in the form of overlayfs with `userxattr`. It must
    /// not be visible inside.
    pub upper: PathBuf,
    /// An empty directory of the same file system, for overlayfs itself.
    pub work: PathBuf,
}

/// What network there is. In either case the cell has its own, empty network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// No interface is up and Landlock refuses TCP.
    #[default]
    None,
    /// A loopback of its own, which nothing outside reaches.
    Loopback,
}

/// A session, and with it the controlling terminal that `/dev/tty` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// The supervisor's, and the worker is in its process group.
    #[default]
    Shared,
    /// One of its own, without a terminal.
    Own,
    /// One of its own, with a terminal of its own. That is made inside, in the cell's own `/dev/pts`,
    /// and the supervisor gets its other end ([`crate::WaitingCell::take_terminal`]). pid 1 leads the
    /// session; the worker leads a process group in it, in the background until
    /// [`crate::WaitingCell::to_foreground`].
    Terminal(TerminalStreams),
}

impl Session {
    pub(crate) fn has_terminal(self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Which of the three standard streams are the cell's terminal.
    pub(crate) fn streams(self) -> [bool; 3] {
        match self {
            Self::Shared | Self::Own => [false; 3],
            Self::Terminal(streams) => [streams.input, streams.output, streams.error],
        }
    }
}

/// The standard streams that are the cell's own terminal. The others are the supervisor's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalStreams {
    /// Standard input.
    pub input: bool,
    /// Standard output.
    pub output: bool,
    /// Standard error.
    pub error: bool,
}

/// Upper bounds; `None` keeps what the supervisor has. A bound above the supervisor's own hard
/// limit becomes that limit. Core dumps are always off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processor time of each single process, in seconds; passing it is SIGXCPU.
    pub cpu_secs: Option<u64>,
    /// Address space of each single process, in bytes.
    pub address_space_bytes: Option<u64>,
    /// Processes and threads of the tree, pid 1 included; a fork beyond it fails with EAGAIN. pid
    /// 1 and the worker start in any case. Other processes of the user do not count and two cells
    /// do not share: RLIMIT_NPROC is counted in each user namespace, and the cell has its own. The
    /// kernel exempts the host's root user from that: under root it takes the pids controller of
    /// cgroup v1 or v2, and a group of the cell's own in `placet` below the supervisor's group
    /// (with v2 below the nearest group above it without processes). Without one it is refused:
    /// [`crate::SandboxError::ProcessLimitAsRoot`].
    pub processes: Option<u64>,
    /// Memory of the tree as a whole, in bytes, swapped out or not; beyond it the kernel kills the
    /// largest process. Takes the memory controller of cgroup v1 or v2, and so the root user or a
    /// delegated group of v2; else it is refused: [`crate::SandboxError::TreeUnbounded`].
    pub tree_memory_bytes: Option<u64>,
    /// Processor time of the tree as a whole, in percent of one processor; beyond it the tree
    /// waits. Takes the cpu controller, as above.
    pub tree_cpu_percent: Option<u64>,
    /// Open descriptors of each single process.
    pub open_files: Option<u64>,
    /// Size of a written file, in bytes; passing it is SIGXFSZ.
    pub file_size_bytes: Option<u64>,
}
