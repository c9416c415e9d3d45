//! Frames: one JSON-RPC message each, read strictly and borrowed from its bytes.
//!
//! A frame says in exactly one way what it asks. The parameters stay the bytes that came, so what is
//! forwarded is what was evaluated, in an envelope that is written anew.

use std::borrow::Cow;

use placet_types::canonical::EscapeError;

use crate::scan::{Member, Scanner};

/// Limits that frames are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Longest frame, in bytes.
    pub bytes_max: usize,
    /// Deepest nesting of arrays and objects.
    pub depth_max: usize,
}

impl Bounds {
    /// What a client may send: 1 MiB of arguments and its envelope, 48 deep.
    pub const REQUEST: Self = Self {
        bytes_max: (1 << 20) + (64 << 10),
        depth_max: 48,
    };
    /// What a server may answer: 16 MiB, 64 deep.
    pub const ANSWER: Self = Self {
        bytes_max: 16 << 20,
        depth_max: 64,
    };
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// Members of the envelope that JSON-RPC does not know.
    pub extra: Vec<Member<'a>>,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Something is asked.
    Request {
        /// What the answer will be known by.
        id: Id<'a>,
        /// What is asked.
        method: &'a str,
        /// The text of the parameters, which are an object.
        params: Option<&'a str>,
    },
    /// Something is said, and no answer comes.
    Notification {
        /// What is said.
        method: &'a str,
        /// The text of the parameters, which are an object.
        params: Option<&'a str>,
    },
    /// Something is answered.
    Answer {
        /// What was asked; `None` only of an error that nobody can be named for.
        id: Option<Id<'a>>,
        /// The answer.
        answer: Answer<'a>,
    },
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The text of the result.
    Result(&'a str),
    /// The text of the error.
    Error(&'a str),
}

/// What requests are known by: a whole number or a text, as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a>(&'a str);

/// An id that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedId(String);

/// Which rule a frame breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than the bound.
    #[error("the frame is longer than {0} bytes")]
    TooLong(usize),
    /// Nested deeper than the bound.
    #[error("the frame nests deeper than the bound, at byte {0}")]
    TooDeep(usize),
    /// Not UTF-8.
    #[error("the frame is not UTF-8")]
    NotUtf8,
    /// Not one JSON object.
    #[error("the frame is not one JSON object, at byte {0}")]
    Syntax(usize),
    /// Several messages in one.
    #[error("batches are not part of the protocol")]
    Batch,
    /// A member stands twice in one object, in whatever spelling.
    #[error("a member name occurs twice, in the object that ends at byte {0}")]
    Duplicate(usize),
    /// A number that a double does not hold exactly, or not at all.
    #[error("a number is outside the exact range of a double, at byte {0}")]
    Number(usize),
    /// Half of a surrogate pair.
    #[error("a string has a lone surrogate, at byte {0}")]
    LoneSurrogate(usize),
    /// Not JSON-RPC 2.0.
    #[error("`jsonrpc` must be \"2.0\"")]
    Version,
    /// An id that is no whole number and no text.
    #[error("`id` must be a whole number or a text of 1 to 256 bytes without escapes")]
    Id,
    /// A method that is no name.
    #[error("`method` must be a name of 1 to 128 letters, digits and ./_-$")]
    Method,
    /// A member whose name differs from a known one only in the case of its letters.
    #[error("the member `{0}` differs from a known one only in the case of its letters")]
    CaseTrick(String),
    /// Members that do not go together.
    #[error("{0}")]
    Shape(&'static str),
}

impl From<EscapeError> for FrameError {
    fn from(error: EscapeError) -> Self {
        match error {
            EscapeError::Syntax(at) => Self::Syntax(at),
            EscapeError::LoneSurrogate(at) => Self::LoneSurrogate(at),
        }
    }
}

/// Members of an envelope.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const ID_BYTES_MAX: usize = 256;
const METHOD_BYTES_MAX: usize = 128;

impl<'a> Frame<'a> {
    /// Reads one frame.
    ///
    /// # Errors
    ///
    /// [`FrameError`] names the first rule that is broken.
    pub fn parse(bytes: &'a [u8], bounds: Bounds) -> Result<Self, FrameError> {
        if bytes.len() > bounds.bytes_max {
            return Err(FrameError::TooLong(bounds.bytes_max));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| FrameError::NotUtf8)?;
        let members = Scanner::new(text, bounds.depth_max).members()?;
        no_case_tricks(members.iter().map(|member| member.name.as_ref()), &ENVELOPE)?;
        Self::of(members)
    }

    fn of(members: Vec<Member<'a>>) -> Result<Self, FrameError> {
        let [
            mut version,
            mut id,
            mut method,
            mut params,
            mut result,
            mut error,
        ] = [None; 6];
        let mut extra = Vec::new();
        for member in members {
            let slot = match member.name.as_ref() {
                "jsonrpc" => &mut version,
                "id" => &mut id,
                "method" => &mut method,
                "params" => &mut params,
                "result" => &mut result,
                "error" => &mut error,
                _ => {
                    extra.push(member);
                    continue;
                }
            };
            *slot = Some(member.value);
        }
        if version != Some("\"2.0\"") {
            return Err(FrameError::Version);
        }
        let kind = match (method, result, error) {
            (Some(method), None, None) => asked(id, name(method)?, object(params)?)?,
            (None, Some(result), None) if params.is_none() => Kind::Answer {
                id: Some(Id::read(id.ok_or(FrameError::Id)?)?),
                answer: Answer::Result(result),
            },
            (None, None, Some(error)) if params.is_none() => Kind::Answer {
                id: id.filter(|id| *id != "null").map(Id::read).transpose()?,
                answer: Answer::Error(error),
            },
            _ => {
                return Err(FrameError::Shape(
                    "a frame has either `method`, or one of `result` and `error`",
                ));
            }
        };
        Ok(Self { kind, extra })
    }
}

fn asked<'a>(
    id: Option<&'a str>,
    method: &'a str,
    params: Option<&'a str>,
) -> Result<Kind<'a>, FrameError> {
    Ok(match id {
        Some(id) => Kind::Request {
            id: Id::read(id)?,
            method,
            params,
        },
        None => Kind::Notification { method, params },
    })
}

fn name(text: &str) -> Result<&str, FrameError> {
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or(FrameError::Method)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"./_-$".contains(&byte);
    if (1..=METHOD_BYTES_MAX).contains(&inner.len()) && inner.bytes().all(is_name) {
        Ok(inner)
    } else {
        Err(FrameError::Method)
    }
}

fn object(text: Option<&str>) -> Result<Option<&str>, FrameError> {
    match text {
        Some(text) if !text.starts_with('{') => {
            Err(FrameError::Shape("`params` must be an object"))
        }
        other => Ok(other),
    }
}

/// Refuses names that a reader which does not mind case would take for one of `known`.
pub(crate) fn no_case_tricks<'a>(
    mut names: impl Iterator<Item = &'a str>,
    known: &[&str],
) -> Result<(), FrameError> {
    let is_trick = |name: &&str| {
        known
            .iter()
            .any(|known| name != known && name.eq_ignore_ascii_case(known))
    };
    match names.find(is_trick) {
        Some(name) => Err(FrameError::CaseTrick(name.to_owned())),
        None => Ok(()),
    }
}

/// The members of an object's text that was part of a frame.
///
/// # Errors
///
/// [`FrameError`] when it is no object.
pub fn members(text: &str) -> Result<Vec<Member<'_>>, FrameError> {
    Scanner::new(text, usize::MAX).members()
}

/// The items of an array's text that was part of a frame.
///
/// # Errors
///
/// [`FrameError`] when it is no array.
pub fn items(text: &str) -> Result<Vec<&str>, FrameError> {
    Scanner::new(text, usize::MAX).items()
}

/// The text of the member `name`.
#[must_use]
pub fn member<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    let found = members.iter().find(|member| member.name == name);
    found.map(|member| member.value)
}

/// The text that a JSON string stands for; `None` of anything else.
#[must_use]
pub fn text_of(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(value).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

impl<'a> Id<'a> {
    fn read(text: &'a str) -> Result<Self, FrameError> {
        let is_number = || {
            let digits = text.strip_prefix('-').unwrap_or(text);
            // Neither `-0` nor a leading zero: JSON has no other second spelling of a whole number.
            let is_plain = digits == "0" && text == "0" || !digits.starts_with('0');
            is_plain && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty()
        };
        let is_text = || {
            let inner = text.strip_prefix('"').and_then(|r| r.strip_suffix('"'));
            inner.is_some_and(|id| (1..=ID_BYTES_MAX).contains(&id.len()) && !id.contains('\\'))
        };
        if is_text() || is_number() {
            Ok(Self(text))
        } else {
            Err(FrameError::Id)
        }
    }

    /// As it stands.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// To be remembered.
    #[must_use]
    pub fn to_owned(&self) -> OwnedId {
        OwnedId(self.0.to_owned())
    }
}

impl OwnedId {
    /// An id of one's own.
    #[must_use]
    pub fn text(id: &str) -> Self {
        Self(serde_json::Value::from(id).to_string())
    }

    /// An id as it stands in parameters, such as those of a cancellation.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Id::read(text).ok().map(|id| id.to_owned())
    }

    /// As it stands in a frame.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
