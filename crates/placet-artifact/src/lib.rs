//! The authorization artifact: issue, verify, receipt.
//!
//! This crate is pure: it knows no clock, no file, no socket and no randomness. A verifier who
//! trusts none of Placet's other code needs this crate, `placet-tlog` and `placet-types`. The
//! format is in `spec/artifact.md`.

#![forbid(unsafe_code)]

pub mod dsse;

pub use dsse::Envelope;
