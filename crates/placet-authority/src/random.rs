//! Randomness from the operating system.

use placet_types::{ExecutionId, Salt};
use zeroize::Zeroizing;

/// The operating system gave no randomness. Nothing can be decided without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness")]
pub struct NoRandomness;

pub(crate) fn execution_id() -> Result<ExecutionId, NoRandomness> {
    bytes::<16>().map(|bytes| ExecutionId::new(*bytes))
}

pub(crate) fn seed() -> Result<Zeroizing<[u8; 32]>, NoRandomness> {
    bytes::<32>()
}

pub(crate) fn nonce() -> Result<[u8; 16], NoRandomness> {
    bytes::<16>().map(|bytes| *bytes)
}

pub(crate) fn salt() -> Result<Salt, NoRandomness> {
    bytes::<32>().map(|bytes| Salt::new(*bytes))
}

fn bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
