//! Values that change no more, with the text and the digest by which they are signed and recorded.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::canonical::{self, Bounds, Malformed};
use crate::digest::Digest;
use crate::intent::Intent;
use crate::scope::Scope;

/// A value with its canonical text and the digest of that.
///
/// One decision writes and names the same intent, scope and environment many times: in the record,
/// in the artifact, in both folds. Text and digest are made once. Cheap to clone; equal when the
/// texts are. Written by `serde_json` only.
pub struct Fixed<T>(Arc<Parts<T>>);

/// An intent with the digest that records and artifacts name it by.
pub type FixedIntent = Fixed<Intent>;
/// A scope with the digest that records name it by.
pub type FixedScope = Fixed<Scope>;

struct Parts<T> {
    value: T,
    text: Box<RawValue>,
    digest: Digest,
}

impl<T: Serialize> Fixed<T> {
    /// Settles a value.
    ///
    /// # Errors
    ///
    /// For a type that cannot be JSON: none of those that are recorded.
    pub fn new(value: T) -> Result<Self, serde_json::Error> {
        let text = canonical::to_bytes(&value)?;
        Self::with_text(value, &text)
    }
}

impl<T: Clone + Serialize> Fixed<T> {
    /// Another value, made from this one by a change.
    ///
    /// # Errors
    ///
    /// As for [`Fixed::new`].
    pub fn changed(&self, change: impl FnOnce(&mut T)) -> Result<Self, serde_json::Error> {
        let mut value = T::clone(self);
        change(&mut value);
        Self::new(value)
    }
}

impl<T: DeserializeOwned + Serialize> Fixed<T> {
    /// Reads a value from bytes that must be canonical already.
    ///
    /// # Errors
    ///
    /// As for [`canonical::from_bytes`].
    pub fn from_canonical(bytes: &[u8], bounds: Bounds) -> Result<Self, Malformed> {
        let value = canonical::from_bytes(bytes, bounds)?;
        Self::with_text(value, bytes).map_err(|error| Malformed::Shape(error.to_string()))
    }
}

impl<T> Fixed<T> {
    fn with_text(value: T, canonical: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self(Arc::new(Parts {
            value,
            text: serde_json::from_slice(canonical)?,
            digest: Digest::of(canonical),
        })))
    }

    /// SHA-256 of the canonical text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The canonical text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text.get()
    }
}

impl<T> Deref for Fixed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Clone for Fixed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Fixed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

impl<T> PartialEq for Fixed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl<T> Eq for Fixed<T> {}

impl<T> Serialize for Fixed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.text.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + Serialize> Deserialize<'de> for Fixed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        // What comes from outside may hold a number that has no canonical spelling.
        let text = serde_json::to_vec(&value).map_err(serde::de::Error::custom)?;
        if !canonical::numbers_are_exact(&text) {
            return Err(serde::de::Error::custom("a number is past 2^53"));
        }
        Self::with_text(value, &text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Asked;

    #[test]
    fn it_is_written_read_and_named_as_the_value_itself() {
        let value = Asked::default();
        let fixed = Fixed::new(value.clone()).unwrap();
        let bytes = canonical::to_bytes(&value).unwrap();
        assert_eq!(canonical::to_bytes(&fixed).unwrap(), bytes);
        assert_eq!(fixed.digest(), Digest::of(&bytes));
        assert_eq!(fixed.text().as_bytes(), bytes);
        let again: Fixed<Asked> = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(again, fixed);
        assert_eq!(*again, value);
    }

    #[test]
    fn a_change_makes_another_value_and_leaves_this_one() {
        let fixed = Fixed::new(Asked::default()).unwrap();
        let other = fixed.changed(|asked| asked.lifetime_secs = Some(crate::Seconds::new(7)));
        assert_ne!(other.unwrap().digest(), fixed.digest());
        assert!(fixed.is_nothing());
    }

    #[test]
    fn another_spelling_is_refused_where_the_bytes_must_be_canonical() {
        let read = |text: &str| Fixed::<Asked>::from_canonical(text.as_bytes(), Bounds::RECORD);
        assert!(read("{}").is_ok());
        assert_eq!(read("{ }").unwrap_err(), Malformed::NotCanonical);
        assert!(read("{\"other\":1}").is_err());
    }
}
