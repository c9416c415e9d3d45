//! The store in its directory: which file counts, and how one follows another.
//!
//! A change is two files and a word from whoever owns the store. [`Store::prepare`] writes the next
//! state beside the present one. The owner records that the version has risen. [`Store::commit`]
//! puts the next state in the place of the present one. After a crash in between,
//! [`Store::settle`] looks at the version that was recorded, and finishes or forgets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use placet_types::SecretName;
use zeroize::Zeroizing;

use crate::format::{COUNT_MAX, FILE_BYTES_MAX, FormatError, Opened, Sealed};
use crate::key::{KeyError, StoreKey};
use crate::value::Secret;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct StorePaths {
    /// The store.
    pub store: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// An encrypted store. Whoever owns it lets one change happen at a time.
#[derive(Clone, Debug)]
pub struct Store {
    paths: StorePaths,
}

/// What is to change.
#[derive(Debug)]
pub enum Change {
    /// A secret gets a value.
    Set(SecretName, Secret),
    /// A secret is taken away.
    Remove(SecretName),
    /// All are encrypted anew, with a new key.
    Rekey,
}

/// A change that is on disk and does not count yet.
#[derive(Debug)]
#[must_use = "a change is committed or abandoned"]
pub struct Pending {
    version: u64,
    rekeys: bool,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The key is not to be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file is not what was written.
    #[error("the store of secrets cannot be trusted: {0}")]
    Format(#[from] FormatError),
    /// The file is another state of the store than the one that counts.
    #[error(
        "the store of secrets is at version {found}, and the log says {expected}: it was put back, or is missing"
    )]
    Version {
        /// The version that counts.
        expected: u64,
        /// What the file says.
        found: u64,
    },
    /// There is no such secret.
    #[error("there is no secret `{0}`")]
    Unknown(SecretName),
    /// There are as many as there may be.
    #[error("there are {COUNT_MAX} secrets already")]
    Full,
    /// The operating system refused.
    #[error("the store of secrets: {0}")]
    Io(#[from] io::Error),
}

impl Pending {
    /// The version that the store will have.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl Store {
    /// The store at these paths. Nothing is looked at yet.
    #[must_use]
    pub const fn new(paths: StorePaths) -> Self {
        Self { paths }
    }

    /// Whether the store is the one of this version, every byte of it as it was written.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says what it is instead.
    pub fn verify(&self, version: u64) -> Result<(), StoreError> {
        if version == 0 && !self.paths.store.exists() {
            return Ok(());
        }
        self.open(version).map(drop)
    }

    /// Decrypts the secrets of these names. All, or none.
    ///
    /// # Errors
    ///
    /// [`StoreError`]
    pub fn get<'a>(
        &self,
        version: u64,
        names: impl IntoIterator<Item = &'a SecretName>,
    ) -> Result<Vec<(SecretName, Secret)>, StoreError> {
        let (opened, key) = self.open(version)?;
        names
            .into_iter()
            .map(|name| match opened.get(&key, name)? {
                Some(value) => Ok((name.clone(), value)),
                None => Err(StoreError::Unknown(name.clone())),
            })
            .collect()
    }

    /// Writes the next state, durably, beside the one of this version. Makes the key of a store
    /// that was never changed, where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing has changed then.
    pub fn prepare(&self, version: u64, change: Change) -> Result<Pending, StoreError> {
        self.settle(version)?;
        if version == 0 && matches!(StoreKey::load(&self.paths.key), Err(KeyError::Missing(_))) {
            StoreKey::create(&self.paths.key)?;
        }
        let (opened, key) = self.open(version)?;
        let rekeys = matches!(change, Change::Rekey);
        let bytes = match change {
            Change::Set(name, value) => {
                if opened.names().count() >= COUNT_MAX && !opened.names().any(|held| *held == name)
                {
                    return Err(StoreError::Full);
                }
                opened.with(&key, name, &value)?
            }
            Change::Remove(name) => {
                if !opened.names().any(|held| *held == name) {
                    return Err(StoreError::Unknown(name));
                }
                opened.without(&key, &name)?
            }
            Change::Rekey => {
                let new = StoreKey::create(&self.next_key())?;
                opened.under(&key, &new)?
            }
        };
        write_durably(&self.next_store(), &bytes)?;
        Ok(Pending {
            version: version.saturating_add(1),
            rekeys,
        })
    }

    /// Puts a prepared state in the place of the present one, once its version is recorded.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`Store::settle`] finishes it.
    #[expect(clippy::needless_pass_by_value, reason = "a change is done with once")]
    pub fn commit(&self, pending: Pending) -> Result<(), StoreError> {
        let Pending { rekeys, .. } = pending;
        rename(&self.next_store(), &self.paths.store)?;
        if rekeys {
            rename(&self.next_key(), &self.paths.key)?;
        }
        Ok(())
    }

    /// Forgets a prepared state: its version was not recorded.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`Store::settle`] finishes it.
    #[expect(clippy::needless_pass_by_value, reason = "a change is done with once")]
    pub fn abandon(&self, pending: Pending) -> Result<(), StoreError> {
        let Pending { rekeys, .. } = pending;
        remove(&self.next_store())?;
        if rekeys {
            remove(&self.next_key())?;
        }
        Ok(())
    }

    /// Finishes or forgets what a crash interrupted: of two states, the one of this version counts.
    ///
    /// # Errors
    ///
    /// What the operating system says. A store of another version is left for others to find.
    pub fn settle(&self, version: u64) -> Result<(), StoreError> {
        let is_version = |path: &Path| {
            self.opened(path)
                .is_ok_and(|(opened, _)| opened.version() == version)
        };
        let next = self.next_store();
        if next.exists() {
            if !is_version(&self.paths.store) && is_version(&next) {
                rename(&next, &self.paths.store)?;
            } else {
                remove(&next)?;
            }
        }
        let next_key = self.next_key();
        if next_key.exists() {
            match self.opened(&self.paths.store) {
                Ok((_, Which::Next)) => rename(&next_key, &self.paths.key)?,
                // Also one that was drawn for the next state and never used.
                Ok((_, Which::Present)) | Err(_) => remove(&next_key)?,
            }
        }
        Ok(())
    }

    fn open(&self, version: u64) -> Result<(Opened, StoreKey), StoreError> {
        let key = StoreKey::load(&self.paths.key)?;
        let opened = match read(&self.paths.store) {
            Ok(bytes) => Sealed::parse(&bytes)?.open(&key)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Sealed::empty(&key)?,
            Err(error) => return Err(error.into()),
        };
        let found = opened.version();
        if found != version {
            let expected = version;
            return Err(StoreError::Version { expected, found });
        }
        Ok((opened, key))
    }

    /// Reads a file with whichever of the two keys it was encrypted with.
    fn opened(&self, path: &Path) -> Result<(Opened, Which), StoreError> {
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == self.paths.store => {
                let empty = Sealed::empty(&StoreKey::load(&self.paths.key)?)?;
                return Ok((empty, Which::Present));
            }
            Err(error) => return Err(error.into()),
        };
        let key = StoreKey::load(&self.paths.key)?;
        match Sealed::parse(&bytes)?.open(&key) {
            Ok(opened) => Ok((opened, Which::Present)),
            Err(FormatError::OtherKey) => {
                let next = StoreKey::load(&self.next_key())?;
                Ok((Sealed::parse(&bytes)?.open(&next)?, Which::Next))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn next_store(&self) -> PathBuf {
        self.paths.store.with_extension("next")
    }

    fn next_key(&self) -> PathBuf {
        self.paths.key.with_extension("key.next")
    }
}

/// Which key a file was encrypted with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Present,
    Next,
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_parent(path)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => sync_parent(path),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
