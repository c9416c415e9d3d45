//! The evidence log as something that lasts: who writes it, who reads it, what is on the disk.
//!
//! [`Sequencer`] is the contract of every backend; [`MemoryLog`] and [`FileLog`] are the two here,
//! and `conformance` (a feature) is the suite that both pass. [`LogReader`] reads either while it
//! is written. [`fsck`] checks a directory without trusting any of it but the log's key.
//!
//! The on-disk format and the argument for its durability are in `spec/storage.md`.
//!
//! - **Architecture Invariant:** this crate knows no record, no clock and no network. Entries are
//!   bytes; what they mean is for others.
//! - **Architecture Invariant:** nothing is acknowledged before `fdatasync` returned without error,
//!   and after any failed write the writer stops.

#![forbid(unsafe_code)]

mod bytes;
#[cfg(feature = "conformance")]
pub mod conformance;
mod export;
mod file;
pub mod fsck;
mod memory;
mod reader;
mod sequencer;
pub mod snapshots;
mod tree;
mod vouch;

pub use export::{ExportError, Exported};
pub use file::{EntryCheck, FileLog, FileOptions, OpenError, Opened, Recovery};
pub use fsck::damage::Damage;
pub use memory::MemoryLog;
pub use reader::{Entries, LogReader, Payload, ReadError};
pub use sequencer::{
    AppendError, Appended, BatchError, EraseError, Fault, Item, MAX_BATCH_BYTES, MAX_BATCH_ITEMS,
    MAX_PAYLOAD_BYTES, Sequencer, Step,
};
