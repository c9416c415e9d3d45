//! The log key's signature over a size and a root, apart from the note that carries it.
//!
//! Each frame carries the signature of the checkpoint before it, so that the log key vouches for
//! every frame but the last without another write. The text that is signed is a checkpoint's.

use std::sync::Arc;

use placet_tlog::Hash;
use placet_tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use placet_tlog::note::{NoteSigner, VerifierKey};
use placet_types::Signature;

/// Signs the checkpoint (`size`, `root`) of the signer's own log.
///
/// `None` only for a size beyond 2^63 − 1 or an empty tree with a root of its own.
pub(crate) fn sign(signer: &NoteSigner, size: u64, root: Hash) -> Option<Arc<SignedCheckpoint>> {
    let origin = signer.verifier_key().name().clone();
    Checkpoint::new(origin, size, root)
        .ok()?
        .sign(signer)
        .ok()
        .map(Arc::new)
}

/// The log key's signature on a checkpoint, from its note.
pub(crate) fn signature(head: &SignedCheckpoint, key: &VerifierKey) -> Option<[u8; 64]> {
    let line = head
        .note()
        .signatures()
        .iter()
        .find(|line| key.is_named_by(line))?;
    line.signature().try_into().ok()
}

/// Whether the log key signed the checkpoint (`size`, `root`).
pub(crate) fn verifies(key: &VerifierKey, size: u64, root: Hash, signature: &[u8; 64]) -> bool {
    let Ok(checkpoint) = Checkpoint::new(key.name().clone(), size, root) else {
        return false;
    };
    let Ok(signature) = Signature::from_slice(signature) else {
        return false;
    };
    key.public_key()
        .verify(checkpoint.body().as_bytes(), &signature)
        .is_ok()
}
