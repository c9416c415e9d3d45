//! Files of the kernel as text: they have no size, and are made anew for each piece that is read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// What most of them fit in.
const ROOM: usize = 8 << 10;
/// Longest file that is read.
const BYTES_MAX: u64 = 64 << 20;

/// Reads one of the files of the kernel, in as few pieces as there are.
///
/// # Errors
///
/// What the operating system says, and when it is longer than such a file is.
pub fn kernel_file(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROOM);
    let file = File::open(path)?;
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// As [`kernel_file`], of one that is text.
///
/// # Errors
///
/// As [`kernel_file`], and when it is no text.
pub fn kernel_text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(kernel_file(path)?).map_err(|_| io::ErrorKind::InvalidData.into())
}
