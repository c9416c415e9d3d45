//! The record vocabulary: everything that is ever true in a Placet domain is one of these.
//!
//! A log entry is a DSSE envelope over an in-toto Statement v1, one predicate type per kind and
//! version, signed by the node's record key. This crate encodes and decodes entries; it gives them
//! no order, keeps none, and decides nothing. A decoded record is a fact about the past: it
//! authorizes nothing.
//!
//! Entries hold no raw parameters and no outputs, only salted commitments.

#![forbid(unsafe_code)]

mod administration;
mod answered;
mod approval;
mod attestation;
mod attested;
mod born;
mod connections;
mod definition;
mod ending;
mod entry;
mod facts;
mod list;
mod payloads;
mod principal;
pub mod proof_bundle;
mod record;
mod secret;
mod shadow;
mod signal;
mod usage;

pub use administration::{AdministrativeAct, DOMAIN_KIND, GATEWAY, PREFIX};
pub use answered::{Answered, FoundBySearch, QuestionOutcome};
pub use approval::{APPROVAL_TYPE, Approval, ApprovalStatement, Needed, Verdict, Waiting};
pub use attestation::{
    ATTESTATION_BYTES_MAX, ATTESTATION_TYPE, Appraisal, AppraisalStatus, Attestation,
    AttestationError, AttestationStatement, Backing, Claim, Nonce, NonceSyntax, QuotePart,
    TpmQuote,
};
pub use born::{BORN_MAX, Born, BornProgram, Maker};
pub use connections::{CONNECTIONS_MAX, Connection, ConnectionOutcome, ConnectionWay, Connections};
pub use definition::DefinitionApproved;
pub use ending::{Halt, Resumed, Revoked, Selector};
pub use entry::{Entry, EntryError, Glance, Opened, PREDICATE_PREFIX};
pub use facts::{Caller, Environment, Facts, History, Risk, TokenIdentity};
pub use payloads::{ChangesAct, ChangesReviewed, Erased};
pub use principal::{PrincipalRecord, PrincipalStatus};
pub use record::{
    CheckedDenial, Decided, Ended, Exit, Genesis, Grant, Keys, KindName, NETWORK_UID, Operators,
    Outcome, PolicyActivated, PolicyRef, Record, Refused, RunEnd, Stage, Started,
};
pub use secret::{SecretChange, SecretRecord};
pub use shadow::{Shadow, ShadowBundle};
pub use signal::{Signal, SignalKind};
pub use usage::{ChangeSummary, NetworkUsage, OutputUsage, Usage};
