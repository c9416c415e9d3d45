//! The strict reader.

use std::collections::BTreeMap;

use super::Json;
use super::escape::{EscapeError, escape};

/// Limits that the reader holds a text to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Longest text, in bytes.
    pub bytes_max: usize,
    /// Deepest nesting of arrays and objects.
    pub depth_max: usize,
}

impl Bounds {
    /// For a log entry and what is in it: 64 KiB, 32 deep.
    pub const RECORD: Self = Self {
        bytes_max: 65_535,
        depth_max: 32,
    };
    /// For parameters and messages between Placet's own parts: 2 MiB, 32 deep.
    pub const MESSAGE: Self = Self {
        bytes_max: 2 << 20,
        depth_max: 32,
    };
}

/// Which rule a text breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Longer than the bound.
    #[error("the text is longer than {0} bytes")]
    TooLong(usize),
    /// Nested deeper than the bound.
    #[error("the text nests deeper than the bound, at byte {0}")]
    TooDeep(usize),
    /// Not JSON.
    #[error("the text is not JSON, at byte {0}")]
    Syntax(usize),
    /// Not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A member name occurs twice in one object.
    #[error("a member name occurs twice, at byte {0}")]
    DuplicateMember(usize),
    /// A number that a double does not hold exactly, or not at all.
    #[error("a number is outside the exact range of a double, at byte {0}")]
    Number(usize),
    /// A surrogate without its pair.
    #[error("a string has a lone surrogate, at byte {0}")]
    LoneSurrogate(usize),
    /// Valid, but not in the canonical spelling.
    #[error("the text is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// Valid JSON of another shape.
    #[error("the text does not have the expected shape: {0}")]
    Shape(String),
}

impl From<EscapeError> for Malformed {
    fn from(error: EscapeError) -> Self {
        match error {
            EscapeError::Syntax(at) => Self::Syntax(at),
            EscapeError::LoneSurrogate(at) => Self::LoneSurrogate(at),
        }
    }
}

/// The largest integer that a double holds exactly together with both neighbours.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_max: usize,
}

pub(super) fn parse(bytes: &[u8], bounds: Bounds) -> Result<Json, Malformed> {
    if bytes.len() > bounds.bytes_max {
        return Err(Malformed::TooLong(bounds.bytes_max));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?;
    let mut reader = Reader {
        text,
        at: 0,
        depth_max: bounds.depth_max,
    };
    reader.space();
    let value = reader.value(0)?;
    reader.space();
    if reader.at == bytes.len() {
        Ok(value)
    } else {
        Err(Malformed::Syntax(reader.at))
    }
}

/// Whether every number of a JSON text stays within ±(2⁵³ − 1). The text must be JSON already.
pub(super) fn numbers_are_exact(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => after_string(after),
            b'-' | b'0'..=b'9' => {
                let ends =
                    |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
                let (token, after) =
                    rest.split_at(rest.iter().position(ends).unwrap_or(rest.len()));
                if !is_exact(token) {
                    return false;
                }
                after
            }
            _ => after,
        };
    }
    true
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => return after,
            b'\\' => after.get(1..).unwrap_or_default(),
            _ => after,
        };
    }
    rest
}

fn is_exact(token: &[u8]) -> bool {
    // Fifteen digits are always below 2⁵³; that is nearly every number.
    if token.len() <= 15 && token.iter().all(u8::is_ascii_digit) {
        return true;
    }
    std::str::from_utf8(token)
        .ok()
        .and_then(|token| token.parse::<f64>().ok())
        .is_some_and(|number| number.is_finite() && number.abs() <= EXACT_MAX)
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(Malformed::Syntax(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Malformed> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(Malformed::Syntax(self.at));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Json, Malformed> {
        match self.peek() {
            Some(b'n') => self.word("null", Json::Null),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'"') => self.string().map(Json::String),
            Some(b'[') => self.array(self.deeper(depth)?),
            Some(b'{') => self.object(self.deeper(depth)?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => Err(Malformed::Syntax(self.at)),
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, Malformed> {
        if depth >= self.depth_max {
            Err(Malformed::TooDeep(self.at))
        } else {
            Ok(depth + 1)
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, Malformed> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            self.space();
            items.push(self.value(depth)?);
            self.space();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Json::Array(items));
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Malformed> {
        self.expect(b'{')?;
        let mut members = BTreeMap::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let start = self.at;
            let name = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            let value = self.value(depth)?;
            if members.insert(name, value).is_some() {
                return Err(Malformed::DuplicateMember(start));
            }
            self.space();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(Json::Object(members));
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let start = self.at;
            // Everything up to the next quote, escape or control character is taken as it stands.
            let rest = self.text.as_bytes().get(start..).unwrap_or_default();
            let ends = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
            self.at += rest.iter().position(ends).unwrap_or(rest.len());
            out.push_str(self.text.get(start..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) | None => return Err(Malformed::Syntax(self.at)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let (plain, end) = escape(self.text, self.at)?;
        self.at = end;
        Ok(plain)
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            Err(Malformed::Syntax(start))
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<Json, Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let token = self.text.get(start..self.at).unwrap_or_default();
        let number: f64 = token.parse().map_err(|_| Malformed::Number(start))?;
        // A value past 2^53 is an integer whatever its spelling, and not surely the one meant.
        if number.is_finite() && number.abs() <= EXACT_MAX {
            Ok(Json::Number(number))
        } else {
            Err(Malformed::Number(start))
        }
    }
}
