//! The private bytes that stand beside a record, and can be erased.

use placet_decision::Params;
use placet_types::Salt;

/// The private bytes beside a decision: the salt, then the parameters.
pub(crate) fn encode_payload(salt: &Salt, bytes: &[u8]) -> Vec<u8> {
    [salt.as_bytes().as_slice(), bytes].concat()
}

/// Reads what [`encode_payload`] wrote.
pub(crate) fn decode_payload(bytes: &[u8]) -> Option<Params> {
    let (salt, bytes) = bytes.split_first_chunk::<32>()?;
    Some(Params::new(bytes.to_vec(), Salt::new(*salt)))
}
