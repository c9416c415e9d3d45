//! Signed notes (C2SP signed-note): a text, and lines of signatures over it.
//!
//! Two types of signature are known here, both Ed25519: 0x01 over the text, and 0x04, the
//! timestamped cosignature of C2SP tlog-cosignature. Lines of other types (0x06, ML-DSA-44, among
//! them) are carried along as lines of unknown keys and never count.
//!
//! A note that verifies says that *some* known key signed. How many must sign is a
//! [`Policy`](crate::policy::Policy).

mod key;
mod line;
mod name;
mod signer;

use std::fmt;
use std::str::Utf8Error;

use crate::text::is_forbidden_control;

pub use key::{NoteKeyId, SignatureKind, SignatureMismatch, VerifierKey, VkeyError};
pub use line::{CosignTime, SignatureLine, SignatureLineError};
pub use name::{KeyName, KeyNameError, MAX_NAME_BYTES};
pub use signer::{Cosigner, NoteSigner};

/// Largest note, signatures included. Room for 100 Ed25519 lines, or 60 of ML-DSA-44.
pub const MAX_NOTE_BYTES: usize = 256 * 1024;

/// Most signature lines in a note. The standard asks for at least 16; a policy of this crate can
/// name 128 keys.
pub const MAX_SIGNATURES: usize = 128;

/// A note in its one form: `text`, a blank line, signature lines. Nothing in it is verified.
///
/// INVARIANT: the text ends in a newline and holds no other control character; there is at least
/// one signature line; the encoded form is within [`MAX_NOTE_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// A signature that verified under a known key. Made only by [`Note::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedSignature<'a> {
    key: &'a VerifierKey,
    time: Option<CosignTime>,
}

/// Why bytes are not a note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("a note has at most {MAX_NOTE_BYTES} bytes, not {0}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("a note is UTF-8: {0}")]
    Utf8(Utf8Error),
    /// Holds an ASCII control character other than the newline.
    #[error("a note holds no control character but the newline, found {0:#04x}")]
    Control(u8),
    /// No blank line sets the signatures apart.
    #[error("no blank line sets the signatures apart from the text")]
    NoBlankLine,
    /// The text to sign does not end in a newline.
    #[error("the text of a note ends in a newline")]
    TextEnd,
    /// No signature line, or the last one is not terminated.
    #[error("a note ends in at least one signature line, each ended by a newline")]
    NoSignatures,
    /// More than [`MAX_SIGNATURES`] lines.
    #[error("a note has at most {MAX_SIGNATURES} signature lines")]
    TooManySignatures,
    /// A line after the blank line is not a signature line.
    #[error("signature line {at}: {error}")]
    Line {
        /// Position among the signature lines, from 0.
        at: usize,
        /// What is wrong with it.
        error: SignatureLineError,
    },
}

/// Why a note was not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Two of the given keys have the same name and key id, so a line would not say whose it is.
    #[error("two known keys share the name {0} and the key id {1}")]
    AmbiguousKey(KeyName, NoteKeyId),
    /// A line of a known key does not verify: the whole note is refused.
    #[error("the signature by {0} (key id {1}) does not verify")]
    BadSignature(KeyName, NoteKeyId),
    /// No line is of a known key.
    #[error("no signature is by a known key")]
    NoKnownKey,
}

impl Note {
    /// Signs `text`, which must end in a newline.
    ///
    /// # Errors
    ///
    /// [`NoteError`] when the text cannot be the text of a note.
    pub fn sign(text: &str, signer: &NoteSigner) -> Result<Self, NoteError> {
        check_bytes(text.as_bytes())?;
        if !text.ends_with('\n') {
            return Err(NoteError::TextEnd);
        }
        let note = Self {
            text: text.to_owned(),
            signatures: vec![signer.sign_text(text)],
        };
        note.within_limits()
    }

    /// Reads a note. Its encoded form is `bytes` again, to the byte.
    ///
    /// # Errors
    ///
    /// [`NoteError`] names the rule that `bytes` break.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        check_bytes(bytes)?;
        let whole = std::str::from_utf8(bytes).map_err(NoteError::Utf8)?;
        let (before, lines) = whole.rsplit_once("\n\n").ok_or(NoteError::NoBlankLine)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
        let mut signatures = Vec::new();
        for (at, line) in lines.split('\n').enumerate() {
            if at >= MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            let parsed = SignatureLine::parse(line);
            signatures.push(parsed.map_err(|error| NoteError::Line { at, error })?);
        }
        Ok(Self {
            text: format!("{before}\n"),
            signatures,
        })
    }

    /// The signed text, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in order, of known and unknown keys.
    #[must_use]
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// The note with one more signature line. A line that is already there is not repeated.
    ///
    /// # Errors
    ///
    /// [`NoteError`] when the note would pass a limit.
    pub fn with_signature(mut self, line: SignatureLine) -> Result<Self, NoteError> {
        if !self.signatures.contains(&line) {
            self.signatures.push(line);
        }
        self.within_limits()
    }

    /// Verifies every line that is of one of `keys`, and returns each key that signed, once.
    ///
    /// Lines match by name and key id; a line that matches none is ignored, one that matches must
    /// verify. For a key that signed twice the first line stands.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] when a known key's line fails, none is known, or `keys` is ambiguous.
    pub fn verify<'k>(
        &self,
        keys: &[&'k VerifierKey],
    ) -> Result<Vec<VerifiedSignature<'k>>, VerifyError> {
        refuse_ambiguous(keys)?;
        let mut verified: Vec<VerifiedSignature<'k>> = Vec::new();
        for line in &self.signatures {
            let Some(key) = keys.iter().find(|key| key.is_named_by(line)) else {
                continue;
            };
            let time = key
                .verify(&self.text, line)
                .map_err(|_| VerifyError::BadSignature(line.name().clone(), line.key_id()))?;
            if !verified.iter().any(|seen| seen.key == *key) {
                verified.push(VerifiedSignature { key, time });
            }
        }
        if verified.is_empty() {
            Err(VerifyError::NoKnownKey)
        } else {
            Ok(verified)
        }
    }

    fn within_limits(self) -> Result<Self, NoteError> {
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let len = self.to_string().len();
        if len > MAX_NOTE_BYTES {
            Err(NoteError::TooLong(len))
        } else {
            Ok(self)
        }
    }
}

impl<'a> VerifiedSignature<'a> {
    /// The key that signed.
    #[must_use]
    pub const fn key(&self) -> &'a VerifierKey {
        self.key
    }

    /// When it signed, by its own clock; `None` for a signature without a time.
    #[must_use]
    pub const fn time(&self) -> Option<CosignTime> {
        self.time
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Length and control characters, before anything is parsed.
fn check_bytes(bytes: &[u8]) -> Result<(), NoteError> {
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLong(bytes.len()));
    }
    match bytes.iter().find(|byte| is_forbidden_control(**byte)) {
        Some(byte) => Err(NoteError::Control(*byte)),
        None => Ok(()),
    }
}

fn refuse_ambiguous(keys: &[&VerifierKey]) -> Result<(), VerifyError> {
    for (at, key) in keys.iter().enumerate() {
        let clash = |other: &&&VerifierKey| other.clashes_with(key);
        if keys.iter().take(at).any(|other| clash(&other)) {
            return Err(VerifyError::AmbiguousKey(key.name().clone(), key.id()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
