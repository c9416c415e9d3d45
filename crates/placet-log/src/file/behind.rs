//! Telling the remains of an interrupted write from damage: is there anything whole behind them?

use std::io;

use placet_tlog::note::VerifierKey;

use crate::bytes::{narrow, wide};
use crate::file::frame::{HEADER_LEN, Header, MAGIC, Preamble};
use crate::file::read::vouches;
use crate::file::window::Window;

/// Bytes searched at a time.
const SEARCH_LEN: usize = 1 << 20;

/// Whether a whole frame of this log, of records after `size`, begins anywhere after `offset`.
///
/// Payload bytes are the callers' and could spell a frame. Only one that builds on a history signed
/// by the log key counts, and no caller can sign one of more than `size` records.
pub(crate) fn has_frame_behind(
    window: &mut Window,
    offset: u64,
    size: u64,
    key: &VerifierKey,
) -> io::Result<bool> {
    let mut at = offset.saturating_add(1);
    while let Some(found) = find_magic(window, at)? {
        if is_frame_of(window, found, size, key)? {
            return Ok(true);
        }
        at = found.saturating_add(1);
    }
    Ok(false)
}

fn is_frame_of(window: &mut Window, offset: u64, size: u64, key: &VerifierKey) -> io::Result<bool> {
    let Some(header) = window.bytes(offset, HEADER_LEN)?.and_then(Header::decode) else {
        return Ok(false);
    };
    let preamble_len = header.preamble_len();
    let Some(bytes) = window.bytes(offset, preamble_len)? else {
        return Ok(false);
    };
    let (preamble, sealed) = Preamble::decode(header, bytes);
    Ok(sealed && preamble.header.first > size && vouches(&preamble.header, key))
}

fn find_magic(window: &mut Window, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    while at < window.len() {
        let len = (window.len() - at).min(wide(SEARCH_LEN));
        let Some(bytes) = window.bytes(at, narrow(len))? else {
            return Ok(None);
        };
        if let Some(found) = bytes.windows(MAGIC.len()).position(|part| part == MAGIC) {
            return Ok(Some(at + wide(found)));
        }
        // Overlaps, so that a magic across two reads is seen.
        let seen = wide(bytes.len().saturating_sub(MAGIC.len() - 1));
        if seen == 0 {
            return Ok(None);
        }
        at += seen;
    }
    Ok(None)
}
