//! What was altered, cut or torn is noticed, and the right index is named.

use std::fs;
use std::path::Path;

use crate::common::{
    self, FrameMap, append, check, check_with, copy, map_frames, open, refusal, segments, tempdir,
};
use placet_log::conformance::entry;
use placet_log::fsck::{self, DerivedFault, HeadState, Report};
use placet_log::{
    Damage, EntryCheck, FileOptions, Item, OpenError, Payload, ReadError, Sequencer as _,
};
use placet_tlog::Hash;
use placet_tlog::tree::Frontier;
use placet_types::Index;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// A log of a few frames in two segments.
fn small_log() -> TempDir {
    let dir = tempdir();
    for lens in [&[3, 1][..], &[4, 2]] {
        let opened = common::options(dir.path())
            .segment_bytes(700)
            .open()
            .unwrap();
        let mut log = opened.log;
        for len in lens {
            let first = log.size().get();
            let batch: Vec<Item> = (first..first + len).map(common::item).collect();
            log.append(Index::new(first), &batch).unwrap();
        }
    }
    assert!(check(dir.path()).is_clean());
    assert_eq!(segments(dir.path()).len(), 2);
    dir
}

fn flip(path: &Path, at: usize, mask: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= mask;
    fs::write(path, bytes).unwrap();
}

/// The index that a report blames, whatever it is about.
fn blamed(report: &Report) -> Option<u64> {
    let evidence = report.evidence.map(|bad| bad.index.get());
    evidence.or(report.payloads.first_bad.map(Index::get))
}

#[test]
fn every_flipped_byte_of_a_segment_is_noticed_and_pinned() {
    let dir = small_log();
    for path in segments(dir.path()) {
        let sound = fs::read(&path).unwrap();
        let frames = map_frames(&sound);
        for at in 0..sound.len() {
            flip(&path, at, 1 << (at % 8));
            let report = check(dir.path());
            assert!(!report.is_clean(), "byte {at} of {}", path.display());
            let frame = frames.iter().find(|frame| at < frame.end).unwrap();
            assert_pinned(&report, frame, at);
            fs::write(&path, &sound).unwrap();
        }
    }
    assert!(check(dir.path()).is_clean());
}

fn assert_pinned(report: &Report, frame: &FrameMap, at: usize) {
    let index = blamed(report).expect("no index was named");
    let exact = match at {
        _ if at < frame.table => None,
        _ if at < frame.seal => {
            let row = (at - frame.table) / 36;
            // The end of a payload is not an entry's own: the frame is to blame.
            ((at - frame.table) % 36 < 32).then_some(frame.first + row as u64)
        }
        _ if at < frame.entries[0] => None,
        _ if at < *frame.entries.last().unwrap() => {
            let entry = frame.entries.iter().filter(|start| **start <= at).count() - 1;
            Some(frame.first + entry as u64)
        }
        _ => frame
            .payloads
            .iter()
            .rev()
            .find(|(start, _)| *start <= at)
            .map(|(_, i)| *i),
    };
    match exact {
        Some(exact) => assert_eq!(index, exact, "byte {at}: {report:?}"),
        None => {
            let range = frame.first..frame.first + frame.count as u64;
            assert!(range.contains(&index), "byte {at}: {report:?}");
        }
    }
}

#[test]
fn a_flipped_byte_of_the_evidence_keeps_a_log_without_derived_files_from_opening() {
    let dir = small_log();
    fs::remove_dir_all(dir.path().join("derived")).unwrap();
    for path in segments(dir.path()) {
        let sound = fs::read(&path).unwrap();
        let frames = map_frames(&sound);
        for at in (0..sound.len()).step_by(3) {
            let frame = frames.iter().find(|frame| at < frame.end).unwrap();
            if at >= *frame.entries.last().unwrap() {
                continue;
            }
            flip(&path, at, 0x40);
            let index = match refusal(dir.path()) {
                OpenError::Damaged { index, .. } => index.get(),
                OpenError::Truncated { size, .. } => size.get(),
                other => panic!("byte {at}: {other}"),
            };
            assert!((frame.first..frame.first + frame.count as u64).contains(&index));
            fs::write(&path, &sound).unwrap();
        }
    }
    assert!(open(dir.path()).recovery.derived_rebuilt);
}

#[test]
fn reading_an_altered_entry_is_an_error_and_its_neighbours_still_read() {
    let dir = small_log();
    let path = segments(dir.path())[0].clone();
    let frame = map_frames(&fs::read(&path).unwrap())[0].clone();
    assert_eq!((frame.first, frame.count), (0, 3));
    flip(&path, frame.entries[1] + 5, 1);
    let reader = open(dir.path()).log.reader();
    assert_eq!(reader.entry(Index::new(0)).unwrap(), entry(0));
    assert_eq!(reader.entry(Index::new(2)).unwrap(), entry(2));
    let read = reader.entry(Index::new(1));
    let ReadError::Damaged { index, damage } = read.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!((index, damage), (Index::new(1), Damage::Entry));
}

#[test]
fn every_flipped_byte_of_the_head_is_noticed() {
    let dir = small_log();
    let path = dir.path().join("head");
    let sound = fs::read(&path).unwrap();
    assert_eq!(sound.len(), 8192);
    for at in 0..sound.len() {
        flip(&path, at, 1 << (at % 8));
        let report = check(dir.path());
        let damaged = matches!(
            report.head,
            HeadState::Signed {
                damaged_slot: true,
                ..
            }
        );
        assert!(
            damaged && !report.is_clean(),
            "byte {at}: {:?}",
            report.head
        );
        assert!(report.is_evidence_sound(), "the other slot still vouches");
        fs::write(&path, &sound).unwrap();
    }
}

#[test]
fn a_log_with_one_head_slot_opens_and_one_with_none_does_not() {
    let dir = tempdir();
    let path = dir.path().join("head");
    drop(open(dir.path()));
    let empty = fs::read(&path).unwrap();
    append(dir.path(), &[1]);
    let sound = fs::read(&path).unwrap();
    assert_eq!(
        sound[..4096],
        empty[..4096],
        "the slot that counted was written over"
    );
    for slot in 0..2 {
        flip(&path, slot * 4096 + 40, 1);
        drop(open(dir.path()));
        append(dir.path(), &[1, 1]);
        assert!(check(dir.path()).is_clean());
    }
    let bad = [&vec![1; 8192][..], &sound[..10], &[]];
    for bytes in bad {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(refusal(dir.path()), OpenError::HeadMissing));
        assert_eq!(check(dir.path()).head, HeadState::Missing);
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::HeadMissing));
}

#[test]
fn every_flipped_byte_of_the_derived_files_is_found_and_repaired() {
    let dir = tempdir();
    append(dir.path(), &[300]);
    for name in ["derived/records", "derived/tiles"] {
        let path = dir.path().join(name);
        let sound = fs::read(&path).unwrap();
        for at in (0..sound.len()).step_by(sound.len() / 40 + 1) {
            flip(&path, at, 0x10);
            let report = check(dir.path());
            let expected = match name {
                "derived/tiles" => DerivedFault::Tile(at as u64 / 32),
                _ => DerivedFault::Record(Index::new(at as u64 / 40)),
            };
            assert_eq!(report.derived, Some(expected));
            assert!(report.is_evidence_sound() && !report.is_clean());
            // Readers are not misled meanwhile, and put right what they come upon.
            let reader = open(dir.path()).log.reader();
            for index in [0, 17, 255, 256, 299] {
                assert_eq!(reader.entry(Index::new(index)).unwrap(), entry(index));
            }
            let repaired = fsck::repair(dir.path(), &common::verifier(), &no_check()).unwrap();
            assert!(repaired.derived_rebuilt);
            assert_eq!(fs::read(&path).unwrap(), sound);
        }
    }
    assert!(check(dir.path()).is_clean());
}

fn no_check() -> EntryCheck {
    EntryCheck::none_required()
}

#[test]
fn missing_or_short_derived_files_are_computed_again() {
    let dir = tempdir();
    append(dir.path(), &[200, 100, 1, 250]);
    let sound = fs::read(dir.path().join("derived/records")).unwrap();
    type Damaging = fn(&Path);
    let damages: [Damaging; 4] = [
        |dir| fs::remove_dir_all(dir.join("derived")).unwrap(),
        |dir| fs::remove_file(dir.join("derived/tiles")).unwrap(),
        |dir| fs::write(dir.join("derived/records"), b"short").unwrap(),
        |dir| fs::write(dir.join("derived/tiles"), [0; 64]).unwrap(),
    ];
    for damage in damages {
        damage(dir.path());
        assert!(check(dir.path()).derived.is_some());
        assert!(open(dir.path()).recovery.derived_rebuilt);
        assert_eq!(fs::read(dir.path().join("derived/records")).unwrap(), sound);
        assert!(check(dir.path()).is_clean());
    }
    assert!(!open(dir.path()).recovery.derived_rebuilt);
}

/// A log whose head is older than its last two frames, as a power failure leaves it.
fn log_with_old_head() -> TempDir {
    let dir = tempdir();
    append(dir.path(), &[3, 2]);
    let head = fs::read(dir.path().join("head")).unwrap();
    append(dir.path(), &[4, 3]);
    fs::write(dir.path().join("head"), head).unwrap();
    dir
}

#[test]
fn truncation_at_every_byte_recovers_or_refuses() {
    let full = log_with_old_head();
    let name = segments(full.path())[0].clone();
    let sound = fs::read(&name).unwrap();
    let frames = map_frames(&sound);
    assert_eq!(
        frames.iter().map(|frame| frame.count).collect::<Vec<_>>(),
        [3, 2, 4, 3]
    );
    for len in 0..=sound.len() {
        let dir = tempdir();
        copy(full.path(), dir.path());
        fs::write(
            dir.path().join("segments").join(name.file_name().unwrap()),
            &sound[..len],
        )
        .unwrap();
        let whole = frames.iter().filter(|frame| frame.end <= len);
        let size: usize = whole.map(|frame| frame.count).sum();
        let report = check(dir.path());
        if size < 5 {
            let refused = refusal(dir.path());
            let OpenError::Truncated { size: found, head } = refused else {
                panic!("{refused}")
            };
            assert_eq!((found, head), (Index::new(size as u64), Index::new(5)));
            assert_eq!(report.evidence.unwrap().index, found);
            continue;
        }
        assert!(report.is_evidence_sound(), "length {len}: {report:?}");
        let at_border = frames.iter().any(|frame| frame.end == len);
        assert_eq!(report.torn_bytes == 0, at_border);
        assert_recovers(dir.path(), size as u64, report.torn_bytes);
    }
}

/// Opens the log, which must then hold `size` records, and appends to it.
fn assert_recovers(dir: &Path, size: u64, torn: u64) {
    let opened = open(dir);
    assert_eq!(opened.log.size(), Index::new(size));
    assert_eq!(opened.recovery.cut_bytes, torn);
    assert_eq!(opened.recovery.kept_records, size - 5);
    let reader = opened.log.reader();
    for index in 0..size {
        assert_eq!(reader.entry(Index::new(index)).unwrap(), entry(index));
        let payload = common::payload(index).map_or(Payload::None, Payload::Present);
        assert_eq!(reader.payload(Index::new(index)).unwrap(), payload);
    }
    drop(opened);
    append(dir, &[2]);
    let report = check(dir);
    assert!(report.is_clean() && report.size == size + 2, "{report:?}");
}

#[test]
fn a_last_frame_with_any_sectors_missing_is_cut() {
    const SECTOR: usize = 64;
    let full = log_with_old_head();
    let name = segments(full.path())[0].clone();
    let sound = fs::read(&name).unwrap();
    let last = map_frames(&sound).pop().unwrap();
    let sectors = (last.end - last.start).div_ceil(SECTOR);
    let mut pattern = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..150 {
        pattern ^= pattern << 13;
        pattern ^= pattern >> 7;
        pattern ^= pattern << 17;
        // Each sector by itself, then any of them.
        let pattern = if round < sectors { 1 << round } else { pattern };
        let mut bytes = sound.clone();
        for sector in (0..sectors).filter(|sector| pattern >> (sector % 64) & 1 == 1) {
            let start = last.start + sector * SECTOR;
            bytes[start..(start + SECTOR).min(last.end)].fill(0);
        }
        let dir = tempdir();
        copy(full.path(), dir.path());
        let path = dir.path().join("segments").join(name.file_name().unwrap());
        fs::write(path, &bytes).unwrap();
        let kept = if bytes == sound { 12 } else { 9 };
        let torn = check(dir.path()).torn_bytes;
        assert_recovers(dir.path(), kept, torn);
    }
}

#[test]
fn an_old_head_is_caught_up_with_across_segments() {
    let dir = tempdir();
    let one_each = || common::options(dir.path()).segment_bytes(1).open().unwrap();
    let mut log = one_each().log;
    log.append(Index::new(0), &[common::item(0)]).unwrap();
    let head = fs::read(dir.path().join("head")).unwrap();
    for index in 1..6 {
        log.append(Index::new(index), &[common::item(index)])
            .unwrap();
    }
    let root = log.head().clone();
    drop(log);
    fs::write(dir.path().join("head"), head).unwrap();
    let last = segments(dir.path()).pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    for (len, size) in [(bytes.len(), 6), (bytes.len() - 1, 5), (0, 5)] {
        let copied = tempdir();
        copy(dir.path(), copied.path());
        let path = copied
            .path()
            .join("segments")
            .join(last.file_name().unwrap());
        fs::write(path, &bytes[..len]).unwrap();
        let opened = common::options(copied.path())
            .segment_bytes(1)
            .open()
            .unwrap();
        assert_eq!(opened.log.size(), Index::new(size));
        assert_eq!(opened.recovery.kept_records, size - 1);
        assert_eq!(*opened.log.head() == root, size == 6);
        drop(opened);
        append(copied.path(), &[1, 1]);
        assert!(check(copied.path()).is_clean());
    }
}

#[test]
fn a_torn_middle_is_refused_even_beyond_the_head() {
    let dir = log_with_old_head();
    let path = segments(dir.path())[0].clone();
    let frames = map_frames(&fs::read(&path).unwrap());
    flip(&path, frames[2].table + 3, 1);
    let refused = refusal(dir.path());
    let torn = OpenError::Damaged {
        index: Index::new(5),
        damage: Damage::TornMiddle,
    };
    assert_eq!(refused.to_string(), torn.to_string());
    assert_eq!(
        check(dir.path()).evidence.unwrap().damage,
        Damage::TornMiddle
    );
}

#[test]
fn a_payload_that_spells_a_frame_does_not_pass_for_one() {
    let dir = tempdir();
    append(dir.path(), &[3]);
    let head = fs::read(dir.path().join("head")).unwrap();
    let whole = fs::read(&segments(dir.path())[0]).unwrap();
    // A frame of this very log, and one that claims a later index.
    let mut later = whole.clone();
    later[8..16].copy_from_slice(&9_u64.to_be_bytes());
    let seal = map_frames(&whole)[0].seal;
    let digest = Sha256::digest(&later[..seal]);
    later[seal..seal + 32].copy_from_slice(&digest);
    let mut log = open(dir.path()).log;
    let items: Vec<Item> = [whole, later]
        .into_iter()
        .map(|bytes| Item {
            entry: b"x".to_vec(),
            payload: Some(bytes),
        })
        .collect();
    log.append(Index::new(3), &items).unwrap();
    drop(log);
    fs::write(dir.path().join("head"), head).unwrap();
    let path = segments(dir.path())[0].clone();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.log.size(), Index::new(3));
    assert!(opened.recovery.cut_bytes > 0);
}

#[test]
fn a_missing_segment_is_refused() {
    let dir = tempdir();
    let mut log = common::options(dir.path())
        .segment_bytes(1)
        .open()
        .unwrap()
        .log;
    for index in 0..5 {
        log.append(Index::new(index), &[common::item(index)])
            .unwrap();
    }
    drop(log);
    for (gone, index) in [(0, 0), (2, 2), (4, 4)] {
        let copied = tempdir();
        copy(dir.path(), copied.path());
        fs::remove_file(&segments(copied.path())[gone]).unwrap();
        let found = match refusal(copied.path()) {
            OpenError::Damaged {
                index,
                damage: Damage::SegmentOrder,
            } => index,
            OpenError::Truncated { size, .. } => size,
            other => panic!("{other}"),
        };
        assert_eq!(found, Index::new(index));
        assert_eq!(check(copied.path()).evidence.unwrap().index, found);
    }
}

/// How far somebody goes who can write files but has no key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Forgery {
    /// Another entry of the same length, its leaf hash and the seal.
    Entry,
    /// The root after the frame as well.
    Frame,
    /// The roots of all later frames as well.
    Chain,
}

fn forge(dir: &Path, index: u64, forgery: Forgery) {
    let mut frontier = Frontier::new();
    for path in segments(dir) {
        let mut bytes = fs::read(&path).unwrap();
        for frame in map_frames(&bytes) {
            forge_frame(&mut bytes, &frame, index, forgery, &mut frontier);
        }
        fs::write(&path, bytes).unwrap();
    }
}

fn forge_frame(
    bytes: &mut [u8],
    frame: &FrameMap,
    index: u64,
    forgery: Forgery,
    frontier: &mut Frontier,
) {
    let end = frame.first + frame.count as u64;
    let here = (frame.first..end).contains(&index);
    if here {
        let at = (index - frame.first) as usize;
        let (start, end) = (frame.entries[at] + 2, frame.entries[at + 1]);
        bytes[start] ^= 0x20;
        let leaf = *Hash::leaf(&bytes[start..end]).as_bytes();
        let row = frame.table + at * 36;
        bytes[row..row + 32].copy_from_slice(&leaf);
    }
    let before = frontier.root();
    for at in 0..frame.count {
        let row = frame.table + at * 36;
        frontier
            .append(Hash::decode(&bytes[row..row + 32]).unwrap())
            .unwrap();
    }
    if (here && forgery >= Forgery::Frame) || (end > index && forgery == Forgery::Chain) {
        bytes[frame.start + 28..frame.start + 60].copy_from_slice(before.as_bytes());
        bytes[frame.start + 124..frame.start + 156].copy_from_slice(frontier.root().as_bytes());
    }
    let digest = Sha256::digest(&bytes[frame.start..frame.seal]);
    bytes[frame.seal..frame.seal + 32].copy_from_slice(&digest);
}

#[test]
fn a_consistent_forgery_is_pinned_to_its_entry() {
    for forgery in [Forgery::Entry, Forgery::Frame, Forgery::Chain] {
        for index in 0..10 {
            let dir = small_log();
            forge(dir.path(), index, forgery);
            let bad = check(dir.path()).evidence.expect("a forgery passed");
            assert_eq!((bad.index, bad.damage), (Index::new(index), Damage::Entry));
            // Without the derived files, the check of the entries finds it all the same.
            fs::remove_dir_all(dir.path().join("derived")).unwrap();
            let own = EntryCheck::new(|at, bytes| bytes == entry(at.get()));
            let bad = check_with(dir.path(), &own).evidence.unwrap();
            assert_eq!((bad.index, bad.damage), (Index::new(index), Damage::Entry));
            // Without either, the log key's signatures still find the frame.
            let bad = check(dir.path()).evidence.unwrap().index.get();
            let frames = segments(dir.path()).into_iter();
            let frames: Vec<FrameMap> = frames
                .flat_map(|path| map_frames(&fs::read(path).unwrap()))
                .collect();
            let first = frames
                .iter()
                .rev()
                .find(|frame| frame.first <= index)
                .unwrap()
                .first;
            assert_eq!(bad, first);
            assert!(matches!(refusal(dir.path()), OpenError::Damaged { .. }));
        }
    }
}

#[test]
fn a_forgery_beyond_the_head_needs_the_entry_check() {
    let own = || EntryCheck::new(|at: Index, bytes: &[u8]| bytes == entry(at.get()));
    let dir = log_with_old_head();
    forge(dir.path(), 10, Forgery::Chain);
    let bad = check_with(dir.path(), &own()).evidence.unwrap();
    assert_eq!((bad.index, bad.damage), (Index::new(10), Damage::Unvouched));
    let refused = FileOptions::new(dir.path(), common::signer(), own()).open();
    assert!(matches!(
        refused,
        Err(OpenError::Damaged { damage: Damage::Unvouched, index }) if index == Index::new(10)
    ));
}

#[test]
fn a_forgery_before_the_last_frame_is_given_away_by_the_signature_in_the_next() {
    let dir = log_with_old_head();
    forge(dir.path(), 6, Forgery::Chain);
    let damage = check(dir.path()).evidence.unwrap().damage;
    assert_eq!(damage, Damage::Signature);
    let OpenError::Damaged { damage, .. } = refusal(dir.path()) else {
        panic!("refused")
    };
    assert_eq!(damage, Damage::Signature);
}

#[test]
fn an_entry_forged_together_with_its_derived_leaf_is_not_read() {
    let dir = tempdir();
    append(dir.path(), &[40, 300]);
    forge(dir.path(), 17, Forgery::Chain);
    let path = dir.path().join("derived/records");
    let mut records = fs::read(&path).unwrap();
    let segment = fs::read(&segments(dir.path())[0]).unwrap();
    let row = map_frames(&segment)[0].table + 17 * 36;
    records[17 * 40..17 * 40 + 32].copy_from_slice(&segment[row..row + 32]);
    fs::write(&path, records).unwrap();
    let reader = open(dir.path()).log.reader();
    assert!(matches!(
        reader.entry(Index::new(17)),
        Err(ReadError::Damaged { .. })
    ));
    assert!(reader.inclusion_proof(Index::new(17), 340).is_err());
    assert_eq!(reader.entry(Index::new(300)).unwrap(), entry(300));
}

#[test]
fn an_older_segment_of_another_length_is_refused() {
    let dir = small_log();
    let path = segments(dir.path())[0].clone();
    let sound = fs::read(&path).unwrap();
    let longer = [&sound[..], b"x"].concat();
    for bytes in [&sound[..sound.len() - 1], &longer] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(refusal(dir.path()), OpenError::Damaged { .. }));
        assert!(check(dir.path()).evidence.is_some());
    }
}

#[test]
fn a_head_whose_signature_does_not_verify_is_refused() {
    let dir = small_log();
    let path = dir.path().join("head");
    let sound = fs::read(&path).unwrap();
    for slot in [0, 4096] {
        let len = usize::from(sound[slot + 16]) * 256 + usize::from(sound[slot + 17]);
        let end = slot + 18 + len;
        let mut bytes = sound.clone();
        // The last character of the signature, and the checksum made to fit.
        let last = end - 4;
        bytes[last] = if bytes[last] == b'A' { b'B' } else { b'A' };
        let digest = Sha256::digest(&bytes[slot..end]);
        bytes[end..end + 32].copy_from_slice(&digest);
        fs::write(&path, &bytes).unwrap();
        let sequence = |at: usize| bytes[at + 8..at + 16].to_vec();
        let newest = sequence(slot) > sequence(4096 - slot);
        assert_eq!(check(dir.path()).head == HeadState::NotSigned, newest);
        let refused = common::options(dir.path()).open();
        assert_eq!(matches!(refused, Err(OpenError::HeadNotSigned)), newest);
    }
}

#[test]
fn a_log_cut_at_a_frame_border_is_refused() {
    let dir = small_log();
    let path = segments(dir.path())[1].clone();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..map_frames(&bytes).pop().unwrap().start]).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Truncated { .. }));
    let evidence = check(dir.path()).evidence.unwrap();
    assert_eq!(evidence.damage, Damage::Truncated { head: 10 });
}

#[test]
fn a_head_by_another_key_or_of_another_log_is_refused() {
    let dir = small_log();
    let other = FileOptions::new(dir.path(), common::signer_with(8), no_check()).open();
    assert!(matches!(other, Err(OpenError::HeadNotSigned)));
    let key = common::signer_with(8).verifier_key().clone();
    let report = fsck::check(dir.path(), &key, &no_check(), &mut |_| ()).unwrap();
    assert_eq!(report.head, HeadState::NotSigned);
    assert!(!report.is_evidence_sound());
}

#[test]
fn a_second_writer_is_locked_out_and_readers_and_fsck_are_not() {
    let dir = small_log();
    let first = open(dir.path());
    assert!(matches!(refusal(dir.path()), OpenError::Locked));
    assert!(matches!(
        fsck::repair(dir.path(), &common::verifier(), &no_check()),
        Err(OpenError::Locked)
    ));
    assert!(check(dir.path()).is_clean());
    let reader = first.log.reader();
    drop(first);
    drop(open(dir.path()));
    assert_eq!(reader.entry(Index::new(1)).unwrap(), entry(1));
}

#[test]
fn an_interrupted_erasure_never_costs_the_frame_and_can_be_completed() {
    let dir = log_with_old_head();
    let path = segments(dir.path())[0].clone();
    let sound = fs::read(&path).unwrap();
    let last = map_frames(&sound).pop().unwrap();
    let (start, index) = last.payloads[0];
    // The state byte reached the disk; of the zeros, none, some, or all but one did.
    for zeroed in [0, 1, 20, last.end - start - 2] {
        let mut bytes = sound.clone();
        bytes[start] = b'E';
        bytes[start + 1..start + 1 + zeroed].fill(0);
        fs::write(&path, &bytes).unwrap();
        let report = check(dir.path());
        assert_eq!((report.payloads.half_erased, report.torn_bytes), (1, 0));
        assert_eq!(report.payloads.first_bad, Some(Index::new(index)));
        let mut log = open(dir.path()).log;
        assert_eq!(log.size(), Index::new(12));
        assert_eq!(
            log.reader().payload(Index::new(index)).unwrap(),
            Payload::Erased
        );
        log.erase(Index::new(index)).unwrap();
        drop(log);
        let report = check(dir.path());
        assert!(
            report.is_clean() && report.payloads.erased == 1,
            "{report:?}"
        );
        let bytes = fs::read(&path).unwrap();
        assert!(bytes[start + 1..last.end].iter().all(|byte| *byte == 0));
    }
}
