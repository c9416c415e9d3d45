//! What can go wrong, named after the step that failed and who is at fault.
//!
//! None of these is a denial: a cell that cannot be built exactly as asked is not built.

use std::io;
use std::path::PathBuf;

/// Why there is no cell, or why it could not be worked with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The path is not absolute, or has `.` or `..` in it.
    #[error("{} is not an absolute path without . and ..", .0.display())]
    NotAbsolute(PathBuf),
    /// The path leads over a symbolic link; name what it points to instead.
    #[error("{} leads over a symbolic link: name its target", .0.display())]
    NotCanonical(PathBuf),
    /// The path cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The path of the scope.
        path: PathBuf,
        /// What openat2(2) said.
        source: io::Error,
    },
    /// The path is neither a regular file nor a directory.
    #[error("{} is neither a file nor a directory", .0.display())]
    NotFileOrDirectory(PathBuf),
    /// The client is a directory.
    #[error("client {} is not a file", .0.display())]
    ClientNotFile(PathBuf),
    /// The path is one that the cell has its own of, or the root.
    #[error("{} cannot be part of a scope: the cell has its own", .0.display())]
    Reserved(PathBuf),
    /// A path is both writable and executable, but the scope does not allow programs there.
    #[error("{} is writable and so not executable", .0.display())]
    ExecIsWritable(PathBuf),
    /// A hidden path covers something that the scope grants.
    #[error("hidden {} covers {}, which the scope grants", hidden.display(), granted.display())]
    HiddenCoversGranted {
        /// The hidden path.
        hidden: PathBuf,
        /// The path that would vanish.
        granted: PathBuf,
    },
    /// The cell cannot have its own copy of a tree.
    #[error("{} cannot be changed as a copy: {why}", path.display())]
    NotCopyable {
        /// The tree.
        path: PathBuf,
        /// Why.
        why: NotCopyable,
    },
    /// What the tree opens and connects to cannot be noted in such a cell.
    #[error("what the tree opens cannot be noted: {0}")]
    Unobservable(Unobservable),
    /// Tier U0: a hidden path lies in a tree that the scope grants.
    #[error(
        "{} cannot be hidden below {}: without user namespaces a granted tree is granted whole; grant \
         less than it, or run where `placet doctor` shows tier U1",
        hidden.display(), granted.display()
    )]
    HiddenInsideGranted {
        /// The path to be hidden.
        hidden: PathBuf,
        /// The tree that it lies in.
        granted: PathBuf,
    },
    /// The program is not in an executable path.
    #[error("program {} is in no executable path of the scope", .0.display())]
    ProgramOutsideExec(PathBuf),
    /// The file at the program's path is not the one that was decided on.
    #[error("program {} changed after it was decided on", .0.display())]
    ProgramChanged(PathBuf),
    /// An argument, variable or path contains a NUL byte, or a variable's name a `=`.
    #[error("{0} cannot be passed to a program")]
    BadString(&'static str),
    /// The kernel does not apply RLIMIT_NPROC to root, and no control group can do it.
    #[error("the processes of root can only be limited by a control group: {0}")]
    ProcessLimitAsRoot(NoControlGroup),
    /// Memory or processor time of the tree as a whole can only be bounded by a control group, and
    /// none can be had.
    #[error(
        "memory and processor time of a whole tree can only be bounded by a control group: {0}; run \
         as root, or where a group of cgroup v2 is delegated, as in `systemd-run --user --scope -p \
         Delegate=yes`"
    )]
    TreeUnbounded(NoControlGroup),
    /// The control group that ends the cell could not be made.
    #[error("cannot make the control group of a cell: {0}")]
    NoGroup(NoControlGroup),
    /// The cell was to be released without a value that its spec names.
    #[error("a credential of the cell was not handed over")]
    CredentialNotGiven,
    /// The kernel lacks something that every cell needs.
    #[error("this kernel lacks {0}")]
    Unsupported(&'static str),
    /// Getting ready in the supervisor failed.
    #[error("cannot {what}: {source}")]
    Supervisor {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A step of the setup inside the cell failed; the cell is gone.
    #[error("cell setup failed at {step:?}{}: {source}", at(path.as_ref()))]
    Setup {
        /// The step.
        step: Step,
        /// The path it was about, where there is one.
        path: Option<PathBuf>,
        /// What the system call said.
        source: io::Error,
    },
    /// The setup ended without a word: something killed it.
    #[error("the cell died during setup")]
    SetupDied,
    /// The setup did not finish in time; the cell is gone.
    #[error("cell setup took longer than {0} seconds")]
    SetupTimedOut(u64),
    /// The kernel does not let the supervisor trace the worker, so there is no exec gate: Yama's
    /// `kernel.yama.ptrace_scope` is 3, or a container's filter denies ptrace(2).
    #[error("the cell cannot be traced, as its exec gate requires: {0}")]
    Untraceable(io::Error),
    /// The program could not be executed: ENOENT and EACCES also mean its interpreter.
    #[error("cannot execute {}: {source}", path.display())]
    Exec {
        /// The program.
        path: PathBuf,
        /// What execve(2) said.
        source: io::Error,
    },
}

/// What is missing for a control group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoControlGroup {
    /// No mount shows the supervisor's own group in the hierarchy with this controller.
    #[error("no hierarchy that has the {0} controller and this process is mounted")]
    NotMounted(&'static str),
    /// cgroup v2: the supervisor's group and all above it have processes or lack the controllers.
    #[error(
        "neither {} nor a group above it has the controllers {controllers} and no processes",
        group.display()
    )]
    NoParent {
        /// The supervisor's group.
        group: PathBuf,
        /// What it was to have, by name.
        controllers: String,
    },
    /// A file or directory of the hierarchy cannot be read, made or written.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the system call said.
        source: io::Error,
    },
}

/// Why a tree cannot be shown as a copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotCopyable {
    /// Only directories can.
    #[error("it is a file, and only directories can; name the directory that it is in")]
    NotDirectory,
    /// An overlay does not show what is mounted in its lower layer.
    #[error("{} is mounted in it; unmount it or name it as a tree of its own", .0.display())]
    MountInside(PathBuf),
    /// The cell treats a part of it differently.
    #[error("{} lies in it and is not granted alike", .0.display())]
    GrantInside(PathBuf),
    /// Overlays keep what they know in extended attributes.
    #[error(
        "the directory for the changes takes no user attributes ({0}): put it on ext4, xfs, btrfs, or \
         tmpfs of Linux 6.6 or later"
    )]
    NoAttributes(io::Error),
    /// A path that overlayfs cannot be told.
    #[error("the path of the directory for the changes has a backslash in it")]
    BadPath,
}

/// Why nobody can note what a tree opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unobservable {
    /// There is no tracer that would look.
    #[error("the cell has no exec gate")]
    Ungated,
    /// Tier U0, where there is no copy of the tree to work on.
    #[error(
        "without user namespaces there is no copy to work on; do it where `placet doctor` shows tier U1"
    )]
    OnHost,
}

fn at(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| format!(" ({})", path.display()))
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The steps between clone and execve, in the order they happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Step { $($(#[$doc])* $name,)* }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

steps! {
    /// Asking to be killed when the supervisor dies.
    ParentDeathSignal,
    /// Entering the control group.
    ControlGroup,
    /// Closing inherited descriptors.
    CloseDescriptors,
    /// Giving up setgroups(2), as the gid map requires.
    DenySetgroups,
    /// Writing the user id map.
    UidMap,
    /// Writing the group id map.
    GidMap,
    /// Forbidding memory files that can be executed, in the cell's pid namespace.
    MemfdNoexec,
    /// Cutting mount propagation.
    PrivateMounts,
    /// Mounting the new root.
    NewRoot,
    /// Making a directory.
    MakeDir,
    /// Making a symbolic link.
    MakeSymlink,
    /// Making a file to mount on.
    MakeFile,
    /// Mounting a private file system.
    MountPrivate,
    /// Opening a path of the scope from inside.
    OpenSource,
    /// A path of the scope is no longer the file that was prepared (ESTALE).
    SourceChanged,
    /// Copying the mounts of a path.
    CloneMounts,
    /// Restricting the copied mounts.
    RestrictMounts,
    /// Opening the place to mount on.
    OpenTarget,
    /// Attaching the copied mounts.
    AttachMounts,
    /// Mounting the overlay that is a cell's copy of a tree: the kernel has no overlayfs for user
    /// namespaces (Linux 5.11), or not on these file systems.
    MountOverlay,
    /// Bringing up the loopback interface.
    Loopback,
    /// Changing the root.
    PivotRoot,
    /// Listening at the door.
    Door,
    /// Listening for the proxy and for DNS questions.
    Proxy,
    /// Opening the way into the credentials.
    Credentials,
    /// Making the cell's own session and terminal.
    Terminal,
    /// Making a mount read-only.
    ReadOnly,
    /// Emptying the capability bounding set.
    BoundingSet,
    /// Locking the secure bits.
    SecureBits,
    /// Clearing capabilities.
    Capabilities,
    /// Setting no_new_privs.
    NoNewPrivs,
    /// Becoming the reaper of what the tree leaves behind.
    Subreaper,
    /// Making pid 1 unreadable for others.
    NotDumpable,
    /// Preparing to notice children and the lease's end.
    Events,
    /// Forking the worker.
    ForkWorker,
    /// Handing descriptors to the supervisor.
    HandOver,
    /// Entering the working directory.
    ChangeDir,
    /// Setting a resource limit.
    ResourceLimit,
    /// Creating the Landlock ruleset.
    LandlockCreate,
    /// Adding a Landlock rule; ESTALE when its path is no longer the file that was prepared.
    LandlockRule,
    /// Entering the Landlock domain.
    LandlockRestrict,
    /// Installing the system call filter.
    SeccompFilter,
    /// Letting the supervisor trace the worker.
    Traceable,
    /// Restoring signals.
    Signals,
    /// Waiting for the supervisor's release.
    AwaitRelease,
    /// The program at the path is another file by now (ESTALE).
    VerifyProgram,
    /// execve(2) itself.
    Exec,
}

impl Step {
    pub(crate) fn code(self) -> u64 {
        self as u64
    }

    pub(crate) fn from_code(code: u64) -> Option<Self> {
        usize::try_from(code)
            .ok()
            .and_then(|index| Self::ALL.get(index))
            .copied()
    }
}
