//! Proof that the presenter holds the key that an artifact is bound to.
//!
//! A bare artifact is of no use to whoever finds it. The holder signs the artifact's digest and a
//! challenge that the verifier made for this one presentation; how the challenge gets to the holder
//! is not known here.

use placet_types::{Digest, PublicKey, Signature, SigningKey};

use crate::claims::Thumbprint;

/// A key, and its signature over one artifact and one challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderProof {
    /// The key that the presenter claims to hold.
    pub key: PublicKey,
    /// Its signature over [`HolderProof::message`].
    pub signature: Signature,
}

/// How it is shown that the presenter holds the key that the artifact is bound to.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// By a signature over a challenge: the presenter is somebody else.
    Proven(&'a HolderProof),
    /// By the key itself: verifier and presenter are one, and nothing has to be signed to oneself.
    Itself(&'a SigningKey),
}

/// Why a presenter does not count as the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HolderError {
    /// The artifact is bound to another key.
    #[error("the artifact is bound to another key")]
    OtherKey,
    /// The signature does not cover this artifact and this challenge.
    #[error("the holder's signature does not verify")]
    BadSignature,
}

impl Holder<'_> {
    /// Checks that it is the holder of the key that the artifact names.
    ///
    /// # Errors
    ///
    /// [`HolderError`] says whether the key or the signature is the wrong one.
    pub fn check(
        &self,
        bound_to: &Thumbprint,
        artifact: &Digest,
        challenge: &[u8],
    ) -> Result<(), HolderError> {
        match self {
            Self::Proven(proof) => proof.verify(bound_to, artifact, challenge),
            Self::Itself(key) if Thumbprint::of(&key.public()) == *bound_to => Ok(()),
            Self::Itself(_) => Err(HolderError::OtherKey),
        }
    }
}

impl HolderProof {
    /// First line of what the holder signs. It keeps the signature from meaning anything else.
    pub const CONTEXT: &'static str = "placet-holder-proof-v1\n";

    /// What the holder signs: the context, the 32 bytes of the artifact's digest, the challenge.
    ///
    /// Everything before the challenge has a fixed length, so no two pairs give the same bytes.
    #[must_use]
    pub fn message(artifact: &Digest, challenge: &[u8]) -> Vec<u8> {
        [Self::CONTEXT.as_bytes(), artifact.as_bytes(), challenge].concat()
    }

    /// Answers a challenge.
    #[must_use]
    pub fn make(holder: &SigningKey, artifact: &Digest, challenge: &[u8]) -> Self {
        let signature = holder.sign(&Self::message(artifact, challenge));
        Self {
            key: holder.public(),
            signature,
        }
    }

    /// Checks the proof against the key that the artifact names.
    ///
    /// # Errors
    ///
    /// [`HolderError`] says whether the key or the signature is the wrong one.
    pub fn verify(
        &self,
        bound_to: &Thumbprint,
        artifact: &Digest,
        challenge: &[u8],
    ) -> Result<(), HolderError> {
        if Thumbprint::of(&self.key) != *bound_to {
            return Err(HolderError::OtherKey);
        }
        self.key
            .verify(&Self::message(artifact, challenge), &self.signature)
            .map_err(|_| HolderError::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_verifier_that_holds_the_key_is_the_holder_and_one_with_another_key_is_not() {
        let key = |seed| SigningKey::from_seed(&Zeroizing::new([seed; 32]));
        let (own, artifact) = (key(1), Digest::of(b"artifact"));
        let bound_to = Thumbprint::of(&own.public());
        let check = |holder: Holder<'_>| holder.check(&bound_to, &artifact, b"challenge");
        assert_eq!(check(Holder::Itself(&own)), Ok(()));
        assert_eq!(check(Holder::Itself(&key(2))), Err(HolderError::OtherKey));
        let proof = HolderProof::make(&own, &artifact, b"challenge");
        assert_eq!(check(Holder::Proven(&proof)), Ok(()));
        let stale = HolderProof::make(&own, &artifact, b"another");
        assert_eq!(
            check(Holder::Proven(&stale)),
            Err(HolderError::BadSignature)
        );
    }
}
