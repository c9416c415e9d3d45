//! Names of the files of a log, and what can be learned from names alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Digits of a segment's name: as many as the largest index has.
const NAME_DIGITS: usize = 20;

/// The directory of a log.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
}

/// A segment, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Index of its first record.
    pub(crate) first: u64,
    /// Bytes.
    pub(crate) len: u64,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn head(&self) -> PathBuf {
        self.dir.join("head")
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.dir.join("segments")
    }

    pub(crate) fn segment(&self, first: u64) -> PathBuf {
        self.segments().join(format!("{first:020}.seg"))
    }

    pub(crate) fn derived(&self) -> PathBuf {
        self.dir.join("derived")
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.derived().join("records")
    }

    pub(crate) fn tiles(&self) -> PathBuf {
        self.derived().join("tiles")
    }

    /// The segments, by first index. Other names are not the log's and are passed over.
    pub(crate) fn list_segments(&self) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for found in fs::read_dir(self.segments())? {
            let found = found?;
            if let Some(first) = found.file_name().to_str().and_then(parse_name) {
                segments.push(Segment {
                    first,
                    len: found.metadata()?.len(),
                });
            }
        }
        segments.sort_by_key(|segment| segment.first);
        Ok(segments)
    }
}

fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let well_formed = digits.len() == NAME_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if well_formed {
        digits.parse().ok()
    } else {
        None
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the name of `path` durable in the directory that holds it.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}
