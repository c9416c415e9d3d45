//! Verifier keys (C2SP signed-note, "Verifier keys"): `<name>+<key id>+base64(type ‖ key)`.

use std::fmt;
use std::str::FromStr;

use placet_types::digest::{decode_hex, encode_hex};
use placet_types::key::{KeyError, PublicKey, Signature};
use sha2::{Digest as _, Sha256};

use crate::note::signer::cosigned_message;
use crate::note::{CosignTime, KeyName, KeyNameError, SignatureLine};
use crate::text::{format_base64, parse_base64};

/// The four bytes by which a signature line names its key, next to the name.
///
/// Too short to identify a key by itself: whoever verifies has the key already.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteKeyId([u8; 4]);

/// What a key signs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureKind {
    /// Type 0x01: Ed25519 over the text of the note.
    Ed25519,
    /// Type 0x04: a timestamped Ed25519 cosignature of a checkpoint (C2SP tlog-cosignature).
    CosignatureV1,
}

/// A key that a verifier knows: a name, a kind, and a public key that passed import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    kind: SignatureKind,
    /// INVARIANT: computed from the other three.
    id: NoteKeyId,
    key: PublicKey,
}

/// Why a text is not a verifier key that can be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VkeyError {
    /// Not three parts set apart by plus signs.
    #[error("a verifier key is a name, a key id and a key, set apart by plus signs")]
    Shape,
    /// The name is not a key name.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// The key id is not eight lower-case hex digits.
    #[error("a key id is eight lower-case hex digits")]
    KeyId,
    /// The key is not canonical standard base64 of a type and a key.
    #[error("the key material is the type and the key in standard base64")]
    Encoding,
    /// A type other than 0x01 and 0x04.
    #[error("keys of signature type {0:#04x} are not supported, only 0x01 and 0x04")]
    UnsupportedType(u8),
    /// The public key was not imported.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key id is not that of this name, type and key.
    #[error("the key id is {stated} but name, type and key make {computed}")]
    IdMismatch {
        /// As written.
        stated: NoteKeyId,
        /// As it must be.
        computed: NoteKeyId,
    },
}

/// The signature does not verify under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureMismatch {
    /// The line names another key.
    #[error("the line is of another key")]
    OtherKey,
    /// The signature has not the length of its type: 64 bytes, or 72 with a time.
    #[error("the signature has another length than its type")]
    Length,
    /// The time of a cosignature is 0 or beyond 2^63 − 1.
    #[error("the time of a cosignature is 1 to 2^63 - 1")]
    Time,
    /// The signature is not one of this key over this text.
    #[error("the signature does not verify")]
    Signature,
}

impl NoteKeyId {
    /// Takes the four bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The four bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }

    /// SHA-256(name ‖ 0x0A ‖ type ‖ key)[:4].
    fn compute(name: &KeyName, kind: SignatureKind, key: &PublicKey) -> Self {
        let hash = Sha256::new()
            .chain_update(name.as_str())
            .chain_update([b'\n', kind.type_byte()])
            .chain_update(key.as_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        Self([a, b, c, d])
    }
}

impl SignatureKind {
    /// The byte assigned by C2SP signed-note.
    #[must_use]
    pub const fn type_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }

    const fn from_type_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::CosignatureV1),
            _ => None,
        }
    }
}

impl VerifierKey {
    /// The verifier key of this name, kind and public key.
    #[must_use]
    pub fn new(name: KeyName, kind: SignatureKind, key: PublicKey) -> Self {
        let id = NoteKeyId::compute(&name, kind, &key);
        Self {
            name,
            kind,
            id,
            key,
        }
    }

    /// Reads a verifier key.
    ///
    /// # Errors
    ///
    /// [`VkeyError`] names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, VkeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(VkeyError::Shape);
        };
        let name = KeyName::parse(name)?;
        let id = decode_hex(id)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(VkeyError::KeyId)?;
        let material = parse_base64(material).ok_or(VkeyError::Encoding)?;
        let (byte, key) = material.split_first().ok_or(VkeyError::Encoding)?;
        let kind = SignatureKind::from_type_byte(*byte);
        let kind = kind.ok_or(VkeyError::UnsupportedType(*byte))?;
        let parsed = Self::new(name, kind, PublicKey::import(key)?);
        let (stated, computed) = (NoteKeyId(id), parsed.id);
        if stated == computed {
            Ok(parsed)
        } else {
            Err(VkeyError::IdMismatch { stated, computed })
        }
    }

    /// Name of the key; the origin, if it is a log's.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub const fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// Its id in signature lines.
    #[must_use]
    pub const fn id(&self) -> NoteKeyId {
        self.id
    }

    /// The public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether the line says that it is of this key.
    #[must_use]
    pub fn is_named_by(&self, line: &SignatureLine) -> bool {
        line.key_id() == self.id && *line.name() == self.name
    }

    /// Whether lines of one key could be taken for lines of the other.
    pub(crate) fn clashes_with(&self, other: &Self) -> bool {
        self.id == other.id && self.name == other.name
    }

    /// Verifies a line over the text of a note and returns the time it states, if its kind does.
    ///
    /// # Errors
    ///
    /// [`SignatureMismatch`] names what is wrong.
    pub fn verify(
        &self,
        text: &str,
        line: &SignatureLine,
    ) -> Result<Option<CosignTime>, SignatureMismatch> {
        if !self.is_named_by(line) {
            return Err(SignatureMismatch::OtherKey);
        }
        match self.kind {
            SignatureKind::Ed25519 => {
                self.verify_bytes(text.as_bytes(), line.signature())?;
                Ok(None)
            }
            SignatureKind::CosignatureV1 => {
                let parts = line.signature().split_first_chunk::<8>();
                let (time, signature) = parts.ok_or(SignatureMismatch::Length)?;
                let time = CosignTime::new(u64::from_be_bytes(*time));
                let time = time.ok_or(SignatureMismatch::Time)?;
                self.verify_bytes(cosigned_message(text, time).as_bytes(), signature)?;
                Ok(Some(time))
            }
        }
    }

    fn verify_bytes(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureMismatch> {
        let signature = Signature::from_slice(signature).map_err(|_| SignatureMismatch::Length)?;
        self.key
            .verify(message, &signature)
            .map_err(|_| SignatureMismatch::Signature)
    }
}

impl FromStr for VerifierKey {
    type Err = VkeyError;

    fn from_str(text: &str) -> Result<Self, VkeyError> {
        Self::parse(text)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = [[self.kind.type_byte()].as_slice(), self.key.as_bytes()].concat();
        write!(f, "{}+{}+{}", self.name, self.id, format_base64(&material))
    }
}

impl fmt::Display for NoteKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_hex(&self.0))
    }
}

impl fmt::Debug for NoteKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
