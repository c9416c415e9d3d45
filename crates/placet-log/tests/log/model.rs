//! The file backend against a plain list, over random operations with reopenings in between.

use std::fs;
use std::path::Path;

use crate::common;
use placet_log::{AppendError, FileLog, Item, Payload, Sequencer as _};
use placet_tlog::Hash;
use placet_tlog::tree::Frontier;
use placet_types::Index;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<Item>),
    AppendAt(u64),
    Erase(prop::sample::Index),
    Reopen {
        keep_derived: bool,
        keep_segment_bytes: bool,
    },
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let entry = vec(any::<u8>(), 0..400);
    let payload = prop::option::of(vec(any::<u8>(), 0..600));
    let item = (entry, payload).prop_map(|(entry, payload)| Item { entry, payload });
    prop_oneof![8 => vec(item.clone(), 1..6), 1 => vec(item, 250..300)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => items().prop_map(Op::Append),
        1 => any::<u64>().prop_map(Op::AppendAt),
        2 => any::<prop::sample::Index>().prop_map(Op::Erase),
        2 => any::<(bool, bool)>().prop_map(|(keep_derived, keep_segment_bytes)| {
            Op::Reopen { keep_derived, keep_segment_bytes }
        }),
    ]
}

fn open(dir: &Path, segment_bytes: u64) -> FileLog {
    common::options(dir)
        .segment_bytes(segment_bytes)
        .open()
        .unwrap()
        .log
}

fn assert_same(log: &FileLog, model: &[(Vec<u8>, Payload)]) {
    let mut frontier = Frontier::new();
    let reader = log.reader();
    let stream = reader.entries(Index::new(0)..Index::new(u64::MAX));
    let mut streamed = 0;
    for (found, (at, (entry, payload))) in stream.zip((0..).zip(model)) {
        assert_eq!(found.unwrap(), (Index::new(at), entry.clone()));
        assert_eq!(reader.payload(Index::new(at)).unwrap(), *payload);
        frontier.append(Hash::leaf(entry)).unwrap();
        streamed += 1;
    }
    assert_eq!(streamed, model.len());
    assert_eq!(log.head().claim().size(), frontier.size());
    assert_eq!(*log.head().claim().root(), frontier.root());
}

fn apply(log: &mut FileLog, model: &mut Vec<(Vec<u8>, Payload)>, op: Op) {
    let size = log.size();
    match op {
        Op::Append(batch) => {
            log.append(size, &batch).unwrap();
            model.extend(batch.into_iter().map(|item| {
                (
                    item.entry,
                    item.payload.map_or(Payload::None, Payload::Present),
                )
            }));
        }
        Op::AppendAt(expected) if Index::new(expected) != size => {
            let refused = log.append(Index::new(expected), &[Item::public(vec![1])]);
            assert!(matches!(refused, Err(AppendError::Conflict { size: found }) if found == size));
        }
        Op::Erase(at) if !model.is_empty() => {
            let at = at.index(model.len());
            log.erase(Index::new(at.try_into().unwrap())).unwrap();
            if let Some((_, payload)) = model.get_mut(at) {
                *payload = match payload {
                    Payload::None => Payload::None,
                    Payload::Present(_) | Payload::Erased => Payload::Erased,
                    Payload::Damaged => panic!("the model never damages"),
                };
            }
        }
        Op::AppendAt(_) | Op::Erase(_) | Op::Reopen { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_the_list_of_what_was_appended(ops in vec(op(), 1..25)) {
        let dir = common::tempdir();
        let mut log = open(dir.path(), 4_000);
        let mut model = Vec::new();
        for op in ops {
            if let Op::Reopen { keep_derived, keep_segment_bytes } = op {
                drop(log);
                if !keep_derived {
                    fs::remove_dir_all(dir.path().join("derived")).unwrap();
                }
                log = open(dir.path(), if keep_segment_bytes { 4_000 } else { 1 << 20 });
                assert_same(&log, &model);
            } else {
                apply(&mut log, &mut model, op);
            }
        }
        assert_same(&log, &model);
        prop_assert!(common::check(dir.path()).is_clean());
    }
}
