//! What the service says while it works: one line an event, in fields, on standard error.
//!
//! A line is made of named fields of simple types and of nothing else: there is no way to hand it a
//! header, a body or a proof, so none ends up in it by mistake.

use std::fmt::Write as _;
use std::io::Write as _;
use std::str::FromStr;

use serde::Deserialize;

use placet_types::Millis;

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What needs somebody.
    Error,
    /// What may need somebody.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// Every request.
    Debug,
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes the lines.
#[derive(Clone, Copy, Debug)]
pub struct Logger {
    format: Format,
    level: Level,
}

/// A value of a field.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A text. What could move a terminal's cursor or forge a line is escaped.
    Text(&'a str),
    /// A number.
    Number(u64),
}

/// A text that is no level or no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

impl Logger {
    /// Says what is at least as grave as `level`, in this format.
    #[must_use]
    pub const fn new(level: Level, format: Format) -> Self {
        Self { format, level }
    }

    /// Says that `event` happened at `time`.
    pub fn say(self, level: Level, time: Millis, event: &str, fields: &[(&str, Value<'_>)]) {
        if level > self.level {
            return;
        }
        let line = self.line(level, time, event, fields);
        // Nobody is left to be told when standard error is gone.
        drop(std::io::stderr().write_all(line.as_bytes()));
    }

    fn line(self, level: Level, time: Millis, event: &str, fields: &[(&str, Value<'_>)]) -> String {
        let mut line = String::new();
        match self.format {
            Format::Json => {
                let mut all = serde_json::Map::new();
                all.insert("time".into(), time.get().into());
                all.insert("level".into(), level.as_str().into());
                all.insert("event".into(), event.into());
                for (name, value) in fields {
                    let value = match value {
                        Value::Text(text) => (*text).into(),
                        Value::Number(number) => (*number).into(),
                    };
                    all.insert((*name).to_owned(), value);
                }
                line = serde_json::Value::Object(all).to_string();
            }
            Format::Text => {
                // Writing to a text does not fail.
                let mut put = |args: std::fmt::Arguments<'_>| line.write_fmt(args).unwrap_or(());
                put(format_args!("{time} {:5} {event}", level.as_str()));
                for (name, value) in fields {
                    match value {
                        Value::Text(text) => put(format_args!(" {name}={}", text.escape_debug())),
                        Value::Number(number) => put(format_args!(" {name}={number}")),
                    }
                }
            }
        }
        line.push('\n');
        line
    }
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl FromStr for Level {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let all = [Self::Error, Self::Warn, Self::Info, Self::Debug];
        let mut all = all.into_iter();
        all.find(|level| level.as_str() == text).ok_or(Unknown)
    }
}

impl FromStr for Format {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_cannot_forge_a_line() {
        let text = "a\n2026 error forged\u{1b}[2J";
        for format in [Format::Text, Format::Json] {
            let fields = [("id", Value::Text(text)), ("status", Value::Number(200))];
            let line = Logger::new(Level::Info, format).line(
                Level::Warn,
                Millis::new(0),
                "request",
                &fields,
            );
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.contains('\u{1b}') && line.contains("200"), "{line}");
        }
    }
}
