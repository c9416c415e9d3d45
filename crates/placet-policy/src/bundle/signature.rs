//! `bundle.sig`: signatures of operators over the manifest.
//!
//! One DSSE envelope (protocol 1.0.2) with any number of signatures, in canonical JSON. Its payload
//! is the canonical manifest, byte for byte; a signature over anything else says nothing about this
//! bundle.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_artifact::dsse::pae;
use placet_types::canonical::{self, Bounds};
use placet_types::{KeyId, PublicKey, Signature, SigningKey};
use serde::{Deserialize, Serialize};

use super::Bundle;

/// Name of the file with the signatures. It is no member of the bundle.
pub const SIGNATURE_FILE: &str = "bundle.sig";
/// Payload type of the envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.placet.bundle-manifest+json";

const ENVELOPE_BOUNDS: Bounds = Bounds {
    bytes_max: 2 << 20,
    depth_max: 4,
};
const SIGNATURES_MAX: usize = 64;

/// Why a bundle does not count as signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is no `bundle.sig`.
    #[error(
        "the bundle is not signed, and this domain has trust roots: sign it with {needed} of them"
    )]
    Unsigned {
        /// How many signatures are needed.
        needed: usize,
    },
    /// No key was given that could be trusted.
    #[error("there are no keys to verify the bundle with")]
    NoKeys,
    /// Not an envelope in its one spelling.
    #[error("bundle.sig is malformed: {0}")]
    Malformed(String),
    /// A sound envelope over something else.
    #[error(
        "bundle.sig signs another manifest: a member, the name, the revision or the validity differs"
    )]
    OtherManifest,
    /// One key signs twice.
    #[error("key {0} signs twice in bundle.sig")]
    Repeated(KeyId),
    /// A trusted key is named, but its signature does not verify.
    #[error("the signature of key {0} in bundle.sig does not verify")]
    BadSignature(KeyId),
    /// Too few trusted keys sign.
    #[error("{found} of the trusted keys signed the bundle; {needed} are needed")]
    TooFew {
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<OneSignature>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneSignature {
    keyid: KeyId,
    sig: String,
}

impl Bundle {
    /// Checks that at least `needed` of `keys` signed this very bundle, and names those that did.
    ///
    /// Signatures of unknown keys are ignored; one that names a known key must verify. `needed` of
    /// 0 counts as 1: whoever has trust roots has no unsigned bundles.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] names the first reason.
    pub fn verify_signatures(
        &self,
        keys: &[PublicKey],
        needed: usize,
    ) -> Result<BTreeSet<KeyId>, SignatureError> {
        let needed = needed.max(1);
        if keys.is_empty() {
            return Err(SignatureError::NoKeys);
        }
        let text = self
            .signature()
            .ok_or(SignatureError::Unsigned { needed })?;
        let manifest = self.manifest_bytes()?;
        let envelope = decode(text)?;
        if envelope.payload_type != PAYLOAD_TYPE || envelope.payload != STANDARD.encode(&manifest) {
            return Err(SignatureError::OtherManifest);
        }
        let signed = pae(PAYLOAD_TYPE, &manifest);
        let mut named = BTreeSet::new();
        let mut good = BTreeSet::new();
        for one in &envelope.signatures {
            if !named.insert(one.keyid) {
                return Err(SignatureError::Repeated(one.keyid));
            }
            let Some(key) = keys.iter().find(|key| key.id() == one.keyid) else {
                continue;
            };
            verify(key, &signed, &one.sig)?;
            good.insert(one.keyid);
        }
        if good.len() < needed {
            return Err(SignatureError::TooFew {
                found: good.len(),
                needed,
            });
        }
        Ok(good)
    }

    fn manifest_bytes(&self) -> Result<Vec<u8>, SignatureError> {
        self.manifest
            .to_canonical()
            .map_err(|problem| SignatureError::Malformed(problem.message))
    }
}

/// The contents of `bundle.sig` with the signature of `key` added; one that `key` made before is
/// replaced, and signatures over another manifest are dropped.
///
/// # Errors
///
/// [`SignatureError::Malformed`] when the present `bundle.sig` is.
pub fn sign(bundle: &Bundle, key: &SigningKey) -> Result<Vec<u8>, SignatureError> {
    let manifest = bundle.manifest_bytes()?;
    let payload = STANDARD.encode(&manifest);
    let keyid = key.public().id();
    let mut signatures = match bundle.signature().map(decode).transpose()? {
        Some(envelope) if envelope.payload == payload => envelope.signatures,
        Some(_) | None => Vec::new(),
    };
    signatures.retain(|one| one.keyid != keyid);
    let sig = STANDARD.encode(key.sign(&pae(PAYLOAD_TYPE, &manifest)).as_bytes());
    signatures.push(OneSignature { keyid, sig });
    signatures.sort_by_key(|one| one.keyid);
    let envelope = Envelope {
        payload,
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures,
    };
    canonical::to_bytes(&envelope).map_err(|error| SignatureError::Malformed(error.to_string()))
}

fn decode(text: &str) -> Result<Envelope, SignatureError> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let envelope: Envelope = canonical::from_bytes(text.as_bytes(), ENVELOPE_BOUNDS)
        .map_err(|error| SignatureError::Malformed(error.to_string()))?;
    if envelope.signatures.len() > SIGNATURES_MAX {
        return Err(SignatureError::Malformed(format!(
            "more than {SIGNATURES_MAX} signatures"
        )));
    }
    Ok(envelope)
}

fn verify(key: &PublicKey, signed: &[u8], sig: &str) -> Result<(), SignatureError> {
    let bytes = STANDARD
        .decode(sig)
        .map_err(|_| SignatureError::Malformed("a signature is not base64".into()))?;
    let signature = Signature::from_slice(&bytes)
        .map_err(|_| SignatureError::Malformed("a signature has not 64 bytes".into()))?;
    key.verify(signed, &signature)
        .map_err(|_| SignatureError::BadSignature(key.id()))
}
