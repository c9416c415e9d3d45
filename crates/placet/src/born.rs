//! Which programs of its own writable places an execution started: the lists beside its `born` records, as
//! far as they were not erased.

use placet_evidence::{Born, BornProgram, Record};
use placet_log::{LogReader, Payload};
use placet_types::{ExecutionId, Index, Salt};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::find;
use crate::out::{DIM, Out, WARN, paint};
use crate::show;

/// Lines that are shown; programs get all.
const SHOWN_MAX: usize = 40;

/// What the lists of one execution say.
#[derive(Default)]
pub(crate) struct Made {
    known: Vec<BornProgram>,
    /// Starts that no list had room for.
    omitted: u64,
    /// Records whose list was erased on purpose.
    erased: u64,
    /// Records whose list is missing, damaged, or not the one that the record commits to.
    lost: u64,
}

impl Made {
    /// Reads the lists of an execution whose records begin at `first`.
    pub(crate) fn read(
        reader: &LogReader,
        first: Index,
        exec: ExecutionId,
    ) -> Result<Self, Failure> {
        let mut made = Self::default();
        for record in find::select(reader, first, |glance| glance.exec == Some(exec)) {
            let (index, record) = record?;
            match record {
                Record::Born(record) => made.add(reader.payload(index)?, &record),
                Record::Ended(_) => break,
                _ => {}
            }
        }
        Ok(made)
    }

    fn add(&mut self, payload: Payload, record: &Born) {
        self.omitted = self.omitted.saturating_add(record.omitted);
        match payload {
            Payload::Erased => self.erased = self.erased.saturating_add(1),
            Payload::Damaged | Payload::None => self.lost = self.lost.saturating_add(1),
            Payload::Present(bytes) => match opened(record, &bytes) {
                Some(list) => self.known.extend(list),
                None => self.lost = self.lost.saturating_add(1),
            },
        }
    }

    pub(crate) fn value(&self) -> Value {
        json!({
            "list": self.known, "omitted": self.omitted, "erased": self.erased, "lost": self.lost,
        })
    }

    /// One line each, under a name of ten letters at most.
    pub(crate) fn print(&self, out: Out) {
        let row = |text: String| {
            let name = paint(DIM, format!("{:<10}", "own"));
            out.line(format!("  {name} {text}"));
        };
        for program in self.known.iter().take(SHOWN_MAX) {
            row(line(program));
        }
        let more = self.known.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            row(format!("and {more} more (--json shows them)"));
        }
        for (number, what) in [
            (self.omitted, "more starts that no list had room for"),
            (self.erased, "lists erased on purpose"),
            (self.lost, "lists missing or damaged; see `placet log fsck`"),
        ] {
            if number > 0 {
                row(paint(WARN, format!("{number} {what}")).to_string());
            }
        }
    }
}

fn opened(record: &Born, payload: &[u8]) -> Option<Vec<BornProgram>> {
    let (salt, list) = payload.split_first_chunk::<32>()?;
    record
        .opens_to(list, &Salt::new(*salt))
        .then(|| Born::read_list(list).ok())
        .flatten()
}

fn line(program: &BornProgram) -> String {
    let by = match &program.made_by {
        Some(by) => format!(
            "made by {} ({}) of {}",
            show::shown(&by.path),
            show::short(&by.digest),
            by.exec
        ),
        None => "was there before, or nobody was seen to make it".to_owned(),
    };
    let (path, digest) = (show::shown(&program.path), show::short(&program.digest));
    let run = program.run_by.as_deref();
    let run = run.map_or_else(String::new, |run| format!("run by {}, ", show::shown(run)));
    format!("{path} ({digest}), {}: {run}{by}", program.time)
}
