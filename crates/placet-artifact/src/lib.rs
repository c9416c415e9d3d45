//! The authorization artifact: issue, verify, receipt.
//!
//! This crate is pure: it knows no clock, no file, no socket and no randomness. A verifier who
//! trusts none of Placet's other code needs this crate, `placet-tlog` and `placet-types`. The
//! format is in `spec/artifact.md`.

#![forbid(unsafe_code)]

pub mod artifact;
pub mod claims;
pub mod dsse;
pub mod holder;
pub mod jws;
pub mod replay;

pub use artifact::{Artifact, IssueError, assemble, issue};
pub use claims::Claims;
pub use dsse::Envelope;
pub use holder::HolderProof;
pub use replay::{MemoryGuard, ReplayGuard};
