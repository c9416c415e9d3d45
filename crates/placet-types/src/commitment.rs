//! Salted commitments: what the log holds in place of parameters and outputs.
//!
//! A commitment is HMAC-SHA256 keyed with a 32-byte random salt over a label and the payload. The
//! salt and the payload live in a store that can erase them; without the salt nobody can guess a
//! short payload from its commitment, and after the erasure every proof still verifies.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// 32 random bytes that hide a payload. Private: whoever has it can test guesses.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 32]);

/// A commitment to a payload. Public.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commitment([u8; 32]);

impl Salt {
    /// Takes 32 bytes that the caller drew from the operating system.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Commitment {
    /// Commits to `payload` under a label that says what it is.
    ///
    /// The label's length goes first, so that no label and payload read as another pair.
    #[must_use]
    pub fn to(label: &str, payload: &[u8], salt: &Salt) -> Self {
        // HMAC takes a key of any length; the zero key of the other arm can never be reached.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&salt.0) else {
            return Self([0; 32]);
        };
        mac.update(&(label.len() as u64).to_be_bytes());
        mac.update(label.as_bytes());
        mac.update(payload);
        Self(mac.finalize().into_bytes().into())
    }

    /// Whether this commits to `payload`, in constant time.
    #[must_use]
    pub fn opens_to(&self, label: &str, payload: &[u8], salt: &Salt) -> bool {
        Self::to(label, payload, salt).0.ct_eq(&self.0).into()
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({})", URL_SAFE_NO_PAD.encode(self.0))
    }
}

fn decode_32<E: serde::de::Error>(text: &str) -> Result<[u8; 32], E> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| E::custom("expected 32 bytes in base64url"))
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode_32(&String::deserialize(deserializer)?).map(Self)
    }
}

impl Serialize for Commitment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Commitment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode_32(&String::deserialize(deserializer)?).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_opens_to_its_own_payload_label_and_salt_only() {
        let salt = Salt::new([3; 32]);
        let commitment = Commitment::to("params", b"payload", &salt);
        assert!(commitment.opens_to("params", b"payload", &salt));
        assert!(!commitment.opens_to("params", b"pay1oad", &salt));
        assert!(!commitment.opens_to("param", b"spayload", &salt));
        assert!(!commitment.opens_to("params", b"payload", &Salt::new([4; 32])));
    }

    #[test]
    fn the_salt_is_never_printed() {
        assert_eq!(format!("{:?}", Salt::new([9; 32])), "Salt(..)");
    }
}
