//! Finding the frame to blame when whole frames make a history that the log key did not sign.
//!
//! Each frame carries the log key's signature on what it builds on. Whoever alters a frame without
//! that key, however well, leaves the signature in the next frame over what was there before.

use std::io;

use placet_tlog::note::VerifierKey;
use placet_tlog::tree::Frontier;

use crate::file::layout::{Layout, Segment};
use crate::file::read::Frame;
use crate::file::walk::{Found, Walk};

/// The frame before the first signature that fails, among frames that begin below `size`; the last
/// of them if none does. The records below `size` are known not to make the signed history.
///
/// Verifies one signature a frame.
pub(crate) fn culprit(
    layout: &Layout,
    segments: &[Segment],
    key: &VerifierKey,
    size: u64,
) -> io::Result<Option<Frame>> {
    let mut walk = Walk::new(layout, segments, 0, 0, Frontier::new());
    let mut last = None;
    while let Found::Frame(frame) = walk.next()? {
        if frame.preamble.header.first >= size || !frame.is_vouched_for_by(key) {
            break;
        }
        last = Some(frame);
    }
    Ok(last)
}
