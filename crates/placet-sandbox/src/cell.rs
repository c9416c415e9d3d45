//! A cell as its supervisor holds it, one type for each state.
//!
//! [`Cell::prepare`] → [`Prepared`] → [`WaitingCell`]: confined, the program not started →
//! [`RunningCell`]. Dropping either of the last two kills the tree and waits until nothing of it
//! is left.

mod build;
mod waiting;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{self, Broker, OnHost, Own, Server, Setting};
use crate::credentials::Given;
use crate::denials::{self, Audit, Denials};
use crate::error::{SandboxError, Step};
use crate::gate::{self, Gate, Tracer, Traces};
use crate::later::Program;
use crate::opens::{self, Allowed, Opens, Traced};
use crate::plan::Plan;
use crate::process::{self, Process};
use crate::spares::{Spares, Taken};
use crate::spec::CellSpec;
use crate::sys::Errno;
use crate::tier::Tier;
use crate::tree::{Change, Exit, Tree, failed};
use crate::wire::{Failure, Group as ProcessGroup, Order};
use crate::{launcher, prepare, privileged};

/// The entry point; a cell itself is a [`WaitingCell`] or a [`RunningCell`].
#[derive(Debug)]
pub struct Cell;

/// A checked spec. Nothing runs yet.
pub struct Prepared {
    plan: Arc<Plan>,
    program: PathBuf,
    lease: Duration,
    tier: Tier,
    audit: Option<Audit>,
}

/// A cell whose program has not started: confined, and blocked just before execve. Its lease runs.
pub struct WaitingCell {
    tree: Tree,
    gate: OwnedFd,
    plan: Arc<Plan>,
    program: PathBuf,
    given: Given,
    /// Of a cell that waited before there was a program for it: by what it was built, and the standard streams that the
    /// program gets with its release.
    later: Option<Arc<Plan>>,
    streams: Option<Vec<OwnedFd>>,
}

/// A cell that was released, and whose program may not have been executed yet.
#[derive(Debug)]
pub struct ReleasedCell(WaitingCell);

/// What the kernel has of a cell that nobody serves yet.
pub(crate) struct Built {
    pub(crate) tree: Tree,
    gate: OwnedFd,
    listener: OwnedFd,
    own: Option<Own>,
    own_devices: Vec<u64>,
    door_file: Option<OwnedFd>,
    opens: Option<Opens>,
}

/// A cell whose program was executed.
pub struct RunningCell {
    tree: Tree,
    /// By what it was built and is watched: for nothing any more but to be dropped when nobody waits for that.
    plans: [Option<Arc<Plan>>; 2],
}

impl Cell {
    /// Checks a spec against this kernel and file system and computes what the cell needs.
    ///
    /// # Errors
    /// Every way in which the spec cannot be enforced exactly as it stands.
    pub fn prepare(spec: CellSpec) -> Result<Prepared, SandboxError> {
        Self::prepare_for(spec, false)
    }

    /// `later`: its worker is told its program with its release.
    pub(crate) fn prepare_for(spec: CellSpec, later: bool) -> Result<Prepared, SandboxError> {
        // Without it the cell is no weaker, only quieter.
        let audit = Audit::open().ok();
        let plan = Arc::new(prepare::plan(&spec, audit.is_some(), later)?);
        Ok(Prepared {
            plan,
            program: spec.program.path,
            lease: spec.lease,
            tier: spec.tier,
            audit,
        })
    }
}

impl Cell {
    /// For a cell that waits and is the one that this spec says, with its program.
    pub(crate) fn prepare_like(
        waits: &Plan,
        spec: &CellSpec,
        program: Program,
    ) -> Result<Prepared, SandboxError> {
        let audit = Audit::open().ok();
        if waits.worker.landlock_flags != 0 && audit.is_none() {
            return Err(SandboxError::Unsupported("to be told of denials"));
        }
        // What stands outside of the single cell can have been taken away.
        let stands = privileged::set_up(&waits.place)?;
        privileged::demand(spec.tier, stands, waits.memfd_noexec)?;
        Ok(Prepared {
            plan: Arc::new(waits.for_program(program, spec.egress.clone())),
            program: spec.program.path.clone(),
            lease: spec.lease,
            tier: spec.tier,
            audit,
        })
    }
}

impl Prepared {
    /// Builds the cell, up to the worker that waits for its release. Takes about two milliseconds.
    /// The worker has the caller's standard streams as they are now, and no other descriptor.
    ///
    /// # Errors
    /// [`SandboxError::Setup`] names the step. Nothing is left running.
    pub fn spawn(mut self) -> Result<WaitingCell, SandboxError> {
        let mut begun = self.begin()?;
        // Whoever has no privileges may trace a worker only once it is ready; others need not wait for that.
        let attended = rustix::process::geteuid().is_root();
        if attended {
            let opens = begun.opens.take();
            if let Err(error) = self.attend(&mut begun.tree, opens) {
                // A worker that came to nothing meanwhile says why.
                return Err(self.complete(begun).err().unwrap_or(error));
            }
        }
        let built = self.complete(begun)?;
        self.serve(built, attended)
    }

    /// As [`Prepared::spawn`], with a cell that was built before, where one waits that is exactly what would be built now.
    /// Its worker has the standard streams as they are now as well.
    ///
    /// # Errors
    /// As [`Prepared::spawn`].
    pub fn spawn_from(self, spares: &Spares) -> Result<WaitingCell, SandboxError> {
        match spares.take(&self.plan, self.lease) {
            Some(spare) if spare.put(&self.plan.worker.program) => self.serve_spare(spare),
            Some(_) | None => self.spawn(),
        }
    }

    /// What the supervisor does beside a cell that waited.
    pub(crate) fn serve_spare(self, spare: Taken) -> Result<WaitingCell, SandboxError> {
        let mut waiting = self.serve(spare.built, false)?;
        waiting.later = Some(spare.plan);
        waiting.streams = Some(spare.streams);
        Ok(waiting)
    }

    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Stands between a cell and its programs, and hears of refusals.
    fn attend(&mut self, tree: &mut Tree, opens: Option<Opens>) -> Result<(), SandboxError> {
        let traced = Traced::default();
        if self.plan.worker.gated {
            let tracer = self.trace(tree, traced.clone())?;
            tree.trace(tracer);
        }
        self.watch(tree, opens, traced)
    }

    /// What the supervisor does beside a cell: answers its connects, and attends to it unless it does already.
    fn serve(mut self, built: Built, attended: bool) -> Result<WaitingCell, SandboxError> {
        let Built {
            mut tree,
            gate,
            listener,
            own,
            own_devices,
            door_file,
            opens,
        } = built;
        tree.serve(broker::start(Setting {
            listener,
            rules: self.plan.egress.clone(),
            own_devices,
            on_host: self.plan.host.as_ref().map(|host| OnHost {
                host: Arc::clone(host),
                door: door_file,
            }),
            own,
            loopback: self.plan.loopback,
        })?);
        if !attended {
            self.attend(&mut tree, opens)?;
        }
        // Its thread came up beside the others. Nothing is released before.
        tree.await_trace()?;
        Ok(WaitingCell {
            tree,
            gate,
            plan: self.plan,
            program: self.program,
            given: Given::default(),
            later: None,
            streams: None,
        })
    }

    /// Starts what tells the supervisor of refusals, and the second exec gate among it.
    fn watch(
        &mut self,
        tree: &mut Tree,
        opens: Option<Opens>,
        traced: Traced,
    ) -> Result<(), SandboxError> {
        let audit = self.audit.take();
        if audit.is_none() && opens.is_none() {
            return Ok(());
        }
        let io = |errno: rustix::io::Errno| failed("tell denials", Errno(errno.raw_os_error()));
        let denials = Denials::new().map_err(io)?;
        let worker = tree.handed().ok_or(SandboxError::SetupDied)?.worker.as_fd();
        let worker = process::pid_of(worker).ok_or(SandboxError::SetupDied)?;
        if let Some(opens) = opens {
            opens.mark(&Process::open(worker).map_err(io)?)?;
            let paths = self.plan.executable.clone();
            let allowed = Allowed { paths, traced };
            tree.watch_opens(opens::start(opens, allowed, denials.clone())?);
        }
        if let Some(audit) = audit {
            tree.read_denials(denials::start(audit, worker, denials.clone())?);
        }
        tree.tell(denials);
        Ok(())
    }

    /// Stands between the worker and whatever it will execute, from its release on.
    fn trace(&self, tree: &Tree, traced: Traced) -> Result<Tracer, SandboxError> {
        let cloned = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .map_err(|source| SandboxError::Supervisor {
                    what: "gate execs",
                    source,
                })
        };
        let worker = tree.handed().ok_or(SandboxError::SetupDied)?.worker.as_fd();
        let traces = Traces {
            worker: cloned(worker)?,
            pid1: cloned(tree.pidfd())?,
            traced,
            shown: self.plan.shown,
        };
        gate::start(
            &self.plan.exec,
            self.plan.known,
            traces,
            self.plan.host.clone(),
        )
    }

    fn failure(&self, failure: Failure) -> SandboxError {
        explain(&self.plan, &self.program, failure)
    }
}

impl fmt::Debug for RunningCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningCell")
            .field("tree", &self.tree)
            .finish_non_exhaustive()
    }
}

impl Drop for RunningCell {
    fn drop(&mut self) {
        let plans = self.plans.iter_mut().filter_map(Option::take);
        plans.for_each(launcher::forget_beside);
    }
}

impl RunningCell {
    /// Lets the tree live for `lease` from now. A shorter time than what is left shortens it.
    ///
    /// # Errors
    /// When the tree has ended.
    pub fn renew(&self, lease: Duration) -> Result<(), SandboxError> {
        self.tree.renew(lease)
    }

    /// Sends a signal to the worker: not to pid 1, and not to the worker's children.
    ///
    /// # Errors
    /// When the worker has ended (ESRCH) or there is no such signal.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        self.tree.signal(signal)
    }

    /// Signals the process group that the worker is in.
    ///
    /// # Errors
    /// When the tree has ended.
    pub fn signal_group(&self, signal: i32) -> Result<(), SandboxError> {
        self.tree.signal_group(ProcessGroup::Worker, signal)
    }

    /// Signals the process group that the keys of the cell's terminal are for; the worker's, where
    /// they are for nobody.
    ///
    /// # Errors
    /// When the tree has ended.
    pub fn signal_foreground(&self, signal: i32) -> Result<(), SandboxError> {
        self.tree.signal_group(ProcessGroup::Foreground, signal)
    }

    /// The keys of the cell's terminal are for the worker's process group, which goes on if it is
    /// stopped. A cell without a terminal ends by this.
    ///
    /// # Errors
    /// When the tree has ended.
    pub fn to_foreground(&self) -> Result<(), SandboxError> {
        self.tree.order("turn the terminal", Order::Foreground)
    }

    /// The worker's process group goes on if it is stopped, in the background of the cell's terminal:
    /// whoever reads from it is stopped. A cell without a terminal ends by this.
    ///
    /// # Errors
    /// When the tree has ended.
    pub fn to_background(&self) -> Result<(), SandboxError> {
        self.tree.order("turn the terminal", Order::Background)
    }

    /// Kills every process of the tree and returns when the last is gone. A worker that ended by
    /// itself just before keeps its own status.
    ///
    /// # Errors
    /// When the kernel refuses to kill or to wait; the tree then ends with its lease.
    pub fn terminate(&mut self) -> Result<Exit, SandboxError> {
        self.tree.terminate()
    }

    /// The next change, waiting up to `timeout` or for ever; `None` when the time is over. After
    /// the end it gives the end again.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn next_change(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Change>, SandboxError> {
        self.tree.next_change(timeout)
    }

    /// The end, if it has come. Stops on the way are skipped.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn try_wait(&mut self) -> Result<Option<Exit>, SandboxError> {
        loop {
            match self.tree.next_change(Some(Duration::ZERO))? {
                Some(Change::Ended(exit)) => return Ok(Some(exit)),
                Some(Change::Stopped(_) | Change::Continued) => {}
                None => return Ok(None),
            }
        }
    }

    /// Waits for the end. Does not renew the lease.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn wait(&mut self) -> Result<Exit, SandboxError> {
        loop {
            if let Some(Change::Ended(exit)) = self.tree.next_change(None)? {
                return Ok(exit);
            }
        }
    }

    /// The connect broker. All its reports are there once the end is.
    #[must_use]
    pub fn broker(&self) -> Option<&Broker> {
        self.tree.server().map(Server::broker)
    }

    /// The exec gate, unless the spec has none. All its reports are there once the end is.
    #[must_use]
    pub fn gate(&self) -> Option<&Gate> {
        self.tree.tracer().and_then(Tracer::gate)
    }

    /// The pidfd of pid 1: readable when no process of the tree is left.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.tree.pidfd()
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

    /// The pidfd of the worker.
    #[must_use]
    pub fn worker(&self) -> Option<BorrowedFd<'_>> {
        self.tree.handed().map(|handed| handed.worker.as_fd())
    }

    /// The listener at [`crate::DOOR_PATH`], if the spec asked for one. Whoever connects to it is a
    /// process of this cell.
    #[must_use]
    pub fn door(&self) -> Option<&OwnedFd> {
        self.tree.handed().and_then(|handed| handed.door.as_ref())
    }
}

/// Readable when [`RunningCell::next_change`] has something to say, or will have in a moment.
impl AsFd for RunningCell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tree.control()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// The devices of the file systems that only the cell has, as its worker sees them.
fn own_devices(tree: &Tree, plan: &Plan) -> Result<Vec<u64>, SandboxError> {
    let worker = tree.handed().ok_or(SandboxError::SetupDied)?.worker.as_fd();
    let pid = process::pid_of(worker).ok_or(SandboxError::SetupDied)?;
    let devices = || -> Result<Vec<u64>, rustix::io::Errno> {
        let worker = Process::open(pid)?;
        let devices = plan.own_places.iter();
        devices
            .map(|path| worker.inode_of(path).map(|inode| inode.dev))
            .collect()
    };
    devices().map_err(|errno| {
        // Of a worker whose lease lapsed meanwhile nothing is to be seen: that is why, not what was looked for.
        if process::has_ended(worker) {
            SandboxError::SetupDied
        } else {
            failed("look into the cell", Errno(errno.raw_os_error()))
        }
    })
}

fn explain(plan: &Plan, program: &Path, failure: Failure) -> SandboxError {
    let Failure { step, errno, index } = failure;
    let path = plan.path_of(step, index);
    let about_program = step == Step::VerifyProgram || path.as_deref() == Some(program);
    if errno == Errno(libc::ESTALE) && about_program {
        return SandboxError::ProgramChanged(program.to_path_buf());
    }
    let source = errno.into();
    if step == Step::Exec {
        return SandboxError::Exec {
            path: program.to_path_buf(),
            source,
        };
    }
    SandboxError::Setup { step, path, source }
}
