//! What is kept of an execution's changes, for whoever reviews them.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_types::canonical::{self, Bounds};
use placet_types::{Digest, ExecutionId, Writes};

use super::read::{Content, content, open_tree};
use super::store::{Meta, Tree, layer, lock, remove};
use super::{Change, ChangeList, KEPT_DAYS};

/// Changes that are kept, or of which the list is.
pub struct Kept {
    dir: PathBuf,
    meta: Meta,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptState {
    /// The execution runs.
    Running,
    /// Its gateway died before anything was listed: nothing can be reviewed.
    Unlisted,
    /// There is a list.
    Listed,
}

/// Why kept changes cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// There are none.
    #[error("nothing is kept of {0}")]
    None(ExecutionId),
    /// The execution runs, or somebody applies them.
    #[error("the execution runs, or somebody else works with its changes")]
    Busy,
    /// There is no list.
    #[error("its gateway died before the changes were listed: they can only be discarded")]
    Unlisted,
    /// The list is not the one in the log.
    #[error("the list of changes is not the one that the log names: it was changed")]
    Altered,
    /// The list is all that there is.
    #[error("it was a dry run: only the list of changes is kept")]
    DryRun,
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Kept {
    /// What is kept of an execution.
    ///
    /// # Errors
    ///
    /// [`KeptError`]
    pub fn of(root: &Path, exec: ExecutionId) -> Result<Self, KeptError> {
        match Self::open(&root.join(exec.to_string())) {
            Err(KeptError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(KeptError::None(exec))
            }
            found => found,
        }
    }

    /// Everything that is kept, in order of the executions' ids. What does not read is left out.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn all(root: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all: Vec<Self> = entries
            .flatten()
            .filter_map(|entry| Self::open(&entry.path()).ok())
            .collect();
        all.sort_by_key(|kept| kept.meta.exec);
        Ok(all)
    }

    pub(super) fn open(dir: &Path) -> Result<Self, KeptError> {
        let bytes = fs::read(dir.join("meta.json"))?;
        let meta = canonical::from_bytes(&bytes, Bounds::RECORD)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Self {
            dir: dir.to_owned(),
            meta,
        })
    }

    /// Which execution.
    #[must_use]
    pub fn exec(&self) -> ExecutionId {
        self.meta.exec
    }

    /// Whether more than a list is kept.
    #[must_use]
    pub fn writes(&self) -> Writes {
        self.meta.writes
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> KeptState {
        if self.dir.join("list.json").exists() {
            KeptState::Listed
        } else if lock(&self.dir, false).is_ok() {
            KeptState::Unlisted
        } else {
            KeptState::Running
        }
    }

    /// Whether it has been kept for longer than [`KEPT_DAYS`].
    #[must_use]
    pub fn is_expired(&self) -> bool {
        let age = fs::metadata(&self.dir)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|made| made.elapsed().ok());
        age.is_some_and(|age| age > Duration::from_secs(KEPT_DAYS * 24 * 60 * 60))
    }

    /// The list, if it is the one that the log names.
    ///
    /// # Errors
    ///
    /// [`KeptError`]
    pub fn list(&self, recorded: &Digest) -> Result<ChangeList, KeptError> {
        let bytes = match fs::read(self.dir.join("list.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeptError::Unlisted);
            }
            bytes => bytes?,
        };
        if Digest::of(&bytes) != *recorded {
            return Err(KeptError::Altered);
        }
        // What the log names was written here, so it is read as it was written.
        serde_json::from_slice(&bytes).map_err(|_| KeptError::Altered)
    }

    /// Keeps others from working with these changes for as long as the result lives.
    ///
    /// # Errors
    ///
    /// [`KeptError::Busy`]
    pub fn lock(&self) -> Result<File, KeptError> {
        lock(&self.dir, false).map_err(|_| KeptError::Busy)
    }

    /// Removes everything that is kept.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.dir)
    }

    /// Opens the trees, if they are those that were copied.
    pub(super) fn open_trees(&self) -> io::Result<Vec<OwnedFd>> {
        self.meta.trees.iter().map(Tree::open).collect()
    }

    /// Opens what the trees would become.
    pub(super) fn open_uppers(&self) -> Result<Vec<OwnedFd>, KeptError> {
        if self.meta.writes != Writes::Kept {
            return Err(KeptError::DryRun);
        }
        let layers = (0..self.meta.trees.len()).map(|at| layer(&self.dir, at, "upper"));
        Ok(layers
            .map(|path| open_tree(&path))
            .collect::<Result<_, _>>()
            .map_err(io::Error::from)?)
    }

    /// Contents before and after a change, for a person to read. What is not there is empty.
    ///
    /// # Errors
    ///
    /// [`KeptError`]
    pub fn contents(&self, change: &Change) -> Result<[Option<Content>; 2], KeptError> {
        let gone = |found: io::Result<Content>| match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        };
        let (trees, uppers) = (self.open_trees()?, self.open_uppers()?);
        let there = || io::Error::from(io::ErrorKind::NotFound);
        let before = match &change.before {
            Some(_) => gone(content(
                trees.get(change.tree).ok_or_else(there)?,
                &change.path,
            ))?,
            None => None,
        };
        let after = match &change.after {
            Some(_) => gone(content(
                uppers.get(change.tree).ok_or_else(there)?,
                &change.path,
            ))?,
            None => None,
        };
        Ok([before, after])
    }
}
