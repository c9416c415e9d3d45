//! Lists that a record commits to and that stand in its payload, and what their fields share.

use placet_types::canonical::{self, Bounds, Malformed};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads at most `max` items from canonical bytes.
pub(crate) fn read<T: DeserializeOwned + Serialize>(
    bytes: &[u8],
    max: usize,
) -> Result<Vec<T>, Malformed> {
    let list: Vec<T> = canonical::from_bytes(bytes, Bounds::MESSAGE)?;
    if list.len() > max {
        return Err(Malformed::TooLong(max));
    }
    Ok(list)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
pub(crate) fn is_zero(value: &u64) -> bool {
    *value == 0
}
