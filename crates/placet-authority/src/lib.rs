//! The decision service of a domain.
//!
//! [`Authority`] takes intents, decides each at the very index where its record will stand, makes
//! the record durable, and only then releases an artifact with its receipt. It takes starts, ends,
//! revocations and operators' acts in the same order. [`node`] serves one over a Unix socket.
//!
//! - **Architecture Invariant:** nothing is released before its record is durable.
//! - **Architecture Invariant:** the state is written by folding records and by nothing else.
//! - **Architecture Invariant:** only [`clock`] reads a clock, and what it says is recorded.

#![forbid(unsafe_code)]

pub mod access;
pub mod activate;
mod administration;
mod again;
mod approvals;
pub mod asked;
mod authority;
pub mod blobs;
pub mod clock;
pub mod control;
pub mod dir;
mod draft;
pub mod environment;
pub mod gateways;
pub mod host;
pub mod init;
pub mod keys;
mod later;
pub mod meters;
pub mod node;
mod opening;
mod payload;
mod policies;
mod prepare;
pub mod preview;
pub mod proofs;
pub mod questions;
mod queue;
mod random;
pub mod replay;
mod scopes;
pub mod secrets;
mod selectors;
mod sequence;
pub mod shadow;
mod sign;
mod snapshot;
mod standing;
mod starts;
pub mod submission;
pub mod suppose;
mod verifier;
mod work;

pub use authority::{Authority, REASON_BYTES_MAX, Running};
pub use control::{Act, ActError, ChangesReview, DefinitionReview, NotPermitted};
pub use opening::OpenError;
pub use sequence::OnEnding;
pub use submission::{Answer, Denied, EndReport, Permitted, SignalReport, Submission, Unavailable};
