//! How this program itself asks peers over HTTP.
//!
//! A [`Target`] is a URL that may be asked at all: over TLS, in clear text on this machine only. A
//! [`Trust`] says who may vouch for it. [`Leads`] says where its name may lead, judged once, on the
//! address that is then connected to. A [`Client`] asks one question within bounds and follows nothing. A [`Paced`]
//! connection waits for nobody who does not read, whoever asks over it.
//!
//! - **Architecture Invariant:** nothing here knows what is asked for, or decides whether it may be.

#![forbid(unsafe_code)]

mod ask;
mod paced;
mod target;
mod trust;

pub use ask::{Answer, Ask, Client, FetchError, Whole};
pub use paced::Paced;
pub use target::{Leads, Stream, Target, TargetError};
pub use trust::{Trust, TrustError};
