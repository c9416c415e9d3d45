//! Finding records in the log, and folding it into what commands show.

use std::collections::VecDeque;

use placet_evidence::{Decided, Entry, Glance, KindName, Record};
use placet_lineage::Graph;
use placet_log::{LogReader, snapshots};
use placet_state::State;
use placet_types::{ExecutionId, Index};

use crate::context::{Domain, records};
use crate::exit::Failure;
use crate::out::Out;

/// Records read at a time where the log is read from its end.
const CHUNK: u64 = 2048;

/// The record at `index`.
pub(crate) fn record(reader: &LogReader, index: Index) -> Result<Record, Failure> {
    exists(reader, index)?;
    Ok(Entry::from_bytes(reader.entry(index)?).read()?)
}

/// The records from `from` on, in order, that `wanted` is for at a glance. The others are passed over:
/// that they are in the log is checked, what they say is not.
pub(crate) fn select(
    reader: &LogReader,
    from: Index,
    wanted: impl Fn(Glance) -> bool,
) -> impl Iterator<Item = Result<(Index, Record), Failure>> {
    reader
        .entries(from..reader.size())
        .filter_map(move |entry| {
            let (index, entry) = match entry {
                Ok((index, bytes)) => (index, Entry::from_bytes(bytes)),
                Err(error) => return Some(Err(error.into())),
            };
            read_if(index, &entry, &wanted).transpose()
        })
}

/// What is no entry at a glance is read all the same, for the error.
fn read_if(
    index: Index,
    entry: &Entry,
    wanted: impl Fn(Glance) -> bool,
) -> Result<Option<(Index, Record)>, Failure> {
    if entry.glance().is_some_and(|glance| !wanted(glance)) {
        return Ok(None);
    }
    let record = entry.read();
    let unread = |error| Failure::unverified(format!("the record at {index}: {error}"));
    Ok(Some((index, record.map_err(unread)?)))
}

/// The index that a text names: an index, `dec_<index>`, or the decision about an execution, which
/// is named by the beginning of its id or of its artifact's.
pub(crate) fn index(reader: &LogReader, text: &str, out: Out) -> Result<Index, Failure> {
    if let Ok(index) = text.strip_prefix("dec_").unwrap_or(text).parse::<Index>() {
        exists(reader, index)?;
        return Ok(index);
    }
    decision(reader, text, out).map(|(index, _)| index)
}

/// The decision about the execution that a text names.
pub(crate) fn decision(
    reader: &LogReader,
    text: &str,
    out: Out,
) -> Result<(Index, Box<Decided>), Failure> {
    let digits = text
        .strip_prefix("exec_")
        .or_else(|| text.strip_prefix("art_"));
    let digits = digits.filter(|digits| {
        (1..=32).contains(&digits.len())
            && digits
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    let Some(digits) = digits else {
        return Err(
            Failure::new(format!("{} names no record", crate::show::shown(text)))
                .hint("give an index, dec_<index>, or exec_… from `placet executions`"),
        );
    };
    let wanted = format!("exec_{digits}");
    let whole = wanted.parse::<ExecutionId>().ok();
    let mut found = None;
    let named = |exec: ExecutionId| match whole {
        Some(whole) => whole == exec,
        None => exec.to_string().starts_with(&wanted),
    };
    let glanced =
        |glance: Glance| glance.kind == KindName::Decided && glance.exec.is_none_or(named);
    for record in Backwards::new(reader, glanced, out) {
        let (index, record) = record?;
        let Record::Decided(decided) = record else {
            continue;
        };
        let exec = decided.facts.exec;
        if whole == Some(exec) {
            return Ok((index, decided));
        }
        if named(exec) {
            if found.is_some() {
                return Err(
                    Failure::new(format!("more than one execution begins with {text}"))
                        .hint("give more digits"),
                );
            }
            found = Some((index, decided));
        }
    }
    found.ok_or_else(|| {
        Failure::new(format!("no decision is about {text}"))
            .hint("`placet executions` lists what was decided")
    })
}

/// The decisions before `before`, from the last to the first, among the `reach` records there.
pub(crate) fn decisions_before(
    reader: &LogReader,
    before: Index,
    reach: u64,
    out: Out,
) -> impl Iterator<Item = Result<(Index, Record), Failure>> {
    let glanced = |glance: Glance| glance.kind == KindName::Decided;
    let mut decisions = Backwards::new(reader, glanced, out);
    decisions.rest = before.get();
    decisions.floor = before.get().saturating_sub(reach);
    decisions
}

/// Refuses an index that the log does not reach.
pub(crate) fn exists(reader: &LogReader, index: Index) -> Result<(), Failure> {
    let size = reader.size();
    if index < size {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the log has {size} records, from index 0; there is none at {index}"
    )))
}

/// The executions that were decided from `from` on.
pub(crate) fn graph(reader: &LogReader, from: Index, out: Out) -> Result<Graph, Failure> {
    let mut graph = Graph::new();
    let bar = out.progress(
        "reading the log",
        reader.size().get().saturating_sub(from.get()),
    );
    for record in records(reader, from) {
        let (index, record) = record?;
        graph.apply(index, &record).map_err(Failure::unverified)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(graph)
}

/// Where a graph must begin to hold the latest `limit` decisions that are `wanted`.
pub(crate) fn begin_of_latest(
    reader: &LogReader,
    limit: usize,
    wanted: impl Fn(&Decided) -> bool,
    out: Out,
) -> Result<Index, Failure> {
    let mut left = limit;
    if left == 0 {
        return Ok(reader.size());
    }
    let glanced = |glance: Glance| glance.kind == KindName::Decided;
    for record in Backwards::new(reader, glanced, out) {
        let (index, record) = record?;
        if let Record::Decided(decided) = record
            && wanted(&decided)
        {
            left -= 1;
            if left == 0 {
                return Ok(index);
            }
        }
    }
    Ok(Index::default())
}

/// What was true before the record at `index`: the state that its decision was made in.
pub(crate) fn state_before(
    domain: &Domain,
    reader: &LogReader,
    index: Index,
    out: Out,
) -> Result<State, Failure> {
    let mut state = match saved(domain, reader, index) {
        Some(state) => state,
        None => State::begin(&record(reader, Index::default())?).map_err(Failure::unverified)?,
    };
    let bar = out.progress(
        "folding the log",
        index.get().saturating_sub(state.next().get()),
    );
    for entry in reader.entries(state.next()..index) {
        let (at, bytes) = entry?;
        let record = Entry::from_bytes(bytes).read()?;
        state.apply(at, &record).map_err(Failure::unverified)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(state)
}

fn saved(domain: &Domain, reader: &LogReader, index: Index) -> Option<State> {
    let mut root_at = |size| reader.root_at(size).ok();
    let loaded = snapshots::load_latest(&domain.dir.snapshots(), index.get(), &mut root_at).ok()?;
    let state = State::from_snapshot(&loaded.snapshot?.bytes).ok()?;
    // One record at least: the fold begins with the first.
    (state.next() > Index::default()).then_some(state)
}

/// The records that are wanted at a glance, from the last to the first.
struct Backwards<'a, F> {
    reader: &'a LogReader,
    wanted: F,
    /// What was not read yet ends here.
    rest: u64,
    /// Nothing before this is read.
    floor: u64,
    ready: VecDeque<(Index, Record)>,
    bar: indicatif::ProgressBar,
}

impl<'a, F: Fn(Glance) -> bool> Backwards<'a, F> {
    fn new(reader: &'a LogReader, wanted: F, out: Out) -> Self {
        let rest = reader.size().get();
        let bar = out.progress("searching", rest);
        Self {
            reader,
            wanted,
            rest,
            floor: 0,
            ready: VecDeque::new(),
            bar,
        }
    }

    fn refill(&mut self) -> Result<(), Failure> {
        let from = self.rest.saturating_sub(CHUNK).max(self.floor);
        for entry in self.reader.entries(Index::new(from)..Index::new(self.rest)) {
            let (index, bytes) = entry?;
            self.ready
                .extend(read_if(index, &Entry::from_bytes(bytes), &self.wanted)?);
        }
        self.bar.inc(self.rest - from);
        self.rest = from;
        Ok(())
    }
}

impl<F: Fn(Glance) -> bool> Iterator for Backwards<'_, F> {
    type Item = Result<(Index, Record), Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            if self.rest <= self.floor {
                return None;
            }
            if let Err(failure) = self.refill() {
                self.rest = self.floor;
                return Some(Err(failure));
            }
        }
        self.ready.pop_back().map(Ok)
    }
}

impl<F> Drop for Backwards<'_, F> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
