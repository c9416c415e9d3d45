//! Digests of large files, kept from one process to the next: to read a compiler anew takes longer than to start it.
//!
//! One small file each, named by the state of the file that it is of. Whoever can write the directory says what files
//! contain, so no cell may have it. A digest is as good as that name: see [`crate::FileIdentity`].

use std::fs;
use std::path::PathBuf;

use crate::gate::ImageDigest;
use crate::spec::FileIdentity;
use crate::sys;

/// Smaller files are read as quickly as they are remembered.
const BYTES_MIN: u64 = 256 << 10;
/// Far more than a tick of any kernel, or than file systems round times to.
const SETTLED_NS: i64 = 2_000_000_000;

/// A directory of digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    dir: PathBuf,
}

impl Digests {
    /// Those in a directory, which need not be there: then nothing is remembered.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The digest of a large file in this state, if it is remembered.
    #[must_use]
    pub fn recall(&self, identity: &FileIdentity) -> Option<ImageDigest> {
        let name = self.name(identity)?;
        let text = fs::read_to_string(name).ok()?;
        ImageDigest::parse(text.trim())
    }

    /// Remembers the digest of a large file that was in this state before and after it was read. Not remembering costs
    /// time and nothing else.
    pub fn remember(&self, identity: &FileIdentity, digest: ImageDigest) {
        if let Some(name) = self.name(identity).filter(|_| is_settled(identity)) {
            fs::write(name, digest.to_string()).unwrap_or(());
        }
    }

    /// A name that another state of the file, or another file, does not have.
    fn name(&self, identity: &FileIdentity) -> Option<PathBuf> {
        let FileIdentity {
            dev,
            ino,
            size,
            mtime_ns,
            ctime_ns,
        } = identity;
        let name = format!("{dev:x}-{ino:x}-{size:x}-{mtime_ns:x}-{ctime_ns:x}");
        (*size >= BYTES_MIN).then(|| self.dir.join(name))
    }
}

/// Whether a file was last changed long enough ago for its times to tell this state from the next: within a tick of the kernel's clock
/// they do not.
pub(crate) fn is_settled(identity: &FileIdentity) -> bool {
    sys::real_time_ns().saturating_sub(identity.ctime_ns) > SETTLED_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: ImageDigest = ImageDigest([0xa7; 32]);

    fn identity(size: u64, ctime_ns: i64) -> FileIdentity {
        FileIdentity {
            dev: 1,
            ino: 2,
            size,
            mtime_ns: 3,
            ctime_ns,
        }
    }

    #[test]
    fn a_large_file_is_remembered_by_its_state() {
        let dir = tempfile::tempdir().unwrap();
        let digests = Digests::at(dir.path().to_owned());
        let large = identity(BYTES_MIN, 4);
        assert_eq!(digests.recall(&large), None);
        digests.remember(&large, DIGEST);
        assert_eq!(digests.recall(&large), Some(DIGEST));
        assert_eq!(digests.recall(&identity(BYTES_MIN, 5)), None);
        assert_eq!(digests.recall(&identity(BYTES_MIN + 1, 4)), None);
    }

    #[test]
    fn small_files_and_those_that_have_just_changed_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let digests = Digests::at(dir.path().to_owned());
        let now = sys::real_time_ns();
        for one in [identity(BYTES_MIN - 1, 4), identity(BYTES_MIN, now)] {
            digests.remember(&one, DIGEST);
            assert_eq!(digests.recall(&one), None);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_digest_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let digests = Digests::at(dir.path().to_owned());
        let large = identity(BYTES_MIN, 4);
        let whole = DIGEST.to_string();
        for text in [
            "",
            "a7",
            whole.get(1..).unwrap(),
            &format!("{whole}a7"),
            &whole.replace("a7", "g7"),
        ] {
            fs::write(digests.name(&large).unwrap(), text).unwrap();
            assert_eq!(digests.recall(&large), None, "{text}");
        }
        // No directory, nothing remembered.
        let nowhere = Digests::at(dir.path().join("none"));
        nowhere.remember(&large, DIGEST);
        assert_eq!(nowhere.recall(&large), None);
    }
}
