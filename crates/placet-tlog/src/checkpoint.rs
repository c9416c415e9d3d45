//! Checkpoints (C2SP tlog-checkpoint): what a log says its tree is, signed.
//!
//! Three types for three states of knowledge: [`Checkpoint`] is three plain values,
//! [`SignedCheckpoint`] is a note that has not been verified, [`OpenedCheckpoint`] is one that the
//! log's key signed. That a *quorum* cosigned it is
//! [`QuorumCheckpoint`](crate::policy::QuorumCheckpoint).
//!
//! Two things the standard allows are refused: extension lines, which no monitor can audit, and
//! origins that could not be the name of the key.

use std::fmt;

use crate::hash::Hash;
use crate::note::{
    CosignTime, Cosigner, KeyName, KeyNameError, Note, NoteError, NoteSigner, SignatureKind,
    SignatureLine, VerifiedSignature, VerifierKey, VerifyError,
};
use crate::text::parse_decimal;
use crate::tree::MAX_SIZE;

/// Origin, size and root of a tree. Plain data: anyone can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: KeyName,
    size: u64,
    root: Hash,
}

/// A checkpoint with signatures that have not been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// INVARIANT: the body of this checkpoint is the text of the note.
    checkpoint: Checkpoint,
    note: Note,
}

/// A checkpoint that a known key of its log signed. Made only by [`SignedCheckpoint::open`].
///
/// It is what the log says. That nobody was shown another history takes a quorum of witnesses.
///
/// ```compile_fail,E0451
/// # use placet_tlog::{OpenedCheckpoint, SignedCheckpoint, VerifierKey};
/// fn believe(signed: SignedCheckpoint, log_key: VerifierKey) -> OpenedCheckpoint {
///     OpenedCheckpoint { signed, log_key }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedCheckpoint {
    signed: SignedCheckpoint,
    log_key: VerifierKey,
}

/// Why a text is not the body of a checkpoint, or values make none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not three lines, each ended by a newline. Extension lines are refused.
    #[error("a checkpoint has three lines: origin, size, root")]
    Lines,
    /// The origin could not be the name of the log's key.
    #[error("the origin of a checkpoint names the log's key: {0}")]
    Origin(KeyNameError),
    /// The size is not a decimal without leading zeroes, up to [`MAX_SIZE`].
    #[error("the size is a decimal without leading zeroes, at most 2^63 - 1")]
    Size,
    /// The root is not 44 characters of base64.
    #[error("the root is 32 bytes in standard base64")]
    Root,
    /// The empty tree has one root, and this is another.
    #[error("a tree of size 0 has the root of the empty tree")]
    EmptyRoot,
}

/// Why bytes are not a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedCheckpointError {
    /// Not a signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text of the note is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The signer's name is not the origin.
    #[error("the log {origin} does not sign as {signer}")]
    SignerName {
        /// Origin of the checkpoint.
        origin: KeyName,
        /// Name of the signing key.
        signer: KeyName,
    },
}

/// Why a checkpoint was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The note was not believed.
    #[error(transparent)]
    Note(#[from] VerifyError),
    /// None of the known log keys has the checkpoint's origin for its name and signed it.
    #[error("no known key of the log {0} signed the checkpoint")]
    NotSignedByLog(KeyName),
}

impl Checkpoint {
    /// A checkpoint of these values.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] for a size beyond [`MAX_SIZE`], or an empty tree with a root of its own.
    pub fn new(origin: KeyName, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        if size > MAX_SIZE {
            return Err(CheckpointError::Size);
        }
        if size == 0 && root != Hash::EMPTY_ROOT {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(Self { origin, size, root })
    }

    /// Reads the text of a note as a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] names the line that is wrong.
    pub fn parse_body(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text
            .strip_suffix('\n')
            .ok_or(CheckpointError::Lines)?
            .split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Lines);
        };
        let origin = KeyName::parse(origin).map_err(CheckpointError::Origin)?;
        let size = parse_decimal(size).ok_or(CheckpointError::Size)?;
        let root = Hash::parse(root).map_err(|_| CheckpointError::Root)?;
        Self::new(origin, size, root)
    }

    /// The three lines that are signed.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Identity of the log.
    #[must_use]
    pub const fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root hash.
    #[must_use]
    pub const fn root(&self) -> &Hash {
        &self.root
    }

    /// Signs the checkpoint as its log.
    ///
    /// A log never signs two checkpoints of which neither extends the other: this function cannot
    /// know, its caller must.
    ///
    /// # Errors
    ///
    /// [`SignedCheckpointError::SignerName`] when the signer's name is not the origin.
    pub fn sign(self, signer: &NoteSigner) -> Result<SignedCheckpoint, SignedCheckpointError> {
        let name = signer.verifier_key().name();
        if *name != self.origin {
            let signer = name.clone();
            return Err(SignedCheckpointError::SignerName {
                origin: self.origin,
                signer,
            });
        }
        let note = Note::sign(&self.body(), signer)?;
        Ok(SignedCheckpoint {
            checkpoint: self,
            note,
        })
    }
}

impl SignedCheckpoint {
    /// Reads a signed checkpoint without verifying it.
    ///
    /// # Errors
    ///
    /// [`SignedCheckpointError`] names the rule that `bytes` break.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignedCheckpointError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse_body(note.text())?;
        Ok(Self { checkpoint, note })
    }

    /// What the checkpoint claims. Not verified.
    #[must_use]
    pub const fn claim(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note, with the lines of known and unknown keys.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// Adds a line, for example a witness's answer. A line that is there already is not repeated.
    ///
    /// # Errors
    ///
    /// [`NoteError`] when the note would pass a limit.
    pub fn with_signature(self, line: SignatureLine) -> Result<Self, NoteError> {
        let Self { checkpoint, note } = self;
        Ok(Self {
            checkpoint,
            note: note.with_signature(line)?,
        })
    }

    /// Adds a cosignature.
    ///
    /// # Errors
    ///
    /// [`NoteError`] when the note would pass a limit.
    pub fn with_cosignature(self, by: &Cosigner, time: CosignTime) -> Result<Self, NoteError> {
        let line = by.cosign(&self.checkpoint, time);
        self.with_signature(line)
    }

    /// Verifies the checkpoint as its log's: a key of type 0x01 among `keys`, named as the origin,
    /// signed it, and no line of any of `keys` fails.
    ///
    /// # Errors
    ///
    /// [`OpenError`] names the check that failed.
    pub fn open(&self, keys: &[&VerifierKey]) -> Result<OpenedCheckpoint, OpenError> {
        self.open_with(keys).map(|(opened, _)| opened)
    }

    /// [`open`](Self::open), and every signature that verified on the way.
    pub(crate) fn open_with<'k>(
        &self,
        keys: &[&'k VerifierKey],
    ) -> Result<(OpenedCheckpoint, Vec<VerifiedSignature<'k>>), OpenError> {
        let signatures = self.note.verify(keys)?;
        let mut signers = signatures.iter().map(VerifiedSignature::key);
        let log_key = signers.find(|key| self.is_key_of_log(key)).cloned();
        let log_key = log_key.ok_or_else(|| OpenError::NotSignedByLog(self.origin().clone()))?;
        Ok((
            OpenedCheckpoint {
                signed: self.clone(),
                log_key,
            },
            signatures,
        ))
    }

    fn is_key_of_log(&self, key: &VerifierKey) -> bool {
        key.kind() == SignatureKind::Ed25519 && key.name() == self.origin()
    }

    const fn origin(&self) -> &KeyName {
        &self.checkpoint.origin
    }
}

impl OpenedCheckpoint {
    /// What the log says.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.signed.checkpoint
    }

    /// The signed form, for passing on.
    #[must_use]
    pub const fn signed(&self) -> &SignedCheckpoint {
        &self.signed
    }

    /// The key of the log that signed.
    #[must_use]
    pub const fn log_key(&self) -> &VerifierKey {
        &self.log_key
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

#[cfg(test)]
mod tests;
