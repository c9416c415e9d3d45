//! Salts of intents that wait for approvals, so that the same intent, asked again by another process, is the same.
//!
//! An approval is of one intent, and what tells it from others is its salt. A gateway that goes away while it waits
//! would take that along. Kept for as long as nothing came of it, for the domain's owner alone, and never believed: what
//! waits stands in the log.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::SystemTime;

use placet_types::{Commitment, Digest, Intent, Salt};

/// Intents that are remembered.
const KEPT_MAX: usize = 1024;

/// Where salts are kept.
#[derive(Clone, Debug)]
pub struct AskedBefore(PathBuf);

impl AskedBefore {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// What is the same of an intent whatever salt hides its parameters; `None` of one that is none.
    #[must_use]
    pub fn key(intent: &Intent, params: &[u8]) -> Option<Digest> {
        let plain = Intent {
            params: Commitment::to("", &[], &Salt::new([0; 32])),
            ..intent.clone()
        };
        let plain = plain.to_canonical().ok()?;
        Some(Digest::of_parts(&[&plain, b"\0", params]))
    }

    /// The salt that the intent was asked with before, if it waited.
    #[must_use]
    pub fn salt(&self, key: &Digest) -> Option<Salt> {
        let mut bytes = [0; 32];
        let mut file = fs::File::open(self.file(key)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        Some(Salt::new(bytes))
    }

    /// Remembers it.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn keep(&self, key: &Digest, salt: &Salt) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        self.make_room()?;
        let file = self.file(key);
        let partial = file.with_extension(std::process::id().to_string());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&partial)?.write_all(salt.as_bytes())?;
        fs::rename(partial, file)
    }

    /// Forgets it: something came of the intent.
    pub fn forget(&self, key: &Digest) {
        // One that was not kept is as good.
        fs::remove_file(self.file(key)).unwrap_or(());
    }

    fn file(&self, key: &Digest) -> PathBuf {
        self.0.join(key.hex())
    }

    /// The oldest go when there are too many.
    fn make_room(&self) -> io::Result<()> {
        let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let known = entry.metadata().and_then(|known| known.modified());
            all.push((known.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
        }
        all.sort_unstable();
        let over = all.len().saturating_sub(KEPT_MAX - 1);
        for (_, path) in all.into_iter().take(over) {
            fs::remove_file(path).unwrap_or(());
        }
        Ok(())
    }
}
