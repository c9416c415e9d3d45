//! Entries of a range, one after the other, in bounded memory.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use placet_types::Index;

use crate::bytes::wide;
use crate::reader::{ReadError, Source};

/// An iterator over entries; see [`LogReader::entries`](crate::LogReader::entries). Ends after the
/// first error.
pub struct Entries {
    source: Arc<dyn Source>,
    /// Indices not read yet.
    rest: Range<u64>,
    /// Index of the next entry that is given out.
    next: u64,
    ready: std::vec::IntoIter<Vec<u8>>,
}

impl Entries {
    pub(crate) fn new(source: Arc<dyn Source>, range: Range<u64>) -> Self {
        Self {
            source,
            next: range.start,
            rest: range,
            ready: Vec::new().into_iter(),
        }
    }

    fn refill(&mut self) -> Result<(), ReadError> {
        let chunk = self.source.entries(self.rest.clone())?;
        self.next = self.rest.start;
        self.rest.start = self.rest.start.saturating_add(wide(chunk.len()));
        self.ready = chunk.into_iter();
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<(Index, Vec<u8>), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.len() == 0 {
            if self.rest.is_empty() {
                return None;
            }
            if let Err(error) = self.refill() {
                self.rest.start = self.rest.end;
                return Some(Err(error));
            }
        }
        let entry = self.ready.next()?;
        let index = Index::new(self.next);
        self.next = self.next.saturating_add(1);
        Some(Ok((index, entry)))
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries")
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}
