//! What lies beyond the head when a log is opened: kept frames are made durable, the rest is cut.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use crate::bytes::{narrow, wide};
use crate::file::OpenError;
use crate::file::layout::Layout;
use crate::file::read::Frame;
use crate::file::walk::Walk;
use crate::sequencer::{At as _, Step};

/// Bytes rewritten at a time.
const REWRITE_CHUNK: u64 = 1 << 20;

/// What lies beyond the head, by segment: the frames to keep, and where to cut.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// First index of the segment, and the range of its bytes that are kept.
    parts: Vec<(u64, Range<u64>)>,
}

impl Tail {
    pub(crate) fn keep(&mut self, walk: &Walk<'_>, frame: &Frame) {
        let end = frame.offset + wide(frame.preamble.header.frame_len());
        let Some((segment, _)) = walk.position() else {
            return;
        };
        match self.parts.last_mut() {
            Some((first, range)) if *first == segment.first => range.end = end,
            _ => self.parts.push((segment.first, frame.offset..end)),
        }
    }

    pub(crate) fn cut(&mut self, walk: &Walk<'_>) {
        let Some((segment, offset)) = walk.position() else {
            return;
        };
        if self
            .parts
            .last()
            .is_none_or(|(first, _)| *first != segment.first)
        {
            self.parts.push((segment.first, offset..offset));
        }
    }

    /// Cuts, rewrites and syncs.
    ///
    /// The rewrite matters: if `fdatasync` failed before, the kernel may hold these frames as
    /// clean pages that never reached the disk. A later sync would succeed and leave them out.
    /// Writing the same bytes again makes the pages dirty, so this sync covers them; and if the
    /// pages were dropped since, the frames were read from the disk and are there.
    pub(crate) fn make_durable(&self, layout: &Layout) -> Result<(), OpenError> {
        for (first, range) in &self.parts {
            let path = layout.segment(*first);
            let file = OpenOptions::new().read(true).write(true).open(path);
            let file = file.at(Step::ReadSegments)?;
            file.set_len(range.end).at(Step::CutTail)?;
            rewrite(&file, range.clone()).at(Step::WriteFrame)?;
            file.sync_all().at(Step::SyncFrame)?;
        }
        Ok(())
    }
}

fn rewrite(file: &File, range: Range<u64>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(REWRITE_CHUNK);
        bytes.resize(narrow(len), 0);
        file.read_exact_at(&mut bytes, at)?;
        file.write_all_at(&bytes, at)?;
        at += len;
    }
    Ok(())
}
