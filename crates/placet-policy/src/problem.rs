//! Problems: what is wrong with a bundle, where, in words that say what to do.

use std::fmt;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The bundle cannot be used.
    Error,
    /// The bundle can be used, but probably does not say what its author meant.
    Warning,
}

/// One problem of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The member of the bundle, as a path relative to its root.
    pub file: String,
    /// The line in that member, from 1, where it is known.
    pub line: Option<u32>,
    /// How much it matters.
    pub severity: Severity,
    /// Stable name of the rule that found it, such as `unknown-member` or `unconstrained-permit`.
    pub rule: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    pub(crate) fn error(file: &str, rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            severity: Severity::Error,
            rule,
            message: message.into(),
        }
    }

    pub(crate) fn warning(file: &str, rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, rule, message)
        }
    }

    pub(crate) fn at(mut self, line: u32) -> Self {
        self.line = Some(line);
        self
    }
}

impl fmt::Display for Problem {
    /// `file:line: message [rule]`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let word = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, ": {word}{} [{}]", self.message, self.rule)
    }
}

/// Line, from 1, of the byte at `offset` in `text`.
pub(crate) fn line_at(text: &str, offset: usize) -> u32 {
    let before = text.as_bytes().iter().take(offset);
    let breaks = before.filter(|byte| **byte == b'\n').count();
    u32::try_from(breaks).unwrap_or(u32::MAX).saturating_add(1)
}
