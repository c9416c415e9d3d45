//! One pass over a JSON text: valid, unambiguous, and where its members are.
//!
//! Whatever two readers could read differently is refused: a member twice (in any spelling), a number
//! that a double does not hold, half of a surrogate pair. What passes is forwarded as it stands.

use std::borrow::Cow;

use placet_types::canonical::escape;

use crate::frame::FrameError;

/// The largest integer that a double holds exactly together with both neighbours (RFC 7493).
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
/// Members up to which names are compared one by one.
const FEW: usize = 16;

/// A member of an object: its name as it reads, its value as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name.
    pub name: Cow<'a, str>,
    /// The value's text.
    pub value: &'a str,
}

pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth_max: usize,
    /// Names of the objects that are open, the innermost last.
    names: Vec<Cow<'a, str>>,
}

/// What a scan keeps of the outermost object.
type Kept<'k, 'a> = Option<&'k mut Vec<Member<'a>>>;

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str, depth_max: usize) -> Self {
        Self {
            text,
            at: 0,
            depth_max,
            names: Vec::new(),
        }
    }

    /// The members of the one object that the text is.
    pub(crate) fn members(mut self) -> Result<Vec<Member<'a>>, FrameError> {
        let mut members = Vec::with_capacity(8);
        self.space();
        match self.peek() {
            Some(b'{') => self.object(1, Some(&mut members))?,
            Some(b'[') => return Err(FrameError::Batch),
            Some(_) | None => return Err(FrameError::Syntax(self.at)),
        }
        self.end()?;
        Ok(members)
    }

    /// The items of the one array that the text is.
    pub(crate) fn items(mut self) -> Result<Vec<&'a str>, FrameError> {
        let mut items = Vec::new();
        self.space();
        self.expect(b'[')?;
        self.space();
        if self.take(b']') {
            self.end()?;
            return Ok(items);
        }
        loop {
            self.space();
            items.push(self.spanned(1)?);
            self.space();
            if self.take(b']') {
                self.end()?;
                return Ok(items);
            }
            self.expect(b',')?;
        }
    }

    fn end(&mut self) -> Result<(), FrameError> {
        self.space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(FrameError::Syntax(self.at))
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, byte: u8) -> Result<(), FrameError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(FrameError::Syntax(self.at))
        }
    }

    fn word(&mut self, word: &str) -> Result<(), FrameError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(FrameError::Syntax(self.at));
        }
        self.at += word.len();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), FrameError> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(self.deeper(depth)?, None),
            Some(b'[') => self.array(self.deeper(depth)?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(_) | None => Err(FrameError::Syntax(self.at)),
        }
    }

    fn spanned(&mut self, depth: usize) -> Result<&'a str, FrameError> {
        let start = self.at;
        self.value(depth)?;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn deeper(&self, depth: usize) -> Result<usize, FrameError> {
        if depth >= self.depth_max {
            Err(FrameError::TooDeep(self.at))
        } else {
            Ok(depth + 1)
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), FrameError> {
        self.expect(b'[')?;
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.space();
            self.value(depth)?;
            self.space();
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self, depth: usize, mut kept: Kept<'_, 'a>) -> Result<(), FrameError> {
        let outer = self.names.len();
        self.expect(b'{')?;
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            let value = self.spanned(depth)?;
            if let Some(kept) = &mut kept {
                kept.push(Member {
                    name: name.clone(),
                    value,
                });
            }
            self.names.push(name);
            self.space();
            if self.take(b'}') {
                break;
            }
            self.expect(b',')?;
        }
        let is_unique = unique(self.names.get_mut(outer..).unwrap_or_default());
        self.names.truncate(outer);
        if is_unique {
            Ok(())
        } else {
            Err(FrameError::Duplicate(self.at))
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, FrameError> {
        self.expect(b'"')?;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut from = start;
        loop {
            while self
                .peek()
                .is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20)
            {
                self.at += 1;
            }
            let plain = self.text.get(from..self.at).unwrap_or_default();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(plain),
                        Some(mut text) => {
                            text.push_str(plain);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(plain);
                    let escaped = self.escape()?;
                    owned.get_or_insert_default().push(escaped);
                    from = self.at;
                }
                Some(_) | None => return Err(FrameError::Syntax(self.at)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, FrameError> {
        let (plain, end) = escape(self.text, self.at)?;
        self.at = end;
        Ok(plain)
    }

    fn digits(&mut self) -> Result<(), FrameError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            Err(FrameError::Syntax(start))
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<(), FrameError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let whole = self.at;
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        // Fifteen digits are always below 2⁵³; that is nearly every number.
        if whole == self.at && self.at - start <= 15 {
            return Ok(());
        }
        let token = self.text.get(start..self.at).unwrap_or_default();
        let number: f64 = token.parse().map_err(|_| FrameError::Number(start))?;
        if number.is_finite() && number.abs() <= EXACT_MAX {
            Ok(())
        } else {
            Err(FrameError::Number(start))
        }
    }
}

/// Whether no name stands twice. The order is of no use to anybody afterwards.
fn unique(names: &mut [Cow<'_, str>]) -> bool {
    if names.len() <= FEW {
        let mut rest: &[Cow<'_, str>] = names;
        while let Some((first, after)) = rest.split_first() {
            if after.contains(first) {
                return false;
            }
            rest = after;
        }
        return true;
    }
    names.sort_unstable();
    names.array_windows().all(|[one, next]| one != next)
}
