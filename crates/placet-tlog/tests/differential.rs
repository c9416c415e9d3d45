//! The tree, its tiles and its notes against implementations that share no code with this one:
//! `ct-merkle`, `sigstore-merkle`, `tlog_tiles` and `signed_note` (the last two are ports of Go's).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use placet_tlog::hash::Hash;
use placet_tlog::note::{KeyName, Note, NoteSigner, VerifierKey};
use placet_tlog::tile::{EdgeTiles, TileId};
use placet_tlog::tree::{
    ConsistencyProof, HashReader, InclusionProof, NodeId, prove_consistency, prove_inclusion,
    read_root,
};
use placet_tlog::{Checkpoint, SignedCheckpoint};
use placet_types::key::SigningKey;
use proptest::prelude::*;
use sha2::Sha256;
use signed_note::{StandardVerifier, VerifierList};
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme};
use sigstore_types::{HashAlgorithm, Sha256Hash};
use zeroize::Zeroizing;

const SIZES: u64 = 300;

/// The SHA-256 that `sigstore-merkle` asks its user for. The tree it builds of it is its own.
#[derive(Debug)]
struct PlainSha256;

struct Sha256Context(Sha256);

impl HashContext for Sha256Context {
    fn update(&mut self, data: &[u8]) {
        sha2::Digest::update(&mut self.0, data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        sha2::Digest::finalize(self.0).to_vec()
    }
}

impl CryptoProvider for PlainSha256 {
    fn hash(&self, algorithm: HashAlgorithm) -> sigstore_crypto::Result<Box<dyn HashContext>> {
        if algorithm != HashAlgorithm::Sha2256 {
            return Err(Error::UnsupportedAlgorithm(format!("{algorithm:?}")));
        }
        Ok(Box::new(Sha256Context(Sha256::default())))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        _key: &[u8],
        _data: &[u8],
        _signature: &[u8],
    ) -> sigstore_crypto::Result<()> {
        Err(Error::UnsupportedAlgorithm(format!("{scheme:?}")))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        _key: &[u8],
        _digest: &[u8],
        _signature: &[u8],
    ) -> sigstore_crypto::Result<()> {
        Err(Error::UnsupportedAlgorithm(format!("{scheme:?}")))
    }
}

/// Whether `sigstore-merkle` takes the inclusion proof.
fn sigstore_inclusion(leaf: Hash, index: u64, size: u64, hashes: &[Hash], root: Hash) -> bool {
    // Another test of this process may have installed it before: the same one.
    let _earlier = sigstore_crypto::install_default_provider(&PlainSha256).is_err();
    let (leaf, root, proof) = (
        to_sigstore(&leaf),
        to_sigstore(&root),
        all(hashes, to_sigstore),
    );
    sigstore_merkle::verify_inclusion_proof(&leaf, index, size, &proof, &root).is_ok()
}

/// Whether `sigstore-merkle` takes the consistency proof.
fn sigstore_consistency(old: (u64, Hash), new: (u64, Hash), hashes: &[Hash]) -> bool {
    let _earlier = sigstore_crypto::install_default_provider(&PlainSha256).is_err();
    let (old_root, new_root) = (to_sigstore(&old.1), to_sigstore(&new.1));
    let proof = all(hashes, to_sigstore);
    sigstore_merkle::verify_consistency_proof(old.0, new.0, &proof, &old_root, &new_root).is_ok()
}

fn entry(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// All hashes of a tree, made and laid out by `tlog_tiles`.
struct Stored(Vec<tlog_tiles::Hash>);

impl Stored {
    fn new(size: u64) -> Self {
        let mut stored = Self(Vec::new());
        for index in 0..size {
            let made = tlog_tiles::stored_hashes(index, &entry(index), &stored).unwrap();
            stored.0.extend(made);
        }
        stored
    }

    fn root(&self, size: u64) -> Hash {
        Hash::new(tlog_tiles::tree_hash(size, self).unwrap().0)
    }
}

impl tlog_tiles::HashReader for Stored {
    fn read_hashes(&self, at: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(at.iter().map(|at| self.0[*at as usize]).collect())
    }
}

impl HashReader for Stored {
    type Error = std::convert::Infallible;

    fn read_hashes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, Self::Error> {
        let at = |node: &NodeId| tlog_tiles::stored_hash_index(node.level(), node.index());
        Ok(nodes
            .iter()
            .map(|node| Hash::new(self.0[at(node) as usize].0))
            .collect())
    }
}

fn to_go(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.as_bytes())
}

fn to_sigstore(hash: &Hash) -> Sha256Hash {
    Sha256Hash::new(*hash.as_bytes())
}

fn all<T>(hashes: &[Hash], to: impl Fn(&Hash) -> T) -> Vec<T> {
    hashes.iter().map(to).collect()
}

fn concat(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

#[test]
fn roots_and_proofs_equal_those_of_tlog_tiles() {
    let stored = Stored::new(SIZES);
    for size in 1..=SIZES {
        assert_eq!(read_root(size, &stored).unwrap(), stored.root(size));
        for other in 0..size {
            let ours = prove_inclusion(other, size, &stored).unwrap();
            let theirs = tlog_tiles::prove_record(size, other, &stored).unwrap();
            assert_eq!(all(ours.hashes(), to_go), theirs, "leaf {other} of {size}");
            let old = other + 1;
            let ours = prove_consistency(old, size, &stored).unwrap();
            let theirs = tlog_tiles::prove_tree(size, old, &stored).unwrap();
            assert_eq!(all(ours.hashes(), to_go), theirs, "{old} to {size}");
        }
    }
}

#[test]
fn roots_and_proofs_equal_those_of_ct_merkle() {
    let stored = Stored::new(SIZES);
    let mut tree = MemoryBackedTree::<Sha256, _>::new();
    for size in 1..=SIZES {
        tree.push(entry(size - 1));
        let root = read_root(size, &stored).unwrap();
        assert_eq!(tree.root().as_bytes().as_slice(), root.as_bytes());
        for other in (0..size).step_by(7) {
            let ours = prove_inclusion(other, size, &stored).unwrap();
            let theirs = tree.prove_inclusion(other as usize);
            assert_eq!(
                concat(ours.hashes()),
                theirs.as_bytes(),
                "leaf {other} of {size}"
            );
            if other > 0 {
                let ours = prove_consistency(other, size, &stored).unwrap();
                let theirs = tree.prove_consistency((size - other) as usize);
                assert_eq!(
                    concat(ours.hashes()),
                    theirs.as_bytes(),
                    "{other} to {size}"
                );
            }
        }
    }
}

#[test]
fn tiles_equal_those_of_tlog_tiles() {
    let stored = Stored::new(2000);
    let mut edge = EdgeTiles::new();
    let mut old = 0;
    for new in [1, 2, 255, 256, 257, 511, 512, 1000, 2000] {
        let leaves: Vec<Hash> = (old..new).map(|n| Hash::leaf(&entry(n))).collect();
        let ours = edge.extend(&leaves).unwrap();
        let theirs = tlog_tiles::Tile::new_tiles(8, old, new);
        let ids: Vec<TileId> = TileId::changed(old, new).collect();
        assert_eq!(
            (ids.len(), ours.len()),
            (theirs.len(), theirs.len()),
            "{old} to {new}"
        );
        for ((tile, id), other) in ours.iter().zip(ids).zip(theirs) {
            let place = (id.level(), id.index(), u32::from(id.width().get()));
            assert_eq!(place, (other.level(), other.level_index(), other.width()));
            assert_eq!(
                (tile.id(), tile.encode()),
                (id, other.read_data(&stored).unwrap())
            );
        }
        old = new;
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn signed_checkpoint() -> (SignedCheckpoint, VerifierKey) {
    let name = KeyName::parse("example.com/log").unwrap();
    let signer = NoteSigner::new(name.clone(), key(1));
    let checkpoint = Checkpoint::new(name, 1234, Hash::leaf(b"root")).unwrap();
    (
        checkpoint.sign(&signer).unwrap(),
        signer.verifier_key().clone(),
    )
}

/// Whether `signed_note` finds the note valid under the key.
fn their_verdict(bytes: &[u8], key: &VerifierKey) -> bool {
    let known = VerifierList::new(vec![Box::new(
        StandardVerifier::new(&key.to_string()).unwrap(),
    )]);
    signed_note::Note::from_bytes(bytes).is_ok_and(|note| note.verify(&known).is_ok())
}

#[test]
fn signed_note_and_tlog_tiles_read_what_we_sign() {
    let (signed, key) = signed_checkpoint();
    let bytes = signed.to_string().into_bytes();
    assert!(their_verdict(&bytes, &key));
    let theirs = signed_note::Note::from_bytes(&bytes).unwrap();
    let body = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((body.origin(), body.size()), ("example.com/log", 1234));
    assert_eq!(
        (body.hash().0, body.extension()),
        (*signed.claim().root().as_bytes(), "")
    );
}

#[test]
fn we_read_what_signed_note_signs() {
    let name = KeyName::parse("example.com/other").unwrap();
    let key = key(7);
    let vkey = NoteSigner::new(name, SigningKey::from_seed(&key.seed()))
        .verifier_key()
        .clone();
    let private = base64_of(&[[1].as_slice(), key.seed().as_slice()].concat());
    let skey = format!("PRIVATE+KEY+{}+{}+{private}", vkey.name(), vkey.id());
    let signer = signed_note::StandardSigner::new(&skey).unwrap();
    let mut note = signed_note::Note::new(b"a text\n\nof two paragraphs\n", &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let ours = Note::parse(&note.to_bytes()).unwrap();
    assert_eq!(ours.text(), "a text\n\nof two paragraphs\n");
    assert_eq!(ours.verify(&[&vkey]).unwrap().len(), 1);
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

proptest! {
    /// Proofs that fit and proofs that do not: three verifiers, one verdict.
    #[test]
    fn three_verifiers_agree_on_inclusion(
        size in 1_u64..200, index in 0_u64..200, claimed in 0_u64..200, leaf in 0_u64..200,
        cut in 0_usize..3,
    ) {
        let stored = Stored::new(200);
        let index = index % size;
        let mut hashes = prove_inclusion(index, size, &stored).unwrap().hashes().to_vec();
        hashes.truncate(hashes.len().saturating_sub(cut.saturating_sub(1)));
        let (root, leaf) = (stored.root(claimed), Hash::leaf(&entry(leaf)));
        let ours = InclusionProof::new(hashes.clone()).unwrap();
        let ours = ours.verify(&leaf, index, claimed, &root).is_ok();
        let proof = all(&hashes, to_go);
        let go = index < claimed
            && tlog_tiles::check_record(&proof, claimed, to_go(&root), index, to_go(&leaf)).is_ok();
        let sigstore = sigstore_inclusion(leaf, index, claimed, &hashes, root);
        prop_assert_eq!((ours, ours), (go, sigstore));
    }

    /// Mutations of a proof that fits, so that both verdicts occur.
    #[test]
    fn three_verifiers_agree_on_altered_inclusion_proofs(
        size in 2_u64..200, index in 0_u64..200, what in 0_u8..4, at in any::<usize>(),
    ) {
        let stored = Stored::new(size);
        let index = index % size;
        let mut hashes = prove_inclusion(index, size, &stored).unwrap().hashes().to_vec();
        let (mut leaf, mut root) = (Hash::leaf(&entry(index)), stored.root(size));
        match what {
            0 => {}
            1 => leaf = flip(leaf, at),
            2 => root = flip(root, at),
            _ => {
                let at = at % hashes.len();
                hashes[at] = flip(hashes[at], at);
            }
        }
        let ours = InclusionProof::new(hashes.clone()).unwrap();
        let ours = ours.verify(&leaf, index, size, &root).is_ok();
        let go = tlog_tiles::check_record(
            &all(&hashes, to_go), size, to_go(&root), index, to_go(&leaf),
        );
        let sigstore = sigstore_inclusion(leaf, index, size, &hashes, root);
        prop_assert_eq!((ours, ours, ours), (go.is_ok(), sigstore, what == 0));
    }

    #[test]
    fn three_verifiers_agree_on_consistency(
        size in 1_u64..200, old in 1_u64..200, claimed in 1_u64..200, cut in 0_usize..3,
    ) {
        let stored = Stored::new(200);
        let old = 1 + old % size;
        let mut hashes = prove_consistency(old, size, &stored).unwrap().hashes().to_vec();
        hashes.truncate(hashes.len().saturating_sub(cut.saturating_sub(1)));
        let (old_root, root) = (stored.root(old), stored.root(claimed));
        let ours = ConsistencyProof::new(hashes.clone()).unwrap();
        let ours = ours.verify(old, &old_root, claimed, &root).is_ok();
        let proof = all(&hashes, to_go);
        let go = old <= claimed
            && tlog_tiles::check_tree(&proof, claimed, to_go(&root), old, to_go(&old_root)).is_ok();
        let sigstore = sigstore_consistency((old, old_root), (claimed, root), &hashes);
        prop_assert_eq!((ours, ours), (go, sigstore));
    }

    /// One byte changed, or none: the verdicts are the same.
    #[test]
    fn we_and_signed_note_agree_on_altered_checkpoints(at in any::<usize>(), to in any::<u8>()) {
        let (signed, key) = signed_checkpoint();
        let mut bytes = signed.to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        let ours = SignedCheckpoint::parse(&bytes).is_ok_and(|parsed| parsed.open(&[&key]).is_ok());
        prop_assert_eq!(ours, their_verdict(&bytes, &key));
    }
}

fn flip(hash: Hash, at: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[at % 32] ^= 1;
    Hash::new(bytes)
}
