//! Both backends run the one suite.

use std::cell::Cell;

use crate::common;
use placet_log::conformance::{Bench, run_all};
use placet_log::{FileLog, MemoryLog, Sequencer as _};
use tempfile::TempDir;

struct Memory;

impl Bench for Memory {
    type Log = MemoryLog;

    fn create(&self) -> MemoryLog {
        MemoryLog::new(common::signer()).unwrap()
    }

    fn reopen(&self, _: MemoryLog) -> Option<MemoryLog> {
        None
    }
}

/// Keeps all logs in one directory, which is removed at the end.
struct Files {
    dir: TempDir,
    made: Cell<u32>,
    segment_bytes: u64,
}

impl Files {
    fn new(segment_bytes: u64) -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            made: Cell::new(0),
            segment_bytes,
        }
    }

    fn open_last(&self) -> FileLog {
        let dir = self.dir.path().join(self.made.get().to_string());
        common::options(&dir)
            .segment_bytes(self.segment_bytes)
            .open()
            .unwrap()
            .log
    }
}

impl Bench for Files {
    type Log = FileLog;

    fn create(&self) -> FileLog {
        self.made.set(self.made.get() + 1);
        self.open_last()
    }

    fn reopen(&self, log: FileLog) -> Option<FileLog> {
        let reader = log.reader();
        drop(log);
        let reopened = self.open_last();
        assert_eq!(reader.checkpoint(), reopened.reader().checkpoint());
        Some(reopened)
    }
}

#[test]
fn the_memory_backend_conforms() {
    run_all(&Memory);
}

#[test]
fn the_file_backend_conforms() {
    run_all(&Files::new(64 << 20));
}

#[test]
fn the_file_backend_conforms_with_a_segment_for_every_frame() {
    run_all(&Files::new(1));
}
