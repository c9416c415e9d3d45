//! Canonical JSON: RFC 8785 (JCS) over I-JSON (RFC 7493), read strictly.
//!
//! What is hashed or signed has exactly one spelling. The reader refuses duplicate members at any
//! depth, numbers that a double cannot hold exactly, lone surrogates, and nesting or size past a
//! limit, before anything is hashed: lenient readers disagree with each other about such texts, and
//! a gateway that reads one thing while its upstream reads another has authorized nothing.

mod escape;
mod read;
mod write;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use escape::{EscapeError, escape};
pub use read::{Bounds, Malformed};
pub(crate) use write::Object;

/// A JSON value as I-JSON allows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A finite double; an integer only within ±(2⁵³ − 1).
    Number(f64),
    /// A string of Unicode scalar values.
    String(String),
    /// An array.
    Array(Vec<Self>),
    /// An object; member names are unique by construction.
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// Reads one value and nothing after it.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first rule that the text breaks and the byte where.
    pub fn parse(bytes: &[u8], bounds: Bounds) -> Result<Self, Malformed> {
        read::parse(bytes, bounds)
    }

    /// The one canonical spelling (RFC 8785).
    #[must_use]
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ROOM);
        write::value(self, &mut out);
        out
    }

    /// The member `name` of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(name),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

/// Bytes that most of what is written fits in, so that it is not moved while it grows.
const ROOM: usize = 2048;

/// As `serde_json::to_vec`, with room for what is written here.
fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(ROOM);
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes)
}

/// Canonical bytes of a typed value.
///
/// Types that are signed declare their fields in the order of their names, so that serde already
/// writes the canonical form; debug builds check that it did.
///
/// # Errors
///
/// Only a type that cannot be JSON at all (a map with keys that are not strings).
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let bytes = to_vec(value)?;
    debug_assert!(
        is_canonical(&bytes),
        "fields out of order in {}",
        String::from_utf8_lossy(&bytes)
    );
    Ok(bytes)
}

/// Reads a typed value from bytes that must be canonical already.
///
/// The text is held to I-JSON and to its one spelling; the value is then written again and
/// compared, because a type can be looser than its text: a `null` for an absent member, or a set
/// out of order.
///
/// # Errors
///
/// [`Malformed`] when the bytes break a rule of I-JSON, are not in canonical form, or do not have
/// the shape of `T`.
pub fn from_bytes<T: DeserializeOwned + Serialize>(
    bytes: &[u8],
    bounds: Bounds,
) -> Result<T, Malformed> {
    from_bytes_with_json(bytes, bounds).map(|(value, _)| value)
}

/// As [`from_bytes`], and gives the JSON value that it read on the way.
///
/// # Errors
///
/// As for [`from_bytes`].
pub fn from_bytes_with_json<T: DeserializeOwned + Serialize>(
    bytes: &[u8],
    bounds: Bounds,
) -> Result<(T, Json), Malformed> {
    let json = Json::parse(bytes, bounds)?;
    if json.to_canonical() != bytes {
        return Err(Malformed::NotCanonical);
    }
    let shape = |error: serde_json::Error| Malformed::Shape(error.to_string());
    let value: T = serde_json::from_slice(bytes).map_err(shape)?;
    if to_vec(&value).map_err(shape)? == bytes {
        Ok((value, json))
    } else {
        Err(Malformed::NotCanonical)
    }
}

/// Reads a typed value from bytes that need not be canonical, and gives the canonical bytes too.
///
/// # Errors
///
/// [`Malformed`] as for [`from_bytes`], except for the spelling.
pub fn canonicalize<T: DeserializeOwned>(
    bytes: &[u8],
    bounds: Bounds,
) -> Result<(T, Vec<u8>), Malformed> {
    let canonical = Json::parse(bytes, bounds)?.to_canonical();
    let value =
        serde_json::from_slice(&canonical).map_err(|error| Malformed::Shape(error.to_string()))?;
    Ok((value, canonical))
}

/// Whether every number of a JSON text is one that all readers read alike: within ±(2⁵³ − 1).
///
/// For texts that are read by their types and compared with what these write: that settles spelling,
/// names and order, but not this. Far cheaper than reading the text as [`Json`]. Of what is no JSON
/// it says nothing.
#[must_use]
pub fn numbers_are_exact(bytes: &[u8]) -> bool {
    read::numbers_are_exact(bytes)
}

/// Whether `bytes` are one value in canonical form, of any size.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    Json::parse(
        bytes,
        Bounds {
            bytes_max: usize::MAX,
            depth_max: 64,
        },
    )
    .is_ok_and(|json| json.to_canonical() == bytes)
}

#[cfg(test)]
mod tests;
