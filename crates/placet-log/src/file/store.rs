//! Bytes at offsets, in a file or in memory: what the derived files are kept in.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{PoisonError, RwLock};

use crate::bytes::{narrow, wide};

/// Where the bytes are.
#[derive(Debug)]
pub(crate) enum Store {
    /// In a file of our own.
    File(File),
    /// In a file of the writer's, which another process may be.
    Foreign(File),
    /// Nowhere else.
    Memory(RwLock<Vec<u8>>),
}

impl Store {
    pub(crate) fn memory() -> Self {
        Self::Memory(RwLock::default())
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) | Self::Foreign(file) => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => {
                let bytes = bytes.read().unwrap_or_else(PoisonError::into_inner);
                Ok(wide(bytes.len()))
            }
        }
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.set_len(len),
            Self::Foreign(_) => Err(io::ErrorKind::PermissionDenied.into()),
            Self::Memory(bytes) => {
                let mut bytes = bytes.write().unwrap_or_else(PoisonError::into_inner);
                bytes.resize(narrow(len), 0);
                Ok(())
            }
        }
    }

    /// Reads as many bytes as `buffer` has, or fails.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) | Self::Foreign(file) => file.read_exact_at(buffer, offset),
            Self::Memory(bytes) => {
                let bytes = bytes.read().unwrap_or_else(PoisonError::into_inner);
                let start = narrow(offset);
                let found = bytes.get(start..start.saturating_add(buffer.len()));
                buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    pub(crate) fn write_all_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all_at(from, offset),
            Self::Foreign(_) => Err(io::ErrorKind::PermissionDenied.into()),
            Self::Memory(bytes) => {
                let mut bytes = bytes.write().unwrap_or_else(PoisonError::into_inner);
                let start = narrow(offset);
                let end = start.saturating_add(from.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                let place = bytes
                    .get_mut(start..end)
                    .ok_or(io::ErrorKind::InvalidInput)?;
                place.copy_from_slice(from);
                Ok(())
            }
        }
    }
}
