//! A cell as its supervisor holds it, one type for each state.
//!
//! [`Cell::prepare`] → [`Prepared`] → [`WaitingCell`]: confined, the program not started →
//! [`RunningCell`]. Dropping either of the last two kills the tree and waits until nothing of it
//! is left.

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
use crate::gate::{self, ExecRule, Gate, Tracer, Traces};
use crate::group::Group;
use crate::hear::{SETUP_SECS_MAX, pair, receive_with_fds};
use crate::opens::{self, Allowed, Opens, Traced};
use crate::plan::Plan;
use crate::process::{self, Process};
use crate::spares::{Spares, Taken};
use crate::spec::CellSpec;
use crate::sys::Errno;
use crate::tier::Tier;
use crate::tree::{Change, Exit, Handed, Tree, await_any, deadline_after, failed};
use crate::wire::{Failure, Group as ProcessGroup, Order, Report};
use crate::{host, launcher, prepare};

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
#[derive(Debug)]
pub struct RunningCell {
    tree: Tree,
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

impl Prepared {
    /// Builds the cell, up to the worker that waits for its release. Takes about two milliseconds.
    /// The worker has the caller's standard streams as they are now, and no other descriptor.
    ///
    /// # Errors
    /// [`SandboxError::Setup`] names the step. Nothing is left running.
    pub fn spawn(self) -> Result<WaitingCell, SandboxError> {
        let built = self.build()?;
        self.serve(built)
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
        let mut waiting = self.serve(spare.built)?;
        waiting.later = Some(spare.plan);
        waiting.streams = Some(spare.streams);
        Ok(waiting)
    }

    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// All that the kernel has of a cell.
    pub(crate) fn build(&self) -> Result<Built, SandboxError> {
        let (control, control_inside) = pair()?;
        let (gate, gate_inside) = pair()?;
        let lease = deadline_after(self.lease);
        let group = Group::create(&self.plan.place);
        let group = group.map_err(|why| prepare::unbounded(&self.plan.bounds, why))?;
        let plan = Arc::clone(&self.plan);
        // Where each program is decided about, what a second gate costs is little.
        let own_mounts = self.plan.host.is_none();
        let opens = if own_mounts && matches!(self.plan.exec.rule, ExecRule::Ask { .. }) {
            let opens = Opens::new()?;
            if opens.is_none() && self.tier == Tier::P {
                return Err(SandboxError::Unsupported("the second exec gate of tier P"));
            }
            opens
        } else {
            None
        };
        let kept = opens.as_ref().map(Opens::as_fd);
        let launched = launcher::launch(plan, control_inside, gate_inside, kept, &group, lease)?;
        let mut tree = Tree::new(launched, control, group);
        let deadline = deadline_after(Duration::from_secs(SETUP_SECS_MAX));
        tree.stand_on(self.plan.host.clone());
        let mut handed = self.await_fork(&tree, deadline)?;
        let door = self.door_on_host()?;
        let door_file = door
            .as_ref()
            .map(|door| host::another(&door.file))
            .transpose()?;
        if let Some(door) = door {
            handed.door = Some(door.listener);
        }
        tree.hand(handed);
        let (listener, own) = self.await_ready(gate.as_fd(), deadline)?;
        let own_devices = own_devices(&tree, &self.plan)?;
        // The layers of a copy are looked at as soon as the tree is gone: nothing is to be mounted of them by then.
        if own_mounts && !self.plan.has_copies() {
            tree.hold_mounts();
        }
        Ok(Built {
            tree,
            gate,
            listener,
            own,
            own_devices,
            door_file,
            opens,
        })
    }

    /// What the supervisor does beside a cell: answers its connects, stands between it and its programs, hears of refusals.
    fn serve(mut self, built: Built) -> Result<WaitingCell, SandboxError> {
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
        let traced = Traced::default();
        if self.plan.worker.gated {
            let tracer = self.trace(&tree, traced.clone())?;
            tree.trace(tracer);
        }
        self.watch(&mut tree, opens, traced)?;
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

    /// The door of a cell that has no `/run` of its own.
    fn door_on_host(&self) -> Result<Option<host::Door>, SandboxError> {
        let wanted = self.plan.door && self.plan.host.is_some();
        wanted.then(host::open_door).transpose()
    }

    fn await_fork(&self, tree: &Tree, deadline: u64) -> Result<Handed, SandboxError> {
        if !await_any(&[tree.control()], Some(deadline))? {
            return Err(SandboxError::SetupTimedOut(SETUP_SECS_MAX));
        }
        let (report, mut fds) = receive_with_fds(tree.control())?;
        match (report, fds.next()) {
            (Some(Report::Forked), Some(worker)) => {
                // On the host's tree the supervisor opens it itself.
                let with_door = self.plan.door && self.plan.host.is_none();
                let door = if with_door { fds.next() } else { None };
                let proxied = if self.plan.proxied {
                    fds.next().zip(fds.next())
                } else {
                    None
                };
                let proxied = proxied.map(|(proxy, dns)| [proxy, dns]);
                let has_terminal = self.plan.session.has_terminal();
                let terminal = if has_terminal { fds.next() } else { None };
                let got = (door.is_some(), proxied.is_some(), terminal.is_some());
                if got == (with_door, self.plan.proxied, has_terminal) {
                    Ok(Handed {
                        worker,
                        door,
                        proxied,
                        terminal,
                        credentials: fds.next(),
                    })
                } else {
                    Err(SandboxError::SetupDied)
                }
            }
            (Some(Report::Failed(failure)), _) => Err(self.failure(failure)),
            _ => Err(SandboxError::SetupDied),
        }
    }

    /// Gives the listener of the filter, and what tells the cell's own sockets from others.
    fn await_ready(
        &self,
        gate: BorrowedFd<'_>,
        deadline: u64,
    ) -> Result<(OwnedFd, Option<Own>), SandboxError> {
        if !await_any(&[gate], Some(deadline))? {
            return Err(SandboxError::SetupTimedOut(SETUP_SECS_MAX));
        }
        let (report, mut fds) = receive_with_fds(gate)?;
        match (report, fds.next()) {
            (Some(Report::Ready), Some(listener)) => Ok((listener, fds.next().map(Own::new))),
            (Some(Report::Failed(failure)), _) => Err(self.failure(failure)),
            _ => Err(SandboxError::SetupDied),
        }
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
