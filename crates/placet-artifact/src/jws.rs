//! JWS in compact form (RFC 7515), as narrow as an authorization artifact needs it.
//!
//! Three parts in base64url, one header with exactly `alg`, `kid` and `typ`, one signature by a key
//! that the verifier has pinned. The key decides the algorithm; the header only has to agree. There
//! is no key in the header, no `crit`, no other algorithm, and no way to ask for one. What the
//! payload means is not known here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_types::canonical::{self, Bounds, Malformed};
use placet_types::{KeyId, PublicKey, Signature, SigningKey};
use serde::{Deserialize, Serialize};

/// Longest compact text, in bytes. Checked before anything else is looked at.
pub const BYTES_MAX: usize = 16 * 1024;

/// Header of an artifact. Fields stand in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Name of the algorithm.
    pub alg: Algorithm,
    /// The key that signed.
    pub kid: KeyId,
    /// What kind of JWS this is.
    pub typ: Type,
}

/// The one algorithm, under its two names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// The name of RFC 8037, which every JOSE library knows.
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// The name of RFC 9864, which replaces it.
    Ed25519,
}

/// The media type of an authorization artifact, without `application/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Type {
    /// `authz-artifact+jwt`
    #[default]
    #[serde(rename = "authz-artifact+jwt")]
    AuthzArtifact,
}

/// A compact text taken apart. Nothing in it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compact<'a> {
    signing_input: &'a str,
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Signature,
}

/// Why a text is not three parts of a JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// Longer than [`BYTES_MAX`].
    #[error("the artifact is longer than {BYTES_MAX} bytes")]
    TooLong,
    /// Not three parts with a dot between each two.
    #[error("the artifact is not three parts with dots between them")]
    Parts,
    /// A part that is not base64url without padding, or has unused bits set.
    #[error("a part of the artifact is not canonical base64url")]
    Base64,
    /// The third part is not 64 bytes.
    #[error("the artifact's signature is not 64 bytes")]
    SignatureLength,
}

impl Header {
    /// Header for a key, with the algorithm's name as given.
    #[must_use]
    pub fn new(key: &PublicKey, alg: Algorithm) -> Self {
        Self {
            alg,
            kid: key.id(),
            typ: Type::AuthzArtifact,
        }
    }

    /// Reads a header in canonical form.
    ///
    /// # Errors
    ///
    /// [`Malformed::Shape`] when a member is missing, unknown or has another value than this crate
    /// knows; any other [`Malformed`] when the text is not canonical JSON at all.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        canonical::from_bytes(
            bytes,
            Bounds {
                bytes_max: 1024,
                depth_max: 8,
            },
        )
    }

    /// The canonical JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        let alg = match self.alg {
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Ed25519 => "Ed25519",
        };
        format!(
            r#"{{"alg":"{alg}","kid":"{}","typ":"authz-artifact+jwt"}}"#,
            self.kid
        )
    }
}

impl<'a> Compact<'a> {
    /// Takes a compact text apart.
    ///
    /// # Errors
    ///
    /// [`CompactError`] names the first rule that the text breaks; its length goes first.
    pub fn parse(text: &'a str) -> Result<Self, CompactError> {
        if text.len() > BYTES_MAX {
            return Err(CompactError::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(CompactError::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(CompactError::Parts)?;
        if payload.contains('.') {
            return Err(CompactError::Parts);
        }
        Ok(Self {
            signing_input,
            header: decode_part(header)?,
            payload: decode_part(payload)?,
            signature: Signature::from_slice(&decode_part(signature)?)
                .map_err(|_| CompactError::SignatureLength)?,
        })
    }

    /// Bytes of the header: JSON, if the signer was honest.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What the signature covers: the first two parts and the dot between them.
    #[must_use]
    pub const fn signing_input(&self) -> &'a str {
        self.signing_input
    }
}

/// First two parts of a compact text: what is signed.
#[must_use]
pub fn signing_input(header: &Header, payload: &[u8]) -> String {
    let header = header.encode();
    // With room for the signature, which is added later.
    let mut text = String::with_capacity(encoded(header.len()) + encoded(payload.len()) + TAIL + 1);
    URL_SAFE_NO_PAD.encode_string(header, &mut text);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    text
}

/// Bytes of a signature in base64url, with the dot before it.
pub(crate) const TAIL: usize = 1 + 86;

/// At least the bytes that this many take in base64url.
const fn encoded(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Adds the signature to what it signs.
///
/// # Errors
///
/// [`CompactError::TooLong`] past [`BYTES_MAX`]: such a text would be refused by every verifier.
pub fn join(mut signing_input: String, signature: &Signature) -> Result<String, CompactError> {
    append(&mut signing_input, signature);
    if signing_input.len() > BYTES_MAX {
        Err(CompactError::TooLong)
    } else {
        Ok(signing_input)
    }
}

/// Adds the signature to what it signs, whose length the caller has looked at.
pub(crate) fn append(signing_input: &mut String, signature: &Signature) {
    signing_input.reserve_exact(TAIL);
    signing_input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.as_bytes(), signing_input);
}

/// Signs a payload. Deterministic, as Ed25519 is.
///
/// # Errors
///
/// As for [`join`].
pub fn sign(payload: &[u8], key: &SigningKey, alg: Algorithm) -> Result<String, CompactError> {
    let input = signing_input(&Header::new(&key.public(), alg), payload);
    let signature = key.sign(input.as_bytes());
    join(input, &signature)
}

fn decode_part(part: &str) -> Result<Vec<u8>, CompactError> {
    // This engine refuses padding, the other alphabet, whitespace and unused bits that are set.
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| CompactError::Base64)
}

#[cfg(test)]
mod tests;
