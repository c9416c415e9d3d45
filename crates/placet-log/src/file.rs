//! The log in a directory: one writer, one `fdatasync` for each batch.
//!
//! The order of an append is the argument for its durability (`spec/storage.md` has it in full):
//! frame written, frame synced, derived files written, head signed and written, readers told,
//! caller answered. A step that fails stops the writer; what was written is found when the log is
//! opened again.

pub(crate) mod behind;
pub(crate) mod derived;
pub(crate) mod frame;
pub(crate) mod head;
pub(crate) mod layout;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod recover;
mod shared;
mod store;
mod tail;
mod view;
pub(crate) mod walk;
pub(crate) mod window;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use placet_tlog::Hash;
use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::note::NoteSigner;
use placet_tlog::tree::{BatchTree, Frontier, HashReader as _, NodeId};
use placet_types::Index;

use crate::bytes::{narrow, wide};
use crate::file::derived::Record;
use crate::file::frame::{ERASED, Link, encode, preamble_len};
use crate::file::head::HeadFile;
use crate::file::layout::{Layout, sync_dir};
use crate::file::shared::Shared;
use crate::reader::LogReader;
use crate::sequencer::{
    AppendError, Appended, At as _, BatchError, EraseError, Fault, Item, Sequencer, Step,
    check_batch,
};
use crate::tree::{TILE, TILE_LEVEL};
use crate::vouch;

pub use open::{EntryCheck, FileOptions, OpenError, Opened, Recovery};

/// A log in a directory, open for writing. Holds the directory's lock as long as it lives.
pub struct FileLog {
    /// Released by the kernel when it is closed, however the process ends.
    _lock: File,
    layout: Layout,
    signer: NoteSigner,
    segment_bytes: u64,
    head: Arc<SignedCheckpoint>,
    head_file: HeadFile,
    /// The log key's signature on `head`, which the next frame carries.
    vouch: [u8; 64],
    frontier: Frontier,
    segment: Option<OpenSegment>,
    shared: Arc<Shared>,
    frame: Vec<u8>,
    /// Set by the first failed write, never cleared.
    stopped: bool,
}

/// The segment that frames are appended to.
#[derive(Debug)]
struct OpenSegment {
    first: u64,
    file: File,
    end: u64,
    /// Up to where there is room: zeros that are on the disk, which a frame overwrites.
    room: u64,
}

/// Zeros that are written behind a frame, for those after it. To sync bytes that have their place
/// takes half of what it takes to sync a file that grew.
const ROOM: u64 = 1 << 20;
/// Of a frame larger than this the growth is a small part.
const ROOM_FRAME_MAX: usize = 128 << 10;

/// A batch that is ready to be written.
struct Staged {
    first: u64,
    leaves: Vec<Hash>,
    tree: BatchTree,
}

impl Sequencer for FileLog {
    fn head(&self) -> &Arc<SignedCheckpoint> {
        &self.head
    }

    fn append(&mut self, expected: Index, batch: &[Item]) -> Result<Appended, AppendError> {
        if self.stopped {
            return Err(AppendError::Stopped);
        }
        check_batch(batch)?;
        let size = self.size();
        if expected != size {
            return Err(AppendError::Conflict { size });
        }
        let staged = self.stage(size.get(), batch)?;
        // Cleared only by success: a panic on the way leaves the writer stopped as well.
        self.stopped = true;
        let appended = self.commit(staged, batch)?;
        self.stopped = false;
        Ok(appended)
    }

    fn erase(&mut self, index: Index) -> Result<(), EraseError> {
        if self.stopped {
            return Err(EraseError::Stopped);
        }
        let size = self.size();
        if index >= size {
            return Err(EraseError::NoSuchRecord { index, size });
        }
        let located = self.shared.locate(index.get())?;
        let Some(range) = located.payload().filter(|range| !range.is_empty()) else {
            return Ok(());
        };
        self.stopped = true;
        let _erasing = self.shared.erase_guard();
        self.overwrite(
            located.segment,
            range.start,
            narrow(range.end - range.start),
        )
        .map_err(EraseError::Failed)?;
        self.stopped = false;
        Ok(())
    }

    fn reader(&self) -> LogReader {
        LogReader::new(Arc::<Shared>::clone(&self.shared))
    }
}

impl FileLog {
    /// Computes everything that the batch writes. Nothing is changed yet.
    fn stage(&mut self, first: u64, batch: &[Item]) -> Result<Staged, BatchError> {
        let leaves: Vec<Hash> = batch.iter().map(|item| Hash::leaf(&item.entry)).collect();
        let tree = BatchTree::new(&self.frontier, leaves.clone());
        let tree = tree.map_err(|_| BatchError::TreeFull)?;
        let before = *self.head.claim().root();
        let link = Link {
            first,
            before,
            vouch: self.vouch,
            after: tree.root(),
        };
        encode(&mut self.frame, &link, &leaves, batch).ok_or(BatchError::TreeFull)?;
        Ok(Staged {
            first,
            leaves,
            tree,
        })
    }

    fn commit(&mut self, staged: Staged, batch: &[Item]) -> Result<Appended, AppendError> {
        let Staged {
            first,
            leaves,
            tree,
        } = staged;
        let offset = self.write_frame(first)?;
        // From here on the batch is durable. What fails below leaves it to be found at reopening,
        // so the caller must not be told that it was not written.
        let unknown = AppendError::Indeterminate;
        let records = place(offset, &leaves, batch).ok_or_else(|| unknown(too_far()))?;
        self.write_derived(first, &records, &tree)
            .at(Step::DerivedFiles)
            .map_err(unknown)?;
        // Signed only now: a signature on a batch that was then cut as torn would be half of an
        // equivocation.
        let head = vouch::sign(&self.signer, tree.size(), tree.root());
        let head = head.ok_or_else(|| unknown(too_far()))?;
        self.head_file
            .write(&head)
            .at(Step::WriteHead)
            .map_err(unknown)?;
        let vouch = vouch::signature(&head, self.signer.verifier_key());
        self.vouch = vouch.ok_or_else(|| unknown(too_far()))?;
        self.frontier = tree.frontier();
        self.head = Arc::clone(&head);
        let segment = self.segment.as_ref().map_or(first, |segment| segment.first);
        self.shared.publish(&head, &records, segment);
        Ok(Appended::new(first, head, tree))
    }

    /// Writes and syncs the staged frame; returns its offset in the segment.
    fn write_frame(&mut self, first: u64) -> Result<u64, AppendError> {
        self.check_place().map_err(AppendError::NotWritten)?;
        // Until the frame itself is written, its absence is certain.
        let mut segment = self.segment_for(first).map_err(AppendError::NotWritten)?;
        let offset = segment.end;
        let end = offset.saturating_add(wide(self.frame.len()));
        let written = segment.file.write_all_at(&self.frame, offset);
        written.at(Step::WriteFrame).map_err(frame_not_written)?;
        if end > segment.room {
            segment.make_room(end, self.frame.len(), self.segment_bytes);
        }
        let synced = segment.file.sync_data();
        synced
            .at(Step::SyncFrame)
            .map_err(AppendError::Indeterminate)?;
        segment.end = end;
        self.segment = Some(segment);
        Ok(offset)
    }

    /// Refuses to write into files that nobody will find again. Segments and head stand in one
    /// directory, so the head's place tells for both.
    fn check_place(&self) -> Result<(), Fault> {
        let in_place = self.head_file.is_in_place(&self.layout);
        if in_place.at(Step::FindFiles)? {
            return Ok(());
        }
        let error = io::Error::other("the log's directory was removed or replaced");
        Err(Fault::new(Step::FindFiles, error))
    }

    /// The segment that the next frame goes to; a new one when the last is full.
    fn segment_for(&mut self, first: u64) -> Result<OpenSegment, Fault> {
        match self.segment.take() {
            Some(segment) if segment.end < self.segment_bytes => Ok(segment),
            Some(full) => {
                // The next segment begins where this one ends.
                full.cut_room()
                    .and_then(|()| full.file.sync_all())
                    .at(Step::CutTail)?;
                // Bounds how far a head that was never synced can lag behind.
                self.head_file.sync().at(Step::SyncHead)?;
                self.create_segment(first)
            }
            None => self.create_segment(first),
        }
    }

    fn create_segment(&self, first: u64) -> Result<OpenSegment, Fault> {
        let path = self.layout.segment(first);
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.at(Step::CreateSegment)?;
        sync_dir(&self.layout.segments()).at(Step::SyncDirectory)?;
        Ok(OpenSegment {
            first,
            file,
            end: 0,
            room: 0,
        })
    }

    fn write_derived(&self, first: u64, records: &[Record], tree: &BatchTree) -> io::Result<()> {
        let derived = self.shared.derived();
        derived.write_records(first, records)?;
        let tiles = first / TILE..tree.size() / TILE;
        let start = tiles.start;
        let finished: Vec<NodeId> = tiles
            .filter_map(|tile| NodeId::new(TILE_LEVEL, tile))
            .collect();
        derived.write_tiles(
            start,
            &tree.read_hashes(&finished).map_err(io::Error::other)?,
        )
    }

    /// Overwrites a stored payload with zeros.
    ///
    /// The state byte first, durably: from then on the payload counts as erased, whatever part of
    /// the zeros reaches the disk. Were it written together with them, an interrupted erasure
    /// could look like a frame that was never wholly written.
    fn overwrite(&self, segment: u64, offset: u64, len: usize) -> Result<(), Fault> {
        let path = self.layout.segment(segment);
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .at(Step::OverwritePayload)?;
        file.write_all_at(&[ERASED], offset)
            .at(Step::OverwritePayload)?;
        file.sync_data().at(Step::SyncErasure)?;
        let zeros = vec![0; len.saturating_sub(1)];
        file.write_all_at(&zeros, offset.saturating_add(1))
            .at(Step::OverwritePayload)?;
        file.sync_data().at(Step::SyncErasure)
    }
}

impl OpenSegment {
    /// Writes zeros behind the frame that ends at `end`, which the sync that follows covers. Where
    /// there is no place for them, the frame stands all the same.
    fn make_room(&mut self, end: u64, frame: usize, segment_bytes: u64) {
        let until = end.saturating_add(ROOM).min(segment_bytes);
        self.room = end;
        if frame > ROOM_FRAME_MAX || until <= end {
            return;
        }
        let zeros = vec![0; narrow(until - end)];
        if self.file.write_all_at(&zeros, end).is_ok() {
            self.room = until;
        }
    }

    fn cut_room(&self) -> io::Result<()> {
        if self.file.metadata()?.len() == self.end {
            return Ok(());
        }
        self.file.set_len(self.end)
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        // A writer that stopped does not know what is in its segment.
        if let Some(segment) = self.segment.take().filter(|_| !self.stopped) {
            // What stays is cut when the log is opened again.
            drop(segment.cut_room());
        }
    }
}

/// Where the records of a frame at `offset` are.
fn place(offset: u64, leaves: &[Hash], batch: &[Item]) -> Option<Vec<Record>> {
    let frame = u32::try_from(offset).ok()?;
    let mut entry = preamble_len(batch.len());
    let mut records = Vec::with_capacity(batch.len());
    for (leaf, item) in leaves.iter().zip(batch) {
        records.push(Record {
            leaf: *leaf,
            frame,
            entry: u32::try_from(entry).ok()?,
        });
        entry += item.entry.len() + 2;
    }
    Some(records)
}

/// A write that ran out of space did not accept all of the frame, and a frame counts only whole.
/// Other errors do not say what was accepted.
fn frame_not_written(fault: Fault) -> AppendError {
    let out_of_space = matches!(
        fault.error().kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    );
    if out_of_space {
        AppendError::NotWritten(fault)
    } else {
        AppendError::Indeterminate(fault)
    }
}

fn too_far() -> Fault {
    Fault::new(
        Step::WriteHead,
        io::Error::other("the log exceeds what its formats can say"),
    )
}

impl fmt::Debug for FileLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLog")
            .field("dir", &self.layout.dir())
            .field("size", &self.size())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lack_of_room_proves_that_a_frame_was_not_written() {
        for (number, certain) in [(28, true), (122, true), (27, true), (5, false), (9, false)] {
            let error = io::Error::from_raw_os_error(number);
            let told = frame_not_written(Fault::new(Step::WriteFrame, error));
            assert_eq!(
                matches!(told, AppendError::NotWritten(_)),
                certain,
                "errno {number}"
            );
            assert!(!told.is_still_usable());
        }
    }
}
