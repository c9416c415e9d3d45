//! Everything the cell's own processes need, computed before clone.
//!
//! After clone nothing may be allocated, so each path is a C string, each table is filled, and
//! the child only walks them. The order of `mounts` is the order they are done in.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::broker::EgressRules;
use crate::credentials::{CredentialSlots, Variables};
use crate::error::Step;
use crate::gate::{ExecGate, Known, Shown};
use crate::group::{Bounds, Place};
use crate::host::Host;
use crate::landlock;
use crate::later::{Later, Program};
use crate::spec::Session;
use crate::sys::Inode;

/// What pid 1 does, and what its supervisor does beside it.
pub(crate) struct Plan {
    pub(crate) uid_map: Vec<u8>,
    pub(crate) gid_map: Vec<u8>,
    pub(crate) mounts: Arc<Vec<Mount>>,
    pub(crate) loopback: bool,
    pub(crate) door: bool,
    /// Whether the supervisor gets sockets on the loopback.
    pub(crate) proxied: bool,
    pub(crate) session: Session,
    /// Whether there is a `/run/placet`, to be made read-only once all is in it.
    pub(crate) meeting_place: bool,
    /// Where the cell gets its control groups.
    pub(crate) place: Arc<Place>,
    pub(crate) bounds: Bounds,
    /// Whether pid 1 is to forbid memory files that can be executed.
    pub(crate) memfd_noexec: bool,
    /// The read-only view that covers the file system of the credentials, if there is one.
    pub(crate) credentials_view: Option<Bind>,
    /// What is to be put before the release.
    pub(crate) credentials: CredentialSlots,
    /// Memory that the worker's environment points to.
    pub(crate) variables: Option<Variables>,
    /// For the supervisor, which traces the worker.
    pub(crate) exec: ExecGate,
    pub(crate) known: Known,
    /// What the worker's filter shows its tracer, which looks at no more.
    pub(crate) shown: Shown,
    pub(crate) egress: EgressRules,
    /// Trees and files that may be executed, by their paths in the cell.
    pub(crate) executable: Vec<PathBuf>,
    /// What the scope names, so that their inodes stay theirs until the start.
    pub(crate) _held: Arc<Vec<Arc<OwnedFd>>>,
    /// Where the file systems that only the cell has are mounted.
    pub(crate) own_places: Vec<PathBuf>,
    /// What it has of its own where it stands on the host's tree, without namespaces.
    pub(crate) host: Option<Arc<Host>>,
    pub(crate) worker: WorkerPlan,
}

/// What the worker does.
pub(crate) struct WorkerPlan {
    /// What it becomes; where there is memory for it, that says so once it is released.
    pub(crate) program: Program,
    /// Of a cell that is built before there is a program for it.
    pub(crate) later: Option<Later>,
    pub(crate) limits: Vec<Limit>,
    /// Whether the worker leads a process group.
    pub(crate) leads_group: bool,
    /// The standard streams that the cell's terminal takes the place of.
    pub(crate) terminal: [bool; 3],
    pub(crate) ruleset: crate::sys::LandlockRuleset,
    pub(crate) rules: Arc<Vec<landlock::Rule>>,
    pub(crate) landlock_flags: u32,
    pub(crate) filter: &'static [libc::sock_filter],
    /// Whether the worker dies with its parent, which is no pid 1.
    pub(crate) on_host: bool,
    /// Whether the supervisor is to trace the worker.
    pub(crate) gated: bool,
}

impl WorkerPlan {
    fn for_program(&self, program: Program) -> Self {
        Self {
            program,
            later: None,
            limits: self.limits.clone(),
            leads_group: self.leads_group,
            terminal: self.terminal,
            ruleset: self.ruleset,
            rules: Arc::clone(&self.rules),
            landlock_flags: self.landlock_flags,
            filter: self.filter,
            on_host: self.on_host,
            gated: self.gated,
        }
    }

    fn restricts_the_same_as(&self, other: &Self) -> bool {
        let Self {
            // These come with the release.
            program: _,
            later: _,
            limits,
            leads_group,
            terminal,
            ruleset,
            rules,
            landlock_flags,
            filter,
            on_host,
            gated,
        } = self;
        *limits == other.limits
            && (leads_group, terminal) == (&other.leads_group, &other.terminal)
            && (ruleset, rules) == (&other.ruleset, &other.rules)
            && *landlock_flags == other.landlock_flags
            // One program for each set of refusals, made once.
            && std::ptr::eq(*filter, other.filter)
            && (on_host, gated) == (&other.on_host, &other.gated)
    }
}

/// One resource limit.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// One step in the construction of the new root. Targets are relative to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mount {
    /// A directory; one that exists is fine.
    Dir(CString),
    /// An empty file to mount another on.
    File(CString),
    /// A file of the cell's own.
    Text {
        path: CString,
        contents: Vec<u8>,
    },
    Symlink {
        path: CString,
        target: CString,
    },
    /// A file system of the cell's own.
    Private {
        kind: &'static CStr,
        target: CString,
        flags: u64,
        data: CString,
    },
    Bind(Bind),
    Overlay(Overlay),
}

/// An overlay of one directory of the host, attached at `target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// The tree, on the host.
    pub(crate) lower: CString,
    /// What it was when the cell was prepared.
    pub(crate) inode: Inode,
    pub(crate) upper: CString,
    pub(crate) work: CString,
    pub(crate) target: CString,
    /// As for [`Bind::covers`].
    pub(crate) covers: Option<Inode>,
    pub(crate) attributes: u64,
}

/// A recursive copy of the mounts at `source`, attached at `target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Absolute: on the host. Relative: in the new root.
    pub(crate) source: CString,
    /// What `source` was when the cell was prepared.
    pub(crate) inode: Option<Inode>,
    pub(crate) target: CString,
    /// What `target` must be, where it lies in another bind and others could have moved it.
    pub(crate) covers: Option<Inode>,
    pub(crate) attributes: u64,
}

impl Mount {
    /// Where something of the host is mounted, below the new root, and what it is compared with when it is.
    pub(crate) fn shows(&self) -> Option<(&[u8], Inode)> {
        match self {
            Self::Bind(bind) => Some((bind.target.to_bytes(), bind.inode?)),
            Self::Dir(_)
            | Self::File(_)
            | Self::Text { .. }
            | Self::Symlink { .. }
            | Self::Private { .. }
            | Self::Overlay(_) => None,
        }
    }

    fn target(&self) -> &CStr {
        match self {
            Self::Dir(path)
            | Self::File(path)
            | Self::Text { path, .. }
            | Self::Symlink { path, .. } => path,
            Self::Private { target, .. } => target,
            Self::Bind(bind) => &bind.target,
            Self::Overlay(overlay) => &overlay.target,
        }
    }
}

impl Plan {
    /// Whether a cell can be built by it before there is a program: one that has nothing of a single execution. The
    /// layers of a copy, the slots of credentials and what stands on the host are made for one.
    pub(crate) fn may_wait(&self) -> bool {
        self.host.is_none()
            && self.session != Session::Shared
            && self.variables.is_none()
            && self.credentials.files.is_empty()
            && !self.has_copies()
    }

    /// The plan of the same cell with another program, and with whom the supervisor connects it to then. For one that [may
    /// wait](Self::may_wait).
    pub(crate) fn for_program(&self, program: Program, egress: EgressRules) -> Self {
        Self {
            uid_map: self.uid_map.clone(),
            gid_map: self.gid_map.clone(),
            mounts: Arc::clone(&self.mounts),
            loopback: self.loopback,
            door: self.door,
            proxied: self.proxied,
            session: self.session,
            meeting_place: self.meeting_place,
            place: Arc::clone(&self.place),
            bounds: self.bounds,
            memfd_noexec: self.memfd_noexec,
            credentials_view: None,
            credentials: CredentialSlots::default(),
            variables: None,
            exec: self.exec.clone(),
            known: Known {
                program: program.identity,
                in_copy: program.in_copy,
                client: self.known.client,
            },
            shown: self.shown,
            egress,
            executable: self.executable.clone(),
            _held: Arc::clone(&self._held),
            own_places: self.own_places.clone(),
            host: None,
            worker: self.worker.for_program(program),
        }
    }

    pub(crate) fn has_copies(&self) -> bool {
        let overlay = |mount: &Mount| matches!(mount, Mount::Overlay(_));
        self.mounts.iter().any(overlay)
    }

    /// Whether a cell that was built by this plan is the one that `other` would build now, apart from its program:
    /// every mount with the inodes on both its sides, every rule, filter, limit and group.
    ///
    /// Every field is named, so that a new one has to be thought about.
    pub(crate) fn builds_the_same_as(&self, other: &Self) -> bool {
        let Self {
            uid_map,
            gid_map,
            mounts,
            loopback,
            door,
            proxied,
            session,
            meeting_place,
            place,
            bounds,
            memfd_noexec,
            // A cell with either does not wait.
            credentials_view: _,
            credentials: _,
            variables: _,
            exec,
            // What the supervisor does beside the cell, it does by the new plan.
            known: _,
            egress: _,
            executable: _,
            _held: _,
            shown,
            own_places,
            host: _,
            worker,
        } = self;
        self.may_wait()
            && other.may_wait()
            && (uid_map, gid_map) == (&other.uid_map, &other.gid_map)
            && *mounts == other.mounts
            && (loopback, door, proxied) == (&other.loopback, &other.door, &other.proxied)
            && (session, meeting_place) == (&other.session, &other.meeting_place)
            && (place, bounds) == (&other.place, &other.bounds)
            && (memfd_noexec, shown) == (&other.memfd_noexec, &other.shown)
            && *own_places == other.own_places
            && exec.rule.asks() == other.exec.rule.asks()
            && worker.restricts_the_same_as(&other.worker)
    }

    /// The path a failed step was about, as seen inside the cell.
    pub(crate) fn path_of(&self, step: Step, index: usize) -> Option<PathBuf> {
        let path = if step == Step::LandlockRule {
            self.worker.rules.get(index)?.path.as_c_str()
        } else if step == Step::ChangeDir {
            self.worker.program.cwd.as_c_str()
        } else {
            self.mounts.get(index)?.target()
        };
        let inside = std::ffi::OsStr::from_bytes(path.to_bytes());
        Some(PathBuf::from("/").join(inside))
    }
}
