//! Finds the program interpreter that an ELF file names.
//!
//! execve needs the interpreter in the executable scope too, and whoever gates program images has
//! to know which images are only ever interpreters.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const PT_INTERP: u32 = 3;
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: u16 = 56;
/// PATH_MAX: execve accepts no longer name.
const NAME_BYTES_MAX: u64 = 4096;

/// The interpreter of a 64-bit little-endian ELF file, as written in it (not canonical), or `None`
/// for a static one or another kind of file. See elf(5).
///
/// # Errors
/// Those of opening and reading, and `InvalidData` where the headers point outside the file.
pub fn elf_interpreter(path: &Path) -> io::Result<Option<PathBuf>> {
    let file = File::open(path)?;
    let mut header = [0u8; HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let first = u64_at(&header, 32)?;
    let (size, count) = (u16_at(&header, 54)?, u16_at(&header, 56)?);
    if size != SEGMENT_BYTES {
        return Err(malformed());
    }
    for index in 0..count {
        let at = first
            .checked_add(u64::from(index) * u64::from(size))
            .ok_or_else(malformed)?;
        let mut segment = [0u8; SEGMENT_BYTES as usize];
        file.read_exact_at(&mut segment, at)?;
        if u32_at(&segment, 0)? == PT_INTERP {
            return name(&file, u64_at(&segment, 8)?, u64_at(&segment, 32)?).map(Some);
        }
    }
    Ok(None)
}

fn name(file: &File, at: u64, len: u64) -> io::Result<PathBuf> {
    if len > NAME_BYTES_MAX {
        return Err(malformed());
    }
    let mut bytes = vec![0u8; usize::try_from(len).map_err(|_| malformed())?];
    file.read_exact_at(&mut bytes, at)?;
    if bytes.pop() != Some(0) {
        return Err(malformed());
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed ELF headers")
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let field = bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or_else(malformed)?;
    Ok(*field)
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_this_test_exists() {
        let own = std::env::current_exe().unwrap();
        let interpreter = elf_interpreter(&own).unwrap().unwrap();
        assert!(
            interpreter.is_absolute() && interpreter.exists(),
            "{interpreter:?}"
        );
    }

    #[test]
    fn a_text_file_has_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh\n").unwrap();
        assert_eq!(elf_interpreter(file.path()).unwrap(), None);
    }

    #[test]
    fn headers_that_point_outside_are_malformed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = [0u8; HEADER_BYTES];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes[54] = 56;
        bytes[56] = 2;
        std::fs::write(file.path(), bytes).unwrap();
        assert!(elf_interpreter(file.path()).is_err());
    }
}
