//! The exec gate: each program that a tree starts is stopped before its first instruction,
//! identified, and let go or killed.
//!
//! # Where it stands
//!
//! A thread of the supervisor, one for each gated tree, traces every process and thread of it:
//! PTRACE_SEIZE on the worker before its release, and on everything born later by the kernel
//! itself. An execve that succeeds stops at PTRACE_EVENT_EXEC. Then the old program is gone, the
//! new one is mapped, single-threaded and has run nothing, and the kernel denies writing to its
//! file (ETXTBSY; not in Linux 6.11 and unpatched 6.12). So what is looked at is what will run,
//! whatever other threads did to the path, the arguments or the descriptors on the way: there is
//! no moment between the check and the use. That is why the gate does not sit on the system call,
//! where it would judge a string that the kernel reads again, and why nothing in it decides on a
//! path. Landlock and noexec answer EACCES to the ordinary mistake, before the gate sees it. What
//! the gate refuses it can only kill: there is no program left to give an error to.
//!
//! # What is refused whatever the rule says
//!
//! - An image without a name in any directory: a memory file, an unnamed or a deleted one. Nobody
//!   could look at it afterwards.
//! - A program interpreter run as a program, which would map and run a file that nobody gated. One
//!   is known by its ELF form, a shared object that neither names an interpreter nor declares
//!   itself a position independent program, and by inode, when an image of the read-only scope has
//!   named it. The form needs no list and catches copies; the inode catches the odd interpreter
//!   that is a program as well.
//! - An image that the supervisor cannot read, and so not identify. Without privileges that is each
//!   file whose owner lets others execute and not read it.
//!
//! # How it can fail
//!
//! | what | then |
//! |---|---|
//! | the supervisor or the thread dies | PTRACE_O_EXITKILL kills every tracee, and pid 1 its tree |
//! | the supervisor hangs | execs, forks and signals of the tree wait; pid 1 is not traced, and its lease ends the tree |
//! | nobody takes the reports | the next exec waits for room: nothing starts unreported |
//! | nobody answers | the exec is refused when its patience ends |
//!
//! Tracing cannot be left: ptrace is denied inside, and so is clone with CLONE_UNTRACED. Job control
//! works, since a group-stopped tracee is left to PTRACE_LISTEN. What the trace costs, it costs at
//! exec, fork and signal delivery; system calls and memory are untouched. Debuggers do not work
//! inside, with or without the gate.
//!
//! The supervisor must not wait for children it does not know (`waitpid(-1)`) from any thread: it
//! would take the tracer's events, and the tree would stand still until its lease ends.
//!
//! # What it is not
//!
//! It gates which images start. An allowed interpreter runs what its script says; the script is
//! named in the report and not pinned, since the interpreter opens it again. Libraries are not
//! looked at.

mod call;
mod ends;
mod facts;
mod given;
mod judge;
mod makers;
mod observe;
mod stack;
mod tasks;
mod tracer;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::spec::FileIdentity;

pub use observe::{Observed, Opened};

pub(crate) use judge::Known;
pub(crate) use observe::Shown;
pub(crate) use tracer::{Tracer, Traces, start};

use self::ends::Ends;
use crate::digests::Digests;
use crate::queue::Queue;
use crate::tree::Status;

/// What is done about the programs that a tree starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecGate {
    /// Which may start.
    pub rule: ExecRule,
    /// What a refusal ends.
    pub refused: OnRefusal,
    /// Where digests of images that the cell cannot write are remembered for the next process.
    pub digests: Option<Digests>,
    /// Whether the arguments of programs are wanted.
    pub arguments: Arguments,
}

/// Whether the gate reads what a program was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// [`ExecCall::argv`] and [`ExecCall::script`] are read.
    Read,
    /// Nobody looks at them: they are empty, unless something else needs them to be read. That saves an exec some 15 µs.
    Unread,
}

/// Which images may start. In every rule but the first, images without a name, program
/// interpreters and unreadable images may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecRule {
    /// There is no gate: [`crate::Paths`] alone says what can be executed.
    Ungated,
    /// Each may, and is reported.
    Any,
    /// Those with one of these digests, and [`crate::CellSpec::client`]. Where
    /// [`crate::Paths::exec_in_writable`] is set, also those on a writable mount of the cell,
    /// whatever their digest; they are reported as such. The program of the cell and, for a
    /// script, its interpreter are not exempt.
    Listed(BTreeSet<ImageDigest>),
    /// The supervisor is asked each time, by [`ExecReport::Asked`], and answers with
    /// [`Gate::answer`]. Not asked are the first exec of the cell's program, unless it is a script
    /// (then its interpreter is asked about), and [`crate::CellSpec::client`]. Under root a second
    /// gate of another kind stands where a file is opened for execution: only tasks of this tree's
    /// trace may open one, and only in the scope. What it refuses is one of
    /// [`crate::RunningCell::denials`]. It costs each exec about 100 µs.
    Ask {
        /// How long the exec waits for the answer, counted in CLOCK_BOOTTIME, before it is
        /// refused.
        patience: Duration,
    },
}

impl ExecRule {
    /// Whether the supervisor is asked, and so a second gate stands behind this one.
    pub(crate) fn asks(&self) -> bool {
        matches!(self, Self::Ask { .. })
    }
}

/// What a refused exec ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefusal {
    /// The process that called it.
    EndProcess,
    /// The whole tree. Its [`crate::Exit::ended_by`] is then [`crate::EndedBy::Terminated`].
    EndTree,
}

impl ExecGate {
    /// No gate: what can be executed is what [`crate::Paths`] lets be executed, and nobody hears
    /// of it.
    #[must_use]
    pub fn none() -> Self {
        Self {
            rule: ExecRule::Ungated,
            refused: OnRefusal::EndProcess,
            digests: None,
            arguments: Arguments::Unread,
        }
    }
}

/// SHA-256 of a file's contents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageDigest(pub [u8; 32]);

impl ImageDigest {
    /// Reads it as it is displayed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(bytes))
    }
}

/// The value of a lower-case hexadecimal digit.
const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageDigest({self})")
    }
}

/// One exec of one tree: they are counted from 1, in the order the gate saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecId(pub u64);

/// An exec that the kernel has carried out, seen before the image ran.
#[derive(Clone, Debug)]
pub struct ExecCall {
    /// Which one it is.
    pub id: ExecId,
    /// The exec whose image called this one, in the same process or as an ancestor by forks;
    /// `None` for the first of the tree. Following it gives the whole chain.
    pub by: Option<ExecId>,
    /// The process, in the supervisor's pid namespace.
    pub pid: u32,
    /// The process or thread that made this process, in the supervisor's pid namespace, alive or
    /// not; `None` for the first.
    pub made_by: Option<u32>,
    /// The file; `None` when it could not be opened or read, which is a refusal.
    pub image: Option<ImageFile>,
    /// The exec whose image made the file executable, where [`crate::Paths::exec_in_writable`] is set and
    /// the tree did so; where there is no mount namespace, only if it made the file so from the start.
    pub maker: Option<ExecId>,
    /// The script that the image was started for by `#!`; unless arguments are unread.
    pub script: Option<Script>,
    /// The script that it was given, by `#!` or as the first word of an interpreter's arguments, from a place that is writable
    /// in the cell; looked for where [`crate::Paths::exec_in_writable`] is set.
    pub own_script: Option<OwnScript>,
    /// The arguments as the image has them, so with what `#!` put in front; empty and truncated where they are unread.
    pub argv: Vec<OsString>,
    /// Whether there are more arguments than were read. The last one in `argv` may be cut off.
    pub argv_truncated: bool,
}

/// The file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// Its path in the cell, resolved by the kernel.
    pub path: PathBuf,
    /// Which state of which file.
    pub identity: FileIdentity,
    /// Its contents; `None` when the exec was refused before they were read.
    pub digest: Option<ImageDigest>,
    /// Whether it stands on a mount that is writable in the cell: it may have been born inside.
    pub writable: bool,
}

/// A script, as it was found when its interpreter stood at its first instruction.
///
/// It is evidence, not a check: the interpreter opens the file again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its path in the cell, resolved.
    pub path: PathBuf,
    /// Which state of which file.
    pub identity: FileIdentity,
}

/// A script that may have been born inside. Evidence as [`Script`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnScript {
    /// Its path in the cell, resolved.
    pub path: PathBuf,
    /// Its contents.
    pub digest: ImageDigest,
    /// As [`ExecCall::maker`].
    pub maker: Option<ExecId>,
}

/// Why an image may not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The file cannot be opened, read or understood.
    Unreadable,
    /// It changed while it was read.
    Changed,
    /// It is larger than the gate reads: 1 GiB.
    TooLarge,
    /// It has no name in any directory: a memory file, an unnamed or a deleted one.
    Nameless,
    /// It is a program interpreter, or another library run as a program.
    Interpreter,
    /// Its digest is not listed.
    Unlisted,
    /// The supervisor answered so.
    Denied,
    /// The supervisor did not answer in time.
    Unanswered,
}

/// What the supervisor answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecVerdict {
    /// Let it run.
    Allow,
    /// Kill it.
    Refuse,
}

/// What happened at the gate. Each exec is reported once as started or refused.
#[derive(Clone, Debug)]
pub enum ExecReport {
    /// It waits for [`Gate::answer`].
    Asked(Arc<ExecCall>),
    /// It runs.
    Started(Arc<ExecCall>),
    /// It was killed before it ran, or the tree with it.
    Refused {
        /// The exec.
        call: Arc<ExecCall>,
        /// Why.
        why: Refusal,
    },
}

/// The supervisor's end of the gate. Clones share it; it outlives the tree.
///
/// Its descriptor is readable while reports wait. At most 256 wait: beyond that, execs do.
#[derive(Clone)]
pub struct Gate {
    queue: Arc<Queue<ExecReport, ExecVerdict>>,
    ends: Arc<Ends>,
    observer: Option<observe::Observer>,
}

/// How the process ended that an exec was called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecEnd {
    /// Which exec.
    pub id: ExecId,
    /// How.
    pub status: Status,
}

impl Gate {
    /// Takes the reports that have come in, oldest first. Does not wait.
    #[must_use]
    pub fn reports(&self) -> Vec<ExecReport> {
        self.queue.take()
    }

    /// Says whether the caller takes the reports by itself before long. As long as it does, its descriptor becomes readable
    /// only for questions, for refusals, and when many reports wait: a tree that starts one program after the other
    /// wakes nobody for each.
    pub fn attend(&self, attended: bool) {
        self.queue.attend(attended);
    }

    /// Takes the ends of processes that have come in since the last time. An exec that the same
    /// process followed by another one ends with the process. Nothing wakes anybody for them, and
    /// beyond 65,536 that nobody took the oldest are dropped.
    #[must_use]
    pub fn ends(&self) -> Vec<ExecEnd> {
        self.ends.take()
    }

    /// What the tree has opened, started and connected to so far; `None` where
    /// [`crate::Paths::observed`] is not set, and nobody looks.
    #[must_use]
    pub fn observed(&self) -> Option<Observed> {
        self.observer.as_ref().map(observe::Observer::seen)
    }

    /// Answers one [`ExecReport::Asked`]. `false` when it does not wait any more: it was answered,
    /// its patience has ended, or its process has.
    pub fn answer(&self, id: ExecId, verdict: ExecVerdict) -> bool {
        self.queue.answer(id.0, verdict)
    }
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.reports_ready()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}
