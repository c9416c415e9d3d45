//! Policy bundles: strict reading, signatures, compiled Cedar with an index, profiles, tests.
//!
//! A bundle is a directory of Cedar policies and what belongs to them ([`Bundle`]); compiled it is
//! a [`Policy`], which answers a [`Request`] with an [`Evaluation`]: pure, deterministic, at the
//! same cost from ten policies to ten thousand. What a permit is carried out with is a [`Profile`].
//! The formats are written down in `spec/policy.md`.
//!
//! This crate is pure: it knows no clock, no file, no socket, no randomness. It authorizes nothing:
//! an evaluation is one of the ten checks of a decision.

#![forbid(unsafe_code)]

mod bundle;
mod diff;
mod directory;
mod entities;
mod explain;
mod fmt;
mod glob;
mod identities;
mod links;
mod lint;
mod pattern;
mod policy;
mod problem;
mod profile;
mod reference;
mod request;
mod strict;
mod suite;
#[cfg(test)]
mod testing;

pub use bundle::{
    About, ArchiveError, Bundle, BundleFiles, MEMBERS_MAX, Manifest, PAYLOAD_TYPE, SIGNATURE_FILE,
    SignatureError, TOTAL_BYTES_MAX, Validity, Vocabulary, sign,
};
pub use diff::{BundleDiff, diff};
pub use directory::ENTITIES_MAX;
pub use explain::{Account, Condition, Explanation, Holds, explain};
pub use fmt::fmt;
pub use identities::Mapping;
pub use lint::lint;
pub use pattern::Pattern;
pub use policy::{
    Approvals, Asked, Effect, Evaluation, Fault, Obligations, Policy, Rule, ShadowMismatch, Who,
    source,
};
pub use problem::{Problem, Severity};
pub use profile::{Profile, Vars};
pub use reference::{Appraised, Demand, Demands, Presented, References, Warned};
pub use request::{Circumstances, Given, NEVER_SECS, Request};
pub use suite::{TestReport, TestResult, run_tests};
