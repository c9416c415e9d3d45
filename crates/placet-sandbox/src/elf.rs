//! Reads from an ELF file what execve(2) would make of it: a program with an interpreter, one
//! without, or a library.
//!
//! execve needs the interpreter in the executable scope too, and the exec gate has to know which
//! images are only ever interpreters. See elf(5). Nothing is loaded or relocated here.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What kind of image a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Loaded together with this program interpreter, spelled as in the file.
    Dynamic(PathBuf),
    /// A program that needs no interpreter, position independent or not.
    Static,
    /// A shared object that names no interpreter and does not say that it is a program: the
    /// interpreters themselves are such.
    Library,
    /// No 64-bit little-endian ELF file.
    Foreign,
}

/// What of the file header matters.
struct Header {
    kind: u16,
    segments_at: u64,
    segments: u16,
}

const ET_DYN: u16 = 3;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: u16 = 56;
/// PATH_MAX: execve accepts no longer name.
const NAME_BYTES_MAX: u64 = 4096;
/// Several times what linkers write.
const DYNAMIC_BYTES_MAX: u64 = 65_536;

/// The interpreter of a 64-bit little-endian ELF file, as written in it (not canonical), or `None`
/// for a static one or another kind of file. See elf(5).
///
/// # Errors
/// Those of opening and reading, and `InvalidData` where the headers point outside the file.
pub fn elf_interpreter(path: &Path) -> io::Result<Option<PathBuf>> {
    Ok(match shape(&File::open(path)?)? {
        Shape::Dynamic(interpreter) => Some(interpreter),
        Shape::Static | Shape::Library | Shape::Foreign => None,
    })
}

/// What kind of image the file is.
///
/// # Errors
/// Those of reading, and `InvalidData` where the headers point outside the file.
pub(crate) fn shape(file: &File) -> io::Result<Shape> {
    let Some(header) = header(file)? else {
        return Ok(Shape::Foreign);
    };
    if let Some(segment) = segment(file, &header, PT_INTERP)? {
        let (at, len) = extent(&segment)?;
        return name(file, at, len).map(Shape::Dynamic);
    }
    if header.kind != ET_DYN {
        return Ok(Shape::Static);
    }
    let says_program = match segment(file, &header, PT_DYNAMIC)? {
        Some(segment) => is_program(file, &segment)?,
        None => false,
    };
    Ok(if says_program {
        Shape::Static
    } else {
        Shape::Library
    })
}

fn header(file: &File) -> io::Result<Option<Header>> {
    let mut header = [0u8; HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    if u16_at(&header, 54)? != SEGMENT_BYTES {
        return Err(malformed());
    }
    Ok(Some(Header {
        kind: u16_at(&header, 16)?,
        segments_at: u64_at(&header, 32)?,
        segments: u16_at(&header, 56)?,
    }))
}

/// The first segment of that type, which is the one the kernel takes as well.
fn segment(
    file: &File,
    header: &Header,
    wanted: u32,
) -> io::Result<Option<[u8; SEGMENT_BYTES as usize]>> {
    for index in 0..header.segments {
        let at = header
            .segments_at
            .checked_add(u64::from(index) * u64::from(SEGMENT_BYTES))
            .ok_or_else(malformed)?;
        let mut segment = [0u8; SEGMENT_BYTES as usize];
        file.read_exact_at(&mut segment, at)?;
        if u32_at(&segment, 0)? == wanted {
            return Ok(Some(segment));
        }
    }
    Ok(None)
}

/// Where in the file a segment stands, and how long it is.
fn extent(segment: &[u8]) -> io::Result<(u64, u64)> {
    Ok((u64_at(segment, 8)?, u64_at(segment, 32)?))
}

/// Whether the dynamic section says that this shared object is a program: linkers say so of every
/// position independent one, with an interpreter or without.
fn is_program(file: &File, segment: &[u8]) -> io::Result<bool> {
    let (at, len) = extent(segment)?;
    if len > DYNAMIC_BYTES_MAX {
        return Err(malformed());
    }
    let mut bytes = vec![0u8; usize::try_from(len).map_err(|_| malformed())?];
    file.read_exact_at(&mut bytes, at)?;
    for entry in bytes.chunks_exact(16) {
        match (u64_at(entry, 0)?, u64_at(entry, 8)?) {
            (DT_NULL, _) => return Ok(false),
            (DT_FLAGS_1, flags) => return Ok(flags & DF_1_PIE != 0),
            _ => {}
        }
    }
    Ok(false)
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
    fn programs_interpreters_and_libraries_are_told_apart() {
        let shape_of = |path: &Path| shape(&File::open(path).unwrap()).unwrap();
        let own = std::env::current_exe().unwrap();
        let Shape::Dynamic(interpreter) = shape_of(&own) else {
            panic!("this test is linked dynamically");
        };
        assert_eq!(shape_of(&interpreter), Shape::Library);
        assert_eq!(shape_of(Path::new("/proc/self/maps")), Shape::Foreign);
    }

    #[test]
    fn a_position_independent_static_program_is_no_library() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (flags, expected) in [(DF_1_PIE, Shape::Static), (1, Shape::Library)] {
            std::fs::write(file.path(), shared_object(flags)).unwrap();
            assert_eq!(shape(file.as_file()).unwrap(), expected);
        }
    }

    /// Header, one PT_DYNAMIC segment and its two entries.
    fn shared_object(flags: u64) -> Vec<u8> {
        let mut bytes = vec![0u8; 64 + 56 + 32];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&ET_DYN.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&SEGMENT_BYTES.to_le_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&PT_DYNAMIC.to_le_bytes());
        bytes[72..80].copy_from_slice(&120u64.to_le_bytes());
        bytes[96..104].copy_from_slice(&32u64.to_le_bytes());
        bytes[120..128].copy_from_slice(&DT_FLAGS_1.to_le_bytes());
        bytes[128..136].copy_from_slice(&flags.to_le_bytes());
        bytes
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
