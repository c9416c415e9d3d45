//! The room behind the last frame: zeros, which are no damage and hide none.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::common::{self, check, copy, segments, tempdir, verifier};
use placet_log::conformance::entry;
use placet_log::{FileLog, Item, LogReader, Opened, Sequencer as _};
use placet_types::Index;

fn open(dir: &Path) -> Opened {
    let options = common::options(dir).segment_bytes(4 << 20);
    options.open().unwrap()
}

fn append(log: &mut FileLog, len: u64) {
    let first = log.size().get();
    let batch: Vec<Item> = (first..first + len).map(common::item).collect();
    log.append(Index::new(first), &batch).unwrap();
}

/// Bytes of the only segment, and where its frames end.
fn read(dir: &Path) -> (u64, u64) {
    let bytes = fs::read(segments(dir).remove(0)).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (bytes.len() as u64, end as u64)
}

#[test]
fn a_log_with_room_is_clean_beside_its_writer_and_after_a_crash_and_a_closed_one_has_none() {
    let dir = tempdir();
    let mut log = open(dir.path()).log;
    append(&mut log, 3);
    append(&mut log, 2);
    let (len, end) = read(dir.path());
    assert!(len > end + 500_000, "there is room");
    assert!(check(dir.path()).is_clean());
    // As it is on the disk when the writer is killed.
    let crashed = tempdir();
    copy(dir.path(), crashed.path());
    let after = open(crashed.path());
    assert_eq!(after.log.size(), Index::new(5));
    assert_eq!(after.recovery.cut_bytes, 0);
    assert_eq!(read(crashed.path()), (end, end));
    // The next frame stands in the room, and adds no byte to the file.
    append(&mut log, 1);
    assert_eq!(read(dir.path()).0, len);
    let view = LogReader::open(dir.path(), &verifier()).unwrap();
    assert_eq!(view.entry(Index::new(5)).unwrap(), entry(5));
    drop(log);
    let (len, closed) = read(dir.path());
    assert!(closed > end);
    assert_eq!(len, closed);
    assert!(check(dir.path()).is_clean());
}

#[test]
fn a_frame_that_was_begun_in_the_room_is_cut() {
    let dir = tempdir();
    let mut log = open(dir.path()).log;
    append(&mut log, 2);
    let crashed = tempdir();
    copy(dir.path(), crashed.path());
    let (_, end) = read(crashed.path());
    let path = segments(crashed.path()).remove(0);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"PLACETF1 and no more of it", end)
        .unwrap();
    assert!(!check(crashed.path()).is_clean());
    let mut after = open(crashed.path());
    assert_eq!(after.log.size(), Index::new(2));
    assert!(after.recovery.cut_bytes > 0);
    append(&mut after.log, 2);
    drop(after);
    assert!(check(crashed.path()).is_clean());
    assert_eq!(open(crashed.path()).log.size(), Index::new(4));
}

#[test]
fn a_full_segment_has_no_room_behind_it() {
    let dir = tempdir();
    let mut log = common::options(dir.path()).open().unwrap().log;
    while segments(dir.path()).len() < 3 {
        append(&mut log, 5);
    }
    let mut all = segments(dir.path());
    all.pop();
    for path in all {
        let bytes = fs::read(&path).unwrap();
        let frames = common::map_frames(&bytes);
        assert_eq!(frames.last().unwrap().end, bytes.len());
    }
    assert!(check(dir.path()).is_clean());
}
