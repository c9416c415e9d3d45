//! Secrets at rest: names and values in one encrypted file, with a key of its own.
//!
//! [`Store`] is the seam. It keeps the file, changes it in two steps ([`Store::prepare`], then
//! [`Store::commit`] or [`Store::abandon`]) and gives values out by name. Each state of it has a
//! number, its version; whoever owns it says with every call which version counts, and one of
//! another version is refused. So an older copy of the file is noticed by whoever keeps the
//! version elsewhere: for Placet that is the evidence log.
//!
//! The format is written down in `spec/storage.md`. It knows no record, no policy and nobody who
//! asks: whether a value may be given out was settled before.
//!
//! Out of scope: what the value does after [`Secret::expose`].

#![forbid(unsafe_code)]

mod format;
mod key;
mod store;
mod value;

pub use format::{COUNT_MAX, FormatError, Sealed};
pub use key::{KeyError, StoreKey};
pub use store::{Change, Pending, Store, StoreError, StorePaths};
pub use value::{BYTES_MAX, Secret, SecretError};
