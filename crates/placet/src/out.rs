//! Output: for people with colour and alignment where there is a terminal, as JSON when asked.

use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::exit::Failure;

/// Where a command's results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    json: bool,
}

pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();

/// `text` in `style`; the stream drops the colour where it does not belong.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// A line for people on standard output; nothing when JSON was asked for.
    pub(crate) fn line(self, text: impl std::fmt::Display) {
        if !self.json {
            self.raw(format!("{text}\n").as_bytes(), true);
        }
    }

    /// A line for people on standard error.
    pub(crate) fn note(self, text: impl std::fmt::Display) {
        // Nobody is left to be told when standard error is gone.
        drop(writeln!(anstream::stderr(), "{text}"));
    }

    /// The result as one JSON value, when that was asked for.
    pub(crate) fn value(self, value: &impl Serialize) {
        if self.json
            && let Ok(text) = serde_json::to_string(value)
        {
            self.raw(format!("{text}\n").as_bytes(), false);
        }
    }

    /// Bytes as they are, whatever was asked for.
    pub(crate) fn bytes(self, bytes: &[u8]) {
        self.raw(bytes, false);
    }

    fn raw(self, bytes: &[u8], styled: bool) {
        // A reader that has closed the pipe has seen enough.
        if styled {
            let mut stdout = anstream::stdout();
            drop(stdout.write_all(bytes).and_then(|()| stdout.flush()));
        } else {
            let mut stdout = std::io::stdout();
            drop(stdout.write_all(bytes).and_then(|()| stdout.flush()));
        }
    }

    /// A line of an output that may go on for long. Tells whether anybody still reads it.
    pub(crate) fn stream(self, text: &str) -> bool {
        let mut stdout = anstream::stdout();
        writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .is_ok()
    }

    /// Rows in aligned columns, under a dim heading.
    pub(crate) fn table(self, heading: &[&str], rows: &[Vec<String>]) {
        if self.json {
            return;
        }
        let widths: Vec<usize> = heading
            .iter()
            .enumerate()
            .map(|(column, title)| {
                let cells = rows.iter().filter_map(|row| row.get(column));
                cells
                    .map(|cell| width(cell))
                    .max()
                    .unwrap_or(0)
                    .max(title.len())
            })
            .collect();
        let titles: Vec<String> = heading.iter().map(|title| (*title).to_owned()).collect();
        self.line(paint(DIM, align(&titles, &widths)));
        for row in rows {
            self.line(align(row, &widths));
        }
    }

    /// Why a command did not do what it was asked.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let code = failure.code.map(|code| code.as_str());
            let value = serde_json::json!({
                "error": failure.message, "code": code, "hint": failure.hint,
            });
            self.note(value);
            return;
        }
        let code = failure
            .code
            .map(|code| format!(" {code}:"))
            .unwrap_or_default();
        self.note(format!(
            "{}{code} {}",
            paint(BAD, "placet:"),
            failure.message
        ));
        if let Some(hint) = &failure.hint {
            self.note(format!("  {} {hint}", paint(DIM, "hint:")));
        }
    }

    /// A progress bar on standard error for long work; hidden in a pipe.
    pub(crate) fn progress(self, what: &'static str, total: u64) -> ProgressBar {
        if self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(total).with_message(what);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

fn align(cells: &[String], widths: &[usize]) -> String {
    let last = cells.len().saturating_sub(1);
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line.push_str(cell);
        if column < last {
            let pad = width.saturating_sub(self::width(cell)) + 2;
            line.extend(std::iter::repeat_n(' ', pad));
        }
    }
    line
}

/// Columns that a text takes, its colours left out.
fn width(text: &str) -> usize {
    let mut width = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // What `paint` writes ends with the first `m`.
            chars.by_ref().find(|c| *c == 'm');
        } else {
            width += 1;
        }
    }
    width
}
