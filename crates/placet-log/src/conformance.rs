//! What every sequencer must keep, as one suite that every backend runs.
//!
//! A backend's test calls [`run_all`] with a [`Bench`]: how to get an empty log, and how to close
//! and reopen one if the backend outlives its process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test suite: a failed expectation is its result"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use placet_tlog::Hash;
use placet_types::Index;

use crate::{AppendError, Appended, BatchError, EraseError, Item, LogReader, Payload, ReadError};
use crate::{MAX_PAYLOAD_BYTES, Sequencer};

/// Makes the logs that the suite is run on.
pub trait Bench {
    /// The backend under test.
    type Log: Sequencer;

    /// An empty log, independent of all others.
    fn create(&self) -> Self::Log;

    /// Closes the log and opens it again; `None` if the backend keeps nothing.
    fn reopen(&self, log: Self::Log) -> Option<Self::Log>;
}

/// Runs every claim of the suite.
pub fn run_all<B: Bench>(bench: &B) {
    indices_are_given_in_order_without_gaps(bench);
    append_is_durable_before_ok(bench);
    a_stale_expectation_conflicts(bench);
    no_index_is_issued_twice(bench);
    a_refused_batch_changes_nothing(bench);
    batch_proofs_verify_under_the_batch_head(bench);
    proofs_verify_at_every_size(bench);
    heads_are_signed_and_consistent(bench);
    the_largest_entries_and_payloads_are_taken(bench);
    payloads_are_kept_apart_and_can_be_erased(bench);
    readers_see_whole_batches_while_the_writer_appends(bench);
    streams_give_every_entry_once_in_order(bench);
    what_is_not_there_is_an_error(bench);
}

/// A distinct entry for each number.
#[must_use]
pub fn entry(number: u64) -> Vec<u8> {
    let fill = usize::try_from(number % 97).unwrap();
    [format!("entry {number} ").into_bytes(), vec![b'.'; fill]].concat()
}

fn items(numbers: std::ops::Range<u64>) -> Vec<Item> {
    numbers.map(|number| Item::public(entry(number))).collect()
}

fn append<L: Sequencer>(log: &mut L, batch: &[Item]) -> Appended {
    log.append(log.size(), batch).unwrap()
}

fn assert_holds(reader: &LogReader, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(
            reader.entry(Index::new(number)).unwrap(),
            entry(number),
            "entry {number}"
        );
    }
}

/// The first index is the size before, and the size grows by the batch.
pub fn indices_are_given_in_order_without_gaps<B: Bench>(bench: &B) {
    let mut log = bench.create();
    assert_eq!(log.size(), Index::new(0));
    let mut next = 0;
    for len in [1, 3, 1, 300, 2] {
        let appended = append(&mut log, &items(next..next + len));
        assert_eq!(appended.first(), Index::new(next));
        next += len;
        assert_eq!(log.size(), Index::new(next));
    }
    assert_holds(&log.reader(), 0..next);
}

/// What was answered with `Ok` is there after reopening, with the same head.
pub fn append_is_durable_before_ok<B: Bench>(bench: &B) {
    let mut log = bench.create();
    for round in 0..20 {
        append(&mut log, &items(round * 40..(round + 1) * 40));
        let head = log.head().clone();
        let Some(reopened) = bench.reopen(log) else {
            return;
        };
        log = reopened;
        assert_eq!(*log.head(), head);
        assert_holds(&log.reader(), 0..(round + 1) * 40);
    }
}

/// Any other expectation than the size is refused, and changes nothing.
pub fn a_stale_expectation_conflicts<B: Bench>(bench: &B) {
    let mut log = bench.create();
    append(&mut log, &items(0..5));
    for wrong in [0, 4, 6, u64::MAX] {
        let refused = log.append(Index::new(wrong), &items(5..6));
        let Err(AppendError::Conflict { size }) = refused else {
            panic!("{wrong}: {refused:?}")
        };
        assert_eq!(size, Index::new(5));
    }
    assert_eq!(log.size(), Index::new(5));
    append(&mut log, &items(5..6));
    assert_holds(&log.reader(), 0..6);
}

/// Across appends, refusals and reopenings, no index stands for two entries.
pub fn no_index_is_issued_twice<B: Bench>(bench: &B) {
    let mut log = bench.create();
    let mut issued = 0;
    for round in 0..12_u64 {
        assert!(log.append(Index::new(issued + 1), &items(0..1)).is_err());
        let len = round % 4 + 1;
        let appended = append(&mut log, &items(issued..issued + len));
        assert_eq!(
            appended.first().get(),
            issued,
            "an index was issued again or skipped"
        );
        issued += len;
        if round % 3 == 2 {
            let size = log.size();
            let Some(reopened) = bench.reopen(log) else {
                return;
            };
            log = reopened;
            assert_eq!(log.size(), size);
        }
    }
    assert_holds(&log.reader(), 0..issued);
}

/// Limits are checked before anything is written, and the log goes on.
pub fn a_refused_batch_changes_nothing<B: Bench>(bench: &B) {
    let mut log = bench.create();
    append(&mut log, &items(0..2));
    let head = log.head().clone();
    let long_entry = vec![Item::public(vec![0; 65_536])];
    let long_payload = vec![Item {
        entry: entry(2),
        payload: Some(vec![0; MAX_PAYLOAD_BYTES + 1]),
    }];
    for (batch, expected) in [
        (Vec::new(), BatchError::Empty),
        (long_entry, BatchError::EntryTooLong { at: 0, len: 65_536 }),
        (
            long_payload,
            BatchError::PayloadTooLong {
                at: 0,
                len: MAX_PAYLOAD_BYTES + 1,
            },
        ),
    ] {
        let refused = log.append(log.size(), &batch);
        let Err(AppendError::Refused(error)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(error, expected);
        assert!(AppendError::Refused(error).is_still_usable());
    }
    assert_eq!(*log.head(), head);
    append(&mut log, &items(2..3));
}

/// The proofs that come with a batch verify under the checkpoint that comes with it.
pub fn batch_proofs_verify_under_the_batch_head<B: Bench>(bench: &B) {
    let mut log = bench.create();
    let mut next = 0;
    for len in [1, 2, 255, 1, 513, 7] {
        let appended = append(&mut log, &items(next..next + len));
        let claim = appended.head().claim();
        for number in next..next + len {
            let proof = appended.inclusion_proof(Index::new(number)).unwrap();
            let leaf = Hash::leaf(&entry(number));
            proof
                .verify(&leaf, number, claim.size(), claim.root())
                .unwrap();
        }
        next += len;
        assert_eq!(appended.inclusion_proof(Index::new(next)), None);
    }
}

/// Inclusion and consistency proofs of the reader verify, for old sizes too.
pub fn proofs_verify_at_every_size<B: Bench>(bench: &B) {
    let mut log = bench.create();
    let (mut sizes, mut next) = (vec![(0, Hash::EMPTY_ROOT)], 0);
    for len in [1, 1, 5, 249, 1, 300, 1] {
        let appended = append(&mut log, &items(next..next + len));
        next += len;
        sizes.push((next, *appended.head().claim().root()));
    }
    let reader = log.reader();
    for (at, (size, root)) in sizes.iter().enumerate() {
        assert_eq!(reader.root_at(*size).unwrap(), *root, "root at {size}");
        for index in [0, size / 2, size.saturating_sub(1)] {
            if index < *size {
                let proof = reader.inclusion_proof(Index::new(index), *size).unwrap();
                proof
                    .verify(&Hash::leaf(&entry(index)), index, *size, root)
                    .unwrap();
            }
        }
        for (old, old_root) in sizes.iter().take(at + 1) {
            let proof = reader.consistency_proof(*old, *size).unwrap();
            proof.verify(*old, old_root, *size, root).unwrap();
        }
    }
}

/// Every head states the size and root of what was appended, under the log's one name.
pub fn heads_are_signed_and_consistent<B: Bench>(bench: &B) {
    let mut log = bench.create();
    let origin = log.head().claim().origin().clone();
    let mut frontier = placet_tlog::tree::Frontier::new();
    for number in 0..40 {
        let appended = append(&mut log, &items(number..number + 1));
        frontier.append(Hash::leaf(&entry(number))).unwrap();
        for head in [appended.head(), log.head(), &log.reader().checkpoint()] {
            assert_eq!(*head.claim().origin(), origin);
            assert_eq!(head.claim().size(), number + 1);
            assert_eq!(*head.claim().root(), frontier.root());
            assert_eq!(head.note().signatures().len(), 1);
        }
    }
}

/// Empty and largest entries and payloads come back as they went in.
pub fn the_largest_entries_and_payloads_are_taken<B: Bench>(bench: &B) {
    let mut log = bench.create();
    let batch = [
        Item {
            entry: vec![7; 65_535],
            payload: Some(vec![9; MAX_PAYLOAD_BYTES]),
        },
        Item {
            entry: Vec::new(),
            payload: Some(Vec::new()),
        },
        Item::public(vec![1]),
    ];
    append(&mut log, &batch);
    let log = match bench.reopen(log) {
        Some(log) => log.reader(),
        None => return,
    };
    for (index, item) in (0..).map(Index::new).zip(&batch) {
        assert_eq!(log.entry(index).unwrap(), item.entry);
        let expected = item.payload.clone().map_or(Payload::None, Payload::Present);
        assert_eq!(log.payload(index).unwrap(), expected);
    }
}

/// Erasing one payload leaves every entry, proof and other payload as it was, for good.
pub fn payloads_are_kept_apart_and_can_be_erased<B: Bench>(bench: &B) {
    let mut log = bench.create();
    let private = |number: u64| format!("private {number}").into_bytes();
    let with = |number| Item {
        entry: entry(number),
        payload: Some(private(number)),
    };
    append(&mut log, &[with(0), Item::public(entry(1)), with(2)]);
    append(&mut log, &[with(3)]);
    let head = log.head().clone();
    for again in 0..2 {
        log.erase(Index::new(2)).unwrap();
        log.erase(Index::new(1)).unwrap();
        let reader = log.reader();
        let states: Vec<Payload> = (0..4)
            .map(|at| reader.payload(Index::new(at)).unwrap())
            .collect();
        let kept = |number| Payload::Present(private(number));
        assert_eq!(
            states,
            [kept(0), Payload::None, Payload::Erased, kept(3)],
            "round {again}"
        );
        assert_holds(&reader, 0..4);
        assert_eq!(*log.head(), head);
        assert!(matches!(
            log.erase(Index::new(4)),
            Err(EraseError::NoSuchRecord { .. })
        ));
        let Some(reopened) = bench.reopen(log) else {
            return;
        };
        log = reopened;
    }
    append(&mut log, &items(4..5));
}

/// A reader in another thread sees batches whole or not at all, and every proof it asks for
/// verifies.
pub fn readers_see_whole_batches_while_the_writer_appends<B: Bench>(bench: &B) {
    const BATCH: u64 = 7;
    let mut log = bench.create();
    let done = AtomicBool::new(false);
    let (reader, done) = (log.reader(), &done);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = reader.clone();
                scope.spawn(move || read_until(&reader, done, BATCH))
            })
            .collect();
        for round in 0..150 {
            append(&mut log, &items(round * BATCH..(round + 1) * BATCH));
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0, "a reader never saw a record");
        }
    });
}

fn read_until(reader: &LogReader, done: &AtomicBool, batch: u64) -> u64 {
    let mut checked = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        let head = reader.checkpoint();
        let (size, root) = (head.claim().size(), head.claim().root());
        assert_eq!(size % batch, 0, "part of a batch was published");
        if let Some(index) = size.checked_sub(1) {
            for index in [index, index / 2] {
                assert_holds(reader, index..index + 1);
                let proof = reader.inclusion_proof(Index::new(index), size).unwrap();
                proof
                    .verify(&Hash::leaf(&entry(index)), index, size, root)
                    .unwrap();
                checked += 1;
            }
        }
        if last {
            return checked;
        }
    }
}

/// A stream gives the asked range, cut where the log ends.
pub fn streams_give_every_entry_once_in_order<B: Bench>(bench: &B) {
    let mut log = bench.create();
    for round in 0..10 {
        append(&mut log, &items(round * 70..(round + 1) * 70));
    }
    let reader = log.reader();
    for (start, end, expected_end) in [(0, 700, 700), (255, 257, 257), (690, 9_999, 700), (5, 5, 5)]
    {
        let stream = reader.entries(Index::new(start)..Index::new(end));
        let found: Vec<_> = stream.map(|entry| entry.unwrap()).collect();
        let expected = (start..expected_end).map(|number| (Index::new(number), entry(number)));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

/// Reading beyond the log says so.
pub fn what_is_not_there_is_an_error<B: Bench>(bench: &B) {
    let mut log = bench.create();
    append(&mut log, &items(0..3));
    let reader = log.reader();
    let three = Index::new(3);
    assert!(matches!(
        reader.entry(three),
        Err(ReadError::NoSuchRecord { .. })
    ));
    assert!(matches!(
        reader.payload(three),
        Err(ReadError::NoSuchRecord { .. })
    ));
    assert!(matches!(
        reader.root_at(4),
        Err(ReadError::NoSuchTree { asked: 4, size: 3 })
    ));
    assert!(matches!(
        reader.consistency_proof(3, 4),
        Err(ReadError::NoSuchTree { .. })
    ));
    assert!(matches!(
        reader.consistency_proof(3, 2),
        Err(ReadError::NoSuchTree { .. })
    ));
    assert!(reader.inclusion_proof(three, 3).is_err());
    for path in [
        "tile/0/001",
        "tile/0/000.p/4",
        "tile/1/000",
        "tile/entries/000.p/4",
        "nothing",
    ] {
        assert!(
            matches!(reader.resource(path), Err(ReadError::NoSuchResource(_))),
            "{path}"
        );
    }
    for path in [
        "checkpoint",
        "tile/0/000.p/3",
        "tile/0/000.p/1",
        "tile/entries/000.p/3",
    ] {
        assert!(!reader.resource(path).unwrap().is_empty(), "{path}");
    }
}
