//! Keys and directories for the tests of this crate.

use std::path::Path;

use placet_log::{EntryCheck, FileOptions, Opened};
use placet_tlog::note::{KeyName, NoteSigner, VerifierKey};
use placet_types::SigningKey;
use zeroize::Zeroizing;

/// Identity of the logs in these tests.
pub(crate) const ORIGIN: &str = "placet.example/log";

/// The log key of these tests.
pub(crate) fn signer() -> NoteSigner {
    signer_with(7)
}

/// A log key of the same name, from another seed.
pub(crate) fn signer_with(seed: u8) -> NoteSigner {
    let key = SigningKey::from_seed(&Zeroizing::new([seed; 32]));
    NoteSigner::new(KeyName::parse(ORIGIN).unwrap(), key)
}

/// The public half of [`signer`].
pub(crate) fn verifier() -> VerifierKey {
    signer().verifier_key().clone()
}

/// Options for the log in `dir`, with small segments so that tests cross their borders.
pub(crate) fn options(dir: &Path) -> FileOptions {
    FileOptions::new(dir, signer(), EntryCheck::none_required()).segment_bytes(16 << 10)
}

/// Opens the log in `dir`.
pub(crate) fn open(dir: &Path) -> Opened {
    options(dir).open().unwrap()
}
