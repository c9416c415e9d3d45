//! Proof files (C2SP tlog-proof): everything that shows, offline, that an entry is in a log.

use std::fmt;
use std::str::Utf8Error;

use crate::checkpoint::{SignedCheckpoint, SignedCheckpointError};
use crate::hash::Hash;
use crate::note::MAX_NOTE_BYTES;
use crate::policy::{Policy, PolicyViolation, QuorumCheckpoint};
use crate::text::{format_base64, is_forbidden_control, parse_base64, parse_decimal};
use crate::tree::{InclusionError, InclusionProof, MAX_PROOF_HASHES, ProofTooLong};

/// First line of a proof file.
pub const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Most bytes of extra data.
pub const MAX_EXTRA_BYTES: usize = 64 * 1024;

/// Largest proof file: the extra data in base64, the hashes, and a note.
pub const MAX_PROOF_BYTES: usize =
    MAX_EXTRA_BYTES / 3 * 4 + MAX_PROOF_HASHES * 45 + 256 + MAX_NOTE_BYTES;

/// A proof file as data: an index, sibling hashes and a checkpoint. Nothing is verified.
///
/// INVARIANT: the extra data, if any, is from 1 to [`MAX_EXTRA_BYTES`] long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    extra: Option<Vec<u8>>,
    index: u64,
    path: InclusionProof,
    checkpoint: SignedCheckpoint,
}

/// A leaf that is in a log, under a checkpoint that met a policy. Made only by
/// [`LogProof::verify`].
///
/// ```compile_fail,E0451
/// # use placet_tlog::{Hash, QuorumCheckpoint, VerifiedInclusion};
/// fn skip_the_path(leaf: Hash, checkpoint: QuorumCheckpoint) -> VerifiedInclusion {
///     VerifiedInclusion { leaf, index: 0, checkpoint }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedInclusion {
    leaf: Hash,
    index: u64,
    checkpoint: QuorumCheckpoint,
}

/// Why bytes are not a proof file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofSyntaxError {
    /// Longer than [`MAX_PROOF_BYTES`].
    #[error("a proof has at most {MAX_PROOF_BYTES} bytes, not {0}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("a proof is UTF-8: {0}")]
    Utf8(Utf8Error),
    /// An ASCII control character other than the newline.
    #[error("a proof holds no control character but the newline, found {0:#04x}")]
    Control(u8),
    /// The first line is another.
    #[error("a proof begins with the line `{PROOF_HEADER}`")]
    Header,
    /// The extra data is empty, too long, or not base64.
    #[error("extra data is 1 to {MAX_EXTRA_BYTES} bytes in standard base64")]
    Extra,
    /// The index line is missing, or not a decimal without leading zeroes.
    #[error("a proof has a line `index` with a decimal without leading zeroes")]
    Index,
    /// A line of the path is not a hash.
    #[error("line {0} of the path is not a hash in standard base64")]
    Path(usize),
    /// Too many hashes.
    #[error(transparent)]
    PathLength(#[from] ProofTooLong),
    /// No blank line sets the checkpoint apart.
    #[error("no blank line sets the checkpoint apart")]
    NoCheckpoint,
    /// What follows the blank line is not a signed checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] SignedCheckpointError),
}

/// Why a proof was not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The checkpoint does not meet the policy.
    #[error(transparent)]
    Policy(#[from] PolicyViolation),
    /// The leaf is not shown to be in the tree.
    #[error(transparent)]
    Inclusion(#[from] InclusionError),
}

impl LogProof {
    /// A proof of these parts, without extra data.
    #[must_use]
    pub const fn new(index: u64, path: InclusionProof, checkpoint: SignedCheckpoint) -> Self {
        Self {
            extra: None,
            index,
            path,
            checkpoint,
        }
    }

    /// The proof with extra data, which nothing authenticates.
    ///
    /// # Errors
    ///
    /// [`ProofSyntaxError::Extra`] for no data or more than [`MAX_EXTRA_BYTES`].
    pub fn with_extra(self, extra: Vec<u8>) -> Result<Self, ProofSyntaxError> {
        if extra.is_empty() || extra.len() > MAX_EXTRA_BYTES {
            return Err(ProofSyntaxError::Extra);
        }
        Ok(Self {
            extra: Some(extra),
            ..self
        })
    }

    /// Reads a proof file. Its encoded form is `bytes` again, to the byte.
    ///
    /// # Errors
    ///
    /// [`ProofSyntaxError`] names the line that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofSyntaxError> {
        let text = check_text(bytes)?;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(ProofSyntaxError::NoCheckpoint)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(PROOF_HEADER) {
            return Err(ProofSyntaxError::Header);
        }
        let extra = lines
            .next_if(|line| line.starts_with("extra "))
            .map(parse_extra)
            .transpose()?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index
            .and_then(parse_decimal)
            .ok_or(ProofSyntaxError::Index)?;
        let path = parse_path(lines)?;
        let checkpoint = SignedCheckpoint::parse(checkpoint.as_bytes())?;
        Ok(Self {
            extra,
            index,
            path,
            checkpoint,
        })
    }

    /// Verifies that `leaf` is at the proof's index in a tree whose checkpoint meets `policy`.
    ///
    /// The leaf hash comes from the entry that the caller holds, never from the proof.
    ///
    /// # Errors
    ///
    /// [`ProofError`] names the step that failed.
    pub fn verify(&self, policy: &Policy, leaf: &Hash) -> Result<VerifiedInclusion, ProofError> {
        let checkpoint = policy.evaluate(&self.checkpoint)?;
        let tree = checkpoint.checkpoint();
        self.path
            .verify(leaf, self.index, tree.size(), tree.root())?;
        Ok(VerifiedInclusion {
            leaf: *leaf,
            index: self.index,
            checkpoint,
        })
    }

    /// Extra data. Nothing authenticates it.
    #[must_use]
    pub fn unauthenticated_extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// The index claimed.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The sibling hashes claimed.
    #[must_use]
    pub const fn path(&self) -> &InclusionProof {
        &self.path
    }

    /// The checkpoint claimed.
    #[must_use]
    pub const fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }
}

impl fmt::Display for LogProof {
    /// The proof file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF_HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", format_base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path
            .hashes()
            .iter()
            .try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl VerifiedInclusion {
    /// The leaf hash.
    #[must_use]
    pub const fn leaf(&self) -> &Hash {
        &self.leaf
    }

    /// Its index in the log.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The checkpoint that covers it, with the quorum that cosigned.
    #[must_use]
    pub const fn checkpoint(&self) -> &QuorumCheckpoint {
        &self.checkpoint
    }
}

fn check_text(bytes: &[u8]) -> Result<&str, ProofSyntaxError> {
    if bytes.len() > MAX_PROOF_BYTES {
        return Err(ProofSyntaxError::TooLong(bytes.len()));
    }
    if let Some(byte) = bytes.iter().find(|byte| is_forbidden_control(**byte)) {
        return Err(ProofSyntaxError::Control(*byte));
    }
    std::str::from_utf8(bytes).map_err(ProofSyntaxError::Utf8)
}

fn parse_extra(line: &str) -> Result<Vec<u8>, ProofSyntaxError> {
    let data = line.strip_prefix("extra ").and_then(parse_base64);
    data.filter(|data| (1..=MAX_EXTRA_BYTES).contains(&data.len()))
        .ok_or(ProofSyntaxError::Extra)
}

fn parse_path<'a>(
    lines: impl Iterator<Item = &'a str>,
) -> Result<InclusionProof, ProofSyntaxError> {
    let mut hashes = Vec::new();
    for (at, line) in lines.enumerate() {
        if at >= MAX_PROOF_HASHES {
            return Err(ProofTooLong(at.saturating_add(1)).into());
        }
        hashes.push(Hash::parse(line).map_err(|_| ProofSyntaxError::Path(at))?);
    }
    Ok(InclusionProof::new(hashes)?)
}

#[cfg(test)]
mod tests;
