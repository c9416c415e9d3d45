//! Content-addressed files: scopes, kept for ever, by digest.

use std::fs;
use std::io;
use std::path::PathBuf;

use placet_types::Digest;

use crate::dir::write_durably;

/// A directory of files that are named by their SHA-256.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: PathBuf,
}

/// Why a blob was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is none of this digest.
    #[error("there is no blob {0}")]
    Missing(Digest),
    /// The file does not have the digest that it is named by.
    #[error("the blob {0} is damaged: its content has another digest")]
    Damaged(Digest),
    /// The operating system refused.
    #[error("blobs: {0}")]
    Io(#[from] io::Error),
}

impl Blobs {
    /// The blobs in `dir`.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Reads a blob and checks its digest.
    ///
    /// # Errors
    ///
    /// [`BlobError`]
    pub fn get(&self, digest: Digest) -> Result<Vec<u8>, BlobError> {
        let bytes = match fs::read(self.dir.join(digest.hex())) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Missing(digest));
            }
            Err(error) => return Err(error.into()),
        };
        if Digest::of(&bytes) == digest {
            Ok(bytes)
        } else {
            Err(BlobError::Damaged(digest))
        }
    }

    /// Stores a blob durably and gives its digest. Storing it again changes nothing.
    ///
    /// # Errors
    ///
    /// What the operating system says; the blob is then not relied on.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.dir.join(digest.hex());
        if self.get(digest).is_ok() {
            return Ok(digest);
        }
        write_durably(&path, bytes)?;
        Ok(digest)
    }
}
