//! Proofs as data: bounded lists of hashes, which say nothing until they are verified.

use crate::hash::Hash;
use crate::tree::MAX_PROOF_HASHES;

/// An inclusion proof (RFC 6962, section 2.1.1): sibling hashes, the leaf's sibling first.
///
/// Plain data. [`InclusionProof::verify`] gives it meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InclusionProof(Vec<Hash>);

/// A consistency proof (RFC 6962, section 2.1.2).
///
/// Plain data. [`ConsistencyProof::verify`] gives it meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsistencyProof(Vec<Hash>);

/// More hashes than any proof needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proof has at most {MAX_PROOF_HASHES} hashes, not {0}")]
pub struct ProofTooLong(pub usize);

impl InclusionProof {
    /// Takes the hashes of a proof, the leaf's sibling first.
    ///
    /// # Errors
    ///
    /// [`ProofTooLong`] beyond [`MAX_PROOF_HASHES`].
    pub fn new(hashes: Vec<Hash>) -> Result<Self, ProofTooLong> {
        bounded(hashes).map(Self)
    }

    /// The hashes, the leaf's sibling first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.0
    }

    /// A proof made by this crate: within bounds because trees are.
    pub(crate) const fn assertion(hashes: Vec<Hash>) -> Self {
        Self(hashes)
    }
}

impl ConsistencyProof {
    /// Takes the hashes of a proof, in the order of RFC 6962.
    ///
    /// # Errors
    ///
    /// [`ProofTooLong`] beyond [`MAX_PROOF_HASHES`].
    pub fn new(hashes: Vec<Hash>) -> Result<Self, ProofTooLong> {
        bounded(hashes).map(Self)
    }

    /// The hashes, in the order of RFC 6962.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.0
    }

    /// A proof made by this crate: within bounds because trees are.
    pub(crate) const fn assertion(hashes: Vec<Hash>) -> Self {
        Self(hashes)
    }
}

fn bounded(hashes: Vec<Hash>) -> Result<Vec<Hash>, ProofTooLong> {
    if hashes.len() > MAX_PROOF_HASHES {
        return Err(ProofTooLong(hashes.len()));
    }
    Ok(hashes)
}
