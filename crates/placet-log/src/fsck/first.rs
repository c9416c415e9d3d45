//! The first entry, before anything is checked.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::bytes::{Fields, wide};
use crate::file::frame::{HEADER_LEN, Header, split_entry};
use crate::file::layout::Layout;
use crate::file::window::Window;

/// The entry at index 0 as it lies in `dir`, or `None` where there is nothing that reads as one.
///
/// Nothing is checked. For whoever needs something from it (a public key) in order to check: an
/// altered first entry is what [`check`](crate::fsck::check) then reports.
///
/// # Errors
///
/// What the operating system says, but that the file is missing.
pub fn first_entry(dir: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(Layout::new(dir).segment(0)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    let mut window = Window::new(Arc::new(file), len, 4096);
    let Some(header) = window.bytes(0, HEADER_LEN)?.and_then(Header::decode) else {
        return Ok(None);
    };
    let offset = wide(header.preamble_len());
    let entries = window.bytes(offset, header.entries_len)?;
    Ok(entries
        .and_then(|bytes| split_entry(&mut Fields::new(bytes)))
        .map(<[u8]>::to_vec))
}
