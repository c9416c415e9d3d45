//! `placet-secrets`: the bytes of the store.

use placet_secrets::Sealed;

/// A store that is read is written again to the byte.
pub(crate) fn store(data: &[u8]) -> bool {
    let Ok(store) = Sealed::parse(data) else {
        return false;
    };
    assert_eq!(store.to_bytes(), data);
    true
}
