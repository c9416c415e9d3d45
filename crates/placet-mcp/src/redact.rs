//! What an answer must not show is taken out of it: the obligation `redact` of a permit's scope.
//!
//! One pass over the text of the answer, which was read strictly before. What stays is the bytes that came. Patterns
//! are for every text that is a value, wherever it stands; pointers for structured content, and for the text beside it
//! that says the same in JSON. Regular expressions take time that is linear in what they read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_types::Redaction;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::frame::text_of;

/// What stands in the place of what was taken out.
const INSTEAD: &str = "[redacted]";
/// Largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Sets of rules that are kept compiled.
const KEPT_MAX: usize = 16;
/// Deepest text in a text that is looked into.
const DEPTH_MAX: usize = 64;

/// The rules of a scope.
#[derive(Debug)]
pub struct Redactor {
    patterns: Vec<Regex>,
    /// The names on the way to what is taken out.
    pointers: Vec<Vec<String>>,
}

/// Rules that were compiled before.
#[derive(Debug, Default)]
pub(crate) struct Redactors(BTreeMap<BTreeSet<Redaction>, Arc<Redactor>>);

impl Redactors {
    /// What applies these rules; `None` where there are none.
    pub(crate) fn of(
        &mut self,
        rules: &BTreeSet<Redaction>,
    ) -> Result<Option<Arc<Redactor>>, String> {
        if rules.is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.0.get(rules) {
            return Ok(Some(Arc::clone(known)));
        }
        let made = Arc::new(Redactor::new(rules)?);
        if self.0.len() >= KEPT_MAX {
            self.0.clear();
        }
        self.0.insert(rules.clone(), Arc::clone(&made));
        Ok(Some(made))
    }
}

impl Redactor {
    /// # Errors
    ///
    /// Which pattern is none.
    pub fn new(rules: &BTreeSet<Redaction>) -> Result<Self, String> {
        let (mut patterns, mut pointers) = (Vec::new(), Vec::new());
        for rule in rules {
            match rule {
                Redaction::Pattern(pattern) => {
                    let built = RegexBuilder::new(pattern)
                        .size_limit(PATTERN_BYTES_MAX)
                        .build();
                    patterns.push(built.map_err(|error| format!("`{rule}`: {error}"))?);
                }
                Redaction::Pointer(pointer) => {
                    let names = pointer.split('/').skip(1);
                    let plain = |name: &str| name.replace("~1", "/").replace("~0", "~");
                    pointers.push(names.map(plain).collect());
                }
            }
        }
        Ok(Self { patterns, pointers })
    }

    /// A result or an error without what it must not show, and how many parts that was.
    #[must_use]
    pub fn redact(&self, answer: &str) -> (String, u32) {
        self.pass(answer, Place::Answer)
    }

    /// The parameters of a notification without what they must not show. By which request it belongs to, the client
    /// knows it again: that is the client's own word, and stays.
    #[must_use]
    pub fn redact_said(&self, params: &str) -> String {
        self.pass(params, Place::Said).0
    }

    /// Whether everything that `other` takes out is taken out by these rules too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let has = |one: &Regex| self.patterns.iter().any(|own| own.as_str() == one.as_str());
        other.patterns.iter().all(has)
            && other.pointers.iter().all(|one| self.pointers.contains(one))
    }

    /// These rules and those of `other`.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut both = Self {
            patterns: self.patterns.clone(),
            pointers: self.pointers.clone(),
        };
        for pattern in &other.patterns {
            if !both
                .patterns
                .iter()
                .any(|own| own.as_str() == pattern.as_str())
            {
                both.patterns.push(pattern.clone());
            }
        }
        for pointer in &other.pointers {
            if !both.pointers.contains(pointer) {
                both.pointers.push(pointer.clone());
            }
        }
        both
    }

    fn pass(&self, text: &str, place: Place) -> (String, u32) {
        let mut pass = Pass {
            rules: self,
            text,
            at: 0,
            out: String::with_capacity(text.len()),
            parts: 0,
            path: Vec::new(),
        };
        pass.value(place);
        (pass.out, pass.parts)
    }

    fn of_text(&self, text: &str) -> Option<(String, u32)> {
        let mut parts = 0_u32;
        let mut now = std::borrow::Cow::Borrowed(text);
        for pattern in &self.patterns {
            let found = u32::try_from(pattern.find_iter(&now).count()).unwrap_or(u32::MAX);
            if found > 0 {
                parts = parts.saturating_add(found);
                let cleaned = pattern
                    .replace_all(&now, regex::NoExpand(INSTEAD))
                    .into_owned();
                now = cleaned.into();
            }
        }
        (parts > 0).then(|| (now.into_owned(), parts))
    }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The answer itself.
    Answer,
    /// In structured content: pointers count from its root.
    Structured,
    /// The list of content blocks, and one of these.
    Content,
    Block,
    /// The text of a content block.
    Text,
    /// The parameters of a notification, what a log message is about, and what names a request.
    Said,
    Data,
    Known,
    Other,
}

impl Place {
    /// Where a member of this stands.
    fn member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Answer, "structuredContent") | (Self::Structured, _) => Self::Structured,
            (Self::Answer, "content") => Self::Content,
            (Self::Block, "text") => Self::Text,
            (Self::Said, "data") => Self::Data,
            (Self::Said, "progressToken" | "requestId") => Self::Known,
            _ => Self::Other,
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Structured => Self::Structured,
            Self::Content => Self::Block,
            Self::Answer
            | Self::Block
            | Self::Text
            | Self::Said
            | Self::Data
            | Self::Known
            | Self::Other => Self::Other,
        }
    }
}

struct Pass<'a> {
    rules: &'a Redactor,
    text: &'a str,
    at: usize,
    out: String,
    parts: u32,
    /// The names on the way from the root of structured content.
    path: Vec<String>,
}

impl<'a> Pass<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes what is copied as it stands.
    fn copy_to(&mut self, end: usize) {
        let end = end.min(self.text.len());
        self.out
            .push_str(self.text.get(self.at..end).unwrap_or_default());
        self.at = end;
    }

    /// White space, commas and colons.
    fn copy_between(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let is_between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':');
        let length = rest.iter().take_while(|byte| is_between(byte)).count();
        self.copy_to(self.at.saturating_add(length));
    }

    fn value(&mut self, place: Place) {
        self.copy_between();
        // What a log message is about is structured content, or a text that says it.
        let place = match (place, self.peek()) {
            (Place::Data, Some(b'"')) => Place::Text,
            (Place::Data, _) => Place::Structured,
            (other, _) => other,
        };
        if place == Place::Structured && self.rules.pointers.contains(&self.path) {
            self.at = self.end_of_value();
            return self.instead();
        }
        match self.peek() {
            Some(b'{') => self.object(place),
            Some(b'[') => self.array(place),
            Some(b'"') if place == Place::Known => self.copy_to(self.end_of_string()),
            Some(b'"') => self.string(place),
            Some(_) => self.copy_to(self.end_of_value()),
            None => {}
        }
    }

    fn instead(&mut self) {
        self.parts = self.parts.saturating_add(1);
        self.out.push('"');
        self.out.push_str(INSTEAD);
        self.out.push('"');
    }

    fn object(&mut self, place: Place) {
        self.copy_to(self.at.saturating_add(1));
        loop {
            self.copy_between();
            match self.peek() {
                Some(b'"') => {}
                Some(_) => return self.copy_to(self.at.saturating_add(1)),
                None => return,
            }
            let end = self.end_of_string();
            let name = self.text.get(self.at..end).and_then(text_of);
            let name = name.unwrap_or_default().into_owned();
            self.copy_to(end);
            self.within(place, place.member(&name), name);
        }
    }

    fn array(&mut self, place: Place) {
        self.copy_to(self.at.saturating_add(1));
        let mut index = 0_usize;
        loop {
            self.copy_between();
            match self.peek() {
                Some(b']') => return self.copy_to(self.at.saturating_add(1)),
                Some(_) => {}
                None => return,
            }
            self.within(place, place.item(), index.to_string());
            index = index.saturating_add(1);
        }
    }

    fn within(&mut self, place: Place, inner: Place, name: String) {
        // The root of structured content has no name of its own.
        let is_below = place == Place::Structured;
        if is_below {
            self.path.push(name);
        }
        self.value(inner);
        if is_below {
            self.path.pop();
        }
    }

    fn string(&mut self, place: Place) {
        let end = self.end_of_string();
        let raw = self.text.get(self.at..end).unwrap_or_default();
        let text = text_of(raw).unwrap_or_default();
        let (inner, found) = match place {
            Place::Text => self.rules.of_json(&text),
            Place::Answer
            | Place::Structured
            | Place::Content
            | Place::Block
            | Place::Said
            | Place::Data
            | Place::Known
            | Place::Other => None,
        }
        .map_or((None, 0), |(text, parts)| (Some(text), parts));
        let now = inner.as_deref().unwrap_or(&text);
        let cleaned = self.rules.of_text(now);
        let parts = cleaned.as_ref().map_or(0, |(_, parts)| *parts);
        match cleaned.map(|(text, _)| text).or(inner) {
            None => self.copy_to(end),
            Some(cleaned) => {
                self.parts = self.parts.saturating_add(found).saturating_add(parts);
                self.out.push_str(&Value::String(cleaned).to_string());
                self.at = end;
            }
        }
    }

    /// Behind the string that begins here.
    fn end_of_string(&self) -> usize {
        let mut is_escaped = false;
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let end = rest.iter().skip(1).position(|byte| {
            let is_end = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            is_end
        });
        end.map_or(self.text.len(), |end| {
            self.at.saturating_add(end).saturating_add(2)
        })
    }

    /// Behind the value that begins here.
    fn end_of_value(&self) -> usize {
        let mut ahead = Pass {
            rules: self.rules,
            text: self.text,
            at: self.at,
            out: String::new(),
            parts: 0,
            path: Vec::new(),
        };
        let mut depth = 0_usize;
        loop {
            match ahead.peek() {
                None => return ahead.at,
                Some(b'"') => ahead.at = ahead.end_of_string(),
                Some(b'{' | b'[') => {
                    depth = depth.saturating_add(1);
                    ahead.at = ahead.at.saturating_add(1);
                }
                Some(b'}' | b']') if depth == 0 => return ahead.at,
                Some(b'}' | b']') => {
                    depth = depth.saturating_sub(1);
                    ahead.at = ahead.at.saturating_add(1);
                }
                Some(b',' | b' ' | b'\t' | b'\r' | b'\n') if depth == 0 => return ahead.at,
                Some(_) => {
                    ahead.at = ahead.at.saturating_add(1);
                    continue;
                }
            }
            if depth == 0 {
                return ahead.at;
            }
        }
    }
}

impl Redactor {
    /// A text that is JSON says what structured content says: the same pointers count in it.
    fn of_json(&self, text: &str) -> Option<(String, u32)> {
        let begins = text.trim_start().starts_with(['{', '[']);
        if self.pointers.is_empty() || !begins {
            return None;
        }
        let bounds = placet_types::canonical::Bounds {
            bytes_max: text.len(),
            depth_max: DEPTH_MAX,
        };
        placet_types::canonical::Json::parse(text.as_bytes(), bounds).ok()?;
        let (out, parts) = self.pass(text, Place::Structured);
        (parts > 0).then_some((out, parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(rules: &[&str], answer: &str) -> (String, u32) {
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Redactor::new(&rules).unwrap().redact(answer)
    }

    #[test]
    fn what_matches_is_taken_out_of_every_text_and_the_rest_stays_as_it_came() {
        let (out, parts) = redact(
            &["pattern:sk-[0-9]+"],
            r#"{ "content" : [ {"type":"text","text":"a sk-1 and sk-22 é\n"} ], "n": 1.50, "sk-3": ["x", {"y":"sk-4"}] }"#,
        );
        assert_eq!(
            out,
            r#"{ "content" : [ {"type":"text","text":"a [redacted] and [redacted] é\n"} ], "n": 1.50, "sk-3": ["x", {"y":"[redacted]"}] }"#
        );
        assert_eq!(parts, 3);
        let plain = r#"{"a":[1,true,null,"x",{}],"b":{"c":[]},"d":-1e5}"#;
        assert_eq!(
            redact(&["pattern:zzz", "pointer:/q"], plain),
            (plain.to_owned(), 0)
        );
        // An escape hides nothing.
        let (out, _) = redact(&["pattern:secret"], r#"{"a":"s\u0065cret"}"#);
        assert_eq!(out, r#"{"a":"[redacted]"}"#);
    }

    #[test]
    fn pointers_take_out_what_stands_there_and_the_text_that_says_the_same() {
        let (out, parts) = redact(
            &["pointer:/user/mail", "pointer:/keys/0", "pointer:/a~1b"],
            r#"{"content":[{"type":"text","text":"{\"user\":{\"mail\":\"m@x\",\"name\":\"n\"}}"}],"structuredContent":{"user":{"mail":{"deep":["m@x"]},"name":"n"},"keys":[12345,6],"a/b":true},"user":{"mail":"not structured"}}"#,
        );
        assert_eq!(
            out,
            r#"{"content":[{"type":"text","text":"{\"user\":{\"mail\":\"[redacted]\",\"name\":\"n\"}}"}],"structuredContent":{"user":{"mail":"[redacted]","name":"n"},"keys":["[redacted]",6],"a/b":"[redacted]"},"user":{"mail":"not structured"}}"#
        );
        assert_eq!(parts, 4);
    }

    #[test]
    fn what_is_said_beside_answers_shows_nothing_more_and_finds_its_request() {
        let rules = ["pattern:sk-[0-9]+", "pointer:/user/mail"];
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let redactor = Redactor::new(&rules).unwrap();
        for (said, shown) in [
            (
                r#"{"progressToken":"sk-1","progress":1,"message":"read sk-1"}"#,
                r#"{"progressToken":"sk-1","progress":1,"message":"read [redacted]"}"#,
            ),
            (
                r#"{"level":"info","data":{"user":{"mail":"m@x"},"key":"sk-2","requestId":"sk-3"}}"#,
                r#"{"level":"info","data":{"user":{"mail":"[redacted]"},"key":"[redacted]","requestId":"[redacted]"}}"#,
            ),
            (
                r#"{"level":"info","data":"{\"user\":{\"mail\":\"m@x\"}}"}"#,
                r#"{"level":"info","data":"{\"user\":{\"mail\":\"[redacted]\"}}"}"#,
            ),
            (r#"{"data":["sk-4",1]}"#, r#"{"data":["[redacted]",1]}"#),
        ] {
            assert_eq!(redactor.redact_said(said), shown);
        }
    }

    #[test]
    fn rules_are_gathered_and_each_once() {
        let of = |rules: &[&str]| {
            let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
            Redactor::new(&rules).unwrap()
        };
        let (one, two) = (of(&["pattern:a+", "pointer:/x"]), of(&["pattern:b+"]));
        assert!(!one.covers(&two));
        let both = one.with(&two);
        assert!(both.covers(&one) && both.covers(&two) && !two.covers(&both));
        assert_eq!(both.with(&one).patterns.len(), 2);
        assert_eq!(
            both.redact_said(r#"{"a":"ab c"}"#),
            r#"{"a":"[redacted][redacted] c"}"#
        );
    }

    #[test]
    fn a_hostile_text_takes_linear_time_and_what_is_no_pattern_is_refused() {
        let long = format!("{{\"a\":\"{}!\"}}", "a".repeat(1 << 20));
        assert_eq!(redact(&["pattern:(a+)+$"], &long).1, 0);
        for bad in ["pattern:(", "pattern:(?:a{1000}){1000}", "pattern:(a)\\1"] {
            let rules = BTreeSet::from([bad.parse().unwrap()]);
            assert!(Redactor::new(&rules).is_err(), "{bad}");
        }
    }
}
