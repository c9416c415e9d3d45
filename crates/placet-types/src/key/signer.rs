//! What makes signatures. Half of what a permit costs its node is signing it.
//!
//! Ed25519 has one right signature for a key and a message, so whoever computes it makes no difference but
//! in time: with the feature `aws-lc` it is AWS-LC, whose arithmetic is verified assembly for each processor,
//! in half the time. Where that gives none, and without the feature, the Rust implementation signs. Keys are
//! imported and signatures verified by that one alone: there is one rule of what is accepted.

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

/// A private key, ready to sign. Both forms are zeroed when dropped.
pub(super) struct Signer {
    key: SigningKey,
    #[cfg(feature = "aws-lc")]
    fast: Option<aws_lc_rs::signature::Ed25519KeyPair>,
}

impl Signer {
    pub(super) fn new(seed: &Zeroizing<[u8; 32]>) -> Self {
        let key = SigningKey::from_bytes(seed);
        Self {
            #[cfg(feature = "aws-lc")]
            fast: aws_lc_rs::signature::Ed25519KeyPair::from_seed_and_public_key(
                seed.as_slice(),
                key.verifying_key().as_bytes(),
            )
            .ok(),
            key,
        }
    }

    pub(super) fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    pub(super) fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.fast(message)
            .unwrap_or_else(|| self.key.sign(message).to_bytes())
    }

    #[cfg(feature = "aws-lc")]
    fn fast(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature = self.fast.as_ref()?.try_sign(message).ok()?;
        signature.as_ref().try_into().ok()
    }

    #[cfg(not(feature = "aws-lc"))]
    fn fast(&self, _: &[u8]) -> Option<[u8; 64]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whoever_signs_the_signature_is_the_same(
            seed: [u8; 32],
            message in proptest::collection::vec(any::<u8>(), 0..4096),
        ) {
            let signer = Signer::new(&Zeroizing::new(seed));
            let own = signer.key.sign(&message).to_bytes();
            prop_assert_eq!(signer.sign(&message), own);
            prop_assert_eq!(signer.fast(&message), cfg!(feature = "aws-lc").then_some(own));
        }
    }
}
