//! A log that is opened for reading only, beside its writer or without one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::{self, append, copy, map_frames, open, options, segments, tempdir, verifier};
use placet_log::conformance::entry;
use placet_log::{
    Damage, EntryCheck, FileOptions, LogReader, OpenError, Payload, ReadError, Sequencer as _, fsck,
};
use placet_types::Index;
use tempfile::TempDir;

fn view(dir: &Path) -> LogReader {
    LogReader::open(dir, &verifier()).unwrap()
}

fn refused(dir: &Path) -> OpenError {
    LogReader::open(dir, &verifier()).expect_err("a damaged log opened")
}

/// A log of 1,040 records in several segments.
fn log() -> TempDir {
    let dir = tempdir();
    append(dir.path(), &[1, 300, 2, 300, 400, 30, 7]);
    assert!(segments(dir.path()).len() > 3);
    dir
}

/// Every file below `dir` with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(dir)
        .unwrap()
        .map(|found| found.unwrap().path())
    {
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// Everything that a reader offers, checked against what was appended and what the head signs.
fn assert_whole(reader: &LogReader, size: u64) {
    assert_eq!(reader.size().get(), size);
    let head = reader.checkpoint();
    assert_eq!(reader.root_at(size).unwrap(), *head.claim().root());
    let all = reader.entries(Index::default()..reader.size());
    let mut count = 0;
    for (number, found) in (0..).zip(all) {
        assert_eq!(found.unwrap(), (Index::new(number), entry(number)));
        count += 1;
    }
    assert_eq!(count, size);
    for at in (0..size).step_by(97) {
        let index = Index::new(at);
        let expected = common::payload(at).map_or(Payload::None, Payload::Present);
        assert_eq!(reader.payload(index).unwrap(), expected);
        let proof = reader.inclusion_proof(index, size).unwrap();
        let leaf = placet_tlog::Hash::leaf(&entry(at));
        proof.verify(&leaf, at, size, head.claim().root()).unwrap();
    }
}

#[test]
fn a_view_offers_what_the_writer_offers_and_changes_nothing() {
    let dir = log();
    let before = files(dir.path());
    assert_whole(&view(dir.path()), 1_040);
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_view_needs_no_lock_and_is_the_log_at_one_head() {
    let dir = log();
    let mut writer = open(dir.path()).log;
    let earlier = view(dir.path());
    for number in 1_040..1_400 {
        writer
            .append(Index::new(number), &[common::item(number)])
            .unwrap();
    }
    assert_whole(&view(dir.path()), 1_400);
    assert_whole(&earlier, 1_040);
}

#[test]
fn views_opened_while_a_writer_appends_are_each_whole() {
    let dir = tempdir();
    append(dir.path(), &[1]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = open(dir.path()).log;
            for batch in 0..600_u64 {
                let first = writer.size().get();
                let items: Vec<_> = (first..=first + batch % 5).map(common::item).collect();
                writer.append(Index::new(first), &items).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let (mut size, mut views) = (0, 0);
        while !done.load(Ordering::Acquire) {
            let reader = view(dir.path());
            let now = reader.size().get();
            assert!(now >= size, "the log shrank from {size} to {now}");
            assert_whole(&reader, now);
            (size, views) = (now, views + 1);
        }
        assert!(views > 1, "the writer was done before anybody looked");
    });
    assert_whole(&view(dir.path()), 1 + 600 * 3);
}

#[test]
fn missing_or_short_derived_files_are_made_up_for_in_memory() {
    for spoil in [0, 1, 2, 3] {
        let dir = log();
        let derived = dir.path().join("derived");
        match spoil {
            0 => fs::remove_dir_all(&derived).unwrap(),
            1 => fs::remove_file(derived.join("tiles")).unwrap(),
            2 => fs::write(derived.join("records"), [0; 40 * 700]).unwrap(),
            _ => fs::write(derived.join("tiles"), [0; 32 * 4]).unwrap(),
        }
        let before = files(dir.path());
        assert_whole(&view(dir.path()), 1_040);
        assert_eq!(files(dir.path()), before);
    }
}

#[test]
fn a_wrong_place_in_the_derived_files_is_found_again_without_a_repair() {
    let dir = log();
    let path = dir.path().join("derived/records");
    let mut records = fs::read(&path).unwrap();
    // Leaf hash of one record, place of another, both in finished tiles.
    records[40 * 10] ^= 1;
    records[40 * 600 + 39] ^= 1;
    fs::write(&path, &records).unwrap();
    let before = files(dir.path());
    assert_whole(&view(dir.path()), 1_040);
    assert_eq!(files(dir.path()), before);
}

#[test]
fn what_lies_beyond_the_head_is_not_shown() {
    let dir = log();
    let head = fs::read(dir.path().join("head")).unwrap();
    append(dir.path(), &[5, 400]);
    fs::write(dir.path().join("head"), head).unwrap();
    assert_whole(&view(dir.path()), 1_040);
    fs::remove_dir_all(dir.path().join("derived")).unwrap();
    assert_whole(&view(dir.path()), 1_040);
    // The next writer keeps these frames; only then are they there.
    drop(open(dir.path()));
    assert_whole(&view(dir.path()), 1_445);
}

#[test]
fn an_unfinished_frame_behind_the_head_is_not_looked_at() {
    let dir = log();
    let last = segments(dir.path()).pop().unwrap();
    let sound = fs::read(&last).unwrap();
    let frame = map_frames(&sound).pop().unwrap();
    for len in [1, 200, frame.end - frame.start - 1] {
        let torn = [&sound[..], &sound[frame.start..frame.start + len]].concat();
        fs::write(&last, &torn).unwrap();
        assert_whole(&view(dir.path()), 1_040);
        assert_eq!(fs::read(&last).unwrap(), torn);
    }
}

#[test]
fn a_log_that_is_shorter_than_its_head_is_refused() {
    let dir = log();
    let last = segments(dir.path()).pop().unwrap();
    let sound = fs::read(&last).unwrap();
    let frames = map_frames(&sound);
    let frame = frames.last().unwrap();
    for len in [frame.start, frame.end - 1] {
        fs::write(&last, &sound[..len]).unwrap();
        let error = refused(dir.path());
        let expected = (Index::new(frame.first), Index::new(1_040));
        assert!(
            matches!(error, OpenError::Truncated { size, head } if (size, head) == expected),
            "{error}"
        );
    }
}

#[test]
fn an_altered_entry_is_an_error_with_its_index() {
    let dir = log();
    let path = &segments(dir.path())[1];
    let mut bytes = fs::read(path).unwrap();
    let frame = &map_frames(&bytes)[1];
    bytes[frame.entries[3] + 2] ^= 1;
    fs::write(path, &bytes).unwrap();
    let index = Index::new(frame.first + 3);
    // The head is sound, and so is every other entry.
    let reader = view(dir.path());
    assert!(matches!(
        reader.entry(index),
        Err(ReadError::Damaged { index: found, damage: Damage::Entry }) if found == index
    ));
    assert!(reader.entry(index.next()).is_ok());
    fs::remove_dir_all(dir.path().join("derived")).unwrap();
    let error = refused(dir.path());
    assert!(
        matches!(error, OpenError::Damaged { index: found, .. } if found == index),
        "{error}"
    );
}

#[test]
fn a_history_that_the_head_does_not_sign_is_refused() {
    let (dir, other) = (log(), tempdir());
    append(other.path(), &[2, 1_038]);
    // The same records in the same tree: another head would fit, so this one differs in its last.
    let mut writer = open(other.path()).log;
    writer
        .append(Index::new(1_040), &[common::item(0)])
        .unwrap();
    drop(writer);
    append(dir.path(), &[1]);
    let head = fs::read(dir.path().join("head")).unwrap();
    fs::write(other.path().join("head"), head).unwrap();
    let error = refused(other.path());
    assert!(
        matches!(
            error,
            OpenError::Damaged {
                damage: Damage::HeadRoot { head: 1_041 },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_head_across_a_frame_is_refused() {
    let (dir, other) = (tempdir(), tempdir());
    append(dir.path(), &[4, 1]);
    append(other.path(), &[4, 3]);
    fs::copy(dir.path().join("head"), other.path().join("head")).unwrap();
    let error = refused(other.path());
    assert!(
        matches!(
            error,
            OpenError::Damaged {
                damage: Damage::HeadRoot { head: 5 },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_view_needs_a_head_by_the_key_that_it_is_given() {
    let dir = log();
    let other = common::signer_with(8);
    let error = LogReader::open(dir.path(), other.verifier_key()).unwrap_err();
    assert!(matches!(error, OpenError::HeadNotSigned), "{error}");
    fs::write(dir.path().join("head"), [1; 8192]).unwrap();
    assert!(matches!(refused(dir.path()), OpenError::HeadMissing));
    fs::remove_file(dir.path().join("head")).unwrap();
    assert!(matches!(refused(dir.path()), OpenError::HeadMissing));
}

#[test]
fn a_directory_without_a_log_is_an_error_and_stays_as_it_is() {
    let dir = tempdir();
    for path in [dir.path().to_owned(), dir.path().join("missing")] {
        let error = refused(&path).to_string();
        assert!(
            error.contains("there is no log in this directory"),
            "{error}"
        );
    }
    assert!(files(dir.path()).is_empty());
}

#[test]
fn an_empty_log_is_a_log() {
    let dir = tempdir();
    drop(options(dir.path()).open().unwrap());
    assert_whole(&view(dir.path()), 0);
}

#[test]
fn an_erasure_by_the_writer_shows_in_a_view_that_was_open_before() {
    let dir = log();
    let reader = view(dir.path());
    let index = Index::new(3);
    assert!(matches!(reader.payload(index), Ok(Payload::Present(_))));
    open(dir.path()).log.erase(index).unwrap();
    assert_eq!(reader.payload(index).unwrap(), Payload::Erased);
}

#[test]
fn the_first_entry_is_found_without_a_key_and_without_a_check() {
    let dir = log();
    assert_eq!(fsck::first_entry(dir.path()).unwrap(), Some(entry(0)));
    let path = &segments(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    let frame = &map_frames(&bytes)[0];
    let at = frame.entries[0] + 2;
    bytes[at] ^= 1;
    fs::write(path, &bytes).unwrap();
    let altered = fsck::first_entry(dir.path()).unwrap().unwrap();
    assert_ne!(altered, entry(0));
    bytes[0] ^= 1;
    fs::write(path, &bytes).unwrap();
    assert_eq!(fsck::first_entry(dir.path()).unwrap(), None);
    assert_eq!(
        fsck::first_entry(&dir.path().join("missing")).unwrap(),
        None
    );
}

#[test]
fn a_view_of_a_log_that_is_opened_anew_all_the_time_is_whole() {
    // Each opening without derived files builds and renames them: a view meets every stage.
    let dir = log();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..40 {
                fs::remove_dir_all(dir.path().join("derived")).unwrap();
                let check = EntryCheck::none_required();
                drop(
                    FileOptions::new(dir.path(), common::signer(), check)
                        .open()
                        .unwrap(),
                );
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            assert_whole(&view(dir.path()), 1_040);
        }
    });
    let other = tempdir();
    copy(dir.path(), other.path());
    assert_whole(&view(other.path()), 1_040);
}
