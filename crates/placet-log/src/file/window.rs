//! Reading a file forward through one buffer, at offsets that are known.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::bytes::{narrow, wide};

/// A file with a part of it in memory.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<File>,
    /// Length when it was opened; what was appended since is not seen.
    len: u64,
    start: u64,
    buffer: Vec<u8>,
    ahead: usize,
}

impl Window {
    /// Reads `ahead` bytes at a time, or as many as are asked for at once.
    pub(crate) fn new(file: Arc<File>, len: u64, ahead: usize) -> Self {
        Self {
            file,
            len,
            start: 0,
            buffer: Vec::new(),
            ahead,
        }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes at `offset`, or `None` if the file ends before.
    pub(crate) fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let end = offset.saturating_add(wide(len));
        if end > self.len {
            return Ok(None);
        }
        if offset < self.start || end > self.start + wide(self.buffer.len()) {
            self.fill(offset, len)?;
        }
        let at = narrow(offset.saturating_sub(self.start));
        Ok(self.buffer.get(at..at.saturating_add(len)))
    }

    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let left = narrow(self.len.saturating_sub(offset));
        // A failed read must not leave bytes behind that look read.
        self.buffer.clear();
        self.buffer.resize(len.max(self.ahead).min(left), 0);
        self.start = offset;
        let read = self.file.read_exact_at(&mut self.buffer, offset);
        if read.is_err() {
            self.buffer.clear();
        }
        read
    }
}
