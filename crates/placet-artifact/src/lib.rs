//! The authorization artifact: issue, verify, receipt.
//!
//! An artifact is a signed statement of authority for one intent that anyone can verify offline: a
//! JWS over [`Claims`], accompanied by a [`Receipt`] which proves that the decision is in the
//! domain's log. [`issue`] makes one; a [`Verifier`] turns one, together with the actual call, into
//! [`Verified`], which is all that a gateway acts on. [`dsse`] is the envelope of every record.
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
pub mod receipt;
pub mod replay;
pub mod verify;

pub use artifact::{Artifact, IssueError, Unsigned, assemble, issue};
pub use claims::Claims;
pub use dsse::Envelope;
pub use holder::{Holder, HolderProof};
pub use receipt::Receipt;
pub use replay::{MemoryGuard, OrderGuard, ReplayGuard};
pub use verify::{Audited, Expected, Pins, Presented, Refusal, Step, Verified, Verifier};
