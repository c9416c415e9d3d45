//! Private keys on disk: one file each, readable by the owner alone.
//!
//! A key file is one line: `placet-key-v1 <role> <base64 of the 32-byte seed>`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use placet_types::{PublicKey, SigningKey};

use crate::dir::DomainDir;
use crate::random;

/// What a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Artifacts.
    Artifact,
    /// Checkpoints.
    Log,
    /// Policy bundles.
    Operator,
    /// A person's own acts, such as approvals. Not a key of the domain: its file is the person's.
    Person,
    /// Records.
    Record,
}

/// The keys that a node works with. The operator's key is not among them.
#[derive(Debug)]
pub struct NodeKeys {
    /// Signs artifacts.
    pub artifact: SigningKey,
    /// Signs checkpoints; the private half is with the log.
    pub log: PublicKey,
    /// Signs records.
    pub record: SigningKey,
}

/// Why a key was not loaded or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("key {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others can read it.
    #[error(
        "key {path} can be read by others (mode {mode:04o}); run `chmod 600 {path}` and think about who has seen it"
    )]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not a key file of this role.
    #[error("key {path} is not a key file for its role")]
    Syntax {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system gave no randomness.
    #[error(transparent)]
    Random(#[from] random::NoRandomness),
}

impl Role {
    /// Name of the role and of its file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Log => "log",
            Self::Operator => "operator",
            Self::Person => "person",
            Self::Record => "record",
        }
    }

    fn path(self, dir: &DomainDir) -> PathBuf {
        dir.keys().join(format!("{}.key", self.as_str()))
    }
}

impl NodeKeys {
    /// Loads the node's keys.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] names the file.
    pub fn load(dir: &DomainDir) -> Result<Self, KeyFileError> {
        Ok(Self {
            artifact: load(dir, Role::Artifact)?,
            log: load(dir, Role::Log)?.public(),
            record: load(dir, Role::Record)?,
        })
    }

    /// Draws new keys and stores them.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] names the file.
    pub fn create(dir: &DomainDir) -> Result<Self, KeyFileError> {
        Ok(Self {
            artifact: create(dir, Role::Artifact)?,
            log: create(dir, Role::Log)?.public(),
            record: create(dir, Role::Record)?,
        })
    }
}

/// Loads the key of one role.
///
/// # Errors
///
/// [`KeyFileError`] names the file.
pub fn load(dir: &DomainDir, role: Role) -> Result<SigningKey, KeyFileError> {
    load_file(role.path(dir), role)
}

/// Loads a person's key.
///
/// # Errors
///
/// [`KeyFileError`] names the file.
pub fn load_from(path: &Path) -> Result<SigningKey, KeyFileError> {
    load_file(path.to_owned(), Role::Person)
}

fn load_file(path: PathBuf, role: Role) -> Result<SigningKey, KeyFileError> {
    let io = |error| KeyFileError::Io {
        path: path.clone(),
        error,
    };
    let mode = fs::metadata(&path).map_err(io)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path, mode });
    }
    let text = Zeroizing::new(fs::read_to_string(&path).map_err(io)?);
    parse(&text, role).ok_or(KeyFileError::Syntax { path })
}

/// Draws a new key for one role and stores it.
///
/// # Errors
///
/// [`KeyFileError`] names the file; an existing one is never overwritten.
pub fn create(dir: &DomainDir, role: Role) -> Result<SigningKey, KeyFileError> {
    create_file(role.path(dir), role)
}

/// Draws a new key for a person and stores it.
///
/// # Errors
///
/// [`KeyFileError`] names the file; an existing one is never overwritten.
pub fn create_at(path: &Path) -> Result<SigningKey, KeyFileError> {
    create_file(path.to_owned(), Role::Person)
}

fn create_file(path: PathBuf, role: Role) -> Result<SigningKey, KeyFileError> {
    let key = SigningKey::from_seed(&random::seed()?);
    store(&path, role, &key).map_err(|error| KeyFileError::Io { path, error })?;
    Ok(key)
}

fn store(path: &Path, role: Role, key: &SigningKey) -> io::Result<()> {
    let seed = Zeroizing::new(STANDARD.encode(key.seed().as_slice()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let text = Zeroizing::new(format!(
        "placet-key-v1 {} {}\n",
        role.as_str(),
        seed.as_str()
    ));
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn parse(text: &str, role: Role) -> Option<SigningKey> {
    let rest = text.strip_prefix("placet-key-v1 ")?.strip_suffix('\n')?;
    let seed = rest.strip_prefix(role.as_str())?.strip_prefix(' ')?;
    let seed = Zeroizing::new(STANDARD.decode(seed).ok()?);
    let seed: [u8; 32] = seed.as_slice().try_into().ok()?;
    Some(SigningKey::from_seed(&Zeroizing::new(seed)))
}
