//! Thumbprints of keys: the name by which a key is registered, bound to, and recorded.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::key::PublicKey;

/// Thumbprint of a key: SHA-256 over its required JWK members (RFC 7638, RFC 8037).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint(String);

/// A text that is not the base64url of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint is 32 bytes in base64url")]
pub struct ThumbprintSyntax;

impl Thumbprint {
    /// Thumbprint of a key.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        Self(key.thumbprint())
    }

    /// Reads the base64url of 32 bytes.
    ///
    /// # Errors
    ///
    /// [`ThumbprintSyntax`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ThumbprintSyntax> {
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self(text.to_owned())),
            Ok(_) | Err(_) => Err(ThumbprintSyntax),
        }
    }

    /// The base64url.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({})", self.0)
    }
}

impl FromStr for Thumbprint {
    type Err = ThumbprintSyntax;

    fn from_str(text: &str) -> Result<Self, ThumbprintSyntax> {
        Self::parse(text)
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_has_one_spelling() {
        let key = PublicKey::import(&[
            0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64,
            0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68,
            0xf7, 0x07, 0x51, 0x1a,
        ]);
        // RFC 8037, appendix A.3.
        let text = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(Thumbprint::of(&key.unwrap()).as_str(), text);
        assert_eq!(Thumbprint::parse(text).unwrap().as_str(), text);
        for wrong in ["", "kPrK", &format!("{text}="), &text.replace('_', "/")] {
            assert!(Thumbprint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
