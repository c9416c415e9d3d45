//! The few lexical rules that the C2SP text formats share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An ASCII decimal without sign, leading zeroes or overflow.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if leading_zero || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Standard base64 with padding; unused bits must be zero, so that bytes have one text.
pub(crate) fn parse_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub(crate) fn format_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// ASCII control characters that no C2SP note or proof may hold: all but the newline.
pub(crate) fn is_forbidden_control(byte: u8) -> bool {
    byte < 0x20 && byte != b'\n'
}
