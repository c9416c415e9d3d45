//! The control groups of one cell: what bounds the tree together, and what ends it at once.
//!
//! Where version 2 is to be had, each cell has a group there, in which pid 1 is born. It needs no
//! controllers: `cgroup.kill` ends everything in it in one step, `cgroup.events` says when nothing is
//! left, and the network backstop ([`crate::backstop`]) holds for what is in it. Bounds on the
//! whole tree are set there if the controllers are there, and else in groups of version 1 beside
//! it, which pid 1 enters first of all.
//!
//! A group lives as long as the [`Group`] and is removed with it, with whatever is in it. A
//! supervisor that is killed leaves its groups behind; whoever makes the next group beside them
//! ends and removes them. The lock on each group's directory tells whose groups are left: the
//! kernel lets go of it with the supervisor, and in between a new group's maker waits for a
//! sweeper, sees that its group is gone, and makes another.

mod bounds;
mod find;
mod node;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

pub(crate) use bounds::Bounds;
use bounds::{Controller, Setting};
use find::{Hierarchies, Own, Version};
use node::Node;

use crate::error::NoControlGroup;
use crate::pid1::Entries;

/// Where cells get their groups, and with which bounds: one branch for each hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    branches: Vec<Branch>,
}

/// A directory of groups, and what is written into each new one.
#[derive(Debug, PartialEq, Eq)]
struct Branch {
    dir: PathBuf,
    version: Version,
    settings: Vec<Setting>,
}

/// One cell's groups, that of version 2 first.
#[derive(Debug)]
pub(crate) struct Group {
    nodes: Vec<Node>,
}

impl Place {
    /// The directories `placet` at the supervisor's own groups, made if they are not there. Limits
    /// on the supervisor's groups hold for its cells too. Without bounds, no hierarchy is needed.
    pub(crate) fn find(bounds: Bounds) -> Result<Self, NoControlGroup> {
        let needed = Controller::ALL.map(|each| bounds.need(each).then_some(each));
        let needed: Vec<Controller> = needed.into_iter().flatten().collect();
        if needed.is_empty() && !may_have_version_two() {
            return Ok(Self {
                branches: Vec::new(),
            });
        }
        let hierarchies = match Hierarchies::read() {
            Err(_) if needed.is_empty() => {
                return Ok(Self {
                    branches: Vec::new(),
                });
            }
            read => read?,
        };
        let mut in_two = Vec::new();
        // Controllers of version 1 that share a hierarchy share the group.
        let mut in_one: BTreeMap<PathBuf, (Own, Vec<Controller>)> = BTreeMap::new();
        for controller in needed {
            let own = hierarchies.with(controller)?;
            match own.version {
                Version::Two => in_two.push(controller),
                Version::One => {
                    let hierarchy = in_one.entry(own.dir.clone());
                    hierarchy.or_insert((own, Vec::new())).1.push(controller);
                }
            }
        }
        let mut branches = Vec::new();
        match hierarchies
            .version_two()
            .map(|own| Branch::make(own, &in_two, bounds))
        {
            Some(Ok(branch)) => branches.push(branch),
            Some(Err(error)) if !in_two.is_empty() => return Err(error),
            // Nothing is bounded there, so a cell can do without.
            Some(Err(_)) | None => {}
        }
        for (own, controllers) in in_one.into_values() {
            branches.push(Branch::make(own, &controllers, bounds)?);
        }
        Ok(Self { branches })
    }

    /// No groups at all.
    pub(crate) fn none() -> Self {
        Self {
            branches: Vec::new(),
        }
    }

    /// The directory of the groups of version 2.
    pub(crate) fn version_two(&self) -> Option<&Path> {
        let two = |branch: &&Branch| branch.version == Version::Two;
        self.branches.iter().find(two).map(|branch| &*branch.dir)
    }
}

impl Branch {
    fn make(own: Own, controllers: &[Controller], bounds: Bounds) -> Result<Self, NoControlGroup> {
        let parent = own.parent(controllers)?;
        let dir = parent.dir.join("placet");
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unusable(&dir)(error));
            }
            Ok(()) | Err(_) => {}
        }
        // A file system mounted read-only refuses root too, but not to make what is there.
        writable(&dir)?;
        if parent.version == Version::Two {
            // What moves a process in, and what is moved out of: one delegated without its
            // processes is of no use.
            writable(&parent.dir.join("cgroup.procs"))?;
        }
        parent.enable_below(&dir, controllers)?;
        let version = parent.version;
        let settings = controllers.iter();
        Ok(Self {
            dir,
            version,
            settings: settings
                .flat_map(|each| bounds.settings(*each, version))
                .collect(),
        })
    }
}

/// Whether it is worth looking for: root may make a group anywhere, another user where one is delegated. Its mount
/// is where everybody has it; one elsewhere is found where bounds need it.
fn may_have_version_two() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let groups = crate::text::kernel_text("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    own.is_some_and(|own| {
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .iter()
            .any(|top| {
                let own = Path::new(top).join(own);
                writable(&own.join("cgroup.procs")).is_ok()
            })
    })
}

fn writable(path: &Path) -> Result<(), NoControlGroup> {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK)
        .map_err(|errno| unusable(path)(errno.into()))
}

impl Group {
    /// New, empty groups with their bounds set.
    pub(crate) fn create(place: &Place) -> Result<Self, NoControlGroup> {
        let nodes = place.branches.iter().map(Node::create);
        Ok(Self {
            nodes: nodes.collect::<Result<_, _>>()?,
        })
    }

    /// Where pid 1 is born; good for as long as this value.
    pub(crate) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.nodes.iter().find_map(Node::birthplace)
    }

    /// What pid 1 enters by; good for as long as this value.
    pub(crate) fn entries(&self) -> Entries {
        Entries::of(self.nodes.iter().filter_map(Node::entry))
    }

    /// Ends whoever came in from outside and waits until nobody is in it, where the group can do that.
    pub(crate) fn empty(&self) {
        for node in &self.nodes {
            node.empty();
        }
    }

    /// Ends whatever is in it, forks under way included. `false` without a group that can.
    pub(crate) fn kill(&self) -> bool {
        self.nodes.iter().any(Node::kill)
    }
}

fn put(path: &Path, text: &str) -> Result<(), NoControlGroup> {
    let written = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(unusable(path))
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> NoControlGroup {
    let path = path.to_path_buf();
    |source| NoControlGroup::Unusable { path, source }
}
