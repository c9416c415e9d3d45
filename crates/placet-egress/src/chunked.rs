//! A body in chunks (RFC 9112, 7.1), followed byte by byte to its end. Pure.
//!
//! Without extensions and without trailers, so that all that passes has one meaning and can be passed on
//! as it came.

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked(State);

/// The bytes are no chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not well-formed")]
pub struct Invalid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: u8 },
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    LastCr,
    LastLf,
    Done,
}

/// Digits of a size: no chunk is larger than 4 GiB.
const DIGITS_MAX: u8 = 8;

impl Default for Chunked {
    fn default() -> Self {
        Self(State::Size {
            value: 0,
            digits: 0,
        })
    }
}

impl Chunked {
    /// Whether the body is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0 == State::Done
    }

    /// Follows `bytes` and gives how many of them belong to the body: all of them, or less once it is
    /// over.
    ///
    /// # Errors
    ///
    /// [`Invalid`] at the first byte that breaks a rule.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Invalid> {
        let mut taken: usize = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            if self.is_over() {
                break;
            }
            taken = taken.saturating_add(self.step(rest)?);
        }
        Ok(taken)
    }

    /// Takes at least one byte of a body that is not over.
    fn step(&mut self, rest: &[u8]) -> Result<usize, Invalid> {
        if let State::Data(left) = self.0 {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
            self.0 = if left == 0 {
                State::DataCr
            } else {
                State::Data(left)
            };
            return Ok(here);
        }
        let byte = *rest.first().ok_or(Invalid)?;
        self.0 = match (self.0, byte) {
            (State::Size { value, digits }, b'\r') if digits > 0 => State::SizeEnd(value),
            (State::Size { value, digits }, byte) if digits < DIGITS_MAX => State::Size {
                value: value << 4 | u64::from(hex(byte).ok_or(Invalid)?),
                digits: digits.saturating_add(1),
            },
            (State::SizeEnd(0), b'\n') => State::LastCr,
            (State::SizeEnd(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => Self::default().0,
            (State::LastCr, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            _ => return Err(Invalid),
        };
        Ok(1)
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_ends_where_its_last_chunk_does() {
        let body = b"3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n";
        let sent = [body.as_slice(), b"GET http://evil/ HTTP/1.1"].concat();
        let mut chunked = Chunked::default();
        assert_eq!(chunked.take(&sent), Ok(body.len()));
        assert!(chunked.is_over());
        assert_eq!(chunked.take(b"more"), Ok(0));
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        for body in [
            "\r\nabc",
            "3;a=b\r\nabc\r\n",
            "3 \r\nabc\r\n",
            " 3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "3\nabc\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n",
            "0\r\nTrailer: a\r\n\r\n",
            "000000001\r\na\r\n",
            "-1\r\n",
        ] {
            assert_eq!(
                Chunked::default().take(body.as_bytes()),
                Err(Invalid),
                "{body:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_are_followed_as_the_whole(bytes in "[0-2\r\na]{0,40}", cut in 0_usize..40) {
            let bytes = bytes.as_bytes();
            let mut whole = Chunked::default();
            let all = whole.take(bytes);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut pieces = Chunked::default();
            let taken = pieces.take(first).and_then(|a| pieces.take(second).map(|b| a + b));
            prop_assert_eq!(all, taken);
            if all.is_ok() {
                prop_assert_eq!(whole, pieces);
            }
        }
    }
}
