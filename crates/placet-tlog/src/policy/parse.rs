//! Reading a policy file, line by line (C2SP tlog-policy, "Policy file syntax and structure").

use std::str::{FromStr, Utf8Error};

use crate::note::{VerifierKey, VkeyError};
use crate::policy::{MAX_POLICY_BYTES, Policy, PolicyBuilder, PolicyError, Threshold};
use crate::text::parse_decimal;

/// Why a file is not a policy. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyParseError {
    /// Larger than [`MAX_POLICY_BYTES`].
    #[error("a policy has at most {MAX_POLICY_BYTES} bytes, not {0}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("a policy is UTF-8: {0}")]
    Utf8(Utf8Error),
    /// A control character other than tab and newline.
    #[error("a policy holds no control character but tab and newline, found {0:#04x}")]
    Control(u8),
    /// The last line is not ended by a newline.
    #[error("every line of a policy ends in a newline")]
    Unterminated,
    /// The line is not of a known form.
    #[error("line {line}: not a log, witness, group or quorum line")]
    Syntax {
        /// Line, from 1.
        line: usize,
    },
    /// The line holds a key that cannot be used.
    #[error("line {line}: {error}")]
    Key {
        /// Line, from 1.
        line: usize,
        /// What is wrong with the key.
        error: VkeyError,
    },
    /// The line breaks a rule of policies.
    #[error("line {line}: {error}")]
    Rule {
        /// Line, from 1.
        line: usize,
        /// The rule.
        error: PolicyError,
    },
    /// The policy as a whole is incomplete.
    #[error(transparent)]
    Incomplete(PolicyError),
}

/// Why one line was refused, before its number is known.
enum LineError {
    Syntax,
    Key(VkeyError),
    Rule(PolicyError),
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    ///
    /// [`PolicyParseError`] names the line and the rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyParseError> {
        let text = check_text(bytes)?;
        let mut builder = Self::builder();
        for (at, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
            let line = at.saturating_add(1);
            builder = take_line(builder, &words).map_err(|error| match error {
                LineError::Syntax => PolicyParseError::Syntax { line },
                LineError::Key(error) => PolicyParseError::Key { line, error },
                LineError::Rule(error) => PolicyParseError::Rule { line, error },
            })?;
        }
        builder.build().map_err(PolicyParseError::Incomplete)
    }
}

impl FromStr for Policy {
    type Err = PolicyParseError;

    fn from_str(text: &str) -> Result<Self, PolicyParseError> {
        Self::parse(text.as_bytes())
    }
}

impl From<PolicyError> for LineError {
    fn from(error: PolicyError) -> Self {
        Self::Rule(error)
    }
}

fn check_text(bytes: &[u8]) -> Result<&str, PolicyParseError> {
    if bytes.len() > MAX_POLICY_BYTES {
        return Err(PolicyParseError::TooLong(bytes.len()));
    }
    let forbidden = |byte: &&u8| matches!(**byte, 0..=0x08 | 0x0b..=0x1f | 0x7f);
    if let Some(byte) = bytes.iter().find(forbidden) {
        return Err(PolicyParseError::Control(*byte));
    }
    let text = std::str::from_utf8(bytes).map_err(PolicyParseError::Utf8)?;
    if text.is_empty() || text.ends_with('\n') {
        Ok(text)
    } else {
        Err(PolicyParseError::Unterminated)
    }
}

fn take_line(builder: PolicyBuilder, words: &[&str]) -> Result<PolicyBuilder, LineError> {
    let taken = match words {
        [] => builder,
        [first, ..] if first.starts_with('#') => builder,
        ["log", key] => builder.log(parse_key(key)?, None)?,
        ["log", key, url] => builder.log(parse_key(key)?, Some(url))?,
        ["witness", name, key] => builder.witness(name, parse_key(key)?, None)?,
        ["witness", name, key, url] => builder.witness(name, parse_key(key)?, Some(url))?,
        ["group", name, threshold, members @ ..] => {
            builder.group(name, parse_threshold(threshold)?, members)?
        }
        ["quorum", "none"] => builder.no_quorum()?,
        ["quorum", name] => builder.quorum(name)?,
        _ => return Err(LineError::Syntax),
    };
    Ok(taken)
}

fn parse_key(text: &str) -> Result<VerifierKey, LineError> {
    VerifierKey::parse(text).map_err(LineError::Key)
}

fn parse_threshold(text: &str) -> Result<Threshold, LineError> {
    match text {
        "all" => Ok(Threshold::All),
        "any" => Ok(Threshold::Any),
        number => parse_decimal(number)
            .and_then(|k| usize::try_from(k).ok())
            .map(Threshold::AtLeast)
            .ok_or(LineError::Syntax),
    }
}
