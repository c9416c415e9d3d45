//! Names of keys and origins of logs.

use std::fmt;
use std::str::FromStr;

/// Longest name: what the ML-DSA-44 cosignature format can hold (C2SP tlog-cosignature).
pub const MAX_NAME_BYTES: usize = 255;

/// The name of a key, and the origin of a log: not empty, no Unicode space, no `+`, no control
/// character (C2SP signed-note, "Format").
///
/// A schema-less URL such as `example.com/log` by custom. Compared byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// Why a text is not a key name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyNameError {
    /// Empty.
    #[error("a key name is not empty")]
    Empty,
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("a key name has at most {MAX_NAME_BYTES} bytes, not {0}")]
    TooLong(usize),
    /// Holds a Unicode space, a plus sign, or an ASCII control character.
    #[error("a key name holds no space, plus sign or control character, found {0:?}")]
    Character(char),
}

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`KeyNameError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyNameError> {
        if text.is_empty() {
            return Err(KeyNameError::Empty);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(KeyNameError::TooLong(text.len()));
        }
        let bad = |c: &char| c.is_whitespace() || *c == '+' || c.is_ascii_control();
        match text.chars().find(bad) {
            Some(character) => Err(KeyNameError::Character(character)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, KeyNameError> {
        Self::parse(text)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
