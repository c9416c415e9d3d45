//! Sections about hashes, proofs and tiles.

use placet_tlog::hash::Hash;
use placet_tlog::tree::BatchTree;
use placet_types::digest::encode_hex;
use serde_json::json;

use super::{BAD, GOOD, Section, batch, entry, flip};

fn strings(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

pub(super) fn leaves() -> Section {
    let mut section = Section::new("leaf");
    for (label, entry) in [("empty entry", b"".as_slice()), ("short entry", b"placet")] {
        let hash = Hash::leaf(entry).to_string();
        section.case(
            label,
            GOOD,
            json!({ "entry_hex": encode_hex(entry), "hash": hash }),
        );
    }
    let node = Hash::node(&Hash::leaf(b"a"), &Hash::leaf(b"b"));
    let both = [*Hash::leaf(b"a").as_bytes(), *Hash::leaf(b"b").as_bytes()].concat();
    let as_leaf = json!({ "entry_hex": encode_hex(&both), "hash": node.to_string() });
    section.case("a node is no leaf of its children", BAD, as_leaf);
    section
}

pub(super) fn inclusion() -> Section {
    let mut section = Section::new("inclusion");
    let input = |leaf: &Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]| {
        let (leaf, root) = (leaf.to_string(), root.to_string());
        json!({ "leaf": leaf, "index": index.to_string(), "size": size.to_string(), "root": root,
                "proof": strings(proof) })
    };
    for (index, size) in [
        (0, 1),
        (0, 2),
        (1, 2),
        (2, 3),
        (4, 5),
        (6, 7),
        (3, 8),
        (11, 21),
        (256, 300),
    ] {
        let (tree, leaf) = (batch(size), Hash::leaf(&entry(index)));
        let proof = tree.prove_inclusion(index).unwrap();
        let label = format!("leaf {index} of {size}");
        section.case(
            &label,
            GOOD,
            input(&leaf, index, size, &tree.root(), proof.hashes()),
        );
    }
    let (tree, leaf) = (batch(21), Hash::leaf(&entry(11)));
    let (root, proof) = (tree.root(), tree.prove_inclusion(11).unwrap());
    let proof = proof.hashes();
    let altered = [&[flip(&proof[0])], &proof[1..]].concat();
    let swapped = [&[proof[1], proof[0]], &proof[2..]].concat();
    let longer = [proof, &[proof[0]]].concat();
    let other = Hash::leaf(&entry(12));
    section.case(
        "altered sibling",
        BAD,
        input(&leaf, 11, 21, &root, &altered),
    );
    section.case(
        "swapped siblings",
        BAD,
        input(&leaf, 11, 21, &root, &swapped),
    );
    section.case(
        "missing last sibling",
        BAD,
        input(&leaf, 11, 21, &root, &proof[..4]),
    );
    section.case(
        "one sibling too many",
        BAD,
        input(&leaf, 11, 21, &root, &longer),
    );
    section.case("another leaf", BAD, input(&other, 11, 21, &root, proof));
    section.case("another index", BAD, input(&leaf, 10, 21, &root, proof));
    section.case("another size", BAD, input(&leaf, 11, 40, &root, proof));
    section.case(
        "another root",
        BAD,
        input(&leaf, 11, 21, &flip(&root), proof),
    );
    section.case("index at the size", BAD, input(&leaf, 21, 21, &root, proof));
    section.case(
        "empty tree",
        BAD,
        input(&leaf, 0, 0, &Hash::EMPTY_ROOT, &[]),
    );
    section.case("size of 2^63", BAD, input(&leaf, 11, 1 << 63, &root, proof));
    section
}

pub(super) fn consistency() -> Section {
    let mut section = Section::new("consistency");
    let input = |old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]| {
        json!({ "old_size": old.to_string(), "old_root": old_root.to_string(),
                "new_size": new.to_string(), "new_root": new_root.to_string(),
                "proof": strings(proof) })
    };
    let grow = |old: u64, new: u64| {
        let before = batch(old);
        let added = (old..new).map(|n| Hash::leaf(&entry(n))).collect();
        let after = BatchTree::new(&before.frontier(), added).unwrap();
        (
            before.root(),
            after.root(),
            after.prove_consistency().unwrap().hashes().to_vec(),
        )
    };
    for (old, new) in [
        (0, 0),
        (0, 5),
        (1, 1),
        (1, 2),
        (3, 7),
        (4, 8),
        (6, 8),
        (7, 21),
        (256, 300),
        (255, 257),
    ] {
        let (old_root, new_root, proof) = grow(old, new);
        let label = format!("{old} to {new}");
        section.case(&label, GOOD, input(old, &old_root, new, &new_root, &proof));
    }
    let (old_root, new_root, proof) = grow(7, 21);
    let altered = [&[flip(&proof[0])], &proof[1..]].concat();
    let longer = [proof.as_slice(), &[proof[0]]].concat();
    section.case(
        "altered hash",
        BAD,
        input(7, &old_root, 21, &new_root, &altered),
    );
    section.case(
        "missing last hash",
        BAD,
        input(7, &old_root, 21, &new_root, &proof[..3]),
    );
    section.case(
        "one hash too many",
        BAD,
        input(7, &old_root, 21, &new_root, &longer),
    );
    section.case("no hashes", BAD, input(7, &old_root, 21, &new_root, &[]));
    section.case(
        "another old root",
        BAD,
        input(7, &flip(&old_root), 21, &new_root, &proof),
    );
    section.case(
        "another new root",
        BAD,
        input(7, &old_root, 21, &flip(&new_root), &proof),
    );
    section.case(
        "another old size",
        BAD,
        input(6, &old_root, 21, &new_root, &proof),
    );
    section.case(
        "the tree shrinks",
        BAD,
        input(21, &new_root, 7, &old_root, &proof),
    );
    section.case(
        "equal sizes, other root",
        BAD,
        input(7, &old_root, 7, &flip(&old_root), &[]),
    );
    section.case(
        "equal sizes, a hash",
        BAD,
        input(7, &old_root, 7, &old_root, &proof[..1]),
    );
    let not_empty = input(0, &old_root, 21, &new_root, &[]);
    section.case("empty tree with a root of its own", BAD, not_empty);
    section
}

pub(super) fn paths() -> Section {
    let mut section = Section::new("path");
    let mut case = |path: &str, valid| section.case(path, valid, json!({ "path": path }));
    for path in [
        "checkpoint",
        "tile/0/000",
        "tile/0/273.p/112",
        "tile/2/x001/x234/067",
        "tile/63/000.p/255",
        "tile/entries/x001/x234/067.p/8",
    ] {
        case(path, GOOD);
    }
    for path in [
        "/checkpoint",
        "tile/64/000",
        "tile/01/000",
        "tile/0/0",
        "tile/0/x000/001",
        "tile/0/x001/x001",
        "tile/0/1000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/8/0/000",
        "tile/data/000",
        "tile/entries/../000",
    ] {
        case(path, BAD);
    }
    section
}

pub(super) fn hash_tiles() -> Section {
    let mut section = Section::new("hash_tile");
    let bytes: Vec<u8> = [Hash::leaf(b"a"), Hash::leaf(b"b")]
        .iter()
        .flat_map(|h| *h.as_bytes())
        .collect();
    let input = |width: u16, bytes: &[u8]| json!({ "width": width, "tile_hex": encode_hex(bytes) });
    section.case("two hashes", GOOD, input(2, &bytes));
    section.case("one byte short", BAD, input(2, &bytes[..63]));
    section.case("wider than it says", BAD, input(1, &bytes));
    section.case("narrower than it says", BAD, input(3, &bytes));
    section
}

pub(super) fn entry_bundles() -> Section {
    let mut section = Section::new("entry_bundle");
    let input = |width: u16, hex: &str| json!({ "width": width, "bundle_hex": hex });
    section.case(
        "three entries, one empty",
        GOOD,
        input(3, "00016100000003626364"),
    );
    section.case("ends in a length", BAD, input(2, "00016100"));
    section.case("ends in an entry", BAD, input(2, "000161000262"));
    section.case("an entry more", BAD, input(1, "000161000162"));
    section.case("empty", BAD, input(1, ""));
    section
}
