//! Where changes are kept: a directory for each execution, below the domain directory.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use placet_evidence::ChangeSummary;
use placet_sandbox::Copied;
use placet_types::canonical;
use placet_types::{AbsPath, Digest, ExecutionId, Writes};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::ChangeList;
use super::kept::{Kept, KeptState};
use super::read::open_tree;
use super::scan::{Scan, names, open_upper_dir};

/// How often the size of the copies is looked at, at most.
const MEASURE_EVERY: Duration = Duration::from_millis(250);
/// Files that copies may have: each costs an inode whatever its size.
const FILES_MAX: u64 = 1_000_000;
/// Longest list.
const LIST_BYTES_MAX: usize = 256 << 20;

/// What is known of a copy before anything runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meta {
    pub(super) exec: ExecutionId,
    pub(super) trees: Vec<Tree>,
    pub(super) writes: Writes,
}

/// A tree that was copied.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tree {
    /// As text: it does not fit a double.
    dev: String,
    ino: String,
    path: AbsPath,
}

impl Tree {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let path = path.to_str().and_then(|text| AbsPath::parse(text).ok());
        Ok(Self {
            dev: metadata.dev().to_string(),
            ino: metadata.ino().to_string(),
            path: path.ok_or(io::ErrorKind::InvalidInput)?,
        })
    }

    /// Opens the tree, if it is the one that was copied.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let fd = open_tree(Path::new(self.path.as_str()))?;
        let stat = rustix::fs::fstat(&fd)?;
        if (stat.st_dev.to_string(), stat.st_ino.to_string())
            == (self.dev.clone(), self.ino.clone())
        {
            return Ok(fd);
        }
        Err(io::Error::other(format!(
            "{} is another directory than the one that was copied",
            self.path
        )))
    }
}

/// The copies of one execution, while it runs.
pub(crate) struct Copies {
    dir: PathBuf,
    meta: Meta,
    bytes_max: u64,
    began_ns: i64,
    meter: Meter,
    /// Whether there is nothing to remove when this goes out of use.
    settled: bool,
    _lock: File,
}

/// What is left of the copies of an execution.
pub(crate) enum Finished {
    /// A list, and if they are kept the changes themselves.
    Listed(ChangeSummary),
    /// Nothing, because of this.
    Lost(String),
}

impl Copies {
    /// Makes the directories for copies of `trees`.
    pub(crate) fn make(
        root: &Path,
        exec: ExecutionId,
        writes: Writes,
        trees: &[PathBuf],
        bytes_max: u64,
    ) -> io::Result<Self> {
        private(root)?;
        sweep(root);
        let dir = root.join(exec.to_string());
        private(&dir)?;
        let lock = lock(&dir, true)?;
        let meta = Meta {
            exec,
            trees: trees
                .iter()
                .map(|tree| Tree::of(tree))
                .collect::<io::Result<_>>()?,
            writes,
        };
        for (at, tree) in trees.iter().enumerate() {
            let upper = layer(&dir, at, "upper");
            private(&upper)?;
            // The copy shows the permissions of its upper layer.
            fs::set_permissions(&upper, fs::metadata(tree)?.permissions())?;
            private(&layer(&dir, at, "work"))?;
        }
        let bytes = canonical::to_bytes(&meta).map_err(io::Error::other)?;
        write_private(&dir.join("meta.json"), &bytes)?;
        let began = fs::metadata(dir.join("meta.json"))?;
        let nanos = began.ctime().saturating_mul(1_000_000_000);
        let meter = Meter::start(dir.clone(), trees.len(), bytes_max)?;
        Ok(Self {
            began_ns: nanos.saturating_add(began.ctime_nsec()),
            dir,
            meta,
            bytes_max,
            meter,
            settled: false,
            _lock: lock,
        })
    }

    /// For the cell.
    pub(crate) fn copied(&self) -> Vec<Copied> {
        let trees = self.meta.trees.iter().enumerate();
        trees
            .map(|(at, tree)| Copied {
                tree: PathBuf::from(tree.path.as_str()),
                upper: layer(&self.dir, at, "upper"),
                work: layer(&self.dir, at, "work"),
            })
            .collect()
    }

    /// Whether the copies have grown past their bound.
    pub(crate) fn is_over(&self) -> bool {
        self.meter.over.load(Ordering::Relaxed)
    }

    /// The tree is gone: lists what it changed.
    pub(crate) fn finish(mut self) -> Finished {
        self.meter.stop();
        let over =
            self.is_over() || measure(&self.dir, self.meta.trees.len()).exceeds(self.bytes_max);
        let listed = if over {
            Err(format!(
                "the copy grew past {} MiB (`tmp` of the profile's limits)",
                self.bytes_max >> 20
            ))
        } else {
            self.list().map_err(|error| error.to_string())
        };
        match listed {
            Ok(summary) => {
                self.settled = true;
                Finished::Listed(summary)
            }
            Err(why) => Finished::Lost(why),
        }
    }

    fn list(&self) -> io::Result<ChangeSummary> {
        let mut scan = Scan {
            tree: 0,
            began_ns: self.began_ns,
            changes: Vec::new(),
        };
        for (at, tree) in self.meta.trees.iter().enumerate() {
            scan.tree = at;
            scan.run(&open_tree(&layer(&self.dir, at, "upper"))?, &tree.open()?)?;
        }
        let mut changes = scan.changes;
        changes.sort_by(|a, b| (a.tree, &a.path).cmp(&(b.tree, &b.path)));
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| io::Error::other("no randomness"))?;
        let list = ChangeList {
            changes,
            exec: self.meta.exec,
            nonce: Digest::of(&nonce).hex(),
            trees: self
                .meta
                .trees
                .iter()
                .map(|tree| tree.path.clone())
                .collect(),
            writes: self.meta.writes,
        };
        let (bytes, digest) = list.encode().map_err(io::Error::other)?;
        if bytes.len() > LIST_BYTES_MAX {
            return Err(io::Error::other("the list of changes is too long"));
        }
        if list.changes.is_empty() {
            remove(&self.dir)?;
        } else {
            write_private(&self.dir.join("list.json"), &bytes)?;
            for at in 0..list.trees.len() {
                remove(&layer(&self.dir, at, "work"))?;
                if self.meta.writes != Writes::Kept {
                    remove(&self.dir.join(at.to_string()))?;
                }
            }
        }
        Ok(ChangeSummary {
            bytes: list.bytes(),
            count: list.changes.len() as u64,
            digest,
            writes: self.meta.writes,
        })
    }
}

impl Drop for Copies {
    /// Nothing ran, or what it did cannot be listed: nothing is left.
    fn drop(&mut self) {
        self.meter.stop();
        if !self.settled {
            drop(remove(&self.dir));
        }
    }
}

/// Looks at the size of copies while their execution runs.
struct Meter {
    over: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    fn start(dir: PathBuf, trees: usize, bytes_max: u64) -> io::Result<Self> {
        let (over, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (its_over, its_done) = (Arc::clone(&over), Arc::clone(&done));
        let thread = thread::Builder::new()
            .name("copies".into())
            .stack_size(1 << 20)
            .spawn(move || {
                while !its_done.load(Ordering::Relaxed) {
                    let files = measure(&dir, trees);
                    if files.exceeds(bytes_max) {
                        its_over.store(true, Ordering::Relaxed);
                        return;
                    }
                    // A large copy is looked at less often: half a second for each 10,000 files.
                    let pause = Duration::from_micros(files.count.saturating_mul(50));
                    thread::park_timeout(pause.max(MEASURE_EVERY));
                }
            })?;
        Ok(Self {
            over,
            done,
            thread: Some(thread),
        })
    }

    fn stop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Size of copies.
#[derive(Clone, Copy, Default)]
struct Size {
    bytes: u64,
    count: u64,
}

impl Size {
    fn exceeds(self, bytes_max: u64) -> bool {
        self.bytes > bytes_max || self.count > FILES_MAX
    }
}

fn measure(dir: &Path, trees: usize) -> Size {
    let mut size = Size::default();
    for at in 0..trees {
        let mut open = vec![layer(dir, at, "upper")];
        while let Some(next) = open.pop() {
            // What went away meanwhile, or cannot be entered, is measured when all is over.
            for entry in fs::read_dir(next).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                size.count = size.count.saturating_add(1);
                if metadata.is_dir() {
                    open.push(entry.path());
                } else {
                    size.bytes = size.bytes.saturating_add(metadata.len());
                }
            }
        }
    }
    size
}

pub(super) fn layer(dir: &Path, at: usize, name: &str) -> PathBuf {
    dir.join(at.to_string()).join(name)
}

fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Takes the lock of an execution's directory; without `make` only if it is there.
pub(super) fn lock(dir: &Path, make: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(make).mode(0o600);
    let file = options.open(dir.join("lock"))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Removes what nobody will ask for: copies whose gateway died before anything was listed and that
/// were to be discarded, and lists of dry runs past their time.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let dir = entry.path();
        let stale = Kept::open(&dir).is_ok_and(|kept| match kept.state() {
            KeptState::Running => false,
            KeptState::Unlisted => kept.writes() == Writes::Discarded,
            KeptState::Listed => kept.writes() == Writes::Discarded && kept.is_expired(),
        });
        if stale && lock(&dir, false).is_ok() {
            drop(remove(&dir));
        }
    }
}

/// Removes a tree that a governed program made, whatever permissions it left.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    unlock_all(path)?;
    fs::remove_dir_all(path)
}

fn unlock_all(path: &Path) -> io::Result<()> {
    let mut open: Vec<OwnedFd> = vec![open_tree(path)?];
    while let Some(dir) = open.pop() {
        for name in names(dir.as_fd())? {
            let name: CString = name;
            let stat = rustix::fs::statat(&dir, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
            if super::read::kind(&stat) == super::FileKind::Directory {
                super::read::unlock(dir.as_fd(), &name, &stat)?;
                open.push(open_upper_dir(dir.as_fd(), &name, &stat)?);
            }
        }
    }
    Ok(())
}
