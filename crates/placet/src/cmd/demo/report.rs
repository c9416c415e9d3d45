//! The timeline: one line a step, and the summary.

use std::path::Path;
use std::time::Duration;

use placet_types::Index;
use serde::{Serialize, Serializer};

use crate::out::{BAD, BOLD, DIM, GOOD, Out, paint};

/// Width of the column that says what was tried.
const TRIED: usize = 45;
/// Width of the column that says what was expected.
const EXPECTED: usize = 27;

/// The four sections, named after what Placet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Section {
    Verify,
    Authorize,
    Execute,
    Prove,
}

/// What a step came to.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// In words.
    pub(super) observed: String,
    /// Whether it is what was expected.
    pub(super) holds: bool,
    /// The record that says so.
    pub(super) index: Option<Index>,
}

/// One line of the timeline.
#[derive(Clone, Debug, Serialize)]
struct Line {
    section: Section,
    at_ms: u64,
    index: Option<Index>,
    tried: String,
    expected: String,
    observed: String,
    holds: bool,
}

/// Figures that the steps have come to.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Records in the log.
    pub(super) records: u64,
    /// Decisions among them.
    pub(super) decisions: u64,
    /// Decisions that were computed again, with the same bytes.
    pub(super) recomputed: u64,
    /// Proof bundles that were verified offline.
    pub(super) proofs: u64,
    /// How long what was revoked went on.
    #[serde(flatten)]
    pub(super) revocation: Option<Fallen>,
    /// Processes that were gone by then.
    pub(super) revoked_processes: usize,
}

/// How long a revoked tree went on: from the durable record to the last process gone.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Fallen {
    /// From when the log was seen to be written. Too short by as much as that was seen late.
    #[serde(rename = "revocation_us", serialize_with = "micros")]
    pub(super) measured: Duration,
    /// From when the record is dated, before it was made durable. Never too short.
    #[serde(rename = "revocation_us_max", serialize_with = "micros")]
    pub(super) at_most: Duration,
}

/// Everything that was seen.
pub(super) struct Report {
    out: Out,
    section: Section,
    lines: Vec<Line>,
    pub(super) figures: Figures,
    elapsed: Duration,
}

/// The summary, as JSON.
#[derive(Serialize)]
struct Summary<'a> {
    holds: bool,
    steps: &'a [Line],
    differing: usize,
    #[serde(flatten)]
    figures: &'a Figures,
    elapsed_ms: u64,
    directory: Option<&'a Path>,
}

impl Section {
    const fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Verify => ("verify", "the machine, the keys, who asks"),
            Self::Authorize => (
                "authorize",
                "every attempt is decided, and recorded, before anything starts",
            ),
            Self::Execute => (
                "execute",
                "inside the scope, and only while the authority lasts",
            ),
            Self::Prove => ("prove", "to somebody who trusts none of this"),
        }
    }
}

impl Seen {
    /// What was expected.
    pub(super) fn holds(observed: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            holds: true,
            index: None,
        }
    }

    /// Something else.
    pub(super) fn differs(observed: impl Into<String>) -> Self {
        Self {
            observed: observed.into(),
            holds: false,
            index: None,
        }
    }

    /// What was expected, or in words why not.
    pub(super) fn of(seen: Result<String, String>) -> Self {
        seen.map_or_else(Self::differs, Self::holds)
    }

    pub(super) fn at(self, index: impl Into<Option<Index>>) -> Self {
        Self {
            index: index.into(),
            ..self
        }
    }
}

impl Report {
    pub(super) fn new(out: Out) -> Self {
        let (lines, figures) = (Vec::new(), Figures::default());
        Self {
            out,
            section: Section::Verify,
            lines,
            figures,
            elapsed: Duration::ZERO,
        }
    }

    pub(super) fn open(&mut self, section: Section) {
        self.section = section;
        let (title, about) = section.title();
        let space = if self.lines.is_empty() { "" } else { "\n" };
        self.out.line(format!(
            "{space}{}  {}",
            paint(BOLD, title),
            paint(DIM, about)
        ));
    }

    /// Adds a step, as of `elapsed` since the demo began.
    pub(super) fn add(&mut self, elapsed: Duration, tried: &str, expected: &str, seen: Seen) {
        self.elapsed = elapsed;
        let Seen {
            observed,
            holds,
            index,
        } = seen;
        let (tried, expected) = (tried.to_owned(), expected.to_owned());
        let section = self.section;
        let line = Line {
            section,
            at_ms: millis(elapsed),
            index,
            tried,
            expected,
            observed,
            holds,
        };
        self.out.line(line.shown());
        self.lines.push(line);
    }

    /// Whether everything was as expected.
    pub(super) fn holds(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.holds)
    }

    fn differing(&self) -> usize {
        self.lines.iter().filter(|line| !line.holds).count()
    }

    /// Writes the summary.
    pub(super) fn close(&self, directory: Option<&Path>) {
        self.out.value(&Summary {
            holds: self.holds(),
            steps: &self.lines,
            differing: self.differing(),
            figures: &self.figures,
            elapsed_ms: millis(self.elapsed),
            directory,
        });
        let (steps, figures) = (self.lines.len(), &self.figures);
        let verdict = match self.differing() {
            0 => paint(
                GOOD,
                format!("{steps} of {steps} steps came out as expected"),
            ),
            differing => paint(
                BAD,
                format!("{differing} of {steps} steps came out otherwise"),
            ),
        };
        self.out.line(format!(
            "\n{verdict} in {:.1} s",
            self.elapsed.as_secs_f64()
        ));
        let row = |name: &str, text: String| self.out.line(format!("  {name:<12} {text}"));
        row("records", figures.records.to_string());
        let (decisions, same) = (figures.decisions, figures.recomputed);
        row(
            "decisions",
            format!("{decisions}, {same} recomputed with the same bytes"),
        );
        row("proofs", format!("{} verified offline", figures.proofs));
        if let Some(Fallen { measured, at_most }) = figures.revocation {
            let count = figures.revoked_processes;
            let (measured, at_most) = (shown_duration(measured), shown_duration(at_most));
            let what = format!("from the durable record to the last of {count} processes gone");
            row(
                "revocation",
                format!("{measured} {what}, at most {at_most}"),
            );
        }
        if let Some(directory) = directory {
            row("kept in", directory.display().to_string());
        }
    }
}

impl Line {
    fn shown(&self) -> String {
        let mark = if self.holds {
            paint(GOOD, "✓")
        } else {
            paint(BAD, "✗")
        };
        let index = self
            .index
            .map(|index| format!("#{index}"))
            .unwrap_or_default();
        let when = format!("{:>6.2} {index:>5}", self.at_ms as f64 / 1000.0);
        let observed = if self.holds {
            self.observed.clone()
        } else {
            paint(BAD, &self.observed)
        };
        let tried = fit(&self.tried, TRIED);
        let expected = fit(&self.expected, EXPECTED);
        format!(
            "{} {mark} {tried} {} {observed}",
            paint(DIM, when),
            paint(DIM, expected)
        )
    }
}

/// A duration as a person reads it.
pub(super) fn shown_duration(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// `text` cut or filled to `width`.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    let cut: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}…")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
