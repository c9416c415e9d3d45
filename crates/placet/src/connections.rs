//! Whom an execution talked to: the lists beside its `connections` records, as far as they were not
//! erased.

use placet_evidence::{Connection, ConnectionOutcome, ConnectionWay, Connections, Record};
use placet_log::{LogReader, Payload};
use placet_types::{ExecutionId, Index, Salt};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::find;
use crate::out::{BAD, DIM, Out, WARN, paint};
use crate::show;

/// Lines that are shown; programs get all.
const SHOWN_MAX: usize = 40;

/// What the lists of one execution say.
#[derive(Default)]
pub(crate) struct Talked {
    known: Vec<Connection>,
    /// Events that no list had room for.
    omitted: u64,
    /// Records whose list was erased on purpose.
    erased: u64,
    /// Records whose list is missing, damaged, or not the one that the record commits to.
    lost: u64,
}

impl Talked {
    /// Reads the lists of an execution whose records begin at `first`.
    pub(crate) fn read(
        reader: &LogReader,
        first: Index,
        exec: ExecutionId,
    ) -> Result<Self, Failure> {
        let mut talked = Self::default();
        for record in find::select(reader, first, |glance| glance.exec == Some(exec)) {
            let (index, record) = record?;
            match record {
                Record::Connections(record) => talked.add(reader, index, &record)?,
                Record::Ended(_) => break,
                _ => {}
            }
        }
        Ok(talked)
    }

    fn add(
        &mut self,
        reader: &LogReader,
        index: Index,
        record: &Connections,
    ) -> Result<(), Failure> {
        self.omitted = self.omitted.saturating_add(record.omitted);
        match reader.payload(index)? {
            Payload::Erased => self.erased = self.erased.saturating_add(1),
            Payload::Damaged | Payload::None => self.lost = self.lost.saturating_add(1),
            Payload::Present(bytes) => match opened(record, &bytes) {
                Some(list) => list.into_iter().for_each(|entry| self.take(entry)),
                None => self.lost = self.lost.saturating_add(1),
            },
        }
        Ok(())
    }

    /// An entry with its end takes the place of the one without.
    fn take(&mut self, entry: Connection) {
        let same = |known: &&mut Connection| entry.id.is_some() && known.id == entry.id;
        match self.known.iter_mut().find(same) {
            Some(known) => *known = entry,
            None => self.known.push(entry),
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
            let name = paint(DIM, format!("{:<10}", "connection"));
            out.line(format!("  {name} {text}"));
        };
        for entry in self.known.iter().take(SHOWN_MAX) {
            row(line(entry));
        }
        let more = self.known.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            row(format!("and {more} more (--json shows them)"));
        }
        for (number, what) in [
            (self.omitted, "more that no list had room for"),
            (self.erased, "lists erased on purpose"),
            (self.lost, "lists missing or damaged; see `placet log fsck`"),
        ] {
            if number > 0 {
                row(paint(WARN, format!("{number} {what}")).to_string());
            }
        }
    }
}

fn opened(record: &Connections, payload: &[u8]) -> Option<Vec<Connection>> {
    let (salt, list) = payload.split_first_chunk::<32>()?;
    record
        .opens_to(list, &Salt::new(*salt))
        .then(|| Connections::read_list(list).ok())
        .flatten()
}

fn line(entry: &Connection) -> String {
    let name = entry.name.as_deref().map(show::shown);
    let whom = match (name, &entry.address) {
        (Some(name), Some(address)) => format!("{name} at {address}"),
        (Some(name), None) => name.to_string(),
        (None, Some(address)) => address.clone(),
        (None, None) => "nobody that could be understood".to_owned(),
    };
    let way = match entry.way {
        ConnectionWay::Connect => "connect",
        ConnectionWay::Dns => "lookup",
        ConnectionWay::Http => "http",
        ConnectionWay::Socks => "socks",
        ConnectionWay::Tunnel => "tunnel",
    };
    let times = if entry.times > 1 {
        format!(" × {}", entry.times)
    } else {
        String::new()
    };
    let what = match entry.outcome {
        ConnectionOutcome::Opened => carried(entry),
        ConnectionOutcome::Failed => paint(WARN, "failed").to_string(),
        ConnectionOutcome::Refused => {
            let why = entry.why.as_deref().unwrap_or("unknown");
            paint(BAD, format!("refused {why}")).to_string()
        }
    };
    format!("{whom}, {way} {}: {what}{times}", entry.time)
}

fn carried(entry: &Connection) -> String {
    let rule = entry.rule.as_deref().unwrap_or("unknown");
    let end = match (entry.sent_bytes, entry.received_bytes, entry.closed) {
        (Some(sent), Some(received), Some(closed)) => {
            format!("{sent} bytes out, {received} in, until {closed}")
        }
        (_, _, Some(closed)) => format!("until {closed}"),
        (_, _, None) => "open when last heard of".to_owned(),
    };
    format!("by {rule}; {end}")
}
