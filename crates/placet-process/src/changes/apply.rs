//! Applying changes to the trees themselves: all of what was chosen, or nothing.
//!
//! Content is copied into a directory of the tree and checked against the list, then everything is renamed
//! into place. What is replaced goes where the new file was, so that it can be brought back when
//! something later does not fit. Every path is walked from a descriptor of its tree, over no link.

use std::cell::Cell;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use placet_types::ExecutionId;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, mkdirat, openat, renameat_with, statat, symlinkat,
    syncfs, unlinkat,
};
use rustix::io::Errno;

use super::fit::{Fit, fits};
use super::read::{before, c_name, copy_digest, kind, open_below, open_file};
use super::{After, Before, Change, FileKind, Kept, KeptError, RawPath};

/// Bits that are applied: whoever wants setuid sets it.
pub(super) const MODE_BITS: u32 = 0o777;

/// A change that does not fit what is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The path.
    pub path: RawPath,
    /// Why.
    pub why: &'static str,
}

/// Why changes were not applied. Nothing is changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Some do not fit.
    #[error("{} of the changes do not fit what is there now", .0.len())]
    Conflicts(Vec<Conflict>),
    /// What is kept is not what was listed.
    #[error("{0} is not what was listed: it was changed since")]
    Altered(RawPath),
    /// An earlier apply was cut short.
    #[error(
        "{0} is left from an apply that was cut short; look into it, bring back what is missing, and remove it"
    )]
    Interrupted(String),
    /// The changes cannot be used.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which path.
        path: RawPath,
        /// Why.
        error: io::Error,
    },
}

/// Changes that fit and whose content lies ready.
pub struct Staged {
    trees: Vec<OwnedFd>,
    stages: Vec<Option<Stage>>,
    steps: Vec<Step>,
    already: usize,
    /// Whether something in the stages could not be brought back.
    stuck: Cell<bool>,
}

struct Stage {
    dir: OwnedFd,
    name: CString,
}

struct Step {
    change: Change,
    /// Its name in the staging directory.
    staged: CString,
}

enum Undo {
    /// The old file is in the stage, and nothing in its place.
    Restore(usize),
    /// The old file is in the stage, and the new one in its place.
    Exchange(usize),
    /// The new file is to go.
    Take(usize),
    /// A directory was made.
    RemoveDir(usize),
    /// A directory was removed.
    MakeDir(usize, u32),
    /// Permissions of a directory were changed.
    Mode(usize, u32),
}

impl Staged {
    /// Checks that every change fits, and copies the content of each beside its tree.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; nothing is left behind.
    pub fn prepare(
        kept: &Kept,
        exec: ExecutionId,
        changes: Vec<Change>,
    ) -> Result<Self, ApplyError> {
        let uppers = kept.open_uppers()?;
        let trees = kept.open_trees().map_err(KeptError::from)?;
        let mut staged = Self {
            stages: trees.iter().map(|_| None).collect(),
            trees,
            steps: Vec::new(),
            already: 0,
            stuck: Cell::new(false),
        };
        let chosen: Vec<(usize, Vec<u8>)> = changes
            .iter()
            .filter(|change| change.after.as_ref().is_some_and(is_dir))
            .map(|change| (change.tree, change.path.as_bytes().to_vec()))
            .collect();
        let (mut conflicts, mut fitting) = (Vec::new(), Vec::new());
        for change in changes {
            match fits(&staged.trees, &change, &chosen) {
                Ok(Fit::Already) => staged.already += 1,
                Ok(Fit::Fits) => fitting.push(change),
                Err(why) => conflicts.push(Conflict {
                    path: change.path,
                    why,
                }),
            }
        }
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
        for change in fitting {
            staged.stage(&uppers, exec, change)?;
        }
        Ok(staged)
    }

    /// How many there are to apply, and how many stand as they should already.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.steps.len(), self.already)
    }

    fn tree(&self, change: &Change) -> Result<BorrowedFd<'_>, ApplyError> {
        let tree = self.trees.get(change.tree).map(AsFd::as_fd);
        tree.ok_or_else(|| ApplyError::Altered(change.path.clone()))
    }

    fn stage(
        &mut self,
        uppers: &[OwnedFd],
        exec: ExecutionId,
        change: Change,
    ) -> Result<(), ApplyError> {
        let altered = || ApplyError::Altered(change.path.clone());
        let failed = |error: io::Error| ApplyError::Io {
            path: change.path.clone(),
            error,
        };
        let number = self.steps.len();
        let staged = CString::new(format!("{number}")).map_err(|_| altered())?;
        self.open_stage(change.tree, exec)?;
        let stage = self.stage_of(change.tree).ok_or_else(altered)?;
        let upper = uppers.get(change.tree).ok_or_else(altered)?;
        match &change.after {
            Some(after) if after.kind == FileKind::File => {
                copy(upper, &change.path, after, (stage, &staged))
                    .map_err(failed)?
                    .ok_or_else(altered)?;
            }
            Some(After {
                kind: FileKind::Symlink,
                target: Some(target),
                ..
            }) => {
                symlinkat(target.as_path(), stage, &staged).map_err(|errno| failed(errno.into()))?
            }
            _ => {}
        }
        self.steps.push(Step { change, staged });
        Ok(())
    }

    fn stage_of(&self, tree: usize) -> Option<BorrowedFd<'_>> {
        self.stages
            .get(tree)
            .and_then(Option::as_ref)
            .map(|stage| stage.dir.as_fd())
    }

    fn open_stage(&mut self, tree: usize, exec: ExecutionId) -> Result<(), ApplyError> {
        if self.stage_of(tree).is_some() {
            return Ok(());
        }
        let text = format!(".placet-apply-{exec}");
        let io = |errno: Errno| ApplyError::Io {
            path: RawPath::new(text.clone().into_bytes()),
            error: errno.into(),
        };
        let name = CString::new(text.clone()).map_err(|_| io(Errno::INVAL))?;
        let root = self.trees.get(tree).ok_or_else(|| io(Errno::NOENT))?;
        match mkdirat(root, &name, Mode::RWXU) {
            Err(Errno::EXIST) => return Err(ApplyError::Interrupted(text)),
            made => made.map_err(io)?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(root, &name, flags, Mode::empty()).map_err(io)?;
        if let Some(slot) = self.stages.get_mut(tree) {
            *slot = Some(Stage { dir, name });
        }
        Ok(())
    }

    /// Renames everything into place. What does not fit any more brings everything back.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; the trees are as they were.
    pub fn commit(self) -> Result<(), ApplyError> {
        let (mut removals, mut rest): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for (at, step) in self.steps.iter().enumerate() {
            if makes_room(&step.change) {
                removals.push(at);
            }
            if step.change.after.is_some() {
                rest.push(at);
            }
        }
        // Steps are in order of paths: what is in a directory comes after it.
        let mut undo = Vec::new();
        let removed = removals.iter().rev().map(|at| (*at, true));
        for (at, removes) in removed.chain(rest.into_iter().map(|at| (at, false))) {
            let done = if removes {
                self.remove(at)
            } else {
                self.put(at)
            };
            match done {
                Ok(one) => undo.extend(one),
                Err(error) => {
                    for one in undo.iter().rev() {
                        self.undo(one);
                    }
                    return Err(error);
                }
            }
        }
        for tree in &self.trees {
            // What the disk refuses to keep is not undone: the trees hold what was applied.
            syncfs(tree).unwrap_or(());
        }
        Ok(())
    }

    fn at(&self, at: usize) -> Result<Spot<'_>, ApplyError> {
        let missing = || ApplyError::Altered(RawPath::new(Vec::new()));
        let step = self.steps.get(at).ok_or_else(missing)?;
        let failed = |error: io::Error| ApplyError::Io {
            path: step.change.path.clone(),
            error,
        };
        let (parent, name) = step.change.path.split();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let parent = open_below(self.tree(&step.change)?, parent, flags)
            .map_err(|errno| failed(errno.into()))?;
        Ok(Spot {
            step,
            parent,
            name: c_name(name).map_err(failed)?,
            stage: self.stage_of(step.change.tree).ok_or_else(missing)?,
        })
    }

    /// Takes away what is removed, or replaced by a file of another kind.
    fn remove(&self, at: usize) -> Result<Option<Undo>, ApplyError> {
        let spot = self.at(at)?;
        let Some(old) = spot.step.change.before else {
            return Ok(None);
        };
        if old.kind == FileKind::Directory {
            unlinkat(&spot.parent, &spot.name, AtFlags::REMOVEDIR)
                .map_err(|errno| spot.failed(errno))?;
            return Ok(Some(Undo::MakeDir(at, old.mode)));
        }
        let staged = spot.old_name();
        renameat_with(
            &spot.parent,
            &spot.name,
            spot.stage,
            &staged,
            RenameFlags::NOREPLACE,
        )
        .map_err(|errno| spot.failed(errno))?;
        if spot.is_old(&staged, old) {
            return Ok(Some(Undo::Restore(at)));
        }
        self.undo(&Undo::Restore(at));
        Err(spot.conflict())
    }

    fn put(&self, at: usize) -> Result<Option<Undo>, ApplyError> {
        let spot = self.at(at)?;
        let change = &spot.step.change;
        let Some(after) = &change.after else {
            return Ok(None);
        };
        let in_place = change.before.filter(|_| !makes_room(change));
        if after.kind == FileKind::Directory {
            return match in_place {
                Some(old) => {
                    let mode = (old.mode & !MODE_BITS) | (after.mode & MODE_BITS);
                    spot.set_mode(mode).map_err(|errno| spot.failed(errno))?;
                    Ok(Some(Undo::Mode(at, old.mode)))
                }
                None => {
                    mkdirat(&spot.parent, &spot.name, Mode::RWXU)
                        .and_then(|()| spot.set_mode(after.mode & MODE_BITS))
                        .map_err(|errno| spot.failed(errno))?;
                    Ok(Some(Undo::RemoveDir(at)))
                }
            };
        }
        let flags = in_place.map_or(RenameFlags::NOREPLACE, |_| RenameFlags::EXCHANGE);
        renameat_with(
            spot.stage,
            &spot.step.staged,
            &spot.parent,
            &spot.name,
            flags,
        )
        .map_err(|errno| spot.failed(errno))?;
        match in_place {
            None => Ok(Some(Undo::Take(at))),
            Some(old) if spot.is_old(&spot.step.staged, old) => Ok(Some(Undo::Exchange(at))),
            Some(_) => {
                self.undo(&Undo::Exchange(at));
                Err(spot.conflict())
            }
        }
    }

    /// Brings one step back. What cannot be brought back stays in the stage, which is then not removed.
    fn undo(&self, undo: &Undo) {
        let (Undo::Restore(at)
        | Undo::Exchange(at)
        | Undo::Take(at)
        | Undo::RemoveDir(at)
        | Undo::MakeDir(at, _)
        | Undo::Mode(at, _)) = undo;
        let Ok(spot) = self.at(*at) else {
            self.stuck.set(true);
            return;
        };
        let undone = match undo {
            Undo::Restore(_) => renameat_with(
                spot.stage,
                spot.old_name(),
                &spot.parent,
                &spot.name,
                RenameFlags::NOREPLACE,
            ),
            Undo::Exchange(_) => renameat_with(
                spot.stage,
                &spot.step.staged,
                &spot.parent,
                &spot.name,
                RenameFlags::EXCHANGE,
            ),
            Undo::Take(_) => renameat_with(
                &spot.parent,
                &spot.name,
                spot.stage,
                &spot.step.staged,
                RenameFlags::NOREPLACE,
            ),
            Undo::RemoveDir(_) => unlinkat(&spot.parent, &spot.name, AtFlags::REMOVEDIR),
            Undo::MakeDir(_, mode) => {
                mkdirat(&spot.parent, &spot.name, Mode::RWXU).and_then(|()| spot.set_mode(*mode))
            }
            Undo::Mode(_, mode) => spot.set_mode(*mode),
        };
        // Somebody is at work in the same place. The others are brought back all the same.
        if undone.is_err() {
            self.stuck.set(true);
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (stage, tree) in self.stages.iter().zip(&self.trees) {
            let Some(stage) = stage.as_ref().filter(|_| !self.stuck.get()) else {
                continue;
            };
            for at in 0..self.steps.len().saturating_add(1) {
                for name in [format!("{at}"), format!("{at}.old")] {
                    unlinkat(&stage.dir, name, AtFlags::empty()).unwrap_or(());
                }
            }
            unlinkat(tree, &stage.name, AtFlags::REMOVEDIR).unwrap_or(());
        }
    }
}

/// A step and where it happens.
struct Spot<'a> {
    step: &'a Step,
    parent: OwnedFd,
    name: CString,
    stage: BorrowedFd<'a>,
}

impl Spot<'_> {
    fn failed(&self, errno: Errno) -> ApplyError {
        ApplyError::Io {
            path: self.step.change.path.clone(),
            error: errno.into(),
        }
    }

    fn conflict(&self) -> ApplyError {
        ApplyError::Conflicts(vec![Conflict {
            path: self.step.change.path.clone(),
            why: "the original changed at this moment",
        }])
    }

    fn old_name(&self) -> CString {
        let mut bytes = self.step.staged.as_bytes().to_vec();
        bytes.extend_from_slice(b".old");
        CString::new(bytes).unwrap_or_default()
    }

    /// Whether the file that was taken away is the one that was checked. The rename itself changes
    /// only the inode's own time.
    fn is_old(&self, staged: &CString, old: Before) -> bool {
        let found = statat(self.stage, staged, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|stat| {
            let found = before(&stat);
            Before {
                ctime_ns: old.ctime_ns,
                ..found
            } == old
        })
    }

    fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        let dir = open_below(
            &self.parent,
            self.name.as_c_str(),
            OFlags::RDONLY | OFlags::DIRECTORY,
        )?;
        fchmod(&dir, Mode::from_raw_mode(mode))
    }
}

fn is_dir(after: &After) -> bool {
    after.kind == FileKind::Directory
}

/// Whether the old file has to go before the new one can come.
fn makes_room(change: &Change) -> bool {
    match (&change.before, &change.after) {
        (Some(_), None) => true,
        (Some(old), Some(after)) => {
            old.kind != after.kind
                && (old.kind == FileKind::Directory || after.kind == FileKind::Directory)
        }
        (None, _) => false,
    }
}

/// Copies a file into the stage; `None` when it is not what was listed.
fn copy(
    upper: &OwnedFd,
    path: &RawPath,
    after: &After,
    (stage, name): (BorrowedFd<'_>, &CString),
) -> io::Result<Option<()>> {
    let (parent, file_name) = path.split();
    let dir = open_below(upper, parent, OFlags::PATH | OFlags::DIRECTORY)?;
    let file_name = c_name(OsStr::new(file_name))?;
    let stat = statat(&dir, &file_name, AtFlags::SYMLINK_NOFOLLOW)?;
    if kind(&stat) != FileKind::File || stat.st_size.unsigned_abs() != after.size {
        return Ok(None);
    }
    let from = open_file(dir.as_fd(), &file_name, &stat)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = openat(stage, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut to = std::fs::File::from(to);
    let digest = copy_digest(from, &mut to)?;
    fchmod(&to, Mode::from_raw_mode(after.mode & MODE_BITS))?;
    Ok((Some(digest) == after.digest).then_some(()))
}
