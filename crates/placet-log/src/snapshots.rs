//! Saved folds: bytes that say what the records below a size add up to, discardable at any time.
//!
//! A snapshot names the size and the root of the log it was taken at. One that is damaged, or
//! whose root is not the log's own root at that size, is passed over: then the caller folds from
//! an older one, or from the beginning.
//!
//! Out of scope: an adversary who writes to this directory. The digest inside finds accidents; a
//! forged snapshot with the right root would be believed, so keep the directory as private as the
//! keys.
//!
//! ```text
//! <size, 20 digits>.snap  "PLACETS1" ‖ u64 size ‖ root [32] ‖ u64 length ‖ bytes ‖ SHA-256 of all that
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use placet_tlog::Hash;
use sha2::{Digest as _, Sha256};

use crate::bytes::{Fields, narrow, wide};
use crate::file::layout::{sync_dir, sync_parent};

const MAGIC: [u8; 8] = *b"PLACETS1";
const HEADER_LEN: usize = 56;
const DIGEST_LEN: usize = 32;

/// Snapshots kept: if the newest is damaged, the one before it still saves most of the work.
const KEPT: usize = 2;

/// A snapshot that passed its digest and whose root is the log's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of records folded.
    pub size: u64,
    /// Root of the log at that size.
    pub root: Hash,
    /// What the caller saved.
    pub bytes: Vec<u8>,
}

/// What was found by [`load_latest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The newest snapshot to go on from.
    pub snapshot: Option<Snapshot>,
    /// Newer ones that were passed over.
    pub ignored: Vec<Ignored>,
}

/// A snapshot that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its file.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// Why a snapshot was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not whole, or not as it was written.
    #[error("the snapshot is damaged")]
    Damaged,
    /// Of more records than the caller allows.
    #[error("the snapshot is of {0} records, more than the log has")]
    TooNew(u64),
    /// The log had another root at that size.
    #[error("the snapshot is of another history")]
    OtherHistory,
}

/// Saves a snapshot durably and removes all but the newest two.
///
/// # Errors
///
/// Whatever the operating system says; the snapshots that were there remain usable.
pub fn save(dir: &Path, size: u64, root: Hash, bytes: &[u8]) -> io::Result<()> {
    if !dir.is_dir() {
        fs::create_dir_all(dir)?;
        sync_parent(dir)?;
    }
    let path = dir.join(format!("{size:020}.snap"));
    let staged = dir.join(format!("{size:020}.snap.new"));
    let header = header(size, root, bytes.len());
    let digest = Sha256::new()
        .chain_update(header)
        .chain_update(bytes)
        .finalize();
    let mut file = File::create(&staged)?;
    file.write_all(&header)?;
    file.write_all(bytes)?;
    file.write_all(&digest)?;
    file.sync_all()?;
    fs::rename(&staged, &path)?;
    sync_dir(dir)?;
    for (_, old) in list(dir)?.into_iter().skip(KEPT) {
        fs::remove_file(old)?;
    }
    Ok(())
}

/// The newest sound snapshot of at most `at_most_size` records whose root is what `root_at` says
/// the log had at that size.
///
/// # Errors
///
/// When the directory cannot be listed; one that is not there holds no snapshot. A file that cannot
/// be read counts as damaged.
pub fn load_latest(
    dir: &Path,
    at_most_size: u64,
    root_at: &mut impl FnMut(u64) -> Option<Hash>,
) -> io::Result<Loaded> {
    let mut loaded = Loaded::default();
    let found = match list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(loaded),
        found => found?,
    };
    for (named, path) in found {
        match load(named, &path, at_most_size, root_at) {
            Ok(snapshot) => {
                loaded.snapshot = Some(snapshot);
                break;
            }
            Err(reason) => loaded.ignored.push(Ignored { path, reason }),
        }
    }
    Ok(loaded)
}

fn load(
    named: u64,
    path: &Path,
    at_most_size: u64,
    root_at: &mut impl FnMut(u64) -> Option<Hash>,
) -> Result<Snapshot, Reason> {
    if named > at_most_size {
        return Err(Reason::TooNew(named));
    }
    let bytes = fs::read(path).map_err(|_| Reason::Damaged)?;
    let snapshot = decode(bytes).filter(|snapshot| snapshot.size == named);
    let snapshot = snapshot.ok_or(Reason::Damaged)?;
    let same = root_at(snapshot.size) == Some(snapshot.root);
    if same {
        Ok(snapshot)
    } else {
        Err(Reason::OtherHistory)
    }
}

fn header(size: u64, root: Hash, len: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let len = wide(len).to_be_bytes();
    let fields = MAGIC
        .iter()
        .chain(size.to_be_bytes().iter())
        .copied()
        .collect::<Vec<u8>>();
    let fields = fields.iter().chain(root.as_bytes()).chain(len.iter());
    header
        .iter_mut()
        .zip(fields)
        .for_each(|(to, from)| *to = *from);
    header
}

fn decode(mut bytes: Vec<u8>) -> Option<Snapshot> {
    let (summed, digest) = bytes.split_last_chunk::<DIGEST_LEN>()?;
    let intact = Sha256::digest(summed).as_slice() == digest;
    let mut fields = Fields::new(summed);
    let magic: [u8; 8] = fields.array()?;
    let (size, root, len) = (fields.u64()?, fields.hash()?, fields.u64()?);
    if !intact || magic != MAGIC || wide(fields.rest().len()) != len {
        return None;
    }
    bytes.truncate(HEADER_LEN.saturating_add(narrow(len)));
    bytes.drain(..HEADER_LEN);
    Some(Snapshot { size, root, bytes })
}

/// Snapshots by the sizes in their names, newest first.
fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if let Some(size) = name
            .strip_suffix(".snap")
            .and_then(|size| size.parse().ok())
        {
            found.push((size, path));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(size: u64) -> Hash {
        Hash::leaf(&size.to_be_bytes())
    }

    fn latest(dir: &Path, at_most: u64) -> Loaded {
        load_latest(dir, at_most, &mut |size| Some(root(size))).unwrap()
    }

    #[test]
    fn the_newest_two_snapshots_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for size in [5, 9, 12] {
            save(dir.path(), size, root(size), &size.to_be_bytes()).unwrap();
        }
        assert_eq!(list(dir.path()).unwrap().len(), 2);
        let newest = latest(dir.path(), 100).snapshot.unwrap();
        assert_eq!(
            (newest.size, newest.bytes),
            (12, 12_u64.to_be_bytes().to_vec())
        );
        let older = latest(dir.path(), 11);
        assert_eq!(older.snapshot.unwrap().size, 9);
        assert_eq!(older.ignored[0].reason, Reason::TooNew(12));
        assert_eq!(latest(&dir.path().join("nowhere"), 1), Loaded::default());
    }

    #[test]
    fn a_snapshot_with_any_byte_altered_is_ignored_for_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), 1, root(1), b"older").unwrap();
        save(dir.path(), 2, root(2), b"newer").unwrap();
        let path = dir.path().join(format!("{:020}.snap", 2));
        let sound = fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            let loaded = latest(dir.path(), 9);
            assert_eq!(loaded.snapshot.unwrap().bytes, b"older", "byte {at}");
            assert_eq!(loaded.ignored[0].reason, Reason::Damaged);
        }
        for len in 0..sound.len() {
            fs::write(&path, &sound[..len]).unwrap();
            assert_eq!(
                latest(dir.path(), 9).snapshot.unwrap().size,
                1,
                "length {len}"
            );
        }
    }

    #[test]
    fn a_snapshot_of_another_history_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), 3, Hash::EMPTY_ROOT, b"x").unwrap();
        let loaded = latest(dir.path(), 3);
        assert_eq!(loaded.snapshot, None);
        assert_eq!(loaded.ignored[0].reason, Reason::OtherHistory);
    }
}
