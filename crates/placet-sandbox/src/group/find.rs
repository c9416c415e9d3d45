//! Below which control group cells can get groups of their own.
//!
//! With version 1 that is the supervisor's group. With version 2 a group that has processes cannot
//! have limited children, so it is the nearest one above without, or the root, which may have both.
//! Formats: proc_pid_mountinfo(5), cgroups(7); rules: the kernel's cgroup-v2 document.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{put, unusable};
use crate::error::NoControlGroup;

const CONTROLLER: &str = "pids";
const ENABLE: &str = "+pids";

/// A group that can have limited children.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parent {
    dir: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The supervisor's own group.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    dir: PathBuf,
    /// The mount point: what is above it cannot be seen.
    top: PathBuf,
    version: Version,
}

pub(super) fn parent() -> Result<Parent, NoControlGroup> {
    let read = |path: &str| fs::read_to_string(path).map_err(unusable(Path::new(path)));
    let (mounts, groups) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    let own = own(&mounts, &groups).ok_or(NoControlGroup::NotMounted)?;
    parent_of(own)
}

/// From the two files of proc: the mount with the controller in which the supervisor's group is.
fn own(mounts: &str, groups: &str) -> Option<Own> {
    let has_controller = |list: &str| list.split(',').any(|name| name == CONTROLLER);
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

fn parent_of(own: Own) -> Result<Parent, NoControlGroup> {
    let Own { dir, top, version } = own;
    let found = match version {
        Version::One => Some(dir.as_path()),
        Version::Two => dir
            .ancestors()
            .take_while(|above| above.starts_with(&top))
            .find(|above| can_have_limited_children(above)),
    };
    match found {
        Some(found) => Ok(Parent {
            dir: found.to_path_buf(),
            version,
        }),
        None => Err(NoControlGroup::NoParent(dir)),
    }
}

/// Of version 2: the controller is here, and there are no processes. Only the root of all, which is
/// exempt, has no type.
fn can_have_limited_children(dir: &Path) -> bool {
    let is_root = !dir.join("cgroup.type").exists();
    lists_controller(&dir.join("cgroup.controllers"))
        && (is_root || fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|all| all.is_empty()))
}

fn lists_controller(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|all| all.split_whitespace().any(|name| name == CONTROLLER))
}

impl Parent {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a group through which a process that has one thread moves itself there. Version 1
    /// can move just that thread, for which it need not stop all forks of the machine.
    pub(super) fn entry(&self) -> &'static str {
        match self.version {
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        }
    }

    /// Version 2 hands a controller down one level at a time: to `place`, and to what is in it.
    pub(super) fn enable_below(&self, place: &Path) -> Result<(), NoControlGroup> {
        if self.version == Version::One {
            return Ok(());
        }
        for dir in [&self.dir, place] {
            let enabled = dir.join("cgroup.subtree_control");
            if !lists_controller(&enabled) {
                put(&enabled, ENABLE)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "find/tests.rs"]
mod tests;
