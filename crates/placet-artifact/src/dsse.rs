//! DSSE envelopes (Dead Simple Signing Envelope, protocol version 1.0.2), in one spelling.
//!
//! An envelope here carries exactly one signature and has exactly one encoding: canonical JSON
//! (RFC 8785), standard base64 with padding. Other DSSE tools read it; what they write is read here
//! only in that spelling. What the payload means is not known here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_types::{KeyId, PublicKey, Signature, SigningKey};
use serde::Deserialize;

/// A payload, its type, and one signature over both that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    key: KeyId,
    signature: Signature,
}

/// Why a text is not an [`Envelope`], or its signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Longer than the bound.
    #[error("the envelope is longer than {0} bytes")]
    TooLong(usize),
    /// Not one JSON object with the members of an envelope with one signature.
    #[error("the text is not a DSSE envelope with one signature")]
    Shape,
    /// A payload type that is empty, longer than 128 bytes, or holds other than visible ASCII.
    #[error("the payload type is not 1 to 128 visible ASCII characters")]
    PayloadType,
    /// Not standard base64 with padding.
    #[error("the payload or the signature is not canonical base64")]
    Base64,
    /// Read, but spelled otherwise than this crate spells it.
    #[error("the envelope is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// Signed by another key than the one asked for.
    #[error("the envelope names another key")]
    OtherKey,
    /// The signature does not verify.
    #[error("the signature of the envelope does not verify")]
    BadSignature,
}

/// The JSON form, as it is read. The strings need no escapes, so they are borrowed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    payload: &'a str,
    #[serde(rename = "payloadType")]
    payload_type: &'a str,
    #[serde(borrow)]
    signatures: [WireSignature<'a>; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature<'a> {
    keyid: KeyId,
    sig: &'a str,
}

/// What an envelope has beside its payload and the payload's type: member names, quotes, the key's
/// name in hex and the signature in base64.
const ENVELOPE_BYTES: usize =
    r#"{"payload":"","payloadType":"","signatures":[{"keyid":"","sig":""}]}"#.len() + 16 + 88;

/// The bytes that a DSSE signature covers: the pre-authentication encoding, version 1.
///
/// `"DSSEv1" SP len(type) SP type SP len(payload) SP payload`, lengths in decimal.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    /// Longest envelope, in bytes: a log entry can be no longer.
    pub const BYTES_MAX: usize = 65_535;

    /// Signs a payload. The same inputs give the same envelope.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::PayloadType`]; [`EnvelopeError::TooLong`] when the encoding would pass
    /// [`Self::BYTES_MAX`].
    pub fn sign(
        payload_type: &str,
        payload: Vec<u8>,
        key: &SigningKey,
    ) -> Result<Self, EnvelopeError> {
        check_payload_type(payload_type)?;
        let envelope = Self {
            signature: key.sign(&pae(payload_type, &payload)),
            payload_type: payload_type.to_owned(),
            payload,
            key: key.public().id(),
        };
        // Base64 makes four of three; the rest of the envelope is short and of known length.
        let encoded = envelope.payload.len().div_ceil(3).saturating_mul(4);
        let around = envelope.payload_type.len().saturating_add(ENVELOPE_BYTES);
        if encoded.saturating_add(around) > Self::BYTES_MAX {
            return Err(EnvelopeError::TooLong(Self::BYTES_MAX));
        }
        Ok(envelope)
    }

    /// Reads an envelope in its one spelling. The signature is not checked.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError`] names the first rule that the bytes break.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(EnvelopeError::TooLong(Self::BYTES_MAX));
        }
        let wire: Wire<'_> = serde_json::from_slice(bytes).map_err(|_| EnvelopeError::Shape)?;
        check_payload_type(wire.payload_type)?;
        let [WireSignature { keyid, sig }] = wire.signatures;
        let envelope = Self {
            payload_type: wire.payload_type.to_owned(),
            payload: decode_base64(wire.payload)?,
            key: keyid,
            signature: Signature::from_slice(&decode_base64(sig)?)
                .map_err(|_| EnvelopeError::Shape)?,
        };
        // One envelope, one spelling: space, order and escapes are settled by writing it again. Base64 that
        // was read has one spelling already.
        if envelope.spelled(wire.payload, sig).as_bytes() == bytes {
            Ok(envelope)
        } else {
            Err(EnvelopeError::NotCanonical)
        }
    }

    /// The canonical JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (payload, sig) = (
            STANDARD.encode(&self.payload),
            STANDARD.encode(self.signature.as_bytes()),
        );
        self.spelled(&payload, &sig).into_bytes()
    }

    /// The canonical JSON, with payload and signature in base64.
    fn spelled(&self, payload: &str, sig: &str) -> String {
        // INVARIANT: base64, hex and a checked payload type need no JSON escapes.
        let (kind, key) = (self.payload_type.as_str(), self.key.to_string());
        [
            r#"{"payload":""#,
            payload,
            r#"","payloadType":""#,
            kind,
            r#"","signatures":[{"keyid":""#,
            &key,
            r#"","sig":""#,
            sig,
            r#""}]}"#,
        ]
        .concat()
    }

    /// Checks the signature and gives the payload.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::OtherKey`] when the envelope names another key,
    /// [`EnvelopeError::BadSignature`] when the signature does not verify.
    pub fn verify(&self, key: &PublicKey) -> Result<&[u8], EnvelopeError> {
        if key.id() != self.key {
            return Err(EnvelopeError::OtherKey);
        }
        key.verify(&pae(&self.payload_type, &self.payload), &self.signature)
            .map_err(|_| EnvelopeError::BadSignature)?;
        Ok(&self.payload)
    }

    /// The payload, of which nothing says that the named key signed it.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// What the payload is said to be: a media type.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The key that the envelope names.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }
}

fn check_payload_type(text: &str) -> Result<(), EnvelopeError> {
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if (1..=128).contains(&text.len()) && text.bytes().all(visible) {
        Ok(())
    } else {
        Err(EnvelopeError::PayloadType)
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|_| EnvelopeError::Base64)
}

#[cfg(test)]
mod tests;
