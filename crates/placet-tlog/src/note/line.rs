//! One signature line of a note: `— <name> base64(key id ‖ signature)`.

use std::fmt;
use std::str::FromStr;

use crate::note::{KeyName, KeyNameError, NoteKeyId};
use crate::text::{format_base64, parse_base64};

/// A signature line as written, its signature not looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureLine {
    name: KeyName,
    key_id: NoteKeyId,
    /// INVARIANT: not empty.
    signature: Vec<u8>,
}

/// When a cosigner signed: seconds since the Unix epoch, 1 to 2^63 − 1, by the cosigner's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CosignTime(u64);

/// Why a line is not a signature line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureLineError {
    /// Not a dash (U+2014), a space, a name, a space, and base64.
    #[error("a signature line is a dash (U+2014), a name and base64, set apart by single spaces")]
    Shape,
    /// The name is not a key name.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// The signature is not canonical standard base64.
    #[error("a signature is written in standard base64")]
    Encoding,
    /// No signature follows the four bytes of the key id.
    #[error("a signature has more than the four bytes of its key id")]
    Empty,
}

impl SignatureLine {
    /// Reads a line without its newline.
    ///
    /// # Errors
    ///
    /// [`SignatureLineError`] names what is wrong.
    pub fn parse(line: &str) -> Result<Self, SignatureLineError> {
        let rest = line
            .strip_prefix("\u{2014} ")
            .ok_or(SignatureLineError::Shape)?;
        let (name, blob) = rest.split_once(' ').ok_or(SignatureLineError::Shape)?;
        let name = KeyName::parse(name)?;
        let blob = parse_base64(blob).ok_or(SignatureLineError::Encoding)?;
        let (id, signature) = blob
            .split_first_chunk::<4>()
            .ok_or(SignatureLineError::Empty)?;
        Self::new(name, NoteKeyId::new(*id), signature.to_vec()).ok_or(SignatureLineError::Empty)
    }

    /// A line of these parts, or `None` without a signature.
    #[must_use]
    pub fn new(name: KeyName, key_id: NoteKeyId, signature: Vec<u8>) -> Option<Self> {
        if signature.is_empty() {
            None
        } else {
            Some(Self {
                name,
                key_id,
                signature,
            })
        }
    }

    /// A line made by signing.
    pub(crate) const fn assertion(name: KeyName, key_id: NoteKeyId, signature: Vec<u8>) -> Self {
        Self {
            name,
            key_id,
            signature,
        }
    }

    /// Name of the key.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Id of the key.
    #[must_use]
    pub const fn key_id(&self) -> NoteKeyId {
        self.key_id
    }

    /// What follows the key id: the signature, in the form of its type.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl FromStr for SignatureLine {
    type Err = SignatureLineError;

    fn from_str(line: &str) -> Result<Self, SignatureLineError> {
        Self::parse(line)
    }
}

impl fmt::Display for SignatureLine {
    /// The line without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [self.key_id.as_bytes().as_slice(), &self.signature].concat();
        write!(f, "\u{2014} {} {}", self.name, format_base64(&blob))
    }
}

impl fmt::Debug for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl CosignTime {
    /// Takes seconds since the Unix epoch; `None` for 0 and beyond 2^63 − 1.
    #[must_use]
    pub const fn new(secs: u64) -> Option<Self> {
        if secs == 0 || secs > u64::MAX >> 1 {
            None
        } else {
            Some(Self(secs))
        }
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn as_unix_secs(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CosignTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
