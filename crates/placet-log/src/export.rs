//! A log as a directory of static files: the layout of a C2SP tiled log, for any web server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use placet_tlog::tile::{BundleId, Resource, TileId};

use crate::bytes::wide;
use crate::reader::{LogReader, ReadError};

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Size of the exported checkpoint, in records.
    pub size: u64,
    /// Number of files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Why an export failed. What was written so far has no checkpoint and is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The directory has something in it.
    #[error("the directory to export to is not empty")]
    NotEmpty,
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file could not be written.
    #[error("{path}: {error}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

impl LogReader {
    /// Writes the log as of now to `dir`, which must be empty or not there: every hash tile and
    /// entry bundle, the partial ones of this size among them, and the checkpoint last. `progress`
    /// is called after each file.
    ///
    /// # Errors
    ///
    /// [`ExportError`]
    pub fn export(
        &self,
        dir: &Path,
        mut progress: impl FnMut(Exported),
    ) -> Result<Exported, ExportError> {
        refuse_content(dir)?;
        let head = self.checkpoint();
        let size = head.claim().size();
        let mut done = Exported {
            size,
            files: 0,
            bytes: 0,
        };
        let mut put = |name: String, bytes: &[u8]| {
            write(&dir.join(name), bytes)?;
            done.files += 1;
            done.bytes += wide(bytes.len());
            progress(done);
            Ok::<_, ExportError>(())
        };
        for tile in TileId::all(size) {
            put(tile.to_string(), &self.tile(tile)?)?;
        }
        for bundle in BundleId::changed(0, size) {
            put(bundle.to_string(), &self.bundle(bundle)?)?;
        }
        put(
            Resource::Checkpoint.to_string(),
            head.to_string().as_bytes(),
        )?;
        Ok(done)
    }
}

fn refuse_content(dir: &Path) -> Result<(), ExportError> {
    let fail = |error| ExportError::Write {
        path: dir.to_owned(),
        error,
    };
    fs::create_dir_all(dir).map_err(fail)?;
    let mut content = fs::read_dir(dir).map_err(fail)?;
    if content.next().is_some() {
        Err(ExportError::NotEmpty)
    } else {
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let fail = |error| ExportError::Write {
        path: path.to_owned(),
        error,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(fail)?;
    }
    fs::write(path, bytes).map_err(fail)
}
