//! Ed25519 keys (RFC 8032) and the one rule by which every part of Placet verifies a signature.
//!
//! The rule is strict: a key is refused on import when it is not canonical or has small order, and
//! a signature is checked without cofactor and with a canonical S. Other verification rules in use
//! accept forgeries under a small-order key; a verifier that disagreed with another one would be a
//! second opinion about what was authorized.

mod signer;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::digest::{Digest, encode_hex};
use signer::Signer;

/// A public key that passed import: canonical encoding, not of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Short name of a key: the first eight bytes of the SHA-256 of the public key, in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

/// A private key. Zeroed when dropped; never printed.
pub struct SigningKey {
    signer: Signer,
    public: PublicKey,
}

/// 64 bytes, R and S. Says nothing until [`PublicKey::verify`] accepts it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// Why a key was not imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes, or not base64.
    #[error("an Ed25519 key has 32 bytes, written in base64")]
    Encoding,
    /// Not the encoding of a point.
    #[error("the bytes are not a point of the curve")]
    NotAPoint,
    /// A small-order key: signatures under it can be forged for any message.
    #[error("the key has small order and would accept forgeries")]
    Weak,
}

/// The signature does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

impl PublicKey {
    /// Imports 32 bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the bytes are no point, no canonical encoding, or of small order.
    pub fn import(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::Encoding)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // A second encoding of the same point would be a second name for the same key.
        if !is_reduced(bytes) {
            return Err(KeyError::NotAPoint);
        }
        Ok(Self(key))
    }

    /// Verifies strictly (RFC 8032, no cofactor, canonical S, no small-order R).
    ///
    /// # Errors
    ///
    /// [`BadSignature`] whatever the cause.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0
            .verify_strict(message, &signature)
            .map_err(|_| BadSignature)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Name of the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let [a, b, c, d, e, f, g, h, ..] = *Digest::of(self.as_bytes()).as_bytes();
        KeyId([a, b, c, d, e, f, g, h])
    }

    /// JWK thumbprint (RFC 7638, RFC 8037): SHA-256 of the required members, in base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.as_bytes());
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        URL_SAFE_NO_PAD.encode(Digest::of(jwk.as_bytes()).as_bytes())
    }

    /// Standard base64 of the 32 bytes.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.as_bytes())
    }
}

/// Whether y is below the prime 2^255 − 19. Of a point that has not small order this is the one encoding:
/// the sign of x could be spelled in two ways only where x is 0, which is so at two small-order points.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = bytes;
    highest & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff) || *lowest < 0xed
}

impl SigningKey {
    /// Takes a 32-byte seed. The caller draws it from the operating system.
    #[must_use]
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        let signer = Signer::new(seed);
        let public = PublicKey(signer.verifying_key());
        Self { signer, public }
    }

    /// The seed, for storing the key.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.signer.seed()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `message`. Ed25519 is deterministic: same key and message, same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.signer.sign(message))
    }
}

impl Signature {
    /// Takes 64 bytes.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] for any other length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, BadSignature> {
        bytes.try_into().map(Self).map_err(|_| BadSignature)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_base64())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", encode_hex(&self.0))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public {})", self.public.to_base64())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD
            .decode(&text)
            .map_err(|_| serde::de::Error::custom(KeyError::Encoding))?;
        Self::import(&bytes).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(&text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a signature is 64 bytes in base64"))
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::digest::decode_hex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a key id has 16 lower-case hex digits"))
    }
}

#[cfg(test)]
mod tests;
