//! Below which control groups cells can get groups of their own.
//!
//! With version 1 that is the supervisor's group in the hierarchy of the controller. With version 2
//! a group that has processes cannot have children with limits, so it is the nearest one above
//! without, or the root, which may have both; children without limits can be made anywhere.
//! Formats: proc_pid_mountinfo(5), cgroups(7); rules: the kernel's cgroup-v2 document.

use std::path::{Component, Path, PathBuf};

use super::bounds::Controller;
use super::{put, unusable};
use crate::error::NoControlGroup;
use crate::text::kernel_text;

/// A group that can have the wanted children.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) dir: PathBuf,
    pub(super) version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// The supervisor's own group in one hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) dir: PathBuf,
    /// The mount point: what is above it cannot be seen.
    top: PathBuf,
    pub(super) version: Version,
}

/// What the two files of proc say.
pub(super) struct Hierarchies {
    mounts: String,
    groups: String,
}

impl Hierarchies {
    pub(super) fn read() -> Result<Self, NoControlGroup> {
        let read = |path: &str| kernel_text(path).map_err(unusable(Path::new(path)));
        Ok(Self {
            mounts: read("/proc/self/mountinfo")?,
            groups: read("/proc/self/cgroup")?,
        })
    }

    /// The mount with the controller in which the supervisor's group is.
    pub(super) fn with(&self, controller: Controller) -> Result<Own, NoControlGroup> {
        let own = own(&self.mounts, &self.groups, Some(controller.name()));
        own.ok_or(NoControlGroup::NotMounted(controller.name()))
    }

    /// The mount of version 2.
    pub(super) fn version_two(&self) -> Option<Own> {
        own(&self.mounts, &self.groups, None)
    }
}

fn own(mounts: &str, groups: &str, controller: Option<&str>) -> Option<Own> {
    let has_controller = |list: &str| list.split(',').any(|name| Some(name) == controller);
    let lines = || {
        groups.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
    };
    // A controller is in one hierarchy only, and version 1 names those it has.
    let one = lines().find(|(controllers, _)| has_controller(controllers));
    let (version, path) = match one {
        Some((_, path)) => (Version::One, path),
        None => lines()
            .find(|(controllers, _)| controllers.is_empty())
            .map(|(_, path)| (Version::Two, path))?,
    };
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, top) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let (kind, options) = (file_system.next()?, file_system.nth(1)?);
        let fits = match version {
            Version::One => kind == "cgroup" && has_controller(options),
            Version::Two => kind == "cgroup2",
        };
        let below = Path::new(path).strip_prefix(root).ok().filter(|_| fits)?;
        // A group outside of the reader's cgroup namespace starts with `/..`.
        let visible = below.components().all(|part| part != Component::ParentDir);
        visible.then(|| Own {
            dir: below
                .components()
                .fold(PathBuf::from(top), |dir, part| dir.join(part)),
            top: PathBuf::from(top),
            version,
        })
    })
}

impl Own {
    /// The group whose children can have limits by these controllers, all of this hierarchy.
    pub(super) fn parent(self, controllers: &[Controller]) -> Result<Parent, NoControlGroup> {
        let Self { dir, top, version } = self;
        let found = match version {
            Version::One => Some(dir.as_path()),
            Version::Two => dir
                .ancestors()
                .take_while(|above| above.starts_with(&top))
                .find(|above| can_have_children(above, controllers)),
        };
        match found {
            Some(found) => Ok(Parent {
                dir: found.to_path_buf(),
                version,
            }),
            None => Err(NoControlGroup::NoParent {
                group: dir,
                controllers: names(controllers),
            }),
        }
    }
}

fn names(controllers: &[Controller]) -> String {
    let names: Vec<&str> = controllers.iter().map(|each| each.name()).collect();
    names.join(" and ")
}

/// Of version 2: the controllers are here, and there are no processes if there are any of those. Only the root of
/// all, which is exempt, has no type.
fn can_have_children(dir: &Path, controllers: &[Controller]) -> bool {
    let read = |name: &str| kernel_text(dir.join(name));
    let kind = read("cgroup.type").ok();
    let is_root = kind.is_none();
    // Below a threaded group there are no domains.
    let is_domain = kind.is_none_or(|kind| kind.trim_end() == "domain");
    let listed = || listed(&dir.join("cgroup.controllers"));
    let has_all = controllers.is_empty() || {
        let listed = listed();
        controllers
            .iter()
            .all(|each| listed.iter().any(|name| name == each.name()))
    };
    let unlimited = controllers.is_empty() || is_root;
    is_domain && has_all && (unlimited || read("cgroup.procs").is_ok_and(|all| all.is_empty()))
}

fn listed(path: &Path) -> Vec<String> {
    let list = kernel_text(path).unwrap_or_default();
    list.split_whitespace().map(str::to_owned).collect()
}

impl Parent {
    /// Version 2 hands a controller down one level at a time: to `place`, and to what is in it.
    pub(super) fn enable_below(
        &self,
        place: &Path,
        controllers: &[Controller],
    ) -> Result<(), NoControlGroup> {
        if self.version == Version::One {
            return Ok(());
        }
        for dir in [&self.dir, place] {
            let control = dir.join("cgroup.subtree_control");
            let enabled = listed(&control);
            for controller in controllers {
                if !enabled.iter().any(|name| name == controller.name()) {
                    put(&control, &format!("+{}", controller.name()))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "find/tests.rs"]
mod tests;
