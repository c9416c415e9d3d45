//! Keys, directories and a small log for the tests of this crate.

use std::fs;
use std::path::{Path, PathBuf};

use placet_log::conformance::entry;
use placet_log::fsck::{self, Report};
use placet_log::{EntryCheck, FileOptions, Item, OpenError, Opened, Sequencer as _};
use placet_tlog::note::{KeyName, NoteSigner, VerifierKey};
use placet_types::{Index, SigningKey};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// Identity of the logs in these tests.
pub(crate) const ORIGIN: &str = "placet.example/log";

/// The log key of these tests.
pub(crate) fn signer() -> NoteSigner {
    signer_with(7)
}

/// A log key of the same name, from another seed.
pub(crate) fn signer_with(seed: u8) -> NoteSigner {
    let key = SigningKey::from_seed(&Zeroizing::new([seed; 32]));
    NoteSigner::new(KeyName::parse(ORIGIN).unwrap(), key)
}

/// The public half of [`signer`].
pub(crate) fn verifier() -> VerifierKey {
    signer().verifier_key().clone()
}

/// A directory for logs that need not survive a power failure: in memory where there is such a
/// place, because most of the time of these tests would be `fdatasync`.
pub(crate) fn tempdir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    dir.unwrap()
}

/// Options for the log in `dir`, with small segments so that tests cross their borders.
pub(crate) fn options(dir: &Path) -> FileOptions {
    FileOptions::new(dir, signer(), EntryCheck::none_required()).segment_bytes(16 << 10)
}

/// Opens the log in `dir`.
pub(crate) fn open(dir: &Path) -> Opened {
    options(dir).open().unwrap()
}

/// Why the log in `dir` does not open.
pub(crate) fn refusal(dir: &Path) -> OpenError {
    options(dir).open().expect_err("a damaged log opened")
}

/// Checks the log in `dir`.
pub(crate) fn check(dir: &Path) -> Report {
    check_with(dir, &EntryCheck::none_required())
}

/// Checks the log in `dir` with an entry check.
pub(crate) fn check_with(dir: &Path, entry_check: &EntryCheck) -> Report {
    fsck::check(dir, &verifier(), entry_check, &mut |_| ()).unwrap()
}

/// The private bytes of the item `number`, for every third one.
pub(crate) fn payload(number: u64) -> Option<Vec<u8>> {
    number
        .is_multiple_of(3)
        .then(|| format!("private {number}").into_bytes())
}

/// The item `number`.
pub(crate) fn item(number: u64) -> Item {
    Item {
        entry: entry(number),
        payload: payload(number),
    }
}

/// Appends batches of these lengths after what is there.
pub(crate) fn append(dir: &Path, lens: &[u64]) {
    let mut log = open(dir).log;
    for len in lens {
        let first = log.size().get();
        let batch: Vec<Item> = (first..first + len).map(item).collect();
        log.append(Index::new(first), &batch).unwrap();
    }
}

/// Segment files of the log, in order.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir.join("segments")).unwrap();
    let mut paths: Vec<PathBuf> = listed.map(|found| found.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Copies a log.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for found in fs::read_dir(from).unwrap() {
        let found = found.unwrap();
        let target = to.join(found.file_name());
        if found.file_type().unwrap().is_dir() {
            copy(&found.path(), &target);
        } else {
            fs::copy(found.path(), target).unwrap();
        }
    }
}

/// Where a frame lies in its segment file, and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct FrameMap {
    pub(crate) start: usize,
    pub(crate) first: u64,
    pub(crate) count: usize,
    pub(crate) table: usize,
    pub(crate) seal: usize,
    /// Start of each entry's length bytes, and the end of the last.
    pub(crate) entries: Vec<usize>,
    /// Start of each payload with the index that it belongs to.
    pub(crate) payloads: Vec<(usize, u64)>,
    pub(crate) end: usize,
}

/// Reads the frames of a sound segment, by the format of `spec/storage.md`.
pub(crate) fn map_frames(bytes: &[u8]) -> Vec<FrameMap> {
    let mut frames = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let frame = map_frame(bytes, start);
        start = frame.end;
        frames.push(frame);
    }
    frames
}

fn map_frame(bytes: &[u8], start: usize) -> FrameMap {
    let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(&bytes[start..start + 8], b"PLACETF1");
    let first = u64::from_be_bytes(bytes[start + 8..start + 16].try_into().unwrap());
    let (count, entries_len) = (u32_at(start + 16), u32_at(start + 20));
    let (table, payloads_len) = (start + 156, u32_at(start + 24));
    let seal = table + count * 36;
    let mut entries = vec![seal + 32];
    for _ in 0..count {
        let at = *entries.last().unwrap();
        entries.push(at + 2 + usize::from(bytes[at]) * 256 + usize::from(bytes[at + 1]));
    }
    let base = *entries.last().unwrap();
    assert_eq!(base, seal + 32 + entries_len);
    let mut payloads = Vec::new();
    let mut before = 0;
    for (at, index) in (0..count).zip(first..) {
        let end = u32_at(table + at * 36 + 32);
        if end > before {
            payloads.push((base + before, index));
        }
        before = end;
    }
    assert_eq!(before, payloads_len);
    FrameMap {
        start,
        first,
        count,
        table,
        seal,
        entries,
        payloads,
        end: base + payloads_len,
    }
}
