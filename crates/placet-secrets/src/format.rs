//! The bytes of the store.
//!
//! ```text
//! placet-secrets-v1\n           18 bytes
//! key id                        16 bytes: of the key that all of it was encrypted with
//! version                       8 bytes, big-endian: the number of this state
//! count                         4 bytes: entries that follow, in ascending order of their names
//!   length of the name, name    1 byte, 1 to 64 bytes
//!   version                     8 bytes: the state in which it got its value
//!   nonce                       24 bytes, drawn for this encryption
//!   length, ciphertext          4 bytes; value and 16 bytes of tag
//! seal: nonce, tag              24 and 16 bytes: over everything before
//! ```
//!
//! XChaCha20-Poly1305 throughout. The associated data of an entry are its name and version, so no
//! entry passes for another or for an older one of its own; those of the seal are all bytes before
//! it, so entries cannot be taken away, added or reordered, nor can the version be changed.

use std::collections::BTreeMap;

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use placet_types::SecretName;
use zeroize::Zeroizing;

use crate::key::{KeyId, StoreKey};
use crate::value::{BYTES_MAX, Secret};

/// Most secrets of one store.
pub const COUNT_MAX: usize = 1000;
/// Longest file: what the bounds on entries come to.
pub(crate) const FILE_BYTES_MAX: u64 = 80 << 20;

const MAGIC: &[u8; 18] = b"placet-secrets-v1\n";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// A store as its file says it is: parsed, not yet believed.
#[derive(Debug)]
pub struct Sealed {
    pub(crate) key: KeyId,
    pub(crate) version: u64,
    entries: BTreeMap<SecretName, Entry>,
    /// Everything before the seal, as it was read.
    body: Vec<u8>,
    seal: ([u8; NONCE_BYTES], [u8; TAG_BYTES]),
}

#[derive(Debug)]
struct Entry {
    version: u64,
    nonce: [u8; NONCE_BYTES],
    /// Value and tag, encrypted.
    sealed: Vec<u8>,
}

/// A store whose seal was verified.
#[derive(Debug)]
pub(crate) struct Opened(Sealed);

/// Why bytes are no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// They are not of this format, or were cut or changed.
    #[error("it is no store of secrets, or was cut: {0}")]
    Syntax(&'static str),
    /// It was encrypted with another key.
    #[error("it was encrypted with another key than the one at hand")]
    OtherKey,
    /// Not all of it is what was written.
    #[error("it was changed since it was written: {0}")]
    Forged(&'static str),
    /// An encryption failed or there was no randomness.
    #[error("nothing could be encrypted")]
    Encrypt,
}

impl Sealed {
    /// Reads the bytes, strictly. Nothing is decrypted.
    ///
    /// # Errors
    ///
    /// [`FormatError::Syntax`]
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let syntax = FormatError::Syntax;
        let mut rest = bytes;
        if take::<18>(&mut rest, "the beginning")? != MAGIC {
            return Err(syntax("the beginning"));
        }
        let key = *take(&mut rest, "the key id")?;
        let version = u64::from_be_bytes(*take(&mut rest, "the version")?);
        let count = u32::from_be_bytes(*take(&mut rest, "the count")?) as usize;
        if count > COUNT_MAX {
            return Err(syntax("the count"));
        }
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let (name, entry) = entry(&mut rest)?;
            if entries
                .last_key_value()
                .is_some_and(|(last, _)| *last >= name)
            {
                return Err(syntax("the order of its entries"));
            }
            if entry.version > version {
                return Err(syntax("the version of an entry"));
            }
            entries.insert(name, entry);
        }
        let body_bytes = bytes.len().saturating_sub(rest.len());
        let nonce = *take(&mut rest, "the seal")?;
        let tag = *take(&mut rest, "the seal")?;
        if !rest.is_empty() {
            return Err(syntax("the end"));
        }
        Ok(Self {
            key,
            version,
            entries,
            body: bytes.get(..body_bytes).unwrap_or_default().to_vec(),
            seal: (nonce, tag),
        })
    }

    /// The bytes: those that were read, if any were.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (nonce, tag) = &self.seal;
        let mut bytes = body(self.key, self.version, &self.entries);
        bytes.extend(nonce);
        bytes.extend(tag);
        bytes
    }

    /// The state of a store that was never written.
    pub(crate) fn empty(key: &StoreKey) -> Result<Opened, FormatError> {
        Ok(Opened(seal(key, 0, BTreeMap::new())?))
    }

    /// Verifies the seal.
    pub(crate) fn open(self, key: &StoreKey) -> Result<Opened, FormatError> {
        if self.key != key.id() {
            return Err(FormatError::OtherKey);
        }
        let (nonce, tag) = self.seal;
        cipher(key)
            .decrypt_inout_detached(
                &XNonce::from(nonce),
                &self.body,
                InOutBuf::from(&mut [][..]),
                &Tag::from(tag),
            )
            .map_err(|_| FormatError::Forged("the seal does not fit"))?;
        Ok(Opened(self))
    }
}

impl Opened {
    pub(crate) fn version(&self) -> u64 {
        self.0.version
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &SecretName> {
        self.0.entries.keys()
    }

    /// Decrypts one value.
    pub(crate) fn get(
        &self,
        key: &StoreKey,
        name: &SecretName,
    ) -> Result<Option<Secret>, FormatError> {
        let Some(entry) = self.0.entries.get(name) else {
            return Ok(None);
        };
        let forged = || FormatError::Forged("an entry does not fit its name");
        let split = entry.sealed.len().saturating_sub(TAG_BYTES);
        let (ciphertext, tag) = entry.sealed.split_at(split);
        let tag: [u8; TAG_BYTES] = tag.try_into().map_err(|_| forged())?;
        let mut value = Zeroizing::new(ciphertext.to_vec());
        cipher(key)
            .decrypt_inout_detached(
                &XNonce::from(entry.nonce),
                &about(name, entry.version),
                InOutBuf::from(value.as_mut_slice()),
                &Tag::from(tag),
            )
            .map_err(|_| forged())?;
        Secret::new(value).map(Some).map_err(|_| forged())
    }

    /// The next state, with this value.
    pub(crate) fn with(
        self,
        key: &StoreKey,
        name: SecretName,
        value: &Secret,
    ) -> Result<Vec<u8>, FormatError> {
        let version = self.0.version.saturating_add(1);
        let mut entries = self.0.entries;
        let entry = encrypt(key, &name, version, value)?;
        entries.insert(name, entry);
        Ok(seal(key, version, entries)?.to_bytes())
    }

    /// The next state, without this value.
    pub(crate) fn without(self, key: &StoreKey, name: &SecretName) -> Result<Vec<u8>, FormatError> {
        let version = self.0.version.saturating_add(1);
        let mut entries = self.0.entries;
        entries.remove(name);
        Ok(seal(key, version, entries)?.to_bytes())
    }

    /// The next state, everything encrypted with another key.
    pub(crate) fn under(self, old: &StoreKey, new: &StoreKey) -> Result<Vec<u8>, FormatError> {
        let version = self.0.version.saturating_add(1);
        let mut entries = BTreeMap::new();
        for (name, entry) in &self.0.entries {
            if let Some(value) = self.get(old, name)? {
                entries.insert(name.clone(), encrypt(new, name, entry.version, &value)?);
            }
        }
        Ok(seal(new, version, entries)?.to_bytes())
    }
}

fn encrypt(
    key: &StoreKey,
    name: &SecretName,
    version: u64,
    value: &Secret,
) -> Result<Entry, FormatError> {
    let nonce = nonce()?;
    // Encrypted in place, so what is left of the value is overwritten.
    let mut sealed = Zeroizing::new(Vec::with_capacity(value.len().saturating_add(TAG_BYTES)));
    sealed.extend_from_slice(value.expose());
    let tag = cipher(key)
        .encrypt_inout_detached(
            &XNonce::from(nonce),
            &about(name, version),
            InOutBuf::from(sealed.as_mut_slice()),
        )
        .map_err(|_| FormatError::Encrypt)?;
    sealed.extend_from_slice(&tag);
    Ok(Entry {
        version,
        nonce,
        sealed: std::mem::take(&mut sealed),
    })
}

fn seal(
    key: &StoreKey,
    version: u64,
    entries: BTreeMap<SecretName, Entry>,
) -> Result<Sealed, FormatError> {
    let body = body(key.id(), version, &entries);
    let nonce = nonce()?;
    let tag = cipher(key)
        .encrypt_inout_detached(&XNonce::from(nonce), &body, InOutBuf::from(&mut [][..]))
        .map_err(|_| FormatError::Encrypt)?;
    Ok(Sealed {
        key: key.id(),
        version,
        entries,
        body,
        seal: (nonce, tag.into()),
    })
}

fn body(key: KeyId, version: u64, entries: &BTreeMap<SecretName, Entry>) -> Vec<u8> {
    let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut body = MAGIC.to_vec();
    body.extend(key);
    body.extend(version.to_be_bytes());
    body.extend(short(entries.len()));
    for (name, entry) in entries {
        let name = name.as_str().as_bytes();
        body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        body.extend(name);
        body.extend(entry.version.to_be_bytes());
        body.extend(entry.nonce);
        body.extend(short(entry.sealed.len()));
        body.extend_from_slice(&entry.sealed);
    }
    body
}

fn entry(rest: &mut &[u8]) -> Result<(SecretName, Entry), FormatError> {
    let syntax = FormatError::Syntax;
    let [length] = *take::<1>(rest, "an entry")?;
    let name = take_some(rest, length.into(), "a name")?;
    let name = std::str::from_utf8(name)
        .ok()
        .and_then(|text| SecretName::parse(text).ok())
        .ok_or(syntax("a name"))?;
    let version = u64::from_be_bytes(*take(rest, "an entry")?);
    let nonce = *take(rest, "an entry")?;
    let length = u32::from_be_bytes(*take(rest, "an entry")?) as usize;
    if !(TAG_BYTES + 1..=BYTES_MAX + TAG_BYTES).contains(&length) {
        return Err(syntax("the length of an entry"));
    }
    let sealed = take_some(rest, length, "an entry")?.to_vec();
    let entry = Entry {
        version,
        nonce,
        sealed,
    };
    Ok((name, entry))
}

fn take<'a, const N: usize>(
    rest: &mut &'a [u8],
    what: &'static str,
) -> Result<&'a [u8; N], FormatError> {
    let (taken, left) = rest
        .split_first_chunk::<N>()
        .ok_or(FormatError::Syntax(what))?;
    *rest = left;
    Ok(taken)
}

fn take_some<'a>(
    rest: &mut &'a [u8],
    length: usize,
    what: &'static str,
) -> Result<&'a [u8], FormatError> {
    let (taken, left) = rest
        .split_at_checked(length)
        .ok_or(FormatError::Syntax(what))?;
    *rest = left;
    Ok(taken)
}

/// The associated data of an entry.
fn about(name: &SecretName, version: u64) -> Vec<u8> {
    let label: &[u8] = b"placet-secret-v1\0";
    [
        label,
        name.as_str().as_bytes(),
        b"\0",
        &version.to_be_bytes(),
    ]
    .concat()
}

fn cipher(key: &StoreKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key.bytes()))
}

fn nonce() -> Result<[u8; NONCE_BYTES], FormatError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| FormatError::Encrypt)?;
    Ok(nonce)
}

#[cfg(test)]
#[path = "format/tests.rs"]
mod tests;
