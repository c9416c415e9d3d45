//! The core of every gateway (the PEP of NIST SP 800-162).
//!
//! [`Pep::admit`] turns an artifact and its receipt into a [`Permit`], by verifying them against
//! the actual call. A gateway acts only with a permit, which it gives up by acting. [`Watch`] says
//! how long what runs may go on, and [`Meter`] when its behaviour has gone too far.
//!
//! - **Architecture Invariant:** this crate knows no gateway, no policy and no log.
//! - **Architecture Invariant:** it reads no clock; whoever calls brings the time.

#![forbid(unsafe_code)]

mod meter;
mod pep;
mod watch;

pub use meter::{Meter, Tripped};
pub use pep::{Call, Pep, Permit};
pub use watch::{Event, Verdict, Watch};
