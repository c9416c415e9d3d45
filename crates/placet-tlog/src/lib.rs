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
