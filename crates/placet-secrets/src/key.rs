//! The key of the store, on disk: one file, readable by its owner alone.
//!
//! One line, as all keys of a domain: `placet-key-v1 secrets <base64 of 32 bytes>`.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const PREFIX: &str = "placet-key-v1 secrets ";
/// Length of the line: the prefix, 44 characters, a newline.
const LINE_BYTES: usize = PREFIX.len() + 44 + 1;

/// Tells keys apart; says nothing about them.
pub(crate) type KeyId = [u8; 16];

/// The key that secrets are encrypted with. It is wiped when it goes.
pub struct StoreKey(Zeroizing<[u8; 32]>);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no file.
    #[error("the key of the secrets, {0}, is not there")]
    Missing(PathBuf),
    /// The operating system refused.
    #[error("the key of the secrets, {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others can read or change it.
    #[error(
        "the key of the secrets, {path}, is open to others (mode {mode:04o}); run `chmod 600 {path}`, think about who has seen it, and run `placet secret rotate-key`"
    )]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to someone else.
    #[error("the key of the secrets, {path}, belongs to user {owner}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// Not a key file.
    #[error("{0} is no key file of the secrets")]
    Syntax(PathBuf),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
}

impl StoreKey {
    /// Loads the key. The file is looked at once it is open, so it is the one that was checked.
    ///
    /// # Errors
    ///
    /// [`KeyError`] names the file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let io = |error: io::Error| {
            let path = path.to_owned();
            if error.kind() == io::ErrorKind::NotFound {
                KeyError::Missing(path)
            } else {
                KeyError::Io { path, error }
            }
        };
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
            .map_err(io)?;
        check(&file.metadata().map_err(io)?, path)?;
        let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES + 1));
        file.take(LINE_BYTES as u64 + 1)
            .read_to_end(&mut line)
            .map_err(io)?;
        parse(&line).ok_or_else(|| KeyError::Syntax(path.to_owned()))
    }

    /// Draws a key and stores it durably.
    ///
    /// # Errors
    ///
    /// [`KeyError`] names the file; one that exists is never overwritten.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Random)?;
        let key = Self(bytes);
        key.store(path).map_err(|error| KeyError::Io {
            path: path.to_owned(),
            error,
        })?;
        Ok(key)
    }

    fn store(&self, path: &Path) -> io::Result<()> {
        let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES));
        line.push_str(PREFIX);
        STANDARD.encode_string(self.0.as_slice(), &mut line);
        line.push('\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::File::open(parent)?.sync_all()
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What a file says of the key that it was encrypted with.
    pub(crate) fn id(&self) -> KeyId {
        let digest = Sha256::new()
            .chain_update(b"placet secrets key id\0")
            .chain_update(self.0.as_slice())
            .finalize();
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        id
    }
}

fn check(metadata: &fs::Metadata, path: &Path) -> Result<(), KeyError> {
    let path = || path.to_owned();
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let user = rustix::process::geteuid().as_raw();
    if !metadata.is_file() {
        return Err(KeyError::Syntax(path()));
    }
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path(), mode });
    }
    if owner != user && user != 0 {
        return Err(KeyError::Foreign {
            path: path(),
            owner,
        });
    }
    Ok(())
}

fn parse(line: &[u8]) -> Option<StoreKey> {
    let text = line.strip_prefix(PREFIX.as_bytes())?.strip_suffix(b"\n")?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(64));
    STANDARD.decode_vec(text, &mut bytes).ok()?;
    let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
    Some(StoreKey(Zeroizing::new(bytes)))
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(…)")
    }
}
