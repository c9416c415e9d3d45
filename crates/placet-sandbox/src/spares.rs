//! Cells that wait for a program: built ahead of time, for a supervisor that runs one command after the other.
//!
//! Building a cell is most of what a short command waits for, and nothing in it needs the command. So a supervisor may
//! have the next cell built beside its work ([`Spares::restock`]), with the scope of a command that it has just run. That is a
//! guess and gives nothing: a spare is empty, holds no program and no standard stream of anybody, and is served by nobody. It becomes a cell only for a
//! spec that was written just now: by [`Prepared::spawn_from`](crate::Prepared::spawn_from) with the plan that was made of it, like for every cell, or by
//! [`Spares::ahead`] before the answer is there.
//!
//! # When it is used
//!
//! If the cell that it is and the cell that would be built now are the same. Where there is a new plan, the two are compared: every mount with the inodes
//! that it stands on, Landlock rules, filter, limits, groups, session, sockets ([`Plan::builds_the_same_as`]). Where there is none yet, what a plan is
//! made of is: the spec in every field but the program, each path that was looked at for it ([`Looked`]), and the root with its links. In either case, if the supervisor and its mount table are as they were
//! before the spare was built ([`Ambient`]); if it is alive and the working directory is there. Else it is not used, and a cell is built. What is about the one
//! program comes with the release, and is checked then as always: path, identity, arguments, environment, directory and
//! standard streams. Whom the tree may connect to, which programs may start, and what is asked or told, the supervisor
//! takes from the new plan or spec alone.
//!
//! What is granted stays the same file while a spare waits: its plan holds each open, so that no other file can get the inode.
//!
//! # What bounds it
//!
//! At most [`SPARES_MAX`] wait, each for [`LIFE`] as the lease that its own pid 1 holds. A spare ends with its supervisor like every
//! cell, by the parent death signal and the end of the control socket, and is taken out under a lock: no two commands get
//! the same one. Its worker is called `placet-spare`.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use crate::ahead::Ahead;
use crate::ambient::Ambient;
use crate::cell::{Built, Cell};
use crate::error::SandboxError;
use crate::later::Program;
use crate::looked::Looked;
use crate::plan::Plan;
use crate::process::{Process, pid_of};
use crate::spec::{CellSpec, FileIdentity};
use crate::sys;
use crate::tree::{Tree, deadline_after};

/// How many wait at a time, each for another scope.
const SPARES_MAX: usize = 2;
/// How long one waits.
const LIFE: Duration = Duration::from_secs(30);

/// Cells that wait for the programs of one supervisor. Dropping it ends them.
pub struct Spares {
    waiting: Arc<Mutex<Vec<Spare>>>,
    /// The spec of the last cell: the guess at the next one.
    noted: Mutex<Option<CellSpec>>,
    /// Held while one is cloned, and by whoever has something in memory that no clone is to have.
    cloning: Arc<Mutex<()>>,
    builder: Option<Builder>,
    counted: Arc<Mutex<SpareCounts>>,
}

/// What became of the cells that were built ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpareCounts {
    /// Built ahead.
    pub built: u64,
    /// Of those, used.
    pub taken: u64,
    /// Why the last one could not be built.
    pub failed: Option<String>,
}

/// The thread that builds and ends them.
struct Builder {
    orders: Sender<Box<CellSpec>>,
    thread: JoinHandle<()>,
}

/// One that waits.
struct Spare {
    built: Built,
    plan: Arc<Plan>,
    ambient: Ambient,
    /// Of what it was built, with what was looked at for it.
    spec: CellSpec,
    /// The directory whose links it has.
    root: FileIdentity,
    until_ns: u64,
}

/// One that was taken.
pub(crate) struct Taken {
    pub(crate) built: Built,
    pub(crate) plan: Arc<Plan>,
    pub(crate) streams: Vec<OwnedFd>,
}

impl Taken {
    /// Says what it becomes; `false` where that is too long.
    pub(crate) fn put(&self, program: &Program) -> bool {
        let later = self.plan.worker.later.as_ref();
        later.is_some_and(|later| later.put(program, &program.env))
    }
}

impl Spares {
    /// None are ever built: for a supervisor that runs one command.
    #[must_use]
    pub fn none() -> Self {
        Self {
            waiting: Arc::default(),
            noted: Mutex::default(),
            cloning: Arc::default(),
            builder: None,
            counted: Arc::default(),
        }
    }

    /// For a supervisor that runs one command after the other. Nothing is built before the first.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn kept() -> io::Result<Self> {
        let waiting: Arc<Mutex<Vec<Spare>>> = Arc::default();
        let (orders, ordered) = channel();
        let cloning: Arc<Mutex<()>> = Arc::default();
        let counted: Arc<Mutex<SpareCounts>> = Arc::default();
        let room = Room {
            waiting: Arc::clone(&waiting),
            cloning: Arc::clone(&cloning),
            counted: Arc::clone(&counted),
        };
        let thread = thread::Builder::new()
            .name("placet-spares".to_owned())
            .spawn(move || room.serve(&ordered))?;
        Ok(Self {
            waiting,
            noted: Mutex::default(),
            cloning,
            builder: Some(Builder { orders, thread }),
            counted,
        })
    }

    /// Whether any are ever built.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        self.builder.is_some()
    }

    /// How many wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.waiting).len()
    }

    /// What became of those that were built.
    #[must_use]
    pub fn counts(&self) -> SpareCounts {
        lock(&self.counted).clone()
    }

    /// Notes what the next cell will probably be like.
    pub fn note(&self, spec: &CellSpec) {
        if self.are_kept() {
            // Nothing of the one command: what is kept here is in the memory of every cell to come.
            let mut spec = spec.clone();
            spec.env.clear();
            spec.program.argv.truncate(1);
            // Nor of the one time.
            spec.looked = Looked::default();
            *lock(&self.noted) = Some(spec);
        }
    }

    /// Takes the spare for a cell that will probably be asked for, and stands beside it, while nobody knows yet whether it is: see
    /// [`Ahead`]. `None` where no spare waits that is this one.
    #[must_use]
    pub fn ahead(&self, spec: CellSpec) -> Option<Ahead> {
        if self.waiting() == 0 {
            return None;
        }
        Ahead::of(spec, self)
    }

    /// Has a cell built for what was noted last, beside whatever this thread does next; again, where the one that waited has waited
    /// long enough. Better while no command of this supervisor runs: a clone copies its memory.
    pub fn restock(&self) {
        let noted = lock(&self.noted).clone();
        if let (Some(builder), Some(spec)) = (&self.builder, noted) {
            // A thread that is gone builds nothing.
            drop(builder.orders.send(Box::new(spec)));
        }
    }

    /// Until the value is dropped no spare is cloned, and so none has a copy of what comes into this memory meanwhile.
    #[must_use]
    pub fn hold_off(&self) -> HeldOff<'_> {
        HeldOff {
            _guard: self.cloning.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Takes the spare that is what `plan` would build. Its program is still to be [put](Taken::put).
    pub(crate) fn take(&self, plan: &Plan, lease: Duration) -> Option<Taken> {
        if !plan.may_wait() {
            return None;
        }
        let spare = self.take_that(|spare| spare.plan.builds_the_same_as(plan))?;
        self.check(spare, &plan.worker.program.cwd, lease)
    }

    /// The same for a spec: what it was built of is the same, and so is every path that was looked at for it.
    pub(crate) fn take_for(&self, spec: &CellSpec) -> Option<Taken> {
        let spare = self.take_that(|spare| spare.is_for(spec))?;
        let cwd = CString::new(spec.cwd.as_os_str().as_bytes()).ok()?;
        self.check(spare, &cwd, spec.lease)
    }

    fn take_that(&self, fits: impl Fn(&Spare) -> bool) -> Option<Spare> {
        self.builder.as_ref()?;
        let mut waiting = lock(&self.waiting);
        let at = waiting.iter().position(fits)?;
        Some(waiting.swap_remove(at))
    }

    /// From here on it is used or ended.
    fn check(&self, spare: Spare, cwd: &CStr, lease: Duration) -> Option<Taken> {
        let streams = streams(&spare.plan).ok()?;
        let Spare {
            mut built,
            plan,
            ambient,
            spec: _,
            root: _,
            until_ns: _,
        } = spare;
        let usable = ambient.is_still()
            && is_alive(&mut built.tree)
            && is_there(&built.tree, cwd)
            && built.tree.renew(lease).is_ok();
        if !usable {
            return None;
        }
        lock(&self.counted).taken += 1;
        Some(Taken {
            built,
            plan,
            streams,
        })
    }
}

impl Spare {
    /// Whether it is what this spec says, but for the program: it was built of the same, whose every path leads where it led, and nothing was
    /// changed in the root. Of files of the cell's own that replace others it is not known what they would replace now.
    fn is_for(&self, spec: &CellSpec) -> bool {
        spec.own_files.is_empty()
            && self.spec.is_but_for_program(spec)
            && self.spec.looked.is_still(&spec.looked)
            && FileIdentity::of_path(Path::new("/")).is_ok_and(|root| root == self.root)
    }
}

/// No spare is cloned.
#[derive(Debug)]
pub struct HeldOff<'a> {
    _guard: MutexGuard<'a, ()>,
}

impl Drop for Spares {
    fn drop(&mut self) {
        if let Some(Builder { orders, thread }) = self.builder.take() {
            drop(orders);
            // What it could panic with has ended it.
            drop(thread.join());
        }
        lock(&self.waiting).clear();
    }
}

impl fmt::Debug for Spares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spares")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with it has left it whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread that builds them has of the others.
struct Room {
    waiting: Arc<Mutex<Vec<Spare>>>,
    cloning: Arc<Mutex<()>>,
    counted: Arc<Mutex<SpareCounts>>,
}

impl Room {
    /// Builds what is ordered and ends what has waited long enough.
    fn serve(&self, orders: &Receiver<Box<CellSpec>>) {
        loop {
            let next = lock(&self.waiting).iter().map(|spare| spare.until_ns).min();
            let now = sys::boot_time_ns();
            let patience = next.map_or(LIFE, |at| Duration::from_nanos(at.saturating_sub(now)));
            match orders.recv_timeout(patience) {
                // What cannot be built is missed by nobody: who wants such a cell is told why then.
                Ok(spec) => {
                    let built = self.build(*spec);
                    lock(&self.counted).failed = built.err().map(|error| error.to_string());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = sys::boot_time_ns();
            let over: Vec<Spare> = {
                let mut waiting = lock(&self.waiting);
                waiting
                    .extract_if(.., |spare| spare.until_ns <= now)
                    .collect()
            };
            // Outside of the lock: it takes a moment.
            drop(over);
        }
    }

    fn build(&self, spec: CellSpec) -> Result<(), SandboxError> {
        // Looked at before anything is copied: what changes meanwhile shows.
        let unreadable = |source| SandboxError::Supervisor {
            what: "read its own state",
            source,
        };
        let ambient = Ambient::now().map_err(unreadable)?;
        let spec = CellSpec {
            lease: LIFE,
            ..spec
        };
        let until_ns = deadline_after(LIFE);
        let root = FileIdentity::of_path(Path::new("/")).map_err(unreadable)?;
        let prepared = Cell::prepare_for(spec.clone(), true)?;
        let plan = Arc::clone(prepared.plan());
        if !plan.may_wait() {
            return Ok(());
        }
        let same = |spare: &Spare| spare.plan.builds_the_same_as(&plan) && spare.ambient.is_still();
        if lock(&self.waiting).iter().any(same) {
            return Ok(());
        }
        let built = {
            let _alone = self.cloning.lock().unwrap_or_else(PoisonError::into_inner);
            prepared.build()?
        };
        // Here, beside whatever the supervisor does: it would else copy each page when it next writes to it, which is while a command waits.
        // Without it everything is as it was, only later.
        own_memory();
        let spare = Spare {
            built,
            plan,
            ambient,
            spec,
            root,
            until_ns,
        };
        let oldest = {
            let mut waiting = lock(&self.waiting);
            let oldest = (waiting.len() >= SPARES_MAX).then(|| waiting.remove(0));
            waiting.push(spare);
            oldest
        };
        lock(&self.counted).built += 1;
        drop(oldest);
        Ok(())
    }
}

/// Gives this process pages of its own in place of those that it shares with what was cloned.
fn own_memory() {
    if let Ok(pagemap) = File::open("/proc/self/pagemap") {
        sys::own_memory(pagemap.as_raw_fd()).unwrap_or(());
    }
}

/// Copies of the standard streams that the program does not get from a terminal of the cell's own.
fn streams(plan: &Plan) -> io::Result<Vec<OwnedFd>> {
    let standard = [
        io::stdin().as_fd().try_clone_to_owned(),
        io::stdout().as_fd().try_clone_to_owned(),
        io::stderr().as_fd().try_clone_to_owned(),
    ];
    let outside = standard.into_iter().zip(plan.worker.terminal);
    outside
        .filter(|(_, own)| !own)
        .map(|(stream, _)| stream)
        .collect()
}

/// Whether pid 1 has not ended. Nothing else can be heard of a cell without a program.
fn is_alive(tree: &mut Tree) -> bool {
    matches!(tree.next_change(Some(Duration::ZERO)), Ok(None))
}

/// Whether the cell has the working directory. One that it has not is refused by the cell that is built instead.
fn is_there(tree: &Tree, cwd: &CStr) -> bool {
    let inside = || {
        let worker = pid_of(tree.handed()?.worker.as_fd())?;
        let worker = Process::open(worker).ok()?;
        let cwd = OsStr::from_bytes(cwd.to_bytes());
        worker.inode_of(Path::new(cwd)).ok()
    };
    inside().is_some()
}
