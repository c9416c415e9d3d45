//! Keys that sign: a log's over the text of a note, a cosigner's over a checkpoint and a time.

use placet_types::key::SigningKey;

use crate::checkpoint::Checkpoint;
use crate::note::{CosignTime, KeyName, SignatureKind, SignatureLine, VerifierKey};

/// Signs texts with Ed25519 (type 0x01). A log's name is its origin.
#[derive(Debug)]
pub struct NoteSigner {
    key: SigningKey,
    verifier: VerifierKey,
}

/// Cosigns checkpoints with a time (type 0x04, C2SP tlog-cosignature).
///
/// The signature does not cover the cosigner's name: each cosigner, and each role of one operator,
/// needs a key of its own.
#[derive(Debug)]
pub struct Cosigner {
    key: SigningKey,
    verifier: VerifierKey,
}

impl NoteSigner {
    /// A signer of this name and key.
    #[must_use]
    pub fn new(name: KeyName, key: SigningKey) -> Self {
        let verifier = VerifierKey::new(name, SignatureKind::Ed25519, key.public());
        Self { key, verifier }
    }

    /// The public half, for whoever verifies.
    #[must_use]
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs the text of a note.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> SignatureLine {
        line_of(
            &self.verifier,
            self.key.sign(text.as_bytes()).as_bytes().to_vec(),
        )
    }
}

impl Cosigner {
    /// A cosigner of this name and key.
    #[must_use]
    pub fn new(name: KeyName, key: SigningKey) -> Self {
        let verifier = VerifierKey::new(name, SignatureKind::CosignatureV1, key.public());
        Self { key, verifier }
    }

    /// The public half, for whoever verifies.
    #[must_use]
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// States that at `time` this is the largest consistent tree of its log that the cosigner saw.
    ///
    /// Sign only after a consistency proof from the last tree cosigned, and after that decision
    /// is on disk (C2SP tlog-witness).
    #[must_use]
    pub fn cosign(&self, checkpoint: &Checkpoint, time: CosignTime) -> SignatureLine {
        let message = cosigned_message(&checkpoint.body(), time);
        let signature = self.key.sign(message.as_bytes());
        let stamp = time.as_unix_secs().to_be_bytes();
        line_of(
            &self.verifier,
            [stamp.as_slice(), signature.as_bytes()].concat(),
        )
    }
}

fn line_of(key: &VerifierKey, signature: Vec<u8>) -> SignatureLine {
    SignatureLine::assertion(key.name().clone(), key.id(), signature)
}

/// What a cosignature signs: a header, the time, and the whole body of the checkpoint.
pub(crate) fn cosigned_message(body: &str, time: CosignTime) -> String {
    format!("cosignature/v1\ntime {time}\n{body}")
}
