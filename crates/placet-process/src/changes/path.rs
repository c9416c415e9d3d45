//! Paths below a tree, with whatever bytes they have, and a spelling of them that is text.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a path, or of a symbolic link.
///
/// Its spelling is the text itself where it is UTF-8 without control characters and backslashes; every other byte
/// is `\xNN`. So no two paths are spelled alike, and none of them does anything to a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawPath(Vec<u8>);

impl RawPath {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// This path and a name below it.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// The directory that it is in, and its name there.
    pub(crate) fn split(&self) -> (&Path, &OsStr) {
        let path = self.as_path();
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        (
            parent.unwrap_or_else(|| Path::new(".")),
            path.file_name().unwrap_or_default(),
        )
    }

    /// Whether this is `other` or below it.
    #[must_use]
    pub fn is_within(&self, other: &[u8]) -> bool {
        let rest = self.0.strip_prefix(other);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(b"/") || other.is_empty() || other.ends_with(b"/")
        })
    }

    /// Whether a link at `link` that holds this leads out of the tree, by its text alone.
    pub(crate) fn leads_out_of(&self, link: &Self) -> bool {
        if self.0.starts_with(b"/") {
            return true;
        }
        let mut depth = link.0.split(|byte| *byte == b'/').count().saturating_sub(1);
        for part in self.0.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if depth == 0 => return true,
                b".." => depth = depth.saturating_sub(1),
                _ => depth = depth.saturating_add(1),
            }
        }
        false
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first != b'\\' {
                bytes.push(*first);
                rest = after;
                continue;
            }
            let (digits, after) = after.strip_prefix(b"x")?.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        }
        let path = Self(bytes);
        // One spelling: what would be written otherwise is none.
        (path.to_string() == text).then_some(path)
    }
}

impl fmt::Display for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c == '\\' || c.is_control() || is_invisible(c) {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\x{byte:02x}")?;
                    }
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Characters that change what the text around them looks like.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl fmt::Debug for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawPath({self})")
    }
}

impl Serialize for RawPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no spelling of a path"))
    }
}
