//! The process gateway.
//!
//! A command becomes an intent; the artifact's scope becomes a cell; the cell runs while a
//! [`placet_enforce::Watch`] says so; its end becomes a record. A command inside a cell that asks
//! for another one goes through the cell's door, and its execution is a child of that cell's.
//!
//! - **Architecture Invariant:** this crate knows no policy. It sees intents, permits and outcomes.
//! - **Architecture Invariant:** the cell is computed from the verified artifact and from nothing
//!   else.

#![forbid(unsafe_code)]

pub mod attest;
mod born;
mod call;
mod cell;
pub mod changes;
mod conduct;
mod contacts;
mod cpu;
mod credentials;
pub mod door;
mod drift;
mod elsewhere;
mod ends;
mod gate;
mod inner;
mod kept;
mod network;
mod notes;
mod outcome;
mod peered;
mod program;
mod refusals;
pub mod resident;
mod run;
mod signals;
mod supervise;
pub mod terminal;

pub use call::{Call, CallError, Command, Waits, workspace};
pub use contacts::Contacts;
pub use drift::UnwatchableError;
pub use elsewhere::Notice;
pub use kept::Kept;
pub use outcome::{Outcome, RunError};
pub use program::{Program, ProgramError};
pub use run::{Gateway, pins};
pub use signals::end_by;
