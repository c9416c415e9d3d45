//! Names, content, and what is believed of tiles.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::hash::Hash;
use crate::tree::{
    Frontier, HashReader, MAX_SIZE, TreeFull, prove_consistency, prove_inclusion, read_root,
    right_edge,
};

/// Tiles in memory, as a log would store them, and how often they were read.
#[derive(Clone, Debug, Default)]
struct Store {
    tiles: BTreeMap<TileId, Vec<u8>>,
    reads: RefCell<Vec<TileId>>,
}

impl TileReader for &Store {
    type Error = String;

    fn read_tile(&self, tile: TileId) -> Result<Vec<u8>, String> {
        self.reads.borrow_mut().push(tile);
        self.tiles
            .get(&tile)
            .cloned()
            .ok_or_else(|| format!("no {tile}"))
    }
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|n| Hash::leaf(&n.to_be_bytes())).collect()
}

fn store_of(leaves: &[Hash]) -> Store {
    let tiles = EdgeTiles::new().extend(leaves).unwrap();
    let tiles = tiles
        .iter()
        .map(|tile| (tile.id(), tile.encode()))
        .collect();
    Store {
        tiles,
        reads: RefCell::default(),
    }
}

fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    leaves
        .iter()
        .for_each(|leaf| assert!(frontier.append(*leaf).is_ok()));
    frontier.root()
}

fn tile(path: &str) -> TileId {
    match Resource::parse(path).unwrap() {
        Resource::Tile(tile) => tile,
        other @ (Resource::Checkpoint | Resource::Entries(_)) => panic!("{other} is no hash tile"),
    }
}

fn paths(tiles: impl Iterator<Item = TileId>) -> Vec<String> {
    tiles.map(|tile| tile.to_string()).collect()
}

#[test]
fn paths_are_those_of_the_specification() {
    let full = TileId::new(2, 1_234_067, Width::FULL).unwrap();
    assert_eq!(full.to_string(), "tile/2/x001/x234/067");
    let bundle = BundleId::new(1_234_067, Width::new(8).unwrap());
    assert_eq!(bundle.to_string(), "tile/entries/x001/x234/067.p/8");
    assert_eq!(Resource::parse("checkpoint"), Ok(Resource::Checkpoint));
    assert_eq!(Resource::parse("tile/2/x001/x234/067"), Ok(full.into()));
    assert_eq!(
        Resource::parse("tile/entries/x001/x234/067.p/8"),
        Ok(bundle.into())
    );
    for level in [0, 7, 63] {
        let path = format!("tile/{level}/000");
        assert_eq!(tile(&path).to_string(), path);
    }
    let last = "tile/63/x018/x446/x744/x073/x709/x551/615.p/255";
    assert_eq!(
        (tile(last).index(), tile(last).to_string()),
        (u64::MAX, last.to_owned())
    );
}

#[test]
fn every_other_spelling_of_a_path_is_refused() {
    let cases = [
        ("", PathError::UnknownResource),
        ("/checkpoint", PathError::UnknownResource),
        ("checkpoint/", PathError::UnknownResource),
        ("tile", PathError::UnknownResource),
        ("tile/0", PathError::UnknownResource),
        ("tiles/0/000", PathError::UnknownResource),
        ("tile//000", PathError::Level),
        ("tile/64/000", PathError::Level),
        ("tile/00/000", PathError::Level),
        ("tile/+1/000", PathError::Level),
        ("tile/data/000", PathError::Level),
        ("tile/256/000", PathError::Level),
        ("tile/0/", PathError::Index),
        ("tile/0/0", PathError::Index),
        ("tile/0/0000", PathError::Index),
        ("tile/0/x000/001", PathError::Index),
        ("tile/0/001/001", PathError::Index),
        ("tile/0/x001/x001", PathError::Index),
        ("tile/0/x001//001", PathError::Index),
        ("tile/0/X001/001", PathError::Index),
        ("tile/0/00a", PathError::Index),
        ("tile/0/../0", PathError::Index),
        ("tile/0/\u{663}00", PathError::Index),
        ("tile/0/x018/x446/x744/x073/x709/x551/616", PathError::Index),
        ("tile/0/000.p/0", PathError::Width),
        ("tile/0/000.p/256", PathError::Width),
        ("tile/0/000.p/01", PathError::Width),
        ("tile/0/000.p/", PathError::Width),
        ("tile/0/000.p/1/", PathError::Width),
        ("tile/0/000.p/1.p/1", PathError::Width),
    ];
    for (path, error) in cases {
        assert_eq!(Resource::parse(path), Err(error), "{path}");
    }
    let long = format!("tile/0/{}000", "x000/".repeat(20));
    assert_eq!(Resource::parse(&long), Err(PathError::UnknownResource));
}

#[test]
fn a_tree_of_70_000_has_the_tiles_the_specification_lists() {
    let ids: Vec<TileId> = TileId::all(70_000).collect();
    assert_eq!(
        ids.iter()
            .filter(|id| id.level() == 0 && id.width().is_full())
            .count(),
        273
    );
    let rest = paths(
        ids.into_iter()
            .filter(|id| id.level() > 0 || !id.width().is_full()),
    );
    let expected = [
        "tile/0/273.p/112",
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ];
    assert_eq!(rest, expected);
}

#[test]
fn a_full_tile_brings_one_hash_above_it_and_nothing_empty_is_named() {
    assert_eq!(paths(TileId::all(256)), ["tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(paths(TileId::all(255)), ["tile/0/000.p/255"]);
    assert_eq!(paths(TileId::all(0)), [""; 0]);
    assert_eq!(
        paths(TileId::changed(255, 257)),
        ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"]
    );
    assert_eq!(TileId::changed(300, 300).count(), 0);
    assert_eq!(TileId::changed(300, 299).count(), 0);
    let bundles: Vec<String> = BundleId::changed(255, 513)
        .map(|id| id.to_string())
        .collect();
    assert_eq!(
        bundles,
        [
            "tile/entries/000",
            "tile/entries/001",
            "tile/entries/002.p/1"
        ]
    );
    assert_eq!(BundleId::changed(0, 0).count(), 0);
    assert_eq!(BundleId::changed(1, 1).count(), 0);
    assert_eq!(BundleId::containing(256, 256), None);
    let second = BundleId::containing(256, 257).unwrap();
    assert_eq!(second.to_string(), "tile/entries/001.p/1");
    assert_eq!(second.leaf_tile().to_string(), "tile/0/001.p/1");
}

#[test]
fn the_largest_tree_has_tiles_on_eight_levels() {
    let last: Vec<TileId> = (0..8)
        .filter_map(|l| TileId::at(l, (MAX_SIZE >> (8 * l)) >> 8, MAX_SIZE))
        .collect();
    assert_eq!(last.len(), 8);
    assert_eq!(last[7].to_string(), "tile/7/000.p/127");
    assert_eq!(TileId::at(8, 0, MAX_SIZE), None);
    assert_eq!(last[0].nodes().count(), 255);
    assert_eq!(
        TileId::new(63, u64::MAX, Width::FULL)
            .unwrap()
            .nodes()
            .count(),
        0
    );
    let node = NodeId::new(62, 0).unwrap();
    assert_eq!(TileId::containing(node, MAX_SIZE), Some(last[7]));
    assert_eq!(TileId::containing(node, (1 << 62) - 1), None);
}

#[test]
fn tiles_hold_the_nodes_that_their_names_say() {
    let all = leaves(70_000);
    let store = store_of(&all);
    let names: Vec<TileId> = TileId::all(70_000).collect();
    assert_eq!(store.tiles.keys().copied().collect::<Vec<_>>(), names);
    let reader = AuthenticTiles::open(70_000, &root_of(&all), &store).unwrap();
    for id in names {
        let nodes: Vec<NodeId> = id.nodes().collect();
        assert_eq!(nodes.len(), usize::from(id.width().get()));
        let hashes = reader.read_hashes(&nodes[..1]).unwrap();
        assert_eq!(reader.tile(id).unwrap().hashes()[..1], hashes);
        assert!(
            nodes
                .iter()
                .all(|node| TileId::containing(*node, 70_000) == Some(id))
        );
    }
}

#[test]
fn growing_by_batches_writes_the_tiles_of_growing_at_once() {
    let all = leaves(1500);
    let (mut edge, mut written, mut size) = (EdgeTiles::new(), BTreeMap::new(), 0);
    for step in [1, 0, 254, 1, 1, 700, 300, 243] {
        let tiles = edge.extend(&all[size..size + step]).unwrap();
        let old = u64::try_from(size).unwrap();
        size += step;
        let new = u64::try_from(size).unwrap();
        let ids: Vec<TileId> = tiles.iter().map(HashTile::id).collect();
        assert_eq!(
            ids,
            TileId::changed(old, new).collect::<Vec<_>>(),
            "{old} to {new}"
        );
        written.extend(tiles.iter().map(|tile| (tile.id(), tile.encode())));
        assert_eq!(edge.size(), new);
        let store = Store {
            tiles: written.clone(),
            reads: RefCell::default(),
        };
        let stored = AuthenticTiles::open(new, &root_of(&all[..size]), &store).unwrap();
        assert_eq!(EdgeTiles::resume(&stored), edge);
        assert_eq!(stored.frontier().root(), root_of(&all[..size]));
    }
    let at_once = store_of(&all).tiles;
    assert!(
        at_once
            .iter()
            .all(|(id, bytes)| written.get(id) == Some(bytes))
    );
}

/// Every tile full of one hash.
struct Uniform;

impl TileReader for Uniform {
    type Error = String;

    fn read_tile(&self, tile: TileId) -> Result<Vec<u8>, String> {
        Ok(vec![0; usize::from(tile.width().get()) * Hash::LEN])
    }
}

#[test]
fn the_edge_is_unchanged_when_the_tree_is_full() {
    let of_zeros = |node: &NodeId| {
        let zeros = vec![Hash::new([0; 32]); 1 << (node.level() % HEIGHT)];
        hashes::complete_root(&zeros).unwrap()
    };
    let hashes = right_edge(MAX_SIZE).iter().map(of_zeros).collect();
    let root = Frontier::restore(MAX_SIZE, hashes).unwrap().root();
    let mut edge = EdgeTiles::resume(&AuthenticTiles::open(MAX_SIZE, &root, Uniform).unwrap());
    let before = edge.clone();
    assert_eq!(edge.extend(&leaves(1)), Err(TreeFull));
    assert_eq!(edge.extend(&[]), Ok(Vec::new()));
    assert_eq!((edge.size(), &edge), (MAX_SIZE, &before));
}

#[test]
fn proofs_read_from_tiles_verify_and_read_few_tiles() {
    let all = leaves(70_000);
    let (store, root) = (store_of(&all), root_of(&all));
    let reader = AuthenticTiles::open(70_000, &root, &store).unwrap();
    assert_eq!(read_root(70_000, &reader), Ok(root));
    for index in [0_usize, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999] {
        store.reads.borrow_mut().clear();
        let at = u64::try_from(index).unwrap();
        let proof = prove_inclusion(at, 70_000, &reader).unwrap();
        assert_eq!(proof.verify(&all[index], at, 70_000, &root), Ok(()));
        assert!(
            store.reads.borrow().len() <= 3,
            "{:?}",
            store.reads.borrow()
        );
    }
    let proof = prove_consistency(65_537, 70_000, &reader).unwrap();
    assert_eq!(
        proof.verify(65_537, &root_of(&all[..65_537]), 70_000, &root),
        Ok(())
    );
    let beyond = NodeId::leaf(70_000).unwrap();
    let outside = TileReadError::OutsideTree {
        node: beyond,
        size: 70_000,
    };
    assert_eq!(reader.read_hashes(&[beyond]), Err(outside));
}

#[test]
fn a_flipped_byte_in_any_tile_is_noticed() {
    let all = leaves(600);
    let (good, root) = (store_of(&all), root_of(&all));
    for id in good.tiles.keys() {
        for at in [0, 31, good.tiles[id].len() - 1] {
            let mut store = good.clone();
            store.tiles.get_mut(id).unwrap()[at] ^= 1;
            match AuthenticTiles::open(600, &root, &store) {
                Err(error) => {
                    assert!(!id.width().is_full());
                    assert_eq!(error, TileReadError::RootMismatch);
                }
                Ok(tiles) => assert_eq!(tiles.tile(*id), Err(TileReadError::TileMismatch(*id))),
            }
        }
    }
}

#[test]
fn absent_short_and_foreign_tiles_are_named() {
    let all = leaves(600);
    let (good, root) = (store_of(&all), root_of(&all));
    let tiles = AuthenticTiles::open(600, &root, &good).unwrap();
    for path in [
        "tile/0/000.p/3",
        "tile/0/003",
        "tile/1/000",
        "tile/2/000.p/1",
        "tile/63/000",
    ] {
        let missing = TileReadError::NoSuchTile {
            tile: tile(path),
            size: 600,
        };
        assert_eq!(tiles.tile(tile(path)), Err(missing));
    }
    let id = tile("tile/0/002.p/88");
    let mut store = good.clone();
    store.tiles.get_mut(&id).unwrap().pop();
    let error = TileError::Length {
        width: 88,
        found: 88 * 32 - 1,
    };
    let malformed = TileReadError::Malformed { tile: id, error };
    assert_eq!(
        AuthenticTiles::open(600, &root, &store).unwrap_err(),
        malformed
    );
    store.tiles.remove(&id);
    let gone = TileReadError::Read {
        tile: id,
        error: format!("no {id}"),
    };
    assert_eq!(AuthenticTiles::open(600, &root, &store).unwrap_err(), gone);
    let over = MAX_SIZE + 1;
    let refused = TileReadError::SizeBeyondLimit(over);
    assert_eq!(
        AuthenticTiles::open(over, &root, &good).unwrap_err(),
        refused
    );
    assert!(AuthenticTiles::open(0, &Hash::EMPTY_ROOT, &good).is_ok());
    assert!(AuthenticTiles::open(0, &root, &good).is_err());
}

#[test]
fn bundles_hold_their_entries_and_nothing_else() {
    let longest = vec![7; MAX_ENTRY_BYTES];
    let entries: [&[u8]; 3] = [b"", b"one", &longest];
    let mut bundle = Vec::new();
    entries
        .iter()
        .for_each(|entry| push_entry(&mut bundle, entry).unwrap());
    let three = Width::new(3).unwrap();
    assert_eq!(decode_entries(three, &bundle).unwrap(), entries);
    let cut = &bundle[..bundle.len() - 1];
    assert_eq!(
        decode_entries(three, cut),
        Err(BundleError::Truncated { at: 2 })
    );
    assert_eq!(
        decode_entries(three, &bundle[..1]),
        Err(BundleError::Truncated { at: 0 })
    );
    assert_eq!(
        decode_entries(Width::FULL, &bundle),
        Err(BundleError::Truncated { at: 3 })
    );
    let two = Width::new(2).unwrap();
    let rest = MAX_ENTRY_BYTES + 2;
    assert_eq!(
        decode_entries(two, &bundle),
        Err(BundleError::Trailing(rest))
    );
    let before = bundle.clone();
    let long = vec![0; MAX_ENTRY_BYTES + 1];
    assert_eq!(
        push_entry(&mut bundle, &long),
        Err(EntryTooLong(MAX_ENTRY_BYTES + 1))
    );
    assert_eq!(bundle, before);
}

#[test]
fn entries_must_hash_to_the_leaves_of_their_tile() {
    let id = tile("tile/0/000.p/2");
    let hashes = vec![Hash::leaf(b"a"), Hash::leaf(b"b")];
    let leaf_tile = HashTile::new(id, hashes.clone()).unwrap();
    assert_eq!(leaf_tile.verify_entries(&[b"a", b"b"]), Ok(()));
    assert_eq!(
        leaf_tile.verify_entries(&[b"a", b"c"]),
        Err(TileError::EntryMismatch(1))
    );
    let count = TileError::Count { width: 2, found: 1 };
    assert_eq!(leaf_tile.verify_entries(&[b"a"]), Err(count));
    assert_eq!(HashTile::new(id, hashes[..1].to_vec()), Err(count));
    assert_eq!(leaf_tile.parent_hash(), None);
    assert_eq!((Width::new(0), Width::new(257)), (None, None));
    assert_eq!(TileId::new(64, 0, Width::FULL), None);
}

proptest! {
    #[test]
    fn what_parses_is_written_the_same(path in "(checkpoint|tile/(entries|[0-9]{1,2})/(x[0-9]{3}/){0,3}[0-9]{3}(\\.p/[0-9]{1,3})?)") {
        if let Ok(resource) = Resource::parse(&path) {
            prop_assert_eq!(resource.to_string(), path);
        }
    }

    #[test]
    fn every_name_has_a_path_that_reads_back(
        level in 0_u8..=63, index in any::<u64>(), width in 1_u16..=256,
    ) {
        let width = Width::new(width).unwrap();
        let id = Resource::from(TileId::new(level, index, width).unwrap());
        prop_assert_eq!(Resource::parse(&id.to_string()), Ok(id));
        let bundle = Resource::from(BundleId::new(index, width));
        prop_assert_eq!(Resource::parse(&bundle.to_string()), Ok(bundle));
    }

    #[test]
    fn decoding_takes_only_what_encoding_made(bytes in prop::collection::vec(any::<u8>(), 0..200), width in 1_u16..6) {
        let width = Width::new(width).unwrap();
        if let Ok(entries) = decode_entries(width, &bytes) {
            let mut again = Vec::new();
            entries.iter().for_each(|entry| push_entry(&mut again, entry).unwrap());
            prop_assert_eq!(&again, &bytes);
        }
        let id = TileId::new(0, 0, width).unwrap();
        if let Ok(tile) = HashTile::decode(id, &bytes) {
            prop_assert_eq!(tile.encode(), bytes);
        }
    }
}
