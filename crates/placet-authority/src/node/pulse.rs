//! Whether the log can be read and written now: what a node that beats vouches for.
//!
//! A log that nothing is appended to tells nobody that its disk is full, gone or read-only. While
//! executions run, a thread of its own looks four times a second: the head is read anew by its path, and a
//! small file beside it is written, synced and removed. It is a thread of its own because all of
//! this can hang. What counts is when it last succeeded.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::registry::Registry;
use crate::clock::Clock;
use crate::dir::DomainDir;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);
/// What is written each time: a block of its own, so that a full disk shows.
const BLOCK: [u8; 4096] = [0; 4096];

/// When the log was last seen to work, on the monotonic clock.
#[derive(Debug)]
pub(super) struct Pulse {
    seen_ms: AtomicU64,
}

/// The log's directory as it was when it was opened.
struct Place {
    dir: PathBuf,
    head: (u64, u64),
}

impl Pulse {
    /// Looks for as long as the value lives. The log has just been opened, so it works now.
    pub(super) fn start(
        dir: &DomainDir,
        clock: Arc<dyn Clock>,
        registry: Arc<Registry>,
    ) -> io::Result<Arc<Self>> {
        let place = Place::open(dir.log())?;
        let pulse = Arc::new(Self {
            seen_ms: AtomicU64::new(millis(clock.monotonic())),
        });
        let looked_at = Arc::downgrade(&pulse);
        thread::Builder::new()
            .name("pulse".into())
            .spawn(move || look(&looked_at, &place, &*clock, &registry))?;
        Ok(pulse)
    }

    /// How old the view of the log is.
    pub(super) fn age(&self, now: Duration) -> Duration {
        let seen = Duration::from_millis(self.seen_ms.load(Ordering::Relaxed));
        now.saturating_sub(seen)
    }
}

fn look(pulse: &Weak<Pulse>, place: &Place, clock: &dyn Clock, registry: &Registry) {
    while let Some(pulse) = pulse.upgrade() {
        let now = clock.monotonic();
        // Nobody listens where nothing runs, and what begins to run has just been written.
        if !registry.is_carrying() || place.works().is_ok() {
            pulse.seen_ms.store(millis(now), Ordering::Relaxed);
        }
        drop(pulse);
        thread::sleep(EVERY);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Place {
    fn open(dir: PathBuf) -> io::Result<Self> {
        let head = inode(&dir.join("head"))?;
        Ok(Self { dir, head })
    }

    fn works(&self) -> io::Result<()> {
        let head = self.dir.join("head");
        if inode(&head)? != self.head {
            return Err(io::ErrorKind::NotFound.into());
        }
        fs::read(head)?;
        let path = self.dir.join("pulse");
        let written = write(&path);
        // One that stays is written over the next time.
        drop(fs::remove_file(&path));
        written
    }
}

fn write(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&BLOCK)?;
    file.sync_data()
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_moved_replaced_or_closed_to_writing_does_not_work() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("log");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("head"), "h").unwrap();
        let place = Place::open(dir.clone()).unwrap();
        place.works().unwrap();
        assert!(!dir.join("pulse").exists());
        // A directory in the way of the file stands for any disk that takes no writes.
        fs::create_dir(dir.join("pulse")).unwrap();
        place.works().unwrap_err();
        fs::remove_dir(dir.join("pulse")).unwrap();
        place.works().unwrap();
        let aside = root.path().join("aside");
        fs::rename(&dir, &aside).unwrap();
        place.works().unwrap_err();
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("head"), "h").unwrap();
        place.works().unwrap_err();
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(&aside, &dir).unwrap();
        place.works().unwrap();
    }
}
