//! Entry bundles: log entries, each after its length in two big-endian bytes (C2SP tlog-tiles,
//! "Log entries").

use crate::tile::{FULL_WIDTH, Width};

/// Longest entry: what its two length bytes can say.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// Largest bundle: 256 entries of [`MAX_ENTRY_BYTES`], each with its length, about 16 MiB.
pub const MAX_BUNDLE_BYTES: usize = (MAX_ENTRY_BYTES + 2) * FULL_WIDTH as usize;

/// An entry of more than [`MAX_ENTRY_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log entry has at most {MAX_ENTRY_BYTES} bytes, not {0}")]
pub struct EntryTooLong(pub usize);

/// Why a bundle was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The bytes end inside entry `at`, counted from 0.
    #[error("the bundle ends inside its entry {at}")]
    Truncated {
        /// Position in the bundle.
        at: u16,
    },
    /// Bytes follow the last entry.
    #[error("{0} bytes follow the last entry of the bundle")]
    Trailing(usize),
}

/// Splits a bundle into its entries, exactly `width` of them.
///
/// # Errors
///
/// [`BundleError`] when the bytes end early or late.
pub fn decode_entries(width: Width, bytes: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let mut rest = bytes;
    let mut entries = Vec::with_capacity(usize::from(width.get()));
    for at in 0..width.get() {
        let (entry, after) = split_entry(rest).ok_or(BundleError::Truncated { at })?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(BundleError::Trailing(rest.len()))
    }
}

/// Appends `entry` to the bundle `to`.
///
/// # Errors
///
/// [`EntryTooLong`]; the bundle is unchanged then.
pub fn push_entry(to: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLong> {
    let len = u16::try_from(entry.len()).map_err(|_| EntryTooLong(entry.len()))?;
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(entry);
    Ok(())
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
