//! The C2SP transparency log, as pure functions.
//!
//! [`tree`] is the Merkle tree of RFC 6962: growing it, proving, verifying. [`tile`] is the tree as
//! resources that a log serves. [`note`] and [`checkpoint`] are what a log and its witnesses sign.
//! [`policy`] says whose signatures suffice, and [`proof`] ties all of it together in one file.
//!
//! The crate can be used alone by a verifier who trusts nothing else of Placet. It stores nothing,
//! reads no clock and does no I/O; every decoder is bounded and takes exactly one form of each
//! value, so that what was parsed can be written again to the byte.
//!
//! Claims and knowledge have different types. [`checkpoint::SignedCheckpoint`] and
//! [`proof::LogProof`] decode freely and prove nothing; [`checkpoint::OpenedCheckpoint`],
//! [`policy::QuorumCheckpoint`] and [`proof::VerifiedInclusion`] are made by verification only.

//!
//! ```
//! use placet_tlog::{BatchTree, Checkpoint, Frontier, Hash, KeyName, LogProof, NoteSigner, Policy};
//! use placet_types::SigningKey;
//!
//! // The log appends a batch and signs the tree that it makes.
//! let seed = zeroize::Zeroizing::new([7; 32]);
//! let log = NoteSigner::new(KeyName::parse("log.example")?, SigningKey::from_seed(&seed));
//! let batch = BatchTree::new(&Frontier::new(), vec![Hash::leaf(b"one"), Hash::leaf(b"two")])?;
//! let checkpoint = Checkpoint::new(KeyName::parse("log.example")?, batch.size(), batch.root())?;
//! let proof = LogProof::new(1, batch.prove_inclusion(1)?, checkpoint.sign(&log)?).to_string();
//!
//! // Anyone with the policy and the entry verifies it.
//! let policy = Policy::parse(format!("log {}\nquorum none\n", log.verifier_key()).as_bytes())?;
//! let proof = LogProof::parse(proof.as_bytes())?;
//! assert_eq!(proof.verify(&policy, &Hash::leaf(b"two"))?.index(), 1);
//! assert!(proof.verify(&policy, &Hash::leaf(b"three")).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod hash;
pub mod note;
pub mod policy;
pub mod proof;
mod text;
pub mod tile;
pub mod tree;

pub use checkpoint::{Checkpoint, OpenedCheckpoint, SignedCheckpoint};
pub use hash::Hash;
pub use note::{CosignTime, Cosigner, KeyName, Note, NoteSigner, VerifierKey};
pub use policy::{Policy, QuorumCheckpoint};
pub use proof::{LogProof, VerifiedInclusion};
pub use tree::{BatchTree, ConsistencyProof, Frontier, InclusionProof};
