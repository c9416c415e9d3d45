//! A secret value in memory.

use std::fmt;

use zeroize::Zeroizing;

/// Longest value, in bytes.
pub const BYTES_MAX: usize = 64 << 10;

/// A value of 1 to [`BYTES_MAX`] bytes. It is wiped when it goes, is never printed and cannot be
/// serialized; there is no comparison either, so none can leak by its time.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why bytes are no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There are none.
    #[error("the value is empty")]
    Empty,
    /// There are too many.
    #[error("the value is longer than {BYTES_MAX} bytes")]
    TooLong,
}

impl Secret {
    /// Takes a value. The bytes are not copied: a buffer that was grown has left copies behind, so
    /// read into one of the right size.
    ///
    /// # Errors
    ///
    /// [`SecretError`]; the bytes are wiped then, too.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        match bytes.len() {
            0 => Err(SecretError::Empty),
            1..=BYTES_MAX => Ok(Self(bytes)),
            _ => Err(SecretError::TooLong),
        }
    }

    /// The bytes, for the one place that they are meant for.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a secret is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it can stand in an environment: no byte of it is zero.
    #[must_use]
    pub fn fits_a_variable(&self) -> bool {
        // Every byte is looked at, whatever stands before it.
        self.0.iter().fold(true, |fits, byte| fits & (*byte != 0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_and_has_bounds() {
        let secret = Secret::new(Zeroizing::new(b"hunter2".to_vec())).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let of = |length: usize| Secret::new(Zeroizing::new(vec![1; length])).map(drop);
        assert_eq!(of(0), Err(SecretError::Empty));
        assert_eq!(of(BYTES_MAX), Ok(()));
        assert_eq!(of(BYTES_MAX + 1), Err(SecretError::TooLong));
    }
}
