//! The artifact itself: a compact text, made from claims and a key or from claims and a signature.

use std::fmt;

use placet_types::{Digest, PublicKey, Signature, SigningKey};

use crate::claims::{Claims, ClaimsError};
use crate::jws::{self, Algorithm, Compact, CompactError, Header};

/// A compact text with the outer form of an artifact. Authorizes nothing: see [`crate::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Artifact(String);

/// Why no artifact was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The claims break a rule of their own.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// The text would be longer than [`jws::BYTES_MAX`].
    #[error("the artifact would be longer than {} bytes", jws::BYTES_MAX)]
    TooLong,
}

impl Artifact {
    /// Takes a compact text: bounds and outer form only.
    ///
    /// # Errors
    ///
    /// [`CompactError`] names the rule that is broken.
    pub fn parse(text: &str) -> Result<Self, CompactError> {
        Compact::parse(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The compact text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of what is signed, header and claims: how the `decided` record names this artifact.
    ///
    /// The signature is not part of it. Ed25519 is deterministic, so it adds nothing; and without
    /// it anyone with the log can compute the digest again, and an issuer can record it before it
    /// signs.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_of(&self.0)
    }

    /// The signature, to be kept so that [`assemble`] can make the artifact again.
    ///
    /// # Errors
    ///
    /// None in an artifact that was parsed or issued; the compact text is taken apart again.
    pub fn signature(&self) -> Result<Signature, CompactError> {
        Compact::parse(&self.0).map(|compact| *compact.signature())
    }
}

/// Issues an artifact. The same claims, key and name of the algorithm give the same bytes.
///
/// # Errors
///
/// [`IssueError`] when a verifier would refuse the artifact for its form.
pub fn issue(claims: &Claims, key: &SigningKey, alg: Algorithm) -> Result<Artifact, IssueError> {
    Ok(Artifact(jws::sign(&claims.encode()?, key, alg)?))
}

/// Makes an artifact again from its claims, its header and the signature that was kept.
///
/// The signature is not verified: the digest tells whether this is the artifact that was issued.
///
/// # Errors
///
/// As for [`issue`].
pub fn assemble(
    claims: &Claims,
    header: &Header,
    signature: &Signature,
) -> Result<Artifact, IssueError> {
    let input = jws::signing_input(header, &claims.encode()?);
    Ok(Artifact(jws::join(input, signature)?))
}

/// Digest of the artifact with this compact text; see [`Artifact::digest`].
#[must_use]
pub fn digest_of(text: &str) -> Digest {
    let input = text.rsplit_once('.').map_or(text, |(input, _)| input);
    Digest::of(input.as_bytes())
}

/// An artifact that is not signed yet: its claims are settled, and so is its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    input: String,
}

impl Unsigned {
    /// Settles the claims of an artifact that the key with this public half will sign.
    ///
    /// # Errors
    ///
    /// As for [`issue`].
    pub fn new(claims: &Claims, key: &PublicKey, alg: Algorithm) -> Result<Self, IssueError> {
        let header = Header::new(key, alg);
        let input = jws::signing_input(&header, &claims.encode()?);
        if input.len().saturating_add(jws::TAIL) > jws::BYTES_MAX {
            return Err(IssueError::TooLong);
        }
        Ok(Self { input })
    }

    /// Digest of the artifact that this will be.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.input.as_bytes())
    }

    /// Signs it. The key must be the one it was made for, or nobody will believe it.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Artifact {
        let signature = key.sign(self.input.as_bytes());
        let mut text = String::with_capacity(self.input.len().saturating_add(jws::TAIL));
        text.push_str(&self.input);
        jws::append(&mut text, &signature);
        Artifact(text)
    }
}

impl From<CompactError> for IssueError {
    fn from(_: CompactError) -> Self {
        // INVARIANT: of what joining can refuse, only the length depends on the claims.
        Self::TooLong
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifact({})", self.digest())
    }
}
