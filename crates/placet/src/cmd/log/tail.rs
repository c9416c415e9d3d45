//! `placet log tail`: the latest records, and those that follow.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_evidence::Record;
use placet_log::LogReader;
use placet_types::{ExecutionId, Index, Millis, PrincipalId};

use crate::context::{Domain, records};
use crate::exit::{Failure, Status};
use crate::find;
use crate::out::{BOLD, DIM, Out, paint};
use crate::show;

/// How often the log is looked at for more.
const POLL: Duration = Duration::from_millis(200);
/// Principals of executions that are remembered for the records after their decision.
const REMEMBERED_MAX: usize = 4096;
/// How far before the first line a decision is looked for, so that the lines after it can say whose they
/// are: a fraction of a second's reading.
const LOOK_BACK: u64 = 65_536;

pub(super) fn tail(domain: &Domain, lines: u64, follow: bool, out: Out) -> Result<Status, Failure> {
    let mut printer = Printer {
        out,
        principals: BTreeMap::new(),
        width: 1,
    };
    let mut reader = domain.log()?;
    let mut next = Index::new(reader.size().get().saturating_sub(lines));
    loop {
        let open = printer.print(&reader, next)?;
        next = reader.size();
        if !follow || !open {
            return Ok(Status::Ok);
        }
        while reader.size() <= next {
            std::thread::sleep(POLL);
            // A view stays at its head; another one sees more.
            reader = domain.log()?;
        }
    }
}

struct Printer {
    out: Out,
    principals: BTreeMap<ExecutionId, PrincipalId>,
    /// Digits of an index.
    width: usize,
}

impl Printer {
    /// Prints everything from `from` on. Tells whether anybody still reads it.
    fn print(&mut self, reader: &LogReader, from: Index) -> Result<bool, Failure> {
        self.width = self.width.max(reader.size().to_string().len());
        let mut earlier = find::decisions_before(reader, from, LOOK_BACK, self.out);
        for record in records(reader, from) {
            let (index, record) = record?;
            let text = if self.out.is_json() {
                show::value(index, &record)?.to_string()
            } else {
                self.recall(&record, &mut earlier)?;
                self.line(index, &record)
            };
            if !self.out.stream(&text) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn line(&mut self, index: Index, record: &Record) -> String {
        let words = show::words(record);
        let exec = record.exec().map(|exec| exec.short()).unwrap_or_default();
        let who = if words.who.is_empty() {
            self.principal(record)
        } else {
            words.who
        };
        self.remember(record);
        format!(
            "{:>width$}  {}  {}  {}  {who:<16}  {}",
            index.get(),
            paint(DIM, time(record.time())),
            paint(BOLD, format!("{:<9}", record.kind().as_str())),
            paint(DIM, format!("{exec:<15}")),
            paint(words.style, words.what),
            width = self.width,
        )
    }

    /// Remembers decisions from before the first line until the one that this record follows.
    fn recall(
        &mut self,
        record: &Record,
        earlier: &mut impl Iterator<Item = Result<(Index, Record), Failure>>,
    ) -> Result<(), Failure> {
        let Some(exec) = record.exec() else {
            return Ok(());
        };
        let decides = matches!(record, Record::Decided(_));
        while !decides && !self.principals.contains_key(&exec) {
            let Some(found) = earlier.next() else {
                return Ok(());
            };
            self.remember(&found?.1);
        }
        Ok(())
    }

    fn principal(&self, record: &Record) -> String {
        let exec = record.exec().and_then(|exec| self.principals.get(&exec));
        exec.map(ToString::to_string).unwrap_or_default()
    }

    fn remember(&mut self, record: &Record) {
        if let Record::Decided(decided) = record {
            if self.principals.len() >= REMEMBERED_MAX {
                self.principals.clear();
            }
            self.principals
                .insert(decided.facts.exec, decided.intent.principal.clone());
        }
    }
}

/// A time to the millisecond, without the letters that only machines need.
fn time(time: Millis) -> String {
    time.to_string()
        .replace('T', " ")
        .trim_end_matches('Z')
        .to_owned()
}
