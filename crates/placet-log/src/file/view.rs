//! Reading a log that another process may be writing: without its lock, without a change to it.
//!
//! The writer's order is what makes this sound: whatever the head states was durable, and in the
//! derived files, before the head said so. So the view is the log at the head that is found when it
//! is opened; a frame behind that head, whole or not, is not looked at. To see more, open again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::note::VerifierKey;
use placet_tlog::tree::Frontier;
use placet_types::Index;

use crate::file::derived::Derived;
use crate::file::layout::{Layout, Segment};
use crate::file::open::read_head;
use crate::file::recover::{Builder, Recover};
use crate::file::shared::{Shared, View};
use crate::file::walk::{Found, Walk};
use crate::file::{EntryCheck, OpenError};
use crate::fsck::damage::Damage;
use crate::reader::LogReader;
use crate::sequencer::{At as _, Fault, Step};

/// How often a head is read again in which a writer may have been.
const HEAD_RETRIES: usize = 4;

impl LogReader {
    /// Opens the log in `dir` for reading only, whoever writes to it meanwhile. What the signed
    /// head does not cover yet is not there.
    ///
    /// With sound derived files this reads little beside them; without, all of the log once, and
    /// keeps 40 bytes a record in memory. It repairs nothing: that is for the writer.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; never [`OpenError::Locked`].
    pub fn open(dir: &Path, key: &VerifierKey) -> Result<Self, OpenError> {
        let layout = Layout::new(dir);
        let head = find_head(&layout, key)?;
        // After the head: every segment that it needs is there by now.
        let segments = layout.list_segments().at(Step::ReadSegments)?;
        let check = EntryCheck::none_required();
        let recover = Recover {
            layout: &layout,
            key,
            head: &head,
            check: &check,
        };
        let builder = match trusted(&recover, &segments).at(Step::DerivedFiles)? {
            Some(builder) => builder,
            None => rebuilt(&recover, &segments)?,
        };
        let size = head.claim().size();
        let firsts = segments.iter().map(|segment| segment.first);
        let view = View {
            tree: builder.tree,
            recent: builder.recent,
            segments: firsts.filter(|first| *first < size).collect(),
            head,
        };
        Ok(Self::new(Arc::new(Shared::new(
            layout,
            builder.derived,
            view,
        ))))
    }
}

/// The newest head. A writer that was in one slot and then in the other while both were read makes
/// them look damaged, but not again and again.
fn find_head(layout: &Layout, key: &VerifierKey) -> Result<Arc<SignedCheckpoint>, OpenError> {
    let mut found = read_head(layout, key);
    for _ in 0..HEAD_RETRIES {
        if !matches!(found, Err(OpenError::HeadMissing)) {
            break;
        }
        found = read_head(layout, key);
    }
    let none = || {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no log in this directory");
        OpenError::Failed(Fault::new(Step::ReadHead, error))
    };
    found?.map(|(head, _)| head).ok_or_else(none)
}

fn trusted(recover: &Recover<'_>, segments: &[Segment]) -> io::Result<Option<Builder>> {
    let Some(derived) = Derived::open_read_only(recover.layout)? else {
        return Ok(None);
    };
    let trusted = recover.trust(derived, segments)?;
    Ok(trusted.map(|(builder, _, _)| builder))
}

/// Goes through the log up to its head, as recovery does, and keeps what it learns in memory.
fn rebuilt(recover: &Recover<'_>, segments: &[Segment]) -> Result<Builder, OpenError> {
    let head = recover.head.claim().size();
    let mut builder = Builder::new(Derived::in_memory());
    let mut walk = Walk::new(recover.layout, segments, 0, 0, Frontier::new());
    while walk.size() < head {
        let (size, last) = (walk.size(), walk.is_in_last_segment());
        let truncated = OpenError::Truncated {
            size: Index::new(size),
            head: Index::new(head),
        };
        match walk.next().at(Step::ReadSegments)? {
            Found::Frame(frame) => builder.add(&frame).at(Step::DerivedFiles)?,
            Found::Torn(place) if last && place.damage == Damage::FrameCutShort => {
                return Err(truncated);
            }
            Found::Torn(place) | Found::Foreign(place) => return Err(place.into()),
            Found::End => return Err(truncated),
        }
        if walk.size() > head {
            // A head is written between frames, so none of them reaches across it.
            let (index, damage) = (Index::new(size), Damage::HeadRoot { head });
            return Err(OpenError::Damaged { index, damage });
        }
    }
    recover.check_head_root(&walk)?;
    builder.flush().at(Step::DerivedFiles)?;
    Ok(builder)
}
