//! Merkle Tree Hashes of RFC 6962, section 2.1, over SHA-256.
//!
//! A leaf and a node are hashed under different first bytes, so that no entry can pass for a node.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The hash of a leaf, of a node, or of a whole tree: 32 bytes.
///
/// Printed as standard base64 with padding (44 characters), the form of every C2SP text format.
/// Equality is not constant-time: hashes in a transparency log are public.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

/// A text or a string of bytes that is not one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 32 bytes, written as 44 characters of standard base64")]
pub struct HashSyntax;

impl Hash {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Root of the tree without leaves: SHA-256 of nothing (RFC 6962, section 2.1).
    pub const EMPTY_ROOT: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ]);

    /// Hash of a log entry: SHA-256(0x00 ‖ entry).
    #[must_use]
    pub fn leaf(entry: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update([0])
                .chain_update(entry)
                .finalize()
                .into(),
        )
    }

    /// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut input = [1; 65];
        for (to, from) in input.iter_mut().skip(1).zip(left.0.iter().chain(&right.0)) {
            *to = *from;
        }
        Self(Sha256::digest(input).into())
    }

    /// Wraps 32 bytes that are already a hash.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Takes exactly 32 bytes.
    ///
    /// # Errors
    ///
    /// [`HashSyntax`] for any other length.
    pub fn decode(bytes: &[u8]) -> Result<Self, HashSyntax> {
        bytes.try_into().map(Self).map_err(|_| HashSyntax)
    }

    /// Reads 44 characters of standard base64; padding and unused bits must be canonical.
    ///
    /// # Errors
    ///
    /// [`HashSyntax`] for any other text.
    pub fn parse(text: &str) -> Result<Self, HashSyntax> {
        if text.len() != 44 {
            return Err(HashSyntax);
        }
        Self::decode(&STANDARD.decode(text).map_err(|_| HashSyntax)?)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Hash {
    type Err = HashSyntax;

    fn from_str(text: &str) -> Result<Self, HashSyntax> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_6962() {
        // Known answers of Certificate Transparency's own test data.
        assert_eq!(
            Hash::leaf(b"").to_string(),
            "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="
        );
        assert_eq!(Hash::EMPTY_ROOT, Hash(Sha256::digest([]).into()));
        let (left, right) = (Hash::leaf(b"L"), Hash::leaf(b"R"));
        let whole = [&[1], left.as_bytes().as_slice(), right.as_bytes()].concat();
        assert_eq!(
            Hash::node(&left, &right).0,
            <[u8; 32]>::from(Sha256::digest(whole))
        );
    }

    #[test]
    fn only_canonical_base64_is_a_hash() {
        let text = Hash::EMPTY_ROOT.to_string();
        assert_eq!(Hash::parse(&text), Ok(Hash::EMPTY_ROOT));
        let unused_bits = text.replace("FU=", "FV=");
        assert_ne!(unused_bits, text);
        for bad in [
            text.trim_end_matches('='),
            &unused_bits,
            &format!("{text}="),
            "",
            &text.replace('=', "A"),
        ] {
            assert_eq!(Hash::parse(bad), Err(HashSyntax), "{bad}");
        }
        assert_eq!(Hash::decode(&[0; 31]), Err(HashSyntax));
    }
}
