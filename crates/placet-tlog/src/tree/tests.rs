//! Every function of the tree against RFC 6962's recursive definitions, written down naively.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::hash::Hash;

/// RFC 6962's definitions over all leaves, as ranges; the hash of each range is kept once made.
struct Naive {
    leaves: Vec<Hash>,
    made: RefCell<HashMap<Range<usize>, Hash>>,
}

impl Naive {
    fn new(count: usize) -> Self {
        Self {
            leaves: leaves(count),
            made: RefCell::default(),
        }
    }

    /// MTH(D[n]) of section 2.1.
    fn mth(&self, range: Range<usize>) -> Hash {
        if let Some(hash) = self.made.borrow().get(&range) {
            return *hash;
        }
        let hash = match range.len() {
            0 => Hash::EMPTY_ROOT,
            1 => self.leaves[range.start],
            _ => {
                let (left, right) = halves(&range);
                Hash::node(&self.mth(left), &self.mth(right))
            }
        };
        self.made.borrow_mut().insert(range, hash);
        hash
    }

    /// PATH(m, D[n]) of section 2.1.1, with m counted from the first leaf of all.
    fn path(&self, m: usize, range: Range<usize>) -> Vec<Hash> {
        if range.len() < 2 {
            return Vec::new();
        }
        let (left, right) = halves(&range);
        let (inner, sibling) = if left.contains(&m) {
            (left, right)
        } else {
            (right, left)
        };
        let mut proof = self.path(m, inner);
        proof.push(self.mth(sibling));
        proof
    }

    /// SUBPROOF(m, D[n], b) of section 2.1.2, with m counted from the first leaf of all.
    fn subproof(&self, m: usize, range: Range<usize>, whole: bool) -> Vec<Hash> {
        if m == range.end {
            return if whole {
                Vec::new()
            } else {
                vec![self.mth(range)]
            };
        }
        let (left, right) = halves(&range);
        let (mut proof, sibling) = if m <= left.end {
            (self.subproof(m, left, whole), right)
        } else {
            (self.subproof(m, right, false), left)
        };
        proof.push(self.mth(sibling));
        proof
    }
}

fn halves(range: &Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len().next_power_of_two() / 2;
    (range.start..middle, middle..range.end)
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|n| Hash::leaf(&n.to_be_bytes())).collect()
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

impl HashReader for Naive {
    type Error = Infallible;

    fn read_hashes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, Infallible> {
        let of = |node: &NodeId| {
            let end = usize::try_from(node.end()).unwrap();
            self.mth(end - (1 << node.level())..end)
        };
        Ok(nodes.iter().map(of).collect())
    }
}

fn frontier_of(leaves: &[Hash]) -> Frontier {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.append(*leaf).unwrap();
    }
    frontier
}

const EXHAUSTIVE: usize = 300;

#[test]
fn the_root_of_the_frontier_is_the_merkle_tree_hash() {
    let all = Naive::new(1030);
    let mut frontier = Frontier::new();
    for (index, leaf) in all.leaves.iter().enumerate() {
        let size = wide(index);
        assert_eq!(frontier.root(), all.mth(0..index));
        assert_eq!(frontier, Frontier::read(size, &all).unwrap());
        assert_eq!(
            Frontier::restore(size, frontier.edge().to_vec()),
            Ok(frontier.clone())
        );
        assert_eq!(frontier.append(*leaf), Ok(size));
    }
}

#[test]
fn every_inclusion_proof_is_the_path_of_rfc_6962_and_verifies() {
    let all = Naive::new(EXHAUSTIVE);
    for len in 0..=EXHAUSTIVE {
        let (size, root) = (wide(len), all.mth(0..len));
        assert_eq!(read_root(size, &all), Ok(root));
        for at in 0..len {
            let index = wide(at);
            let proof = prove_inclusion(index, size, &all).unwrap();
            assert_eq!(
                proof.hashes(),
                all.path(at, 0..len),
                "leaf {index} of {size}"
            );
            assert_eq!(proof.verify(&all.leaves[at], index, size, &root), Ok(()));
        }
        let none = ProveError::NoSuchLeaf { index: size, size };
        assert_eq!(prove_inclusion(size, size, &all), Err(none));
    }
}

#[test]
fn every_consistency_proof_is_the_proof_of_rfc_6962_and_verifies() {
    let all = Naive::new(EXHAUSTIVE);
    for new in 0..=EXHAUSTIVE {
        for old in 0..=new {
            let (m, n) = (wide(old), wide(new));
            let (old_root, new_root) = (all.mth(0..old), all.mth(0..new));
            let proof = prove_consistency(m, n, &all).unwrap();
            let expected = if old == 0 {
                vec![]
            } else {
                all.subproof(old, 0..new, true)
            };
            assert_eq!(proof.hashes(), expected, "{old} to {new}");
            assert_eq!(proof.verify(m, &old_root, n, &new_root), Ok(()));
            let shrinks = Err(ConsistencyError::Shrinks { old: n + 1, new: m });
            assert_eq!(proof.verify(n + 1, &new_root, m, &old_root), shrinks);
        }
    }
    assert_eq!(
        prove_consistency(2, 1, &all),
        Err(ProveError::Shrinks { old: 2, new: 1 })
    );
}

#[test]
fn batch_proofs_equal_those_of_a_reader_for_every_split() {
    let all = Naive::new(70);
    for old in 0..=70 {
        let before = frontier_of(&all.leaves[..old]);
        for new in old..=70 {
            let (m, n) = (wide(old), wide(new));
            let batch = BatchTree::new(&before, all.leaves[old..new].to_vec()).unwrap();
            assert_eq!((batch.old_size(), batch.size()), (m, n));
            assert_eq!(batch.root(), all.mth(0..new), "{old} to {new}");
            assert_eq!(batch.frontier(), Frontier::read(n, &all).unwrap());
            assert_eq!(
                batch.prove_consistency().unwrap(),
                prove_consistency(m, n, &all).unwrap()
            );
            for index in m..n {
                let expected = prove_inclusion(index, n, &all).unwrap();
                assert_eq!(
                    batch.prove_inclusion(index).unwrap(),
                    expected,
                    "{old}..{new} {index}"
                );
                assert_eq!(prove_inclusion(index, n, &batch).unwrap(), expected);
            }
            let beyond = Err(ProveError::NoSuchLeaf { index: n, size: n });
            assert_eq!(batch.prove_inclusion(n), beyond);
        }
    }
}

#[test]
fn a_batch_knows_nothing_of_older_leaves() {
    let all = leaves(9);
    let batch = BatchTree::new(&frontier_of(&all[..8]), all[8..].to_vec()).unwrap();
    assert!(matches!(
        batch.prove_inclusion(0),
        Err(ProveError::Read(OutsideBatch(_)))
    ));
}

#[test]
fn a_proof_of_another_length_is_refused_before_its_hashes_matter() {
    let all = Naive::new(13);
    let (root, old_root) = (all.mth(0..13), all.mth(0..6));
    for (index, leaf) in (0..13).zip(&all.leaves) {
        let hashes = prove_inclusion(index, 13, &all).unwrap().hashes().to_vec();
        for bad in other_lengths(&hashes, root) {
            let verdict = InclusionProof::new(bad)
                .unwrap()
                .verify(leaf, index, 13, &root);
            assert_eq!(verdict, Err(InclusionError::Length { index, size: 13 }));
        }
    }
    let hashes = prove_consistency(6, 13, &all).unwrap().hashes().to_vec();
    for bad in other_lengths(&hashes, root) {
        let verdict = ConsistencyProof::new(bad)
            .unwrap()
            .verify(6, &old_root, 13, &root);
        assert_eq!(verdict, Err(ConsistencyError::Length { old: 6, new: 13 }));
    }
}

fn other_lengths(hashes: &[Hash], more: Hash) -> [Vec<Hash>; 3] {
    [[hashes, &[more]].concat(), hashes[1..].to_vec(), Vec::new()]
}

#[test]
fn consistency_without_hashes_still_compares_roots() {
    let (a, b) = (Hash::leaf(b"a"), Hash::leaf(b"b"));
    let none = ConsistencyProof::default();
    assert_eq!(none.verify(0, &Hash::EMPTY_ROOT, 1, &a), Ok(()));
    assert_eq!(
        none.verify(0, &b, 1, &a),
        Err(ConsistencyError::OldRootMismatch)
    );
    assert_eq!(
        none.verify(1, &a, 1, &b),
        Err(ConsistencyError::NewRootMismatch)
    );
    let one = ConsistencyProof::new(vec![a]).unwrap();
    let length = |old, new| Err(ConsistencyError::Length { old, new });
    assert_eq!(one.verify(0, &Hash::EMPTY_ROOT, 1, &a), length(0, 1));
    assert_eq!(one.verify(1, &a, 1, &a), length(1, 1));
}

#[test]
fn sizes_beyond_the_limit_are_refused_and_the_limit_itself_works() {
    let (leaf, over) = (Hash::leaf(b""), MAX_SIZE + 1);
    let none = InclusionProof::default();
    let refused = Err(InclusionError::SizeBeyondLimit(over));
    assert_eq!(none.verify(&leaf, 0, over, &leaf), refused);
    let refused = Err(ConsistencyError::SizeBeyondLimit(over));
    assert_eq!(
        ConsistencyProof::default().verify(1, &leaf, over, &leaf),
        refused
    );
    assert_eq!(
        Frontier::restore(over, vec![leaf]),
        Err(FrontierError::Size(over))
    );
    let hashes = vec![leaf; 63];
    let wrong = Err(FrontierError::Count {
        expected: 63,
        found: 62,
    });
    assert_eq!(Frontier::restore(MAX_SIZE, hashes[1..].to_vec()), wrong);
    let mut full = Frontier::restore(MAX_SIZE, hashes).unwrap();
    assert_eq!(full.append(leaf), Err(TreeFull));
    assert_eq!(BatchTree::new(&full, vec![leaf]).unwrap_err(), TreeFull);
    assert_eq!(full.size(), MAX_SIZE);
    assert_eq!(NodeId::leaf(MAX_SIZE), None);
    assert_eq!(NodeId::new(62, 0).map(NodeId::end), Some(1 << 62));
    assert_eq!((NodeId::new(62, 1), NodeId::new(63, 0)), (None, None));
}

#[test]
fn the_last_leaves_of_the_largest_tree_are_proven() {
    let size = MAX_SIZE - 3;
    let edge: Vec<Hash> = right_edge(size)
        .iter()
        .map(|n| Hash::leaf(&[n.level()]))
        .collect();
    let before = Frontier::restore(size, edge).unwrap();
    let added = leaves(3);
    let batch = BatchTree::new(&before, added.clone()).unwrap();
    for (index, leaf) in (size..).zip(&added) {
        let proof = batch.prove_inclusion(index).unwrap();
        assert!(proof.hashes().len() <= 63);
        assert_eq!(proof.verify(leaf, index, MAX_SIZE, &batch.root()), Ok(()));
    }
    let proof = batch.prove_consistency().unwrap();
    assert_eq!(
        proof.verify(size, &before.root(), MAX_SIZE, &batch.root()),
        Ok(())
    );
}

#[test]
fn proofs_longer_than_any_tree_are_no_proofs() {
    let hashes = vec![Hash::EMPTY_ROOT; MAX_PROOF_HASHES + 1];
    assert_eq!(InclusionProof::new(hashes.clone()), Err(ProofTooLong(65)));
    assert_eq!(ConsistencyProof::new(hashes), Err(ProofTooLong(65)));
}

/// Gives one hash too few.
struct Short(Naive);

impl HashReader for Short {
    type Error = Infallible;

    fn read_hashes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, Infallible> {
        let mut hashes = self.0.read_hashes(nodes)?;
        hashes.pop();
        Ok(hashes)
    }
}

#[test]
fn a_reader_that_gives_too_little_is_named() {
    let reader = Short(Naive::new(5));
    let count = |asked| ProveError::ReaderCount {
        asked,
        found: asked - 1,
    };
    assert_eq!(prove_inclusion(0, 5, &reader), Err(count(3)));
    assert_eq!(prove_consistency(3, 5, &reader), Err(count(4)));
    assert_eq!(read_root(5, &reader), Err(count(2)));
    assert_eq!(Frontier::read(5, &reader), Err(count(2)));
}

proptest! {
    #[test]
    fn any_changed_byte_or_index_breaks_an_inclusion_proof(
        len in 2_usize..300, pick in any::<usize>(), at in any::<usize>(), bit in 0_u32..8,
    ) {
        let all = Naive::new(len);
        let (root, leaf) = (all.mth(0..len), all.leaves[pick % len]);
        let (index, size) = (wide(pick % len), wide(len));
        let proof = prove_inclusion(index, size, &all).unwrap();
        let mut hashes = proof.hashes().to_vec();
        let which = at % hashes.len();
        hashes[which] = flip(hashes[which], at, bit);
        let bad = InclusionProof::new(hashes).unwrap();
        let mismatch = Err(InclusionError::RootMismatch);
        prop_assert_eq!(bad.verify(&leaf, index, size, &root), mismatch);
        prop_assert_eq!(proof.verify(&flip(leaf, at, bit), index, size, &root), mismatch);
        prop_assert_eq!(proof.verify(&leaf, index, size, &flip(root, at, bit)), mismatch);
        let other = wide((pick % len + 1 + at % (len - 1)) % len);
        prop_assert!(proof.verify(&leaf, other, size, &root).is_err());
    }

    #[test]
    fn any_changed_byte_breaks_a_consistency_proof(
        len in 2_usize..300, pick in any::<usize>(), at in any::<usize>(), bit in 0_u32..8,
    ) {
        let all = Naive::new(len);
        let shorter = 1 + pick % (len - 1);
        let (old_root, new_root) = (all.mth(0..shorter), all.mth(0..len));
        let (old, new) = (wide(shorter), wide(len));
        let proof = prove_consistency(old, new, &all).unwrap();
        let mut hashes = proof.hashes().to_vec();
        let which = at % hashes.len();
        hashes[which] = flip(hashes[which], at, bit);
        let bad = ConsistencyProof::new(hashes).unwrap();
        prop_assert!(bad.verify(old, &old_root, new, &new_root).is_err());
        prop_assert!(proof.verify(old, &flip(old_root, at, bit), new, &new_root).is_err());
        prop_assert!(proof.verify(old, &old_root, new, &flip(new_root, at, bit)).is_err());
    }

    #[test]
    fn batches_of_any_sizes_grow_the_same_tree(sizes in prop::collection::vec(0_usize..90, 1..6)) {
        let all = Naive::new(sizes.iter().sum());
        let (mut frontier, mut end) = (Frontier::new(), 0);
        for size in sizes {
            let start = end;
            end += size;
            let batch = BatchTree::new(&frontier, all.leaves[start..end].to_vec()).unwrap();
            for index in start..end {
                let proof = batch.prove_inclusion(wide(index)).unwrap();
                prop_assert_eq!(proof.hashes(), all.path(index, 0..end));
            }
            frontier = batch.frontier();
            prop_assert_eq!(frontier.root(), all.mth(0..end));
        }
    }
}

fn flip(hash: Hash, at: usize, bit: u32) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[at % 32] ^= 1 << bit;
    Hash::new(bytes)
}
