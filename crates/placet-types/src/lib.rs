//! The words that every part of Placet shares.
//!
//! Ids, digests, keys, canonical JSON, time as a number, intents, scopes and denial codes. This
//! crate is pure: it knows no clock, no file, no socket, no randomness. What it makes is plain
//! data; nothing here authorizes anything.

#![forbid(unsafe_code)]

mod as_text;
pub mod call;
pub mod canonical;
pub mod commitment;
pub mod credential;
pub mod denial;
pub mod digest;
mod egress;
pub mod fixed;
pub mod id;
mod images;
pub mod intent;
pub mod key;
pub mod path;
pub mod peer;
pub mod question;
mod redaction;
pub mod scope;
pub mod spiffe;
pub mod thumbprint;
pub mod tier;
pub mod time;
pub mod trips;
pub mod uri;

pub use call::CallParams;
pub use commitment::{Commitment, Salt};
pub use credential::{Credential, CredentialForm, Credentials};
pub use denial::{Denial, DenialCode};
pub use digest::Digest;
pub use egress::Egress;
pub use fixed::{Fixed, FixedIntent, FixedScope};
pub use id::{
    ActionName, CredentialPath, DomainName, ExecutionId, GatewayName, Index, PlaceName,
    PrincipalId, ProfileName, SecretName, VariableName,
};
pub use images::Images;
pub use intent::{Asked, Intent, ProcessParams, ResourceRef};
pub use key::{KeyId, PublicKey, Signature, SigningKey};
pub use path::{AbsPath, PathSet};
pub use peer::{AddressRule, HostName, NameRule, PeerRule};
pub use question::{AskedAction, Party, Question, Sought, Span};
pub use redaction::{Redaction, RedactionSyntax};
pub use scope::{ExecCheck, Limits, Network, Scope, Writes};
pub use spiffe::{SpiffeId, SpiffeSyntax, TrustDomain};
pub use thumbprint::{Thumbprint, ThumbprintSyntax};
pub use tier::{Tier, Weakness};
pub use time::{Millis, Seconds};
pub use trips::{Trip, Trips};
