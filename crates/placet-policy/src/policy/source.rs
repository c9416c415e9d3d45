//! Cedar text into single statements, with the place where each begins.
//!
//! Cedar's own reader of whole files numbers policies and forgets `@id`. A statement ends at the
//! first `;` that stands in no string and no comment; the grammar has no other use for it.

use crate::bundle::Bundle;
use crate::policy::Rule;
use crate::problem::line_at;

/// The text of a policy as it stands in its bundle; `None` of a link, which has none of its own.
#[must_use]
pub fn source<'a>(bundle: &'a Bundle, rule: &Rule) -> Option<&'a str> {
    let file = bundle.member(&rule.file)?;
    let mut statements = rule
        .file
        .ends_with(".cedar")
        .then(|| split(file))?
        .into_iter();
    statements
        .find(|statement| statement.line == rule.line)
        .map(|statement| statement.text)
}

/// One statement of a Cedar file, from its first character that is neither space nor comment to
/// its `;`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    pub(crate) text: &'a str,
    /// Where the text begins in its file, in bytes.
    pub(crate) offset: usize,
    /// The line where it begins, from 1.
    pub(crate) line: u32,
}

/// Splits a file. What follows the last `;` is a statement too, which then fails to parse.
pub(crate) fn split(file: &str) -> Vec<Statement<'_>> {
    let bytes = file.as_bytes();
    let mut statements = Vec::new();
    let (mut at, mut line, mut counted) = (skip_blank(bytes, 0), 1_u32, 0);
    while at < bytes.len() {
        let end = end_of_statement(bytes, at);
        line = line.saturating_add(line_at(file.get(counted..at).unwrap_or_default(), at) - 1);
        counted = at;
        // Both ends stand beside an ASCII character, so they are boundaries of characters.
        statements.extend(file.get(at..end).map(|text| Statement {
            text,
            offset: at,
            line,
        }));
        at = skip_blank(bytes, end);
    }
    statements
}

fn skip_blank(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            Some(byte) if byte.is_ascii_whitespace() => at += 1,
            Some(b'/') if bytes.get(at + 1) == Some(&b'/') => at = end_of_line(bytes, at),
            Some(_) | None => return at,
        }
    }
}

fn end_of_statement(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            None => return at,
            Some(b';') => return at + 1,
            Some(b'"') => at = end_of_string(bytes, at + 1),
            Some(b'/') if bytes.get(at + 1) == Some(&b'/') => at = end_of_line(bytes, at),
            Some(_) => at += 1,
        }
    }
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            // An escape is at least two bytes, and none of its later bytes is a quote.
            Some(b'\\') => at = (at + 2).min(bytes.len()),
            Some(_) => at += 1,
        }
    }
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| at + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn semicolons_in_strings_and_comments_end_nothing() {
        let file = "// a; b\n@id(\"x;\\\"\") permit(principal, action, resource); // c;\n\
                    forbid // ;\n(principal, action, resource);\n/// ;\n";
        let texts: Vec<_> = split(file).iter().map(|s| s.text).collect();
        assert_eq!(
            texts,
            [
                "@id(\"x;\\\"\") permit(principal, action, resource);",
                "forbid // ;\n(principal, action, resource);"
            ]
        );
    }

    #[test]
    fn what_follows_the_last_semicolon_is_not_lost() {
        assert_eq!(split("a; b").len(), 2);
        assert_eq!(split("a; \"b").len(), 2);
        assert_eq!(split("a; // b\n").len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_but_space_and_comments_is_left_out(file in "[a;\"\\\\/ \né]{0,40}") {
            let mut at = 0;
            for statement in split(&file) {
                prop_assert_eq!(skip_blank(file.as_bytes(), at), statement.offset);
                prop_assert_eq!(file.get(statement.offset..statement.offset + statement.text.len()).unwrap(), statement.text);
                at = statement.offset + statement.text.len();
            }
            prop_assert_eq!(skip_blank(file.as_bytes(), at), file.len());
        }
    }
}
