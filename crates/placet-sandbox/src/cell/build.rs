//! A cell on its way up: what is made for it, and what its first processes say.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::{Built, Prepared, own_devices};
use crate::broker::Own;
use crate::error::{SandboxError, Step};
use crate::gate::ExecRule;
use crate::group::Group;
use crate::hear::{SETUP_SECS_MAX, pair, receive_with_fds};
use crate::opens::Opens;
use crate::sys;
use crate::tier::Tier;
use crate::tree::{Handed, Tree, await_any, deadline_after};
use crate::wire::{Failure, NO_INDEX, Report};
use crate::{host, launcher, prepare};

/// A cell that builds itself up, whose worker is known.
pub(super) struct Begun {
    pub(super) tree: Tree,
    gate: OwnedFd,
    door_file: Option<OwnedFd>,
    pub(super) opens: Option<Opens>,
    deadline: u64,
}

impl Prepared {
    /// All that the kernel has of a cell.
    pub(crate) fn build(&self) -> Result<Built, SandboxError> {
        let begun = self.begin()?;
        self.complete(begun)
    }

    pub(super) fn begin(&self) -> Result<Begun, SandboxError> {
        let (control, control_inside) = pair()?;
        let (gate, gate_inside) = pair()?;
        let lease = deadline_after(self.lease);
        let group = Group::create(&self.plan.place);
        let group = group.map_err(|why| prepare::unbounded(&self.plan.bounds, why))?;
        let plan = Arc::clone(&self.plan);
        // Where each program is decided about, what a second gate costs is little.
        let opens = if self.has_own_mounts() && matches!(self.plan.exec.rule, ExecRule::Ask { .. })
        {
            let opens = Opens::new()?;
            if opens.is_none() && self.tier == Tier::P {
                return Err(SandboxError::Unsupported("the second exec gate of tier P"));
            }
            opens
        } else {
            None
        };
        let ruleset = self.ruleset()?;
        let kept = (opens.as_ref().map(Opens::as_fd), ruleset.as_fd());
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
        Ok(Begun {
            tree,
            gate,
            door_file,
            opens,
            deadline,
        })
    }

    /// The worker's rules, as far as they can be made here.
    fn ruleset(&self) -> Result<OwnedFd, SandboxError> {
        let failed = |step, index, errno| self.failure(Failure { step, errno, index });
        let worker = &self.plan.worker;
        let ruleset = sys::landlock_create(&worker.ruleset)
            .map_err(|errno| failed(Step::LandlockCreate, NO_INDEX, errno))?;
        // SAFETY: the kernel has just made this descriptor for us alone.
        let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
        for (index, rule) in worker.rules.iter().enumerate() {
            if let Some(file) = &rule.file {
                sys::landlock_allow(ruleset.as_raw_fd(), file.as_raw_fd(), rule.access)
                    .map_err(|errno| failed(Step::LandlockRule, index, errno))?;
            }
        }
        Ok(ruleset)
    }

    pub(super) fn complete(&self, begun: Begun) -> Result<Built, SandboxError> {
        let Begun {
            mut tree,
            gate,
            door_file,
            opens,
            deadline,
        } = begun;
        let (listener, own) = self.await_ready(gate.as_fd(), deadline)?;
        let own_devices = own_devices(&tree, &self.plan)?;
        // The layers of a copy are looked at as soon as the tree is gone: nothing is to be mounted of them by then.
        if self.has_own_mounts() && !self.plan.has_copies() {
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

    fn has_own_mounts(&self) -> bool {
        self.plan.host.is_none()
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
}
