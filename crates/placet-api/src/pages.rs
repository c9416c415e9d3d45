//! Tokens of pages: a place among candidates that whoever holds the token cannot read, change, or use
//! for another search.
//!
//! Encrypted, because a place tells how many candidates there are that the asker does not see. The key
//! lives as long as the process.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};

use crate::problem::Problem;

const NONCE_BYTES: usize = 24;
const PLACE_BYTES: usize = 4;
const TAG_BYTES: usize = 16;
const BYTES: usize = NONCE_BYTES + PLACE_BYTES + TAG_BYTES;

/// Makes tokens and reads them.
pub(crate) struct Pages(XChaCha20Poly1305);

impl Pages {
    /// With a key of its own; `None` without randomness.
    pub(crate) fn new() -> Option<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Self(XChaCha20Poly1305::new(&Key::from(key))))
    }

    /// The token for this place of the search that `context` stands for.
    pub(crate) fn seal(&self, place: u32, context: &[u8]) -> Result<String, Problem> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| Problem::internal())?;
        let mut place = place.to_be_bytes();
        let buffer = InOutBuf::from(place.as_mut_slice());
        let tag = self
            .0
            .encrypt_inout_detached(&XNonce::from(nonce), context, buffer);
        let tag = tag.map_err(|_| Problem::internal())?;
        let token = [nonce.as_slice(), place.as_slice(), tag.as_slice()].concat();
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// The place of a token that was made for this search.
    pub(crate) fn open(&self, token: &str, context: &[u8]) -> Result<u32, Problem> {
        let odd = || {
            Problem::malformed(
                "page.token: not one of this search; begin again without one, with the same question",
            )
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| odd())?;
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| odd())?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(odd)?;
        let (place, tag) = rest.split_first_chunk::<PLACE_BYTES>().ok_or_else(odd)?;
        let tag: [u8; TAG_BYTES] = tag.try_into().map_err(|_| odd())?;
        let mut place = *place;
        let buffer = InOutBuf::from(place.as_mut_slice());
        self.0
            .decrypt_inout_detached(&XNonce::from(*nonce), context, buffer, &Tag::from(tag))
            .map_err(|_| odd())?;
        Ok(u32::from_be_bytes(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_its_own_search_and_tells_nothing() {
        let pages = Pages::new().unwrap();
        let token = pages.seal(7, b"one").unwrap();
        assert_eq!(pages.open(&token, b"one"), Ok(7));
        assert!(pages.open(&token, b"other").is_err());
        assert!(Pages::new().unwrap().open(&token, b"one").is_err());
        assert_ne!(pages.seal(7, b"one").unwrap(), token);
        for odd in ["", "AAAA", "!", &"A".repeat(59), &format!("{token}A")] {
            assert!(pages.open(odd, b"one").is_err(), "{odd}");
        }
    }
}
